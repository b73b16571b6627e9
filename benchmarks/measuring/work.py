"""What both sides of a comparison get, and how they are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Prompt:
    """A request as an engine gets it: tokens, and how long the answer may be."""

    tokens: list[int]
    max_tokens: int


@dataclass
class Row:
    """One line of the table: what LlamaForge did beside a peer, round by round; without a peer, what it took."""

    case: str
    against: str
    unit: str
    bar: float | None
    at_most: bool = False
    """Whether the ratio must be at most the bar, instead of at least."""
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """LlamaForge over the peer, a ratio a round; without a peer its own figures."""
        if not self.theirs:
            return self.ours
        return [one / other for one, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        """Whether the bar, if there is one, is met."""
        if self.bar is None:
            return True
        return self.ratio <= self.bar if self.at_most else self.ratio >= self.bar

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self) | {"ratios": self.ratios, "ratio": self.ratio, "met": self.met}

    def __str__(self) -> str:
        ours = f"{statistics.median(self.ours):.2f}"
        theirs = f"{statistics.median(self.theirs):.2f}" if self.theirs else ""
        spread = f"{min(self.ratios):.3f} to {max(self.ratios):.3f}"
        bar, verdict = "", ""
        if self.bar is not None:
            bar = f"{'at most' if self.at_most else 'at least'} {self.bar:.2f}"
            verdict = "met" if self.met else "MISSED"
        line = (
            f"{self.case:<30} {self.against:<36} {ours:>8} {theirs:>8} {self.unit:<9} {self.ratio:>7.3f}  {spread:<18}"
        )
        return f"{line} {bar:<14} {verdict}".rstrip()


HEAD = f"{'case':<30} {'against':<36} {'ours':>8} {'theirs':>8} {'unit':<9} {'ratio':>7}  {'of the rounds':<18} bar"

Side = Callable[[int], float]
"""Does a round's work; the figure of it."""


def compare(row: Row, ours: Side, theirs: Side, rounds: int) -> Row:
    """Let both sides do each round's work, and take turns in who goes first, so that a change of the machine's speed
    falls on both alike."""
    for number in range(rounds):
        sides = [(row.ours, ours), (row.theirs, theirs)]
        for figures, side in sides if number % 2 == 0 else sides[::-1]:
            figures.append(side(number))
    return row


class Streamed:
    """A bare loop that notes when the first token of an answer was there."""

    first = 0.0
    """By ``time.perf_counter()``."""

    def streamed(self, prompt: Prompt) -> tuple[float, float]:
        """Milliseconds until the first token of an answer, and for each one after it."""
        start = time.perf_counter()
        count = self.answer([prompt])
        end = time.perf_counter()
        return (self.first - start) * 1000, (end - self.first) * 1000 / max(1, count - 1)

    def answer(self, prompts: Iterable[Prompt]) -> int:
        """Answer all *prompts*; the tokens of the answers together."""
        raise NotImplementedError


def rate(work: Callable[[], int]) -> float:
    """Tokens a second that *work*, which returns its tokens, makes."""
    start = time.perf_counter()
    tokens = work()
    return tokens / (time.perf_counter() - start)


def table(rows: Sequence[Row]) -> str:
    """All rows as text."""
    return "\n".join([HEAD, *map(str, rows)])
