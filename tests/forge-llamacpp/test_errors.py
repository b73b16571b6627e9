"""Every failure that llama.cpp tells by a number is in the table, and means there what llama.cpp means by it."""

from __future__ import annotations

import ctypes
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as lib

from forge_llamacpp.errors import DECODE_FAILURES, decode_error, load_error
from llamaforge.errors import GenerationError, ModelLoadError

pytestmark = pytest.mark.engine

GGML_STATUS = {
    "SUCCESS": 0,
    "ABORTED": 2,
    "FAILED": -3,
    "ALLOC_FAILED": -2,
}
"""How a computation ended -> what ``llama_decode`` returns then."""


def test_every_code_that_the_binding_documents_is_mapped() -> None:
    documented = re.findall(r"^\s*(-?\d+) - (.*)$", inspect.getdoc(lib.llama_decode) or "", re.M)
    assert len(documented) > 3, "the documentation has another form now: read it, and mend this test"
    missing = {int(code): meaning for code, meaning in documented} | {0: "success"}
    for code in {0, *DECODE_FAILURES}:
        missing.pop(code, None)
    assert not missing, f"map these in forge_llamacpp/errors.py: {missing}"


def test_every_way_a_computation_ends_is_mapped() -> None:
    header = next(file for file in files("llama_cpp_python") or () if file.name == "ggml.h")
    found = re.search(r"enum ggml_status \{(.*?)\}", Path(str(header.locate())).read_text(encoding="utf-8"), re.S)
    assert found is not None
    statuses = set(re.findall(r"GGML_STATUS_(\w+)\s*=", found[1]))
    assert statuses == set(GGML_STATUS), "see llama-context.cpp for what llama_decode makes of the new one"
    assert set(GGML_STATUS.values()) - {0} <= set(DECODE_FAILURES)


@pytest.mark.parametrize("code", [*DECODE_FAILURES, -4, 3])
def test_each_becomes_an_error_that_says_so(code: int) -> None:
    error = decode_error(code, ["out of paper"])
    assert type(error) is GenerationError
    assert f"returned {code}" in str(error)
    assert DECODE_FAILURES.get(code, "no reason") in str(error)
    assert "out of paper" in str(error)


def test_a_null_pointer_names_the_model_and_the_step() -> None:
    error = load_error("a.gguf", "Making a context", ["too large"])
    assert type(error) is ModelLoadError
    assert (error.model, "Making a context failed" in str(error), "too large" in str(error)) == ("a.gguf", True, True)


class Context:
    """llama.cpp without anything of ours before it. Eight tokens fit."""

    def __init__(self, model: Path) -> None:
        self._model = lib.llama_model_load_from_file(str(model).encode(), lib.llama_model_default_params())
        settings = lib.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = 8
        settings.n_threads = settings.n_threads_batch = 1
        self.pointer: Any = lib.llama_init_from_model(self._model, settings)
        self.size = lib.llama_n_ctx(self.pointer)

    def decode(self, tokens: list[int]) -> int:
        array = (lib.llama_token * len(tokens))(*tokens)
        code: int = lib.llama_decode(self.pointer, lib.llama_batch_get_one(array, len(tokens)))
        return code

    def close(self) -> None:
        lib.llama_free(self.pointer)
        lib.llama_model_free(self._model)


@pytest.fixture
def context(tiny_gguf: Path) -> Iterator[Context]:
    made = Context(tiny_gguf)
    yield made
    made.close()


class TestTheRealEngine:
    """It returns what the table says, where that can be brought about."""

    def test_no_room(self, context: Context) -> None:
        codes = [context.decode([65] * 8) for _ in range(context.size // 8 + 1)]
        assert codes == [0] * (len(codes) - 1) + [1]
        assert "no room" in DECODE_FAILURES[1]

    def test_told_to_stop(self, context: Context) -> None:
        stop = lib.ggml_abort_callback(lambda data: True)
        lib.llama_set_abort_callback(context.pointer, stop, ctypes.c_void_p())
        assert context.decode([65]) == 2
        assert "aborted" in DECODE_FAILURES[2]

    def test_a_batch_that_is_none(self, context: Context) -> None:
        assert context.decode([10**6]) == -1
        assert "refused the batch" in DECODE_FAILURES[-1]
