"""What is kept of requests that differ: a cache without a bound is not seen with one prompt that is asked again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ..kit import Kit
from ..subject import Subject
from .memory import NOISE, does_not_grow

REQUESTS: Final = 16
ROUNDS: Final = 3
"""Within so many times as many requests a cache with a bound has reached it."""
KEPT: Final = replace(NOISE, traced=NOISE.traced // 2)
"""What may be kept of so many requests: some 30 KB each of Python objects is more than any bookkeeping."""
FILLER: Final = (
    "The keeper of the light and his dog look at the sea, and the boat that nobody sees goes by in the fog. "
)


class KeepingChecks(Kit, slow=True):
    """As in :class:`.memory.MemoryChecks`, but no two requests are alike."""

    def test_different_prompts_leave_nothing_behind(self, subject: Subject) -> None:
        """Many requests, each with a prompt of its own, take no more memory, threads or files than a few.

        Why: a server never sees the same prompt twice. Look at: dicts by prompt, ``functools.cache``, histories.
        """
        given = {**subject.greedy, **subject.limit(1)}
        texts = _texts()
        does_not_grow(self, lambda: subject.generate(next(texts), given), REQUESTS, "different prompts", KEPT, ROUNDS)

    def test_different_streams_leave_nothing_behind(self, subject: Subject) -> None:
        """The same with streams that are left after their first piece.

        Why: what is cleared at the end of an answer stays where there is none. Look at: ``finally``.
        """
        texts = _texts()

        def leave() -> None:
            with subject.stream(next(texts), **subject.greedy, **subject.limit(8)) as stream:
                next(stream, "")

        does_not_grow(self, leave, REQUESTS, "different streams that were left", KEPT, ROUNDS)

    def test_different_conversations_leave_nothing_behind(self, subject: Subject) -> None:
        """The same with conversations that grow by turns, and with others.

        Why: nothing of a conversation is kept between two calls. Look at: sessions by user; caches of rendered text.
        """
        if not subject.has_template:
            return
        texts = _texts()

        def talk() -> None:
            turns: list[dict[str, Any]] = []
            for _ in range(2):
                turns.append({"role": "user", "content": next(texts)})
                turns.append(
                    {"role": "assistant", "content": subject.chat(turns, **subject.greedy, **subject.limit(1))}
                )

        does_not_grow(self, talk, REQUESTS // 2, "different conversations", KEPT, ROUNDS)

    def test_different_asynchronous_requests_leave_nothing_behind(self, subject: Subject) -> None:
        """The same in event loops, one for each request.

        Why: what belongs to a loop is easily kept for ever. Look at: clients, locks and queues by loop.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given = {**subject.greedy, **subject.limit(1)}
        texts = _texts()

        def ask() -> None:
            self.run_async(lambda: subject.backend.agenerate(next(texts), given))

        does_not_grow(self, ask, REQUESTS, "different asynchronous requests", KEPT, ROUNDS)

    def test_different_parameters_leave_nothing_behind(self, subject: Subject) -> None:
        """The same with seeds, stop strings and limits of their own, raw and not.

        Why: what is compiled for a parameter may be kept, but not for ever. Look at: caches by parameters.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        numbers = itertools.count(1)

        def ask() -> None:
            number = next(numbers)
            given: dict[str, Any] = {**subject.limit(1), "raw": number % 2 == 0}
            if subject.declares("seed"):
                given["seed"] = number
            if subject.declares("stop"):
                given["stop"] = [f"the end of number {number}"]
            subject.generate(None, given)

        does_not_grow(self, ask, REQUESTS, "different parameters", KEPT, ROUNDS)


def _texts() -> Iterator[str]:
    """Texts of some 40 words, each different from its beginning on."""
    return (f"{number} times: {FILLER * 2}" for number in itertools.count(1000))
