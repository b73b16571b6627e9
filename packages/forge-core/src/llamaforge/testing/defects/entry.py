"""What the catalogue says of a defect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ...backends.base import BaseBackend
from ...plugins import import_object
from ..suite import BackendConformance

_HERE: Final = "llamaforge.testing.defects"
TOY: Final = "llamaforge.testing.fakes:ToyBackend"
ASYNC: Final = "llamaforge.testing.fakes:AsyncToyBackend"
BASIC: Final = "llamaforge.testing.fakes:BasicToyBackend"
REASONING: Final = "llamaforge.testing.fakes.shapes:Reasoning"

Kind = Literal["broken", "sound"]


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A broken backend."""

    name: str
    """What it does wrong, in a few words."""
    target: str = ""
    """Its class: ``module:Class`` in this package. Imported when it is used."""
    made: Callable[[], type[BaseBackend]] | None = None
    """What makes its class, in place of *target*."""
    checks: tuple[str, ...]
    """The checks that have to catch it: each of them fails."""
    sound: str = TOY
    """Its sound twin, which passes them."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Load parameters, of both: some defects need tokens that take time."""
    patience: float = 20.0
    """Seconds after which the broken one counts as hung. Its sound twin has all the time that it needs."""

    crowd: int = 24
    """How many come at once where there is a crowd."""

    def broken_class(self) -> type[BaseBackend]:
        """The broken backend."""
        return self.made() if self.made is not None else _backend(f"{_HERE}.{self.target}")

    def sound_class(self) -> type[BaseBackend]:
        """The sound one."""
        return _backend(self.sound)

    def conformance(self, kind: Kind) -> type[BackendConformance]:
        """The kit's test class for one of the two."""
        backend, patience = (self.broken_class(), self.patience) if kind == "broken" else (self.sound_class(), 60.0)
        settings = {"backend": backend, "model": "toy", "parameters": dict(self.parameters), "patience": patience}
        return type(f"Test{backend.__name__}", (BackendConformance,), {**settings, "crowd": self.crowd})


def defects_of(module: str, *rows: tuple[Any, ...]) -> tuple[Defect, ...]:
    """Rows of class, name, checks, and further fields, of the classes in *module*."""
    return tuple(
        Defect(name=name, target=f"{module}:{target}", checks=checks, **(more[0] if more else {}))
        for target, name, checks, *more in rows
    )


def _backend(target: str) -> type[BaseBackend]:
    found = import_object(target)
    if not (isinstance(found, type) and issubclass(found, BaseBackend)):
        raise TypeError(f"{target} is no backend")
    return found
