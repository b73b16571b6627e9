"""The event loop that the load runs in: timers to the microsecond, a thread of its own, and a watch on itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from .records import Observation
from .statistics import summary

T = TypeVar("T")

clock = time.perf_counter
"""The clock of all measurements, in seconds. On Linux it is the same in all processes of a machine."""

_TICK = 0.005
"""Seconds between two looks at the event loop's lag."""


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are exact to some microseconds. epoll, by itself, waits in whole milliseconds."""
    if not hasattr(selectors, "EpollSelector"):
        return asyncio.new_event_loop()
    return asyncio.SelectorEventLoop(_precise_selector())


def _precise_selector() -> selectors.BaseSelector:
    class PreciseSelector(selectors.EpollSelector):
        """Waits with select(), which takes microseconds, for the one descriptor of epoll itself."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is None or timeout <= 0 or timeout > 1:
                return super().select(timeout)
            with contextlib.suppress(InterruptedError):
                select.select([self.fileno()], (), (), timeout)
            return super().select(0)

    return PreciseSelector()


async def in_own_thread(work: Callable[[], Awaitable[T]]) -> T:
    """What *work* returns, run in a precise loop in a thread of its own. Cancelling this cancels *work*."""
    outer = asyncio.get_running_loop()
    done: asyncio.Future[T] = outer.create_future()
    inside: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []
    begun = threading.Event()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        elif isinstance(error, asyncio.CancelledError):
            done.cancel()
        else:
            done.set_exception(error)

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine in a loop
        inside.append((asyncio.get_running_loop(), task))
        begun.set()
        return await work()

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                result = runner.run(main())
        except BaseException as failure:  # noqa: BLE001 - it belongs to whoever waits
            error = failure
        finally:
            begun.set()
        with contextlib.suppress(RuntimeError):  # the other loop is closed: nobody waits any more
            outer.call_soon_threadsafe(tell, result, error)

    thread = threading.Thread(target=run, name="forge-bench", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        begun.wait()
        if inside and thread.is_alive():
            loop, task = inside[0]
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        with contextlib.suppress(BaseException):
            await done
        raise


class Watch:
    """Observes the running event loop until it is stopped. Call both in the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lags: list[float] = []
        self._began = clock()
        self._thread_time = time.thread_time()
        self._process_time = time.process_time()
        self._waited = _time_waited()
        self._load = _load()
        self._due = self._began + _TICK
        self._timer = self._loop.call_later(_TICK, self._look)

    def _look(self) -> None:
        now = clock()
        self._lags.append(max(0.0, now - self._due))
        # A look that was missed is late, too: a loop that stood still for a second missed 200 of them.
        while self._due + _TICK < now:
            self._due += _TICK
            self._lags.append(max(0.0, now - self._due))
        self._due = now + _TICK
        self._timer = self._loop.call_later(_TICK, self._look)

    def stop(self) -> Observation:
        """End the watch; what it saw."""
        self._timer.cancel()
        now = clock()
        if now > self._due:
            self._lags.append(now - self._due)
        elapsed = max(now - self._began, 1e-9)
        waited = _time_waited()
        load = _load()
        return Observation(
            lag=summary(self._lags) | ({"max": max(self._lags)} if self._lags else {}),
            cpu_share=(time.thread_time() - self._thread_time) / elapsed,
            process_cpu=time.process_time() - self._process_time,
            waiting_share=None if waited is None or self._waited is None else (waited - self._waited) / elapsed,
            load=None if load is None or self._load is None else (self._load, load),
        )


@contextlib.contextmanager
def watching(into: list[Observation]) -> Iterator[None]:
    """Observe the loop in the block; the observation is appended to *into*."""
    watch = Watch()
    try:
        yield
    finally:
        into.append(watch.stop())


def _time_waited() -> float | None:
    """Seconds that this thread was ready to run and didn't; None where the system doesn't say."""
    try:
        fields = Path("/proc/thread-self/schedstat").read_text("ascii").split()
        return int(fields[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


async def sleep_until(moment: float) -> None:
    """Wait until the clock says *moment*."""
    wait = moment - clock()
    if wait > 0:
        await asyncio.sleep(wait)


def run(main: Awaitable[Any]) -> Any:
    """Run a coroutine in a precise loop, for a program that has none."""

    async def wrapped() -> Any:
        return await main

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(wrapped())
