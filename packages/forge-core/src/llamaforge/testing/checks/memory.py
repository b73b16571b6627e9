"""Memory, threads and files: given back."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures.thread import _threads_queues
from dataclasses import fields
from functools import partial
from typing import Final

from ..expect import Told, comes_true, expect
from ..kit import Kit
from ..patience import on_main_thread
from ..run import run_of
from ..subject import Subject
from ..watching import Usage, traced, usage
from ..ways import ways

REQUESTS: Final = 10
MEGABYTE: Final = 2**20
NOISE: Final = Usage(memory=48 * MEGABYTE, mapped=32 * MEGABYTE, traced=MEGABYTE, files=2, threads=0)
"""What may grow for reasons of the interpreter's own."""


class MemoryChecks(Kit, slow=True):
    """What is taken is given back. The bounds are generous: they catch what grows with each use."""

    def test_unloading_gives_memory_back(self) -> None:
        """Loading and unloading again and again takes no more memory than once.

        Why: servers swap models for weeks. Look at: ``unload``; references that keep the model: closures, caches,
        threads, the engine's own ``close``.
        """
        backend = self.make()
        if backend.is_basic:
            self.wrap(backend).refuses_the_full_contract()
            return

        def cycle() -> None:
            self.load(backend)
            backend.unload_model()

        does_not_grow(self, cycle, self.max_load_cycles, "loading and unloading")

    def test_loading_over_a_model_gives_the_old_one_back(self) -> None:
        """Loading over a loaded model again and again takes no more memory than once.

        Why: the first model is easily forgotten. Look at: ``load`` where something is loaded; the base class unloads
        first.
        """
        backend = self.make()
        try:
            does_not_grow(self, lambda: self.load(backend), self.max_load_cycles, "loading over a loaded model")
        finally:
            self.release(backend)

    def test_requests_leave_nothing_behind(self, subject: Subject) -> None:
        """Many requests take no more memory, threads or files than a few.

        Why: a server answers millions. Look at: histories, caches without a bound, a thread or connection per request.
        """
        does_not_grow(self, lambda: subject.say(2), REQUESTS, "requests")

    def test_streams_that_are_left_leave_nothing_behind(self, subject: Subject) -> None:
        """Many streams that were left early take no more memory, threads or files than a few.

        Why: clean-up that runs only at the end of an answer doesn't run then. Look at: ``finally`` in ``stream``.
        """

        def leave() -> None:
            with subject.stream(**subject.greedy, **subject.limit(16)) as stream:
                next(stream, "")

        does_not_grow(self, leave, REQUESTS, "streams that were left")

    def test_failed_requests_leave_nothing_behind(self, subject: Subject) -> None:
        """Many requests that fail take no more memory, threads or files than a few.

        Why: a client in a loop fails for days. Look at: what was taken before the error, and errors that keep frames
        alive.
        """

        def fail() -> None:
            with contextlib.suppress(Exception):
                subject.generate(None, {**subject.limit(1), "no_such_parameter": 1, "timeout": 1e-6})
            with contextlib.suppress(Exception):
                subject.generate(None, {**subject.limit(16), "timeout": 1e-6})
            with contextlib.suppress(Exception):
                subject.generate("\ud800", subject.limit(1))  # the engine's own to refuse, as what follows
            with contextlib.suppress(Exception):
                subject.generate(None, {**subject.limit(1), "logit_bias": {2**31 - 2: 1.0}})
            with contextlib.suppress(Exception):
                subject.generate(None, {**subject.limit(1), "grammar": "root ::= ("})

        if not subject.full:
            subject.refuses_the_full_contract(timeout=1e-6)
            return
        does_not_grow(self, fail, REQUESTS, "requests that failed")

    def test_unloading_ends_the_backends_threads(self) -> None:
        """Threads that a loaded backend started end when it is unloaded.

        Why: they keep the model alive, and the interpreter from ending. Look at: daemon threads that wait for ever.
        """
        with self.fresh() as warm:  # what a library starts once for the whole process is no leak
            warm.say(2)
        before = set(threading.enumerate())
        with self.fresh() as subject:
            subject.say(2)
            if not subject.full:
                subject.refuses_the_full_contract()
        del subject

        def left() -> list[str]:
            gc.collect()
            return [thread.name for thread in threading.enumerate() if thread not in before]

        comes_true(lambda: not left(), self.grace)
        expect(not left(), "no thread left of a backend that was unloaded", left())

    def test_a_program_may_end_without_unloading(self) -> None:
        """No thread that waits for requests keeps the interpreter from ending.

        Why: Python waits for every thread that is no daemon before it calls ``atexit`` hooks, so that a script whose
        last line asks the model would hang. Look at: ``daemon=True``, or a ``ThreadPoolExecutor``, whose threads
        Python wakes when it ends.
        """
        before = set(threading.enumerate())

        def waiting() -> list[str]:
            gc.collect()
            return [
                thread.name
                for thread in threading.enumerate()
                if thread not in before and not thread.daemon and thread not in _threads_queues
            ]

        backend = self.make()
        try:
            on_main_thread(lambda: self.load(backend))  # a thread of a daemon thread is one
            subject = self.wrap(backend)
            if not subject.full:
                subject.refuses_the_full_contract()
            for way in on_main_thread(lambda: ways(subject)):
                on_main_thread(partial(way.ask, subject.prompt, subject.limit(1)))
            comes_true(lambda: not waiting(), self.grace)
            expect(not waiting(), "only daemon threads while the model waits for requests", waiting())
        finally:
            self.release(backend)

    def test_a_closed_backend_can_be_collected(self) -> None:
        """A backend that was used and closed is garbage once nobody refers to it.

        Why: registries and threads keep it, and its model, for ever. Look at: ``atexit`` hooks and threads with bound
        methods, callbacks that were never taken back; use ``weakref``.
        """
        backend = self.make()
        try:
            self.load(backend)
            self.wrap(backend).say(2)
        finally:
            backend.close()
        gone = weakref.ref(backend)
        del backend

        def is_gone() -> bool:
            gc.collect()
            return gone() is None

        expect(comes_true(is_gone, self.grace), "a closed backend to be garbage", Told(_holders(gone())))


def _holders(backend: object) -> str:
    if backend is None:
        return "it is gone now, but late"
    return ", ".join(type(holder).__name__ for holder in gc.get_referrers(backend)[:8]) + " refer to it"


def does_not_grow(
    kit: Kit, work: Callable[[], object], times: int, what: str, noise: Usage = NOISE, rounds: int = 4
) -> None:
    """Do *work* some times, and then again: nothing grows beyond *noise*.

    An allocator's arenas may grow at any time, and a cache with a bound fills, and then grows no more. What leaks grows
    each time, and so in all of so many *rounds*.
    """
    __tracebackhide__ = True
    grown: dict[str, int] = {}
    audit = run_of(type(kit)).audit
    work()
    with audit.pause(), traced():
        work()
        for number in range(rounds):
            before = usage()
            for _ in range(times):
                work()

            def settled() -> bool:
                now = usage()
                growth = {each.name: getattr(now, each.name) - getattr(before, each.name) for each in fields(Usage)}  # noqa: B023 - used at once
                grown.clear()
                grown.update({name: value for name, value in growth.items() if value > getattr(noise, name)})
                return not grown

            if comes_true(settled, kit.grace if number == rounds - 1 else min(kit.grace, 1.0)):
                return
    expect(not grown, f"{what}, {times} times, to leave no more behind than before", Told(f"grown by {grown}"))
