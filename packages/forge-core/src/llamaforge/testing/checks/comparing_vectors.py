"""What checks of vectors share: texts, and when two vectors are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from ...backends.base import BaseBackend
from ...embeddings import Embeddings
from ..expect import Told, expect
from ..kit import Kit
from ..subject import Subject

TEXTS: Final = (
    "The tide comes in twice a day.",
    "A lighthouse keeper and his dog watch the sea.",
    "Whisk two eggs with flour and milk.",
    "Trains to the coast leave every hour, on the hour, and take two hours and a half to reach the old harbour.",
    "fog",
    "The lamp burns all day.",
)
LONG: Final = "tide " * 100_000
NEAR: Final = 1e-4
"""How much a component of a vector of length 1 may differ by rounding, if the author allows nothing else."""


class VectorKit(Kit):
    """The base of checks that compare vectors."""

    @property
    def near(self) -> float:
        """How much two vectors of one text may differ in a component, by rounding."""
        return self.rounding or NEAR

    def same(self, one: Sequence[float], other: Sequence[float], what: str) -> None:
        """Fail unless both are the same vector, by rounding."""
        __tracebackhide__ = True
        away = distance(one, other)
        expect(away <= self.near, f"{what} to be the same, within {self.near:g}", Told(f"it is {away:.3g} away"))

    def differ(self, one: Sequence[float], other: Sequence[float], what: str) -> None:
        """Fail if both are the same vector, by rounding."""
        __tracebackhide__ = True
        expect(distance(one, other) > self.near, f"other vectors for {what}", Told("the same vector"))


def embed(subject: Subject, texts: Any, **options: Any) -> Embeddings:
    """The vectors; any error is a failure of the check."""
    __tracebackhide__ = True
    backend: BaseBackend = subject.backend
    return subject.answered(lambda: backend.embed(texts, **options), f"vectors with {options}")


def declares(subject: Subject, option: str) -> bool:
    """Whether the backend honours that option of ``embed``."""
    return option in subject.backend.capabilities.embedding


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference of a component, relative to vectors of length 1."""
    if len(one) != len(other):
        return math.inf
    scale = max(1.0, math.hypot(*one))
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) / scale
