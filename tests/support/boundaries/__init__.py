"""Where each backend meets its engine: what a request asked for, seen there.

A backend that the project ships has a way to be opened here, and so an answer in the matrix of parameters; one that has
none fails loudly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from .base import ASK, Boundary, NoProbeError
from .echo import open_echo
from .http import open_server_backend
from .local import open_huggingface, open_llama_cpp

__all__ = ["ASK", "Boundary", "NoProbeError", "open_boundary"]

_Opener = Callable[[Path], AbstractContextManager[Boundary]]

_OPENERS: dict[str, _Opener] = {
    "echo": open_echo,
    "llama.cpp": open_llama_cpp,
    "huggingface": open_huggingface,
    "openai": lambda folder: open_server_backend("openai"),
}


@contextmanager
def open_boundary(name: str, folder: Path) -> Iterator[Boundary]:
    """The backend *name* with a model, watched. *folder* is empty and for its files. Raises NoProbeError."""
    if name not in _OPENERS:
        raise NoProbeError(f"nobody knows how to watch the backend {name!r}: add it to tests/support/boundaries")
    with _OPENERS[name](folder) as boundary:
        yield boundary
