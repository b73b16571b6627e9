"""No check hangs: it runs in a thread that can be given up.

A check makes many requests, and each may take ``patience`` seconds. So the whole has no limit of its own: a check hangs
when it hasn't got on for that long, which its :mod:`.heartbeat` tells. Its thread is then left alone with whatever it
waits for, and what it had redirected is put back.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import inspect
import logging
import os
import queue
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, TypeVar

from .expect import Hangs, Told, stack_of
from .heartbeat import beat, last_beat, running, silence

T = TypeVar("T")

NAME: Final = "conformance"
"""The name of all threads that the kit starts."""
SLACK: Final = 0.1
"""How much longer than ``patience`` a check may stand still: a limit within the check comes first, and says more."""
LONGEST: Final = 20
"""How many times ``patience`` a check may take that gets on, but never comes to its end."""


class _Interrupted(BaseException):
    """Raised in the main thread to get it back from a call that hangs."""


class Patient:
    """Runs one check in a thread of its own."""

    running: Patient | None = None
    """The one that is at work now."""

    def __init__(self, patience: float, name: str) -> None:
        self.patience = patience
        self.name = name
        self._asked: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._outcome: list[tuple[Any, BaseException | None]] = []

    def run(self, work: Callable[[], T]) -> T:
        """What *work* returns or raises. Raises Hangs if it doesn't get on for *patience* seconds."""
        __tracebackhide__ = True
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._work, work), name=NAME, daemon=True)
        outer, Patient.running = Patient.running, self
        before = running(self.name)
        try:
            with _put_back() as put_back:
                beat()
                thread.start()
                self._wait(thread, time.perf_counter() + LONGEST * self.patience, put_back)
        finally:
            running(before)
            Patient.running = outer
        returned, error = self._outcome[0]
        if error is not None:
            raise error
        value: T = returned
        return value

    def on_main_thread(self, call: Callable[[], T]) -> T:
        """Run *call* in the thread that waits for the check: pytest's, which is the main one."""
        __tracebackhide__ = True
        came: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def there() -> None:
            came.put(_outcome(lambda: _interruptible(call, self.patience)))

        self._asked.put(there)
        returned, error = came.get()
        if error is not None:
            raise error
        value: T = returned
        return value

    def _work(self, work: Callable[[], Any]) -> None:
        self._outcome.append(_outcome(work))
        self._asked.put(None)

    def _limit(self, end: float) -> float:
        return min(last_beat() + self.patience * (1 + SLACK) + SLACK, end)

    def _wait(self, thread: threading.Thread, end: float, put_back: Callable[[], None]) -> None:
        __tracebackhide__ = True
        while True:
            try:
                asked = self._asked.get(timeout=max(0.01, self._limit(end) - time.perf_counter()))
            except queue.Empty:
                if self._limit(end) > time.perf_counter():
                    continue
                where = stack_of(thread)
                put_back()
                give_up()
                expected = f"{self.name} to get on within {self.patience:g} s (patience)"
                raise Hangs(expected, Told(f"it hangs at\n{where}")) from None
            if asked is None:
                return
            asked()


def on_main_thread(call: Callable[[], T]) -> T:
    """Run *call* in the main thread, if a check runs there patiently; where there is none, just run it."""
    __tracebackhide__ = True
    return call() if Patient.running is None else Patient.running.on_main_thread(call)


def give_up() -> None:
    """Silence all threads of the kit, and end those that compute for ever in Python. Those that wait can't be ended."""
    threads = [thread for thread in threading.enumerate() if thread.name == NAME]
    silence(threads)
    for thread in threads:
        if thread is not threading.current_thread() and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001 - raised again by whoever asked
        return None, error


@contextlib.contextmanager
def _put_back() -> Iterator[Callable[[], None]]:
    """A function that puts back what a check redirects and can't put back itself, because it hangs."""
    root = logging.getLogger()
    kept = sys.stdout, sys.stderr, root.level, list(root.handlers), tracemalloc.is_tracing()
    descriptors: dict[int, int] = {}
    for number in (1, 2):
        with contextlib.suppress(OSError):
            descriptors[number] = os.dup(number)

    def put_back() -> None:
        sys.stdout, sys.stderr = kept[:2]
        for number, copy in descriptors.items():
            os.dup2(copy, number)
        root.setLevel(kept[2])
        root.handlers[:] = kept[3]
        if tracemalloc.is_tracing() and not kept[4]:
            tracemalloc.stop()

    try:
        yield put_back
    finally:
        for copy in descriptors.values():
            os.close(copy)


def _interruptible(call: Callable[[], T], patience: float) -> T:
    """Run *call* in the main thread; a signal gets it back from what it waits for, where the system has signals.

    Only native code that never looks at signals is out of reach. SIGPROF is the one that nobody else is likely to use.
    """
    __tracebackhide__ = True
    main = threading.main_thread()
    if threading.current_thread() is not main or not hasattr(signal, "pthread_kill"):
        return call()
    ended = threading.Event()
    here, inside = inspect.currentframe(), False

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Only within the call: what follows it here must come to its end, or the signal would stay in others' way.
        if inside and frame is not here:
            raise _Interrupted

    def work() -> T:
        return call()

    def watch() -> None:
        wait = patience
        while not ended.wait(wait) and main.ident is not None:
            signal.pthread_kill(main.ident, signal.SIGPROF)
            wait = 0.2

    old = signal.signal(signal.SIGPROF, interrupt)
    watcher = threading.Thread(target=watch, name=NAME, daemon=True)
    watcher.start()
    try:
        inside = True
        returned = work()
        inside = False
        return returned
    except _Interrupted as error:
        inside = False
        raise Hangs(
            f"a call in the main thread to return within {patience:g} s (patience)", Told("it hangs")
        ) from error
    finally:
        inside = False
        ended.set()
        watcher.join()
        signal.signal(signal.SIGPROF, old)
