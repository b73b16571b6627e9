"""LlamaForge: named models, loaded on the backend that suits them."""

from __future__ import annotations

import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import BaseBackend, GeneratedText, LlamaForge, register_backend
from llamaforge.backends import registry
from llamaforge.errors import (
    BackendNotInstalledError,
    ConflictingParametersError,
    EmptyPromptError,
    GenerationError,
    InvalidParameterError,
    InvalidReferenceError,
    ModelExistsError,
    ModelFileError,
    ModelLoadError,
    ModelNotLoadedError,
    NoBackendForModelError,
    SourceNotFoundError,
    UnknownBackendError,
    UnknownModelError,
    UnknownParameterError,
    UnsupportedError,
)
from llamaforge.models import DEFAULT_EMBEDDING_MODEL, DEFAULT_MODEL
from support.plugins import make_sound


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaForge]:
    monkeypatch.setenv("LLAMAFORGE_CACHE", str(tmp_path / "cache"))
    with LlamaForge(config_path=tmp_path / "models.toml") as forge:
        yield forge


def test_the_reference_s_workflow(forge: LlamaForge) -> None:
    forge.add_model(name="m", path="anything", backend="echo", parameters={"n_ctx": 32})
    forge.load_model("m")
    assert forge.current_model == "m"
    assert forge.is_model_loaded()
    assert forge.generate("Explain quantum computing in simple terms").startswith("Explain")
    assert "".join(forge.generate_stream("a b c", {"max_tokens": 2})) == "a b"
    assert forge.chat([{"role": "user", "content": "hi"}]) == "hi"
    assert "".join(forge.chat_stream([{"role": "user", "content": "hi"}])) == "hi"
    forge.unload_model()
    assert forge.current_model is None
    assert not forge.is_model_loaded("m")
    with pytest.raises(ModelNotLoadedError):
        forge.generate("x")


def test_the_built_in_models_are_there_and_stay(forge: LlamaForge) -> None:
    assert forge.list_models() == [DEFAULT_MODEL.name, DEFAULT_EMBEDDING_MODEL.name]
    assert forge.default_model == DEFAULT_MODEL.name
    for name in forge.list_models():
        with pytest.raises(InvalidParameterError, match="built in"):
            forge.remove_model(name)


def test_each_task_has_its_default_model(forge: LlamaForge) -> None:
    assert forge.default_model_for("generate") == DEFAULT_MODEL.name
    assert forge.default_model_for("embed") == DEFAULT_EMBEDDING_MODEL.name
    assert forge.default_model_for("rerank") is None
    forge.add_model("mine", "anything", "echo", {"task": "embed"}, save=True)
    forge.config_path.write_text('default = "mine"\n' + forge.config_path.read_text())
    assert forge.default_model_for("embed") == "mine"
    assert forge.default_model_for("rerank") is None
    assert forge.default_model_for("generate") == "mine"


def test_adding_twice(forge: LlamaForge) -> None:
    forge.add_model("m", "a", backend="echo")
    forge.add_model("m", "a", backend="echo")
    with pytest.raises(ModelExistsError):
        forge.add_model("m", "b", backend="echo")
    forge.add_model("m", "b", backend="echo", replace=True)
    assert forge.get_model("m").path == "b"
    forge.remove_model("m")
    with pytest.raises(UnknownModelError):
        forge.get_model("m")


def test_bad_additions_change_nothing(forge: LlamaForge) -> None:
    with pytest.raises(UnknownBackendError) as caught:
        forge.add_model("m", "a", backend="lama.cpp")
    assert caught.value.suggestions == ["llama.cpp"]
    with pytest.raises(UnknownParameterError, match="temperature"):
        forge.add_model("m", "a", backend="echo", generation={"temprature": 1})
    with pytest.raises(InvalidParameterError):
        forge.add_model("", "a")
    assert "m" not in forge.list_models()


def test_saved_models_outlive_the_program(forge: LlamaForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.sound").write_text("x")
    monkeypatch.chdir(tmp_path)
    forge.add_model("kept", "model.sound", backend="echo", parameters={"n_ctx": 9}, save=True)
    forge.add_model("passing", "b", backend="echo")
    later = LlamaForge(config_path=forge.config_path)
    assert "kept" in later.list_models()
    assert "passing" not in later.list_models()
    assert later.get_model("kept").path == str(tmp_path / "model.sound")
    assert later.get_model("kept").origin == "file"
    assert stat.S_IMODE(forge.config_path.stat().st_mode) == 0o600
    later.remove_model("kept")
    assert "kept" not in forge.list_models()


def test_a_relative_path_means_the_folder_where_it_was_added(
    forge: LlamaForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "model.sound").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    forge.add_model("present", "model.sound", backend="echo")
    forge.add_model("future", Path("later.gguf"))
    forge.add_model("hub", "org/name", backend="echo")
    monkeypatch.chdir(tmp_path)
    assert forge.get_model("present").path == str(tmp_path / "here" / "model.sound")
    assert forge.get_model("future").path == str(tmp_path / "here" / "later.gguf")
    assert forge.get_model("hub").path == "org/name"
    forge.load_model("present")
    with pytest.raises(SourceNotFoundError, match=re.escape(str(tmp_path / "here"))):
        forge.load_model("future")


def test_a_mistake_in_the_model_file_is_told_with_its_place(forge: LlamaForge) -> None:
    forge.config_path.write_text('[models.m]\npath = "x"\nbackend = "echo"\n[models.m.parameters]\nn_ctx = "many"\n')
    with pytest.raises(
        InvalidParameterError,
        match=re.escape(f"The model 'm' ([models.m.parameters] in {forge.config_path}): n_ctx must"),
    ):
        forge.load_model("m")
    forge.load_model("m", {"n_ctx": 8})
    with pytest.raises(InvalidParameterError, match=r"^n_ctx must"):
        forge.load_model("m", {"n_ctx": "few"})


def test_the_environment_names_the_model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMAFORGE_CONFIG", str(tmp_path / "mine.toml"))
    LlamaForge().add_model("kept", "a", backend="echo", save=True)
    assert (tmp_path / "mine.toml").exists()


def test_a_damaged_model_file_is_reported_and_left_alone(tmp_path: Path) -> None:
    damaged = "[models.a]\npath = \n"
    (tmp_path / "models.toml").write_text(damaged)
    forge = LlamaForge(config_path=tmp_path / "models.toml")
    with pytest.raises(ModelFileError) as caught:
        forge.list_models()
    assert caught.value.line == 2
    with pytest.raises(ModelFileError):
        forge.add_model("m", "a", backend="echo", save=True)
    assert (tmp_path / "models.toml").read_text() == damaged


def test_several_models_at_once(forge: LlamaForge) -> None:
    forge.add_model("one", "a", backend="echo", generation={"max_tokens": 1})
    forge.add_model("two", "b", backend="echo", generation={"max_tokens": 2})
    forge.load_model("one")
    forge.load_model("two")
    assert forge.current_model == "two"
    assert forge.generate("a b c") == "a b"
    assert forge.generate("a b c", model="one") == "a"
    assert forge.generate("a b c", {"max_new_tokens": 3}, model="one") == "a b c"
    assert forge.generate("a b c", model="one", max_tokens=3) == "a b c"
    forge.unload_model("two")
    with pytest.raises(ModelNotLoadedError, match="'two' is not loaded"):
        forge.generate("x", model="two")
    with pytest.raises(UnknownModelError) as caught:
        forge.generate("x", model="oen")
    assert caught.value.suggestions == ["one"]


def test_loading_again_reloads_only_for_other_parameters(forge: LlamaForge) -> None:
    forge.add_model("m", "a", backend="echo")
    first = forge.load_model("m")
    assert forge.load_model("m") is first
    second = forge.load_model("m", {"n_ctx": 5})
    assert second is not first
    assert not first.is_model_loaded()
    with pytest.raises(UnknownParameterError):
        forge.load_model("m", {"nctx": 5})
    assert forge.backend() is second
    assert second.is_model_loaded()


def test_an_unknown_model_names_the_closest(forge: LlamaForge) -> None:
    with pytest.raises(UnknownModelError) as caught:
        forge.load_model("smollm-135m-instruct")
    assert caught.value.suggestions == [DEFAULT_MODEL.name]


def test_a_reference_may_be_loaded_without_a_name(forge: LlamaForge, tmp_path: Path, plugin_folder: Path) -> None:
    make_sound(plugin_folder, "sound")
    (tmp_path / "model.sound").write_text("x")
    forge.load_model(str(tmp_path / "model.sound"))
    assert forge.backend().name == "sound"
    assert forge.current_model == str(tmp_path / "model.sound")
    with pytest.raises(SourceNotFoundError):
        forge.load_model(str(tmp_path / "modle.sound"))
    with pytest.raises(InvalidReferenceError):
        forge.load_model("pyip:dist/file.gguf")
    assert forge.current_model == str(tmp_path / "model.sound")


def test_a_model_that_nobody_takes(forge: LlamaForge, tmp_path: Path, plugin_folder: Path) -> None:
    (tmp_path / "model.odd").write_text("x")
    with pytest.raises(NoBackendForModelError):
        forge.load_model(str(tmp_path / "model.odd"))


def test_a_known_backend_that_is_absent(forge: LlamaForge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.DISTRIBUTIONS, "absent", "forge-absent")
    forge.add_model("m", "a", backend="absent")
    with pytest.raises(BackendNotInstalledError, match="pip install"):
        forge.load_model("m")


def test_load_parameters_are_checked_before_a_download(forge: LlamaForge) -> None:
    forge.add_model("m", "pypi:no-such-distribution-anywhere/x.gguf", backend="echo", parameters={"nctx": 3})
    with pytest.raises(UnknownParameterError):
        forge.load_model("m")


def test_backends_with_names_of_their_own_get_them_as_they_are(forge: LlamaForge) -> None:
    forge.add_model("m", "ft:gpt-4o:org::id", backend="echo")
    assert forge.load_model("m").model_path == "ft:gpt-4o:org::id"


def test_close_unloads_everything_and_the_forge_goes_on(forge: LlamaForge) -> None:
    forge.add_model("m", "a", backend="echo")
    backend = forge.load_model("m")
    forge.close()
    assert not backend.is_model_loaded()
    assert not forge.is_model_loaded("m")
    forge.load_model("m")
    assert forge.generate("again") == "again"


def test_many_threads_load_and_ask(forge: LlamaForge) -> None:
    for number in range(4):
        forge.add_model(f"m{number}", "a", backend="echo")
    wrong: list[Any] = []

    def work(number: int) -> None:
        for turn in range(25):
            forge.load_model(f"m{number % 4}")
            text = f"thread {number} turn {turn}"
            if forge.generate(text, model=f"m{number % 4}") != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class FourMethods(BaseBackend):
    """Just the reference's four methods."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Any = None

    def load_model(self, model_path: Any, parameters: Any = None) -> None:
        if parameters and "custom_param" not in parameters:
            raise KeyError("custom_param")
        self.model = model_path

    def generate(self, prompt: str, parameters: Any = None) -> Any:
        if prompt == "fail":
            raise ZeroDivisionError("inside")
        return prompt * (parameters or {}).get("times", 1)

    def generate_stream(self, prompt: str, parameters: Any = None) -> Any:
        yield from prompt * (parameters or {}).get("times", 1)

    def is_model_loaded(self) -> bool:
        return self.model is not None


@pytest.fixture
def custom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    register_backend("my_custom", FourMethods)


def test_a_backend_with_just_the_four_methods(forge: LlamaForge, custom: None) -> None:
    forge.add_model(
        "mine", "/path/to/my-model", backend="my_custom", parameters={"custom_param": "value"}, generation={"times": 2}
    )
    forge.load_model("mine")
    answer = forge.generate("ab")
    assert answer == "abab"
    assert isinstance(answer, GeneratedText)
    assert (answer.finish_reason, answer.usage) == ("unknown", None)
    assert answer.parameters == {"times": 2}
    with forge.generate_stream("ab", {"times": 3}) as stream:
        assert list(stream) == list("ababab")
    assert stream.result == "ababab"
    with pytest.raises(UnsupportedError, match="chat"):
        forge.chat([{"role": "user", "content": "hi"}])
    with pytest.raises(GenerationError, match="ZeroDivisionError"):
        forge.generate("fail")
    with pytest.raises(EmptyPromptError):
        forge.generate("")
    forge.unload_model()
    assert not forge.is_model_loaded("mine")


def test_what_a_custom_load_raises_is_typed(forge: LlamaForge, custom: None) -> None:
    forge.add_model("mine", "x", backend="my_custom", parameters={"other": 1})
    with pytest.raises(ModelLoadError, match="custom_param"):
        forge.load_model("mine")
    assert not forge.is_model_loaded("mine")


def test_a_hub_revision_reaches_the_backend_or_conflicts(forge: LlamaForge, tmp_path: Path) -> None:
    forge.add_model("m", "hf:org/name@v1", backend="echo", parameters={"revision": "v2"})
    with pytest.raises((ConflictingParametersError, UnknownParameterError)):
        forge.load_model("m")
