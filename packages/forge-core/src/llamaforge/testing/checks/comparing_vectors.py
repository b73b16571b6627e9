"""What checks of vectors share: texts, and when two vectors are the same."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from ...backends.base import BaseBackend
from ...embeddings import Embeddings
from ..expect import Told, comes_true, expect
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


def leaves_nothing_running(kit: Kit, subject: Subject, call: Callable[[], Awaitable[object]]) -> None:
    """Fail if a task that awaits *call* leaves a request running when it is cancelled."""
    __tracebackhide__ = True

    async def work() -> None:
        task = asyncio.ensure_future(call())
        await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    kit.run_async(work)
    backend: BaseBackend = subject.backend
    ended = comes_true(lambda: backend.requests_in_flight == 0, kit.grace)
    expect(ended, "no request in flight after a cancellation", backend.requests_in_flight)


def declares(subject: Subject, option: str) -> bool:
    """Whether the backend honours that option of ``embed``."""
    return option in subject.backend.capabilities.embedding


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference of a component, relative to vectors of length 1."""
    if len(one) != len(other):
        return math.inf
    scale = max(1.0, math.hypot(*one))
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) / scale
