"""Text that flows: it comes as it is computed, whatever was asked for and on every path that streams."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from ...errors import LlamaForgeError
from ...streams import AsyncTextStream, TextStream
from ..expect import Told, expect
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 24
ATTEMPTS: Final = 7
PLAIN: Final = "generate_stream()"
QUICK: Final = 0.003
"""Seconds. Pieces that come faster than this may do so for reasons of their own."""
SHORT: Final = 0.65
AT_ONCE: Final = 0.15
"""Of the time of another kind of stream, which may be slower for reasons of its own."""
ENOUGH: Final = 2.0
"""Seconds after which a stream is left."""
NEVER: Final = "\u2603\u2603"
SHORTEST: Final = 0.1
"""Seconds before the first piece of a long answer that may be chance."""

Measure = Callable[[], float]


class FlowingChecks(Kit):
    """Pieces that were collected before they were passed on come all at once."""

    def test_no_path_collects_an_answer(self, subject: Subject) -> None:
        """The pieces of no stream come all at once, be it in an event loop or in a conversation; and they come as
        slowly sampled, with log-probabilities, and with stop strings that are never met, as they do without.

        Why: an answer that is put together first looks the same, and late. Look at: another call of the engine where
        something is asked for; ``list()``; a wait for the end to look for stop strings.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        shares: dict[str, Measure] = {}
        for what, more in self._askings(subject).items():
            try:
                subject.generate(None, {**subject.limit(1), **more})
            except LlamaForgeError:
                continue  # a model that can't, or a server
            shares |= {f"{name} {what}".strip(): share for name, share in self._streams(subject, more, _rest).items()}
        rests: dict[str, list[float]] = {name: [] for name in shares}
        plain = self._streams(subject, {}, _rest)
        for _ in range(ATTEMPTS):
            for name, share in shares.items():
                rests[name].append(subject.answered(share, name))
            usual = {name: min(rest) for name, rest in rests.items() if name in plain}
            if usual[PLAIN] < QUICK:
                pytest.skip(f"could not be measured: the pieces of an answer come within {usual[PLAIN]:.4f} s")
            late = [name for name, rest in rests.items() if statistics.median(rest) < _least(name, usual)]
            if not late:
                return
        told = ", ".join(f"{name} within {statistics.median(rests[name]):.4f} s" for name in late)
        expect(
            not late, f"the pieces of each stream to come as slowly as they do where nothing is asked: {usual}", told
        )

    def test_a_long_answer_begins_early(self, subject: Subject) -> None:
        """The first piece of a long answer comes in the first half of its time, on every path that streams.

        Why: a stream that is made of the finished text passes for one where answers are short. Look at: ``list()``; an
        ``astream`` that awaits the whole answer.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given, _, whole = subject.lengthy(0.8)
        if whole < 2 * SHORTEST:
            pytest.skip(f"could not be measured: the longest answer takes {whole:.2f} s")
        for name, share in self._streams(subject, given, _share, leave=3.0).items():
            seen = [subject.answered(share, name)]
            while seen[-1] > 0.5 and len(seen) < ATTEMPTS // 2:
                seen.append(subject.answered(share, name))
            told = Told(f"after {min(seen):.0%} of its time")
            expect(min(seen) <= 0.5, f"the first piece of {name} well before the end", told)

    def _askings(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """What is asked for, none of which may hold the text back."""
        plain = {**subject.greedy, **subject.limit(TOKENS)}
        more: dict[str, dict[str, Any]] = {
            "": {},
            "with stop strings": {"stop": [f"{NEVER}{'x' * 40}", NEVER]},
            "with log-probabilities": {"logprobs": True},
            "sampled": {"temperature": 1.0, "seed": 3},
            "with penalties": {"presence_penalty": 0.5},
        }
        return {what: {**plain, **given} for what, given in more.items() if not given or subject.declares(*given)}

    def _streams(
        self, subject: Subject, given: dict[str, Any], of: Callable[[float, float], float], leave: float = math.inf
    ) -> dict[str, Measure]:
        """What measures each path: *of* the seconds until the first piece, and until the end,
        or until *leave* times as many have passed."""
        backend, prompt = subject.backend, subject.prompt
        turns = [{"role": "user", "content": prompt}]
        made: dict[str, Measure] = {
            PLAIN: lambda: of(*_times(lambda: backend.generate_stream(prompt, given), leave)),
            "agenerate_stream()": lambda: of(*self._atimes(lambda: backend.agenerate_stream(prompt, given), leave)),
        }
        if subject.has_template:
            made["chat_stream()"] = lambda: of(*_times(lambda: backend.chat_stream(turns, given), leave))
            made["achat_stream()"] = lambda: of(*self._atimes(lambda: backend.achat_stream(turns, given), leave))
        return made

    def _atimes(self, make: Callable[[], AsyncTextStream], leave: float) -> tuple[float, float]:
        async def read() -> tuple[float, float]:
            began, first = time.perf_counter(), 0.0
            async with make() as stream:
                async for _ in stream:
                    now = time.perf_counter() - began
                    first = first or now
                    if now > min(ENOUGH, leave * first):
                        break
            return first, time.perf_counter() - began

        work: Callable[[], Awaitable[tuple[float, float]]] = read
        return self.run_async(work)


def _times(make: Callable[[], TextStream], leave: float) -> tuple[float, float]:
    """The seconds until the first piece, and until the end, or until enough was seen."""
    began, first = time.perf_counter(), 0.0
    with make() as stream:
        for _ in stream:
            now = time.perf_counter() - began
            first = first or now
            if now > min(ENOUGH, leave * first):
                break
    return first, time.perf_counter() - began


def _least(name: str, usual: dict[str, float]) -> float:
    """The seconds that the pieces of a stream must take, after those of the same kind of stream, plainly asked."""
    if name in usual:
        return AT_ONCE * usual[PLAIN]
    return SHORT * usual[name.split()[0]]


def _rest(first: float, whole: float) -> float:
    return whole - first


def _share(first: float, whole: float) -> float:
    return first / whole if first > SHORTEST else 0.0
