"""What callers and plugins get wrong ends in a typed error, and nothing hangs or is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamaforge import BaseBackend, LlamaForge, Message
from llamaforge.backends.echo import EchoBackend, EchoConfig, EchoEngine
from llamaforge.backends.registry import register_backend
from llamaforge.errors import (
    ChecksumError,
    ContextOverflowError,
    GenerationError,
    InvalidParameterError,
    ModelLoadError,
    SourceError,
)


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
