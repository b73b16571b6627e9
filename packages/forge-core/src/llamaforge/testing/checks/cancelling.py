"""Leaving early and running out of time: the work stops, and the backend is free again."""

from __future__ import annotations

import gc
import threading
import time
from functools import partial
from typing import Final

import pytest

from ...errors import GenerationTimeoutError
from ..expect import Told, comes_true, expect, expect_equal, expect_refusal, within
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 6
ATTEMPTS: Final = 3
LONG: Final = 0.8
"""Seconds of a long answer."""
MEASURABLE: Final = 0.3
"""Seconds. A whole answer that is faster can't be told from one that was cut short, and needn't be."""


class CancellationChecks(Kit):
    """Cancellation and deadlines. What can be measured is measured in proportion to a whole answer."""

    def test_leaving_a_stream_frees_the_backend(self, subject: Subject) -> None:
        """After a stream that was left early, the next request is answered, and correctly.

        Why: a lock or slot that is not released blocks everybody for ever. Look at: ``finally`` in ``stream``.
        """
        wanted = subject.known(TOKENS)

        def leave_and_ask() -> str:
            with subject.stream(**subject.greedy, **subject.limit(24)) as stream:
                next(stream, "")
            return subject.say(TOKENS)

        for _ in range(3):
            came = subject.in_time(leave_and_ask, "the request after a stream that was left")
            subject.agrees(came, wanted, "the answer after a stream that was left")

    def test_a_stream_that_was_left_says_cancelled(self, subject: Subject) -> None:
        """Its result has the text so far, which begins the answer, and the reason "cancelled".

        Why: callers must be able to recognise half an answer. Look at: overrides of the stream; the base class does it.
        """
        whole = subject.known(24)
        stream = subject.stream(**subject.greedy, **subject.limit(24))
        next(stream, "")
        Subject.answered(stream.close, "close() to return")
        subject.begins(stream.text, whole, "what came of a stream that was left")
        if stream.text != whole:
            expect_equal(stream.result.finish_reason, "cancelled", "finish_reason of a stream that was left")
            expect_equal(stream.result, stream.text, "the result's text")
        expect_equal(list(stream), [], "what still comes of a stream that was left")

    def test_closing_again_is_harmless(self, subject: Subject) -> None:
        """``close`` may be called twice, before the first piece, and after the end, where it changes nothing.

        Why: clean-up code does that. Look at: releasing what was released already.
        """
        unread = subject.stream(**subject.greedy, **subject.limit(TOKENS))
        for _ in range(2):
            Subject.answered(unread.close, "close() before the first piece to return")
        expect_equal(unread.text, "", "the text of a stream that nobody read")
        done = subject.stream(**subject.greedy, **subject.limit(TOKENS))
        whole = Subject.answered(done.read, "a stream to its end")
        for _ in range(2):
            Subject.answered(done.close, "close() after the end to return")
        expect_equal(done.result.finish_reason, whole.finish_reason, "finish_reason after close()")
        subject.agrees(subject.say(TOKENS), whole, "the answer to the next request")

    def test_a_stream_that_is_dropped_is_left(self, subject: Subject) -> None:
        """A stream that is garbage-collected without ``close`` frees the backend, too.

        Why: people forget the ``with``. Look at: references to the generator that keep it alive; threads that do.
        """
        stream = subject.stream(**subject.greedy, **subject.limit(24))
        next(stream, "")
        del stream
        gc.collect()
        came = subject.in_time(lambda: subject.say(TOKENS), "the request after a stream that was dropped")
        subject.agrees(came, subject.known(TOKENS), "the answer after a stream that was dropped")

    def test_an_error_of_the_reader_leaves_the_stream(self, subject: Subject) -> None:
        """An exception inside the ``with`` block comes out as it was, and the backend is free.

        Why: readers fail, too. Look at: ``except`` clauses in ``stream`` that catch GeneratorExit.
        """

        class ReaderError(Exception):
            """The reader's own."""

        def fail() -> None:
            with subject.stream(**subject.greedy, **subject.limit(24)) as stream:
                next(stream, "")
                raise ReaderError

        expect_refusal(ReaderError, fail, "a reader's own error")
        came = subject.in_time(lambda: subject.say(TOKENS), "the request after a reader's error")
        subject.agrees(came, subject.known(TOKENS), "the answer after a reader's error")

    def test_a_stream_may_be_closed_by_another_thread(self, subject: Subject) -> None:
        """``close`` from another thread ends the stream for its reader, soon and without an error.

        Why: a "stop" button lives in another thread. Look at: waits that don't look at ``cancellation``.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given, whole, _ = subject.lengthy(LONG)
        stream = subject.stream(**given)
        pieces: list[str] = []
        first = threading.Event()

        def read() -> None:
            for piece in stream:
                pieces.append(piece)
                first.set()

        def close_while_it_is_read() -> None:
            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            while reader.is_alive() and not first.wait(0.01):
                pass
            stream.close()
            reader.join()

        subject.in_time(close_while_it_is_read, "a stream that another thread closes")
        subject.begins("".join(pieces), whole, "what the reader got")
        subject.agrees(subject.say(TOKENS), subject.known(TOKENS), "the answer to the next request")

    def test_the_next_answer_is_not_held_up(self, subject: Subject) -> None:
        """After leaving a long answer, a short one comes soon: not after the rest of the long one.

        Why: an engine that keeps computing for nobody serves nobody. Look at: ``finally`` in ``stream``; how the engine
        aborts; a connection that must be closed.
        """
        given, _, whole = subject.lengthy(LONG)
        if whole < MEASURABLE:
            pytest.skip(f"could not be measured: the longest answer takes {whole:.2f} s")
        short = min(subject.whole(1) for _ in range(2))
        seen = []
        for _ in range(ATTEMPTS):
            stream = subject.stream(**given)
            next(stream, "")
            began = time.perf_counter()
            subject.in_time(stream.close, "close() of a long answer")
            subject.in_time(lambda: subject.say(1), "a short answer after leaving a long one")
            took = time.perf_counter() - began
            if took < short + whole / 2:
                return
            seen.append(f"{took:.2f} s")
        came = f"{', '.join(seen)}; alone it takes {short:.2f} s, the whole long answer {whole:.2f} s"
        expect(False, "a short answer soon after a long one was left", Told(came))

    def test_nothing_goes_on_after_leaving(self, subject: Subject) -> None:
        """After leaving a long answer, its threads end and the processor rests.

        Why: computing for nobody costs power and slows the others. Look at: a thread that fills a queue to the end;
        look at ``cancellation.stopped`` between two tokens.
        """
        given, _, whole = subject.lengthy(LONG)
        pause = max(0.02, min(whole, 3.0) / 4)
        seen = ""
        for _ in range(ATTEMPTS):
            before = set(threading.enumerate())
            stream = subject.stream(**given)
            next(stream, "")
            subject.in_time(stream.close, "close() of a long answer")
            ended = comes_true(lambda: not _new_threads(before), pause)  # noqa: B023 - used at once
            used, began = time.process_time(), time.perf_counter()
            time.sleep(pause)
            busy = (time.process_time() - used) / (time.perf_counter() - began)
            if ended and (whole < MEASURABLE or busy < 0.5):
                return
            seen = f"threads {_new_threads(before)}, {busy:.0%} of a processor in use {2 * pause:.2f} s later"
        expect(False, "no thread and no computing left after leaving a stream", Told(seen))

    def test_leaving_many_streams_changes_nothing(self, subject: Subject) -> None:
        """After many streams that were left at different points, the answer is the same as before.

        Why: what a cancelled request leaves in a cache is read by the next. Look at: rolling the engine's state back.
        """
        wanted = subject.known(16)
        for number in range(6):
            with subject.stream(**subject.greedy, **subject.limit(16)) as stream:
                for _ in range(number % 4):
                    next(stream, "")
        came = subject.in_time(lambda: subject.say(16), "the request after many that were left")
        subject.agrees(came, wanted, "the answer after many streams that were left")

    def test_a_deadline_that_has_passed_is_an_error(self, subject: Subject) -> None:
        """A timeout of a millionth of a second raises GenerationTimeoutError, which has it, and the next request works.

        Why: a caller that sets a deadline relies on it. Look at: overrides of ``generate``; where ``timeout`` goes.
        """
        if not subject.full:
            subject.refuses_the_full_contract(timeout=1e-6)
            return
        given = {**subject.greedy, **subject.limit(16), "timeout": 1e-6}
        for name, call in {
            "generate": lambda: subject.backend.generate(subject.prompt, given),
            "generate_stream": lambda: list(subject.backend.generate_stream(subject.prompt, given)),
            "agenerate": lambda: self.run_async(lambda: subject.backend.agenerate(subject.prompt, given)),
        }.items():
            error = expect_refusal(
                GenerationTimeoutError,
                partial(within, self.patience, call, f"{name}() with a timeout of 1e-6 s"),
                f"{name}() with a timeout of 1e-6 s",
            )
            expect_equal(error.timeout, 1e-6, "error.timeout")
        came = subject.in_time(lambda: subject.say(TOKENS), "the request after a timeout")
        subject.agrees(came, subject.known(TOKENS), "the answer after a timeout")

    def test_a_deadline_ends_the_work(self, subject: Subject) -> None:
        """A timeout of a quarter of the answer's time ends the call well before the whole time, with the text so far.

        Why: an error is useless if it comes as late as the answer. Look at: waits and loops that don't look
        at ``cancellation``; an answer that comes as one event.
        """
        if not subject.full:
            subject.refuses_the_full_contract(timeout=1)
            return
        asked, wanted, whole = subject.lengthy(LONG)
        if whole < MEASURABLE:
            pytest.skip(f"could not be measured: the longest answer takes {whole:.2f} s")
        seen = []
        for _ in range(ATTEMPTS):
            began = time.perf_counter()
            given = {**asked, "timeout": whole / 4}
            try:
                within(self.patience, lambda: subject.generate(None, given), "a request with a timeout")  # noqa: B023
                took = time.perf_counter() - began
            except GenerationTimeoutError as error:
                took = time.perf_counter() - began  # before the text is looked at, which may ask again
                subject.begins(error.text, wanted, "error.text")
            if took < whole * 0.75:
                return
            seen.append(f"{took:.2f} s")
        came = f"{', '.join(seen)}; the whole answer takes {whole:.2f} s"
        expect(False, f"an end after {whole / 4:.2f} s, the timeout", Told(came))

    def test_time_enough_is_no_timeout(self, subject: Subject) -> None:
        """With enough time, the answer is the same as without a deadline.

        Why: a deadline must not change anything else. Look at: milliseconds taken for seconds; another path through the
        engine.
        """
        if not subject.full:
            subject.refuses_the_full_contract(timeout=1)
            return
        answer = subject.say(TOKENS, timeout=self.patience)
        subject.agrees(answer, subject.known(TOKENS), "the answer with time enough")
        expect_equal(answer.finish_reason, subject.known(TOKENS).finish_reason, "finish_reason with time enough")


def _new_threads(before: set[threading.Thread]) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread not in before and thread.name != "conformance"]
