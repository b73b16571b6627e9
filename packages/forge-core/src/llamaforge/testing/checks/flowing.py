"""Text that flows: it comes as it is computed, whatever was asked for and on every path that streams."""

from __future__ import annotations

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
ATTEMPTS: Final = 8
EARLY: Final = 0.15
"""A first piece that comes within this part of the answer's time shows that nothing is collected before."""
LATE: Final = 0.3
QUICK: Final = 0.002
"""Seconds. Of an answer that takes less, starting a thread may be a good part."""
NEVER: Final = "\u2603\u2603"
SHORTEST: Final = 0.1
"""Seconds before the first piece of a long answer that may be chance."""

Share = Callable[[], float]


class FlowingChecks(Kit):
    """Measured is the share of an answer's time that has passed when its first piece comes: the least of some tries."""

    def test_no_path_collects_an_answer(self, subject: Subject) -> None:
        """Where the first piece of one stream comes early, that of every other one does: in an event loop, in a
        conversation, of a raw prompt, sampled, with log-probabilities, and with stop strings that are never met.

        Why: an answer that is put together first looks the same, and late. Look at: another call of the engine where
        something is asked for; ``list()``; a wait for the end to look for stop strings.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        shares: dict[str, Share] = {}
        for what, more in self._askings(subject).items():
            try:
                subject.generate(None, {**subject.limit(1), **more})
            except LlamaForgeError:
                continue  # a model that can't, or a server
            shares |= {f"{name} {what}".strip(): share for name, share in self._streams(subject, more).items()}
        found: dict[str, float] = {}
        for _ in range(ATTEMPTS):
            for name, share in shares.items():
                if found.get(name, 1.0) > EARLY:
                    found[name] = min(found.get(name, 1.0), subject.answered(share, name))
        if min(found.values()) > EARLY or not max(found.values()):
            pytest.skip("could not be measured: the first piece always takes long, or the whole answer no time")
        late = {name: f"{share:.0%}" for name, share in found.items() if share > LATE}
        expect(not late, "the first piece early in the answer's time on each path", Told(f"after {late} of its time"))

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
        for name, share in self._streams(subject, given, least=SHORTEST).items():
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

    def _streams(self, subject: Subject, given: dict[str, Any], least: float = 0.0) -> dict[str, Share]:
        """What tells the share for each path. If the first piece comes before *least* seconds, nothing is said."""
        backend, prompt = subject.backend, subject.prompt
        turns = [{"role": "user", "content": prompt}]
        made: dict[str, Share] = {
            "generate_stream()": lambda: _share(lambda: backend.generate_stream(prompt, given), least),
            "agenerate_stream()": lambda: self._ashare(lambda: backend.agenerate_stream(prompt, given), least),
        }
        if subject.has_template:
            made["chat_stream()"] = lambda: _share(lambda: backend.chat_stream(turns, given), least)
            made["achat_stream()"] = lambda: self._ashare(lambda: backend.achat_stream(turns, given), least)
        return made

    def _ashare(self, make: Callable[[], AsyncTextStream], least: float) -> float:
        async def read() -> float:
            began = time.perf_counter()
            first = 0.0
            async with make() as stream:
                async for _ in stream:
                    now = time.perf_counter() - began
                    first = first or now
                    if first < least or now > 8 * first:
                        return first / max(now, 8 * first)
            return _of_all(first, time.perf_counter() - began)

        share: Callable[[], Awaitable[float]] = read
        return self.run_async(share)


def _share(make: Callable[[], TextStream], least: float) -> float:
    """Which part of the time has passed when the first piece comes. It is enough to know that it is an eighth."""
    began = time.perf_counter()
    first = 0.0
    with make() as stream:
        for _ in stream:
            now = time.perf_counter() - began
            first = first or now
            if first < least or now > 8 * first:
                return first / max(now, 8 * first)
    return _of_all(first, time.perf_counter() - began)


def _of_all(first: float, whole: float) -> float:
    return first / whole if whole > QUICK else 0.0
