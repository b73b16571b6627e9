"""Where each backend meets its engine: what a request asked for, seen there.

A backend that the project ships has a way to be opened here, and so an answer in the matrix of parameters; one that has
none fails loudly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path

from .base import ASK, Boundary, NoProbeError

__all__ = ["ASK", "Boundary", "NoProbeError", "open_boundary"]

_Opener = Callable[[str, Path], AbstractContextManager[Boundary]]

_OPENERS = {
    "echo": "echo:open_echo",
    "llama.cpp": "local:open_llama_cpp",
    "huggingface": "local:open_huggingface",
    **dict.fromkeys(("openai", "llama-server", "vllm", "tgi"), "http:open_server_backend"),
}
"""Backend -> module and function, so that one broken backend hides no other."""


@contextmanager
def open_boundary(name: str, folder: Path) -> Iterator[Boundary]:
    """The backend *name* with a model, watched. *folder* is empty and for its files. Raises NoProbeError."""
    if name not in _OPENERS:
        raise NoProbeError(f"nobody knows how to watch the backend {name!r}: add it to tests/support/boundaries")
    module, _, function = _OPENERS[name].partition(":")
    opener: _Opener = getattr(import_module(f".{module}", __name__), function)
    with opener(name, folder) as boundary:
        yield boundary
