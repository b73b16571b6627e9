"""Several threads at once: every request keeps its own text, and nobody waits for ever."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, Final

from ...errors import LlamaForgeError
from ..expect import expect, expect_equal, together
from ..kit import Kit
from ..subject import Subject

THREADS: Final = 4
ROUNDS: Final = 3
TOKENS: Final = 6


class ThreadChecks(Kit):
    """One loaded model, many threads."""

    def test_threads_keep_their_own_text(self, subject: Subject) -> None:
        """Several threads with prompts of their own each get, again and again, the answer that they get alone.

        Why: without a lock, engines swap, mix or lose text, or crash. Look at: which parts of the engine allow only one
        thread at a time; use a lock, or one thread that owns them.
        """
        prompts = subject.prompts(THREADS)
        wanted = [subject.known(TOKENS, prompt) for prompt in prompts]

        def ask(number: int) -> None:
            for _ in range(ROUNDS):
                answer = subject.say(TOKENS, prompts[number])
                swapped = answer != wanted[number] and answer in wanted
                what = "the answer of a thread (it got another thread's)" if swapped else "the answer of a thread"
                subject.agrees(answer, wanted[number], what)

        together(self.patience, [partial(ask, number) for number in range(THREADS)])

    def test_streams_in_threads_keep_their_own_text(self, subject: Subject) -> None:
        """The same with streams, which stay open while others run.

        Why: a stream occupies its place in the engine for a long time. Look at: state of one request that is kept on
        the backend.
        """
        prompts = subject.prompts(THREADS)
        wanted = [subject.known(TOKENS, prompt) for prompt in prompts]

        def ask(number: int) -> None:
            with subject.stream(prompts[number], **subject.greedy, **subject.limit(TOKENS)) as stream:
                subject.agrees("".join(stream), wanted[number], f"the stream of thread {number}, joined")

        together(self.patience, [partial(ask, number) for number in range(THREADS)])

    def test_two_streams_can_be_read_in_turn(self, subject: Subject) -> None:
        """Two streams, read alternately by one thread, both come to their end with their own text.

        Why: a program that compares two answers does so, and a lock that the first stream holds blocks it for ever.
        Look at: locks that are held over a ``yield``; engines with one slot must let other requests overtake a stream
        that nobody reads.
        """
        first, second = subject.prompts(2)
        wanted = [subject.known(TOKENS, first), subject.known(TOKENS, second)]

        def alternate() -> list[str]:
            texts = ["", ""]
            given = {**subject.greedy, **subject.limit(TOKENS)}
            with subject.stream(first, **given) as one, subject.stream(second, **given) as other:
                streams = [one, other]
                open_ones = {0, 1}
                while open_ones:
                    for number in sorted(open_ones):
                        piece = next(streams[number], None)
                        if piece is None:
                            open_ones.discard(number)
                        else:
                            texts[number] += piece
            return texts

        for came, own in zip(subject.in_time(alternate, "two streams, read in turn"), wanted, strict=True):
            subject.agrees(came, own, "the text of one of two streams, read in turn")

    def test_a_stream_that_nobody_reads_stops_nobody(self, subject: Subject) -> None:
        """While a stream is open and not read, other requests are answered.

        Why: readers go away for coffee. Look at: locks that are held over a ``yield``.
        """
        wanted = subject.known(TOKENS)
        with subject.stream(**subject.greedy, **subject.limit(16)) as stream:
            next(stream, "")
            came = subject.in_time(lambda: subject.say(TOKENS), "a request beside a stream that nobody reads")
            subject.agrees(came, wanted, "the answer beside an open stream")
            rest = subject.in_time(lambda: list(stream), "the rest of the stream")
        subject.agrees(stream.text, subject.known(16), f"the open stream's text ({len(rest)} pieces came later)")

    def test_a_stream_may_be_read_by_another_thread(self, subject: Subject) -> None:
        """A stream that one thread opened can be read by another.

        Why: servers hand it to a worker. Look at: thread-local state, and libraries that insist on their own thread.
        """
        stream = subject.stream(**subject.greedy, **subject.limit(TOKENS))
        text = subject.in_time(lambda: "".join(stream), "a stream in another thread")
        subject.agrees(text, subject.known(TOKENS), "the text that the other thread read")

    def test_seeds_hold_in_threads(self, subject: Subject) -> None:
        """Sampled answers with seeds are the same in threads as one after another.

        Why: a random generator that requests share doesn't show otherwise. Look at: global seeds; each request needs
        its own.
        """
        if not subject.declares("seed"):
            subject.refuses(seed=7)
            return
        # Where probabilities move, only one token of a likely answer can be compared.
        tokens, heat = (1, 0.2) if subject.rounding else (TOKENS, 1.5)
        given: dict[str, Any] = {
            **subject.limit(tokens),
            **({"temperature": heat} if subject.declares("temperature") else {}),
        }
        alone = [str(subject.ask(**given, seed=seed)) for seed in range(THREADS)]
        at_once: list[str] = [""] * THREADS

        def ask(seed: int) -> None:
            at_once[seed] = str(subject.ask(**given, seed=seed))

        together(self.patience, [partial(ask, seed) for seed in range(THREADS)])
        if subject.rounding:
            same = sum(one == other for one, other in zip(at_once, alone, strict=True))
            expect(2 * same >= THREADS, f"most of {alone} with the same seeds, in threads", at_once)
            return
        expect_equal(at_once, alone, "the answers with seeds, in threads")

    def test_failures_stay_in_their_thread(self, subject: Subject) -> None:
        """Requests that fail or are left early don't disturb others that run meanwhile.

        Why: one user's mistake must not be another's. Look at: clean-up that resets what others use.
        """
        prompts = subject.prompts(2)
        wanted = [subject.known(TOKENS, prompt) for prompt in prompts]

        def ask(number: int) -> None:
            for _ in range(ROUNDS):
                subject.agrees(
                    subject.say(TOKENS, prompts[number]), wanted[number], "an answer beside failing requests"
                )

        def disturb() -> None:
            for _ in range(ROUNDS):
                with contextlib.suppress(LlamaForgeError):
                    subject.generate("")
                with subject.stream(**subject.greedy, **subject.limit(16)) as stream:
                    next(stream, "")

        together(self.patience, [lambda: ask(0), lambda: ask(1), disturb])
