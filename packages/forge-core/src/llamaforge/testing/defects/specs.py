"""A defect's own spec, made of the toy's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from ...backends.base import BaseBackend
from ..fakes import SPEC

B = TypeVar("B", bound=type[BaseBackend])


def respecified(**changes: Any) -> Callable[[B], B]:
    """Give a class the toy's spec with *changes*, and its own name as the target."""

    def decorate(backend: B) -> B:
        own: dict[str, Any] = {"target": f"{backend.__module__}:{backend.__qualname__}"}
        backend.spec = dataclasses.replace(SPEC, **(own | changes))
        return backend

    return decorate
