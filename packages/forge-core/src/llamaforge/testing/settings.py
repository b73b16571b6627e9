"""What an author may get wrong in the test class, in one sentence each."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import Any, Final

from ..backends.base import BaseBackend

_PLACE: Final = "see llamaforge.testing.BackendConformance"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


_KINDS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "backend": (
        lambda value: bool(value) and (isinstance(value, str) or _is_backend(value)),
        "the name of a backend, or a class derived from BaseBackend",
    ),
    "model": (
        lambda value: isinstance(value, str | os.PathLike) and bool(os.fspath(value)),
        "a path, or the engine's name for a model",
    ),
    "parameters": (
        lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value),
        "a mapping of load parameters",
    ),
    "prompt": (lambda value: isinstance(value, str) and bool(value.strip()), "a text"),
    "greedy": (lambda value: value is None or isinstance(value, Mapping), "a mapping of parameters, or None"),
    "context_size": (
        lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 1),
        "a number of tokens, or None",
    ),
    "max_load_cycles": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
        "a whole number above 0",
    ),
    "patience": (lambda value: _is_number(value) and 0 < value < math.inf, "a number of seconds above 0"),
    "rounding": (lambda value: _is_number(value) and 0 <= value < math.inf, "a number, 0 or more"),
    "normalizes": (lambda value: value in (None, "NFC", "NFD", "NFKC", "NFKD"), "NFC, NFD, NFKC, NFKD, or None"),
    "crowd": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 1,
        "a whole number above 1",
    ),
}
_NEEDED: Final = ("backend", "model")


def wrong_settings(cls: type) -> str | None:
    """The first setting of *cls* that can't be right, as a sentence. One that isn't set (yet) is none."""
    for name, (fits, wanted) in _KINDS.items():
        value = getattr(cls, name, _KINDS)
        if value is not _KINDS and not fits(value):
            return f"{cls.__name__}.{name} must be {wanted}, not {value!r}; {_PLACE}."
    return None


def missing_settings(cls: type) -> str | None:
    """The first setting that *cls* lacks, as a sentence."""
    for name in _NEEDED:
        if not hasattr(cls, name):
            return f"{cls.__name__} doesn't say which {name} to test: set the class attribute {name!r}; {_PLACE}."
    return None


def misspelt_settings(cls: type, known: Iterable[str]) -> str | None:
    """An attribute in the body of *cls* that is nearly called like a setting, as a sentence."""
    settings = list(known)
    for name, value in vars(cls).items():
        if name.startswith(("_", "test")) or name in settings or callable(value) or hasattr(value, "__get__"):
            continue
        near = get_close_matches(name.casefold(), settings, cutoff=0.8)
        if near:
            meant = " or ".join(near)
            return f"{cls.__name__}.{name} is no setting of the kit. Did you mean {meant}?"
    return None


def _is_backend(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseBackend)
