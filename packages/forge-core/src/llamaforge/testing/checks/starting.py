"""When the work begins, and whether a deadline ends it while the prompt is still being read."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest

from ...errors import ContextOverflowError, GenerationTimeoutError
from ...streams import TextStream
from ..expect import Told, expect, expect_equal, within
from ..kit import Kit
from ..subject import Subject

ATTEMPTS: Final = 3
MEASURABLE: Final = 0.3
"""Seconds. What takes less can't be told from what was done in advance."""
WORDS: Final = (1200, 300, 80)


class StartingChecks(Kit):
    """A stream works for its reader, and a deadline is one for the whole call."""

    def test_a_stream_starts_when_it_is_read(self, subject: Subject) -> None:
        """A stream that nobody has read has no thread, counts for nothing, and is not computed in advance.

        Why: streams are made ahead, and left; the engine's time is everybody's. Look at: a thread or a request that
        ``stream`` starts before its first ``yield``; in a generator function nothing runs before.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given, _, whole = subject.lengthy(0.8)
        makers: dict[str, Callable[[], TextStream]] = {
            "generate_stream": partial(subject.backend.generate_stream, subject.prompt, given)
        }
        if subject.has_template:
            turns = [{"role": "user", "content": subject.prompt}]
            makers["chat_stream"] = partial(subject.backend.chat_stream, turns, given)
        for name, make in makers.items():
            before = set(threading.enumerate())
            used, began = time.process_time(), time.perf_counter()
            stream = make()
            made = time.perf_counter() - began
            new = [thread.name for thread in threading.enumerate() if thread not in before]
            expect_equal(new, [], f"threads of a {name}() that nobody has read")
            expect_equal(
                subject.backend.requests_in_flight, 0, f"requests_in_flight of a {name}() that nobody has read"
            )
            expect(
                whole < MEASURABLE or made < whole / 2, f"{name}() to compute nothing by itself", Told(f"{made:.2f} s")
            )
            if whole < MEASURABLE or name != "generate_stream" or "response_format" in given:
                stream.close()
                continue
            time.sleep(whole)
            busy = time.process_time() - used
            began = time.perf_counter()
            subject.in_time(stream.read, f"a {name}() that is read late")
            took = time.perf_counter() - began
            if took <= whole / 4:  # the machine may have been busy when that was measured
                whole = min(whole, subject.whole(given))
            told = Told(
                f"read in {took:.2f} s, made in {made:.2f} s; an answer takes {whole:.2f} s (busy: {busy:.2f} s)"
            )
            expect(took > whole / 4, f"{name}() to start when it is read", told)

    def test_many_unread_streams_stop_nobody(self, subject: Subject) -> None:
        """As many streams as come in a crowd are made and not read: a request beside them is answered.

        Why: what is made need not be used. Look at: slots that are taken before the first piece is asked for.
        """
        given = {**subject.greedy, **subject.limit(16)}
        streams = [subject.stream(**given) for _ in range(self.crowd)]
        try:
            came = subject.in_time(
                lambda: subject.say(4), f"a request beside {self.crowd} streams that nobody has read"
            )
            subject.agrees(came, subject.known(4), f"the answer beside {self.crowd} streams that nobody has read")
        finally:
            for stream in streams:
                subject.in_time(stream.close, "close() of a stream that nobody has read")
        subject.agrees(subject.say(4), subject.known(4), "the answer after they were closed")

    def test_an_asynchronous_stream_starts_when_it_is_read(self, subject: Subject) -> None:
        """The same for asynchronous streams: nothing runs, and nothing has to be closed, before the first piece.

        Why: as above. Look at: a task that ``agenerate_stream`` starts.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given: dict[str, Any] = {**subject.greedy, **subject.limit(16)}

        async def make() -> tuple[int, int, int]:
            before, tasks = threading.active_count(), asyncio.all_tasks()
            streams = [subject.backend.agenerate_stream(subject.prompt, given) for _ in range(4)]
            counts = (
                subject.backend.requests_in_flight,
                threading.active_count() - before,
                len(asyncio.all_tasks() - tasks),
            )
            for stream in streams:
                await stream.aclose()
            return counts

        came = Subject.answered(lambda: self.run_async(make), "asynchronous streams that nobody has read")
        what = "requests_in_flight, new threads and new tasks of asynchronous streams that nobody has read"
        expect_equal(came, (0, 0, 0), what)

    def test_a_deadline_holds_while_a_prompt_is_read(self, subject: Subject) -> None:
        """A timeout of a quarter of the time that a long prompt takes ends the call well before it is read.

        Why: reading is the longest step of all. Look at: one call of the engine for the whole prompt; let it compute
        in parts, and look at ``cancellation`` between them.
        """
        if not subject.full:
            subject.refuses_the_full_contract(timeout=1)
            return
        words, whole = self._longest_prompt(subject)
        if whole < MEASURABLE:
            pytest.skip(f"could not be measured: a prompt of {words} words is read in {whole:.2f} s")
        given = {**subject.greedy, **subject.limit(1), "timeout": whole / 4}
        seen = []
        for attempt in range(ATTEMPTS):
            began = time.perf_counter()
            prompt = _prompt(f"{attempt} times", words)
            try:
                within(self.patience, lambda prompt=prompt: subject.generate(prompt, given), "a request with a timeout")  # type: ignore[misc]
            except GenerationTimeoutError as error:
                expect_equal(error.text, "", "error.text where the prompt was not read to its end")
            else:
                seen.append("no timeout at all")
                continue
            took = time.perf_counter() - began
            if took < whole * 0.75:
                subject.agrees(subject.say(4), subject.known(4), "the answer after a deadline in a long prompt")
                return
            seen.append(f"{took:.2f} s")
        told = Told(f"{', '.join(seen)}; the prompt takes {whole:.2f} s")
        expect(False, f"an end after {whole / 4:.2f} s, the timeout, while the prompt is read", told)

    def _longest_prompt(self, subject: Subject) -> tuple[int, float]:
        """The words of a prompt that fits, and the seconds that reading it takes."""
        for words in WORDS:
            began = time.perf_counter()
            try:
                subject.generate(_prompt("9 times", words), {**subject.greedy, **subject.limit(1)})
            except ContextOverflowError:
                continue
            return words, time.perf_counter() - began
        return 0, 0.0


def _prompt(mark: str, words: int) -> str:
    """A prompt that differs from its beginning on, so that nothing of it has been read before."""
    return " ".join([mark, *(f"{mark[:1]}{number % 97}" for number in range(words // 2)), "and so on"])
