"""Callers of ``embed`` who come together, leave, and fail: each is alone with that."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ...embeddings import Embeddings
from ...errors import LlamaForgeError, RequestError
from ..expect import Told, comes_true, expect, expect_equal, expect_refusal, together
from ..subject import Subject
from .comparing_vectors import LONG, TEXTS, VectorKit, embed
from .memory import REQUESTS, does_not_grow

_CALLERS: Final = 8
_MANY: Final = 80
"""How often all texts are embedded at once."""
_TICK: Final = 0.005
_ATTEMPTS: Final = 3
_SHORTEST: Final = 0.15
"""Seconds that a loaded machine may keep a loop waiting for reasons of its own."""


class VectorCallerChecks(VectorKit):
    """Callers at once."""

    def test_tasks_are_alone_with_their_ends(self, subject: Subject) -> None:
        """Of many tasks in one event loop half are cancelled; the others get their own vectors.

        Why: their texts are computed together. Look at: a batch that is given up with the first caller who leaves.
        """
        known = [list(vector) for vector in embed(subject, TEXTS)]

        async def work() -> list[Embeddings | BaseException]:
            stay: list[asyncio.Task[Embeddings]] = []
            leave: list[asyncio.Task[Embeddings]] = []
            for caller in range(2 * _CALLERS):
                texts = [TEXTS[caller // 2 % len(TEXTS)]] * 3
                task = asyncio.create_task(subject.backend.aembed(texts))
                (leave if caller % 2 else stay).append(task)
            await asyncio.sleep(0)
            for task in leave:
                task.cancel()
            await asyncio.gather(*leave, return_exceptions=True)
            return await asyncio.gather(*stay, return_exceptions=True)

        for caller, vectors in enumerate(self.run_async(work)):
            if not isinstance(vectors, Embeddings):
                expect(False, f"the vectors of task {caller}, which was not cancelled", vectors)
                return
            expect_equal(len(vectors), 3, f"the number of vectors of task {caller}")
            for vector in vectors:
                self.same(vector, known[caller % len(TEXTS)], f"a vector of task {caller}")

    def test_failures_are_the_callers_own(self, subject: Subject) -> None:
        """While other threads fail (an empty text, one that is too long, a deadline), a thread gets its vectors.

        Why: a server's clients send anything. Look at: an exception that ends the thread, or the batch, of all.
        """
        known = [list(vector) for vector in embed(subject, TEXTS)]

        def ask() -> None:
            for _ in range(3):
                for vector, wanted in zip(embed(subject, TEXTS), known, strict=True):
                    self.same(vector, wanted, "a vector beside calls that fail")

        def fail(texts: Any, **options: Any) -> None:
            with contextlib.suppress(LlamaForgeError):
                subject.backend.embed(texts, **options)

        bad: list[tuple[Any, dict[str, Any]]] = [
            (["fine", ""], {}),
            (["fine", LONG], {"timeout": self.patience}),
            (itertools.repeat(TEXTS[3]), {"timeout": 0.05}),
            (["fine", [2**31 - 1]], {}),
        ]
        failing = [functools.partial(fail, texts, **given) for texts, given in bad]
        together(self.patience, [ask, ask, *failing])
        ask()

    def test_leaving_a_stream_of_vectors_ends_it(self, subject: Subject) -> None:
        """A stream that is left, closed by another thread or dropped leaves no request running; it has ended then.

        Why: programs look at the first results alone. Look at: ``finally`` in ``compute_embeddings``; the worker that
        goes on reading texts.
        """
        backend = subject.backend

        def nothing_runs(what: str) -> None:
            ended = comes_true(lambda: backend.requests_in_flight == 0, self.grace)
            expect(ended, f"no request in flight after {what}", backend.requests_in_flight)

        with backend.embed_stream(itertools.repeat(TEXTS[0]), timeout=self.patience) as stream:
            next(stream)
        nothing_runs("leaving a stream")
        expect_equal(next(stream, None), None, "what comes of a stream that was left")

        async def leave() -> None:
            async with backend.aembed_stream(itertools.repeat(TEXTS[0]), timeout=self.patience) as stream:
                async for _ in stream:
                    break

        self.run_async(leave)
        nothing_runs("leaving an asynchronous stream")
        stream = backend.embed_stream(itertools.repeat(TEXTS[3]), timeout=self.patience)
        next(stream)
        closing = threading.Thread(target=stream.close, daemon=True)
        closing.start()
        with contextlib.suppress(LlamaForgeError):
            for _ in stream:
                pass
        closing.join(self.patience)
        stream.close()
        nothing_runs("closing a stream from another thread")
        embed(subject, TEXTS[0])

    def test_the_loop_goes_on_while_many_texts_are_embedded(self, subject: Subject) -> None:
        """While hundreds of texts are embedded, a task that ticks every 5 ms goes on ticking.

        It fails only where the loop stood still for half of the time, three times out of three.

        Why: a blocked loop stops every other request of a server. Look at: texts that are tokenized in the loop, and a
        computation that ``acompute_embeddings`` doesn't hand to a thread.
        """
        texts = [f"{number}: {text}" for number in range(_MANY) for text in TEXTS]
        seen = []

        async def embed_all() -> tuple[float, float]:
            stood = 0.0

            async def tick() -> None:
                nonlocal stood
                while True:
                    slept = time.perf_counter()
                    await asyncio.sleep(_TICK)
                    stood += max(0.0, time.perf_counter() - slept - 4 * _TICK)

            ticking, began = asyncio.create_task(tick()), time.perf_counter()
            await asyncio.sleep(0)
            try:
                await subject.backend.aembed(texts)
                took = time.perf_counter() - began
                await asyncio.sleep(2 * _TICK)  # the last tick may have been late as well
            finally:
                ticking.cancel()
            return stood, took

        for _ in range(_ATTEMPTS):
            stood, took = self.run_async(embed_all)
            if stood <= max(_SHORTEST, took / 2):
                return
            seen.append(f"{stood:.2f} s of {took:.2f} s")
        expect(False, "an event loop that goes on while texts are embedded", Told(f"it stood still for {seen}"))

    def test_asynchronous_refusals_agree(self, subject: Subject) -> None:
        """What ``embed`` refuses, ``aembed`` and both streams refuse with the same error.

        Why: programs handle errors by their types. Look at: twins that were written twice.
        """
        cases: tuple[tuple[Any, dict[str, Any]], ...] = (
            (["fine", ""], {}),
            (["fine", 1.5], {}),
            (None, {}),
            ("x", {"dimensions": 10**6}),
            ("x", {"prompt_name": "no such prompt"}),
        )
        for texts, options in cases:
            wanted = expect_refusal(
                RequestError, functools.partial(subject.backend.embed, texts, **options), f"{texts!r} with {options}"
            )
            for way, call in self._ways(subject, texts, options).items():
                error = expect_refusal(RequestError, call, f"{texts!r} with {options} by {way}")
                expect_equal(type(error), type(wanted), f"the error of {way} for {texts!r} with {options}")
                expect_equal(str(error), str(wanted), f"what the error of {way} says")

    def _ways(self, subject: Subject, texts: Any, options: dict[str, Any]) -> dict[str, Callable[[], object]]:
        """``embed`` in its other ways."""
        backend = subject.backend

        async def read() -> None:
            async with backend.aembed_stream(texts, **options) as stream:
                async for _ in stream:
                    pass

        return {
            "aembed": lambda: self.run_async(lambda: backend.aembed(texts, **options)),
            "embed_stream": lambda: list(backend.embed_stream(texts, **options)),
            "aembed_stream": lambda: self.run_async(read),
        }

    def test_failed_embeddings_leave_nothing_behind(self, subject: Subject) -> None:
        """Calls that fail and streams that are left take no more memory, threads or files than a few of them.

        Why: a client in a loop fails for days. Look at: what was taken before the error.
        """

        def fail() -> None:
            cases: tuple[tuple[Any, dict[str, Any]], ...] = (
                (["fine", ""], {}),
                (TEXTS, {"timeout": 1e-6}),
                ("x", {"dimensions": 10**6}),
            )
            for texts, options in cases:
                with contextlib.suppress(LlamaForgeError):
                    subject.backend.embed(texts, **options)
            with subject.backend.embed_stream(TEXTS) as stream:
                next(stream)

        does_not_grow(self, fail, REQUESTS, "calls of embed that failed")
