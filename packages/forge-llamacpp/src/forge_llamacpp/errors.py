"""What the engine's failures mean to a caller: one table, by code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from llamaforge.errors import GenerationError, ModelLoadError

DECODE_FAILURES: Final = {
    1: "its key/value cache has no room for the next tokens",
    2: "it was aborted",
    -1: "it refused the batch of tokens",
    -2: "it could not allocate memory for the computation",
    -3: "the computation failed",
}
"""What ``llama_decode`` returns where it fails (llama.h and llama-context.cpp)."""

NOT_A_NUMBER: Final = "The model computes NaN: its file is damaged, or the engine can't run it correctly."

IMPORT_ADVICE: Final = (
    "Install or build it again: pip install --force-reinstall --no-cache-dir llama-cpp-python. This compiles it, "
    'which needs a C++ compiler. CMAKE_ARGS="-DGGML_NATIVE=OFF" makes a build that runs on any processor.'
)


def decode_error(code: int, log: Iterable[str] = ()) -> GenerationError:
    """The error for a code of ``llama_decode``, with the end of the engine's *log*."""
    meaning = DECODE_FAILURES.get(code, "it gave no reason")
    return GenerationError(f"llama.cpp failed to compute: {meaning} (llama_decode returned {code}).{_said(log)}")


def load_error(model: str, step: str, log: Iterable[str] = ()) -> ModelLoadError:
    """The error for a null pointer where a model, a context or an adapter was due."""
    return ModelLoadError(model, f"{step} failed.{_said(log)}")


def _said(log: Iterable[str]) -> str:
    lines = "; ".join(log)
    return f" llama.cpp said: {lines}" if lines else ""
