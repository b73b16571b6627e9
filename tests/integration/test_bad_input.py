"""Bad input, through the front door and on real engines: a typed error that helps, and the next request works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import LlamaForge
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    ConstraintError,
    ContextOverflowError,
    EmptyPromptError,
    InvalidModelError,
    InvalidParameterError,
    LlamaForgeError,
    ModelNotFoundError,
    SourceNotFoundError,
    UnknownBackendError,
    UnknownModelError,
    UnknownParameterError,
    UnsupportedError,
)

GREEDY = {"temperature": 0, "max_tokens": 6, "raw": True}
LOCAL = ["llama.cpp", "huggingface"]
EVERY = [*LOCAL, "openai"]


@pytest.fixture(scope="module")
def forge(
    gguf_model: Path, hf_model: Path, openai_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaForge]:
    """One forge with the same model loaded on three engines, each under its backend's name."""
    with LlamaForge(config_path=tmp_path_factory.mktemp("config") / "models.toml") as forge:
        forge.add_model("llama.cpp", gguf_model, parameters={"n_ctx": 256})
        forge.add_model("huggingface", hf_model, parameters={"n_ctx": 256, "device": "cpu"})
        remote = {"api_key": openai_server.api_key, "api_base": openai_server.base_url}
        forge.add_model("openai", openai_server.model, backend="openai", parameters=remote)
        for name in EVERY:
            assert forge.load_model(name).name == name
        yield forge


def answer(forge: LlamaForge, model: str) -> str:
    return forge.generate("The capital of France is", GREEDY, model=model)


@pytest.fixture(scope="module")
def sound(forge: LlamaForge) -> dict[str, str]:
    """What each engine answers while nothing has gone wrong yet."""
    answers = {name: answer(forge, name) for name in EVERY}
    assert all("Paris" in each for each in answers.values()), answers
    return answers


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest, forge: LlamaForge, sound: dict[str, str]) -> Iterator[str]:
    """Each engine in turn; after the test it must still answer as before."""
    yield request.param
    assert answer(forge, request.param) == sound[request.param]


@pytest.mark.parametrize(
    ("parameters", "expected", "says"),
    [
        ({"temprature": 1}, UnknownParameterError, "'temperature'"),
        ({"temperature": "hot"}, InvalidParameterError, "a number of at least 0"),
        ({"max_tokens": 0}, InvalidParameterError, "a whole number of at least 1"),
        ({"top_p": 2}, InvalidParameterError, "at most 1"),
        ({"stop": [""]}, InvalidParameterError, "non-empty"),
        ({"seed": -1}, InvalidParameterError, "from 0 to"),
        ({"grammar": "root ::= 'a'"}, (UnsupportedError, ConstraintError), "grammar"),
        ({"engine": {"no_such_option": 1, "model": "x"}}, (UnknownParameterError, InvalidParameterError), "engine"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], expected: Any, says: str, model: str, forge: LlamaForge) -> None:
    with pytest.raises(expected) as caught:
        forge.generate("Hello", parameters, model=model)
    assert says in str(caught.value)


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_an_empty_prompt(prompt: str, model: str, forge: LlamaForge) -> None:
    with pytest.raises(EmptyPromptError):
        forge.generate(prompt, model=model)
    with pytest.raises(EmptyPromptError):
        forge.chat([], model=model)


def test_a_prompt_longer_than_the_context(model: str, forge: LlamaForge) -> None:
    with pytest.raises(ContextOverflowError) as caught:
        forge.generate("one two three " * 3000, model=model)
    assert caught.value.prompt_tokens is not None
    assert caught.value.context_size is not None
    assert caught.value.prompt_tokens > caught.value.context_size
    assert str(caught.value.prompt_tokens) in str(caught.value)


def test_unknown_names(forge: LlamaForge) -> None:
    with pytest.raises(UnknownModelError) as model:
        forge.load_model("lama.cpp")
    assert model.value.suggestions == ["llama.cpp"]
    with pytest.raises(UnknownBackendError) as backend:
        forge.add_model("x", "y", backend="hugingface")
    assert backend.value.suggestions == ["huggingface"]


@pytest.mark.parametrize("backend", LOCAL)
def test_no_such_file(backend: str, forge: LlamaForge, tmp_path: Path) -> None:
    forge.add_model("absent", tmp_path / "absent.gguf", backend=backend, replace=True)
    with pytest.raises((ModelNotFoundError, SourceNotFoundError)) as caught:
        forge.load_model("absent")
    assert isinstance(caught.value, FileNotFoundError)
    assert "absent.gguf" in str(caught.value)


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("kept", [0, 3, 100, 5_000, 3_000_000, -1])
def test_a_gguf_that_is_cut_short(
    backend: str, kept: int, forge: LlamaForge, sound: dict[str, str], gguf_model: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    with gguf_model.open("rb") as whole:
        cut.write_bytes(whole.read(kept if kept >= 0 else gguf_model.stat().st_size - 1))
    forge.add_model("cut", cut, backend=backend, replace=True)
    with pytest.raises(LlamaForgeError) as caught:
        forge.load_model("cut")
    assert isinstance(caught.value, InvalidModelError)
    assert "cut.gguf" in str(caught.value)
    assert answer(forge, backend) == sound[backend]


@pytest.mark.parametrize("backend", LOCAL)
def test_a_file_that_is_no_model(backend: str, forge: LlamaForge, tmp_path: Path) -> None:
    (tmp_path / "prose.gguf").write_text("This is no model. " * 1000)
    forge.add_model("prose", tmp_path / "prose.gguf", backend=backend, replace=True)
    with pytest.raises(InvalidModelError):
        forge.load_model("prose")


@pytest.mark.parametrize("backend", [None, *LOCAL])
def test_what_a_path_holds_is_told_whoever_is_asked(backend: str | None, forge: LlamaForge, tmp_path: Path) -> None:
    """Also where no backend is named, and none could load it."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    files = tmp_path / "files"
    files.mkdir()
    for name in ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "b.gguf"):
        (files / name).write_bytes(b"GGUF")
    pointer = tmp_path / "pointer.gguf"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    for path, says in [
        (adapter, "PEFT adapter of the model org/base"),
        (files, f"Load one of the files: {str(files / 'a-00001-of-00002.gguf')!r} or {str(files / 'b.gguf')!r}."),
        (pointer, "git lfs pull"),
    ]:
        forge.add_model("told", path, backend=backend, replace=True)
        with pytest.raises(InvalidModelError) as caught:
            forge.load_model("told")
        assert says in str(caught.value)
        assert path.name in str(caught.value)


def test_a_model_without_a_suffix_finds_its_engine(forge: LlamaForge, gguf_model: Path, tmp_path: Path) -> None:
    blob = tmp_path / "sha256-d7e8f00d"
    blob.symlink_to(gguf_model)
    forge.add_model("blob", blob, parameters={"n_ctx": 64}, replace=True)
    assert forge.load_model("blob").name == "llama.cpp"
    forge.unload_model("blob")


@pytest.mark.parametrize("backend", LOCAL)
def test_more_context_than_the_model_was_trained_for(backend: str, forge: LlamaForge, sound: dict[str, str]) -> None:
    with pytest.raises(InvalidParameterError, match="n_ctx must be at most 8192, the context that this model"):
        forge.load_model(backend, {"n_ctx": 8193})
    assert answer(forge, backend) == sound[backend]


def test_wrong_load_parameters(forge: LlamaForge) -> None:
    with pytest.raises(UnknownParameterError) as unknown:
        forge.load_model("llama.cpp", {"n_cxt": 512})
    assert unknown.value.suggestions[0] == "n_ctx"
    with pytest.raises(InvalidParameterError, match="n_ctx must be"):
        forge.load_model("llama.cpp", {"n_ctx": "big"})
    assert forge.backend("llama.cpp").is_model_loaded()


def test_wrong_key_wrong_address_and_wrong_model_are_three_errors(forge: LlamaForge, openai_server: Any) -> None:
    sound = {"api_key": openai_server.api_key, "api_base": openai_server.base_url, "max_retries": 0}
    with pytest.raises(AuthenticationError):
        forge.load_model("openai", {**sound, "api_key": "sk-wrong"})
    with pytest.raises(ConnectionFailedError):
        forge.load_model("openai", {**sound, "api_base": "http://127.0.0.1:9/v1"})
    forge.add_model("typo", openai_server.model + "x", backend="openai", parameters=sound, replace=True)
    with pytest.raises(ModelNotFoundError) as caught:
        forge.load_model("typo")
    assert openai_server.model in str(caught.value)
