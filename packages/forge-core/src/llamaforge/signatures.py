"""Typed keyword parameters, for type checkers, editors and ``inspect``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .parameters import GenerationParameters

M = TypeVar("M", bound=Callable[..., Any])

_KEYWORDS = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    for name, annotation in GenerationParameters.__annotations__.items()
)


def takes_parameters(method: M) -> M:
    """Replace ``**more`` in the runtime signature of *method* with the generation parameters.

    IPython and other tools that inspect live objects can then complete their names.
    """
    signature = inspect.signature(method)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    names = {each.name for each in own}
    keywords = [each for each in _KEYWORDS if each.name not in names]
    method.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
    return method


def overridable(method: M) -> M | Any:
    """Let an author override *method* with plain annotations, such as ``def generate(self, prompt: str) -> str``.

    For a type checker the attribute is the method or ``Any``: calls are checked against the method's signature, and any
    override is accepted.
    """
    return method
