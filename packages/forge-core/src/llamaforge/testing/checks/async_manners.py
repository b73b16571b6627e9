"""Asynchronous answers: in pieces, on time, and without a thread for each."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from ...errors import ContextOverflowError, GenerationTimeoutError
from ...results import GeneratedText
from ..expect import Told, expect
from ..kit import Kit
from ..subject import Subject
from ..watching import longest_wait

ATTEMPTS: Final = 3
MEASURABLE: Final = 0.3
"""Seconds that an answer must take before its end can be said to come early."""
SHORTEST: Final = 0.15
"""Seconds that a loaded machine may keep a loop waiting for reasons of its own."""
CALLS: Final = 12
UNREAD: Final = 2
SENTENCE: Final = "The keeper of the light and his dog look at the sea. "


class AsyncMannersChecks(Kit):
    """What synchronous calls are held to, asked of the asynchronous ones."""

    def test_an_asynchronous_answer_comes_in_pieces(self, subject: Subject) -> None:
        """An asynchronous answer of many tokens comes as several pieces, none of them empty.

        Why: servers forward them as they arrive. Look at: an ``astream`` that awaits the whole answer.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return

        async def read() -> list[str]:
            stream = subject.backend.agenerate_stream(subject.prompt, {**subject.greedy, **subject.limit(24)})
            async with stream:
                return [piece async for piece in stream]

        pieces = Subject.answered(lambda: self.run_async(read), "an asynchronous stream")
        expect(all(pieces), "no empty piece", pieces)
        if len("".join(pieces)) >= 8 and len(subject.material()) >= 8:
            expect(len(pieces) > 1, "an asynchronous answer in several pieces", pieces)

    def test_a_deadline_holds_in_an_event_loop(self, subject: Subject) -> None:
        """A timeout of a quarter of the answer's time ends ``agenerate`` and ``achat`` well before the whole time.

        Why: a server's clients don't wait. Look at: an ``astream`` that looks at ``cancellation`` only at its end.
        """
        if not subject.full:
            subject.refuses_the_full_contract(timeout=1)
            return
        asked, wanted, whole = subject.lengthy(0.8)
        if whole < MEASURABLE:
            pytest.skip(f"could not be measured: the longest answer takes {whole:.2f} s")
        given = {**asked, "timeout": whole / 4}
        turns = [{"role": "user", "content": subject.prompt}]
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "agenerate": lambda: subject.backend.agenerate(subject.prompt, given)
        }
        if subject.has_template:
            calls["achat"] = lambda: subject.backend.achat(turns, given)
        for name, call in calls.items():
            seen = []
            for _ in range(ATTEMPTS):
                began = time.perf_counter()
                try:
                    self.run_async(call)
                    took = time.perf_counter() - began
                except GenerationTimeoutError as error:
                    took = time.perf_counter() - began  # before the text is looked at, which may ask again
                    subject.begins(error.text, wanted, "error.text")
                if took < whole * 0.75:
                    break
                seen.append(f"{took:.2f} s")
            told = Told(f"{', '.join(seen)}; the whole answer takes {whole:.2f} s")
            expect(len(seen) < ATTEMPTS, f"{name}() to end after {whole / 4:.2f} s, the timeout", told)

    def test_a_long_prompt_does_not_block_the_loop(self, subject: Subject) -> None:
        """While a prompt of some hundred words is read, a task that ticks every 5 ms goes on ticking.

        Why: reading a prompt is the longest step of all. Look at: tokenizing and the first step in ``astream`` itself.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        seen = []
        times = self._as_often_as_it_fits(subject)
        for attempt in range(ATTEMPTS):
            prompt = f"{attempt} " + SENTENCE * times
            waited, took = self.run_async(
                lambda prompt=prompt: longest_wait(  # type: ignore[misc]
                    lambda: subject.backend.agenerate(prompt, {**subject.greedy, **subject.limit(1)})
                )
            )
            if waited <= max(SHORTEST, took / 2):
                return
            seen.append(f"{waited:.2f} s of {took:.2f} s")
        expect(
            False, "an event loop that goes on while a prompt is read", Told(f"it stood still for {', '.join(seen)}")
        )

    def _as_often_as_it_fits(self, subject: Subject) -> int:
        """How often a sentence is repeated to make a long prompt."""
        for times in (44, 24):
            with contextlib.suppress(ContextOverflowError):
                subject.generate(f"? {SENTENCE * times}", {**subject.greedy, **subject.limit(1)})
                return times
        return 12

    def test_an_asynchronous_stream_that_nobody_reads_stops_nobody(self, subject: Subject) -> None:
        """While asynchronous streams are begun and not read, calls in their loop and outside of it are answered.

        Why: a client that reads slowly must not hold up the others. Look at: a lock or a semaphore around ``astream``.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given, few = ({**subject.greedy, **subject.limit(tokens)} for tokens in (8, 4))

        async def beside() -> list[GeneratedText]:
            streams = [subject.backend.agenerate_stream(subject.prompt, given) for _ in range(UNREAD)]
            pieces = [aiter(stream) for stream in streams]
            for each in pieces:
                await anext(each, "")
            came = [await subject.backend.agenerate(subject.prompt, few)]
            came.append(await asyncio.to_thread(subject.generate, subject.prompt, few))
            return [*came, *[await stream.read() for stream in streams]]

        what = f"answers beside {UNREAD} asynchronous streams that nobody reads"
        for place, answer in enumerate(Subject.answered(lambda: self.run_async(beside), what)):
            wanted = subject.known(4 if place < 2 else 8)
            subject.agrees(answer, wanted, "the answer beside a stream that nobody reads, or that stream's own")

    def test_asynchronous_calls_leave_no_threads(self, subject: Subject) -> None:
        """A dozen more calls from a loop need no more threads than the first few did.

        Why: a thread for each call is a limit that a server reaches in a day. Look at: an executor for each call.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given = {**subject.greedy, **subject.limit(2)}

        async def calls() -> tuple[int, int]:
            for _ in range(3):
                await asyncio.gather(*(subject.backend.agenerate(subject.prompt, given) for _ in range(4)))
            first = threading.active_count()
            for _ in range(CALLS):
                await subject.backend.agenerate(subject.prompt, given)
            return first, threading.active_count()

        before, after = Subject.answered(lambda: self.run_async(calls), "calls from a loop")
        expect(after < before + CALLS // 2, f"about {before} threads, as before", after)
