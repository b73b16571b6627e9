"""Bridges between threads and event loops: an author writes one side, and no event loop is blocked."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final, TypeVar

from .cancellation import CancellationToken
from .errors import GenerationError
from .results import Event

T = TypeVar("T")

_FORKED: Final = "This process was forked while the answer was being read. Only the parent process gets the rest."
BUFFERED: Final = 64
"""Events that are buffered for a slow reader before the engine has to wait."""


async def in_thread(source: Callable[[], Iterator[Event]], cancellation: CancellationToken) -> AsyncIterator[Event]:
    """Read a synchronous stream in a separate thread.

    The reader's loop is woken for each event and never blocks. When the reader leaves, *cancellation* is cancelled, and
    the thread ends when the engine next checks it or yields its next event.
    """
    loop = asyncio.get_running_loop()
    arrived: deque[tuple[Event | None, BaseException | None]] = deque()
    ready = asyncio.Event()
    room = threading.Semaphore(BUFFERED)
    left = threading.Event()
    cancellation.on_cancel(room.release)

    def post(event: Event | None, error: BaseException | None = None) -> None:
        arrived.append((event, error))
        try:
            loop.call_soon_threadsafe(ready.set)
        except RuntimeError:  # the loop is closed: nobody reads any more
            cancellation.cancel()

    def work() -> None:
        try:
            events = source()
            try:
                for event in events:
                    room.acquire()
                    post(event)
                    if cancellation.cancelled or left.is_set():
                        break
            finally:
                close: Any = getattr(events, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the reader
            post(None, error)
        else:
            post(None)

    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(work,), name="llamaforge-stream", daemon=True).start()
    try:
        while True:
            while not arrived:
                ready.clear()
                if not arrived:
                    await _arrival(ready, cancellation)
            event, error = arrived.popleft()
            room.release()
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # here and below: its traceback has this frame, which would keep it alive
            if event is None:
                return
            yield event
    except (GeneratorExit, asyncio.CancelledError):
        cancellation.cancel()
        raise
    finally:  # by whatever way: a thread that waits for room must not wait for ever
        left.set()
        room.release()


async def _arrival(ready: asyncio.Event, cancellation: CancellationToken) -> None:
    """Wait for the next event, but not past the deadline: an engine that is stuck must not hold its caller."""
    if cancellation.deadline is None:
        await ready.wait()
        return
    try:
        await asyncio.wait_for(ready.wait(), cancellation.remaining())
    except TimeoutError:
        cancellation.check()


def in_loop(source: Callable[[], AsyncIterator[Event]], cancellation: CancellationToken) -> Iterator[Event]:
    """Read an asynchronous stream from a thread. All such streams run in one shared event loop."""
    loop, owner = _shared_loop(), os.getpid()
    context = contextvars.copy_context()
    events = source()
    end = object()
    waiting: list[concurrent.futures.Future[Any]] = []
    stepping: list[asyncio.Task[Any]] = []

    cancellation.on_cancel(lambda: _give_up(waiting))

    async def step() -> Any:
        # All steps share one context, the reader's: a context variable that the generator sets stays set.
        task = loop.create_task(_anext(events, end), context=context)
        stepping[:] = [task]
        try:
            return await task
        finally:
            del task

    async def close() -> None:
        # A cancelled step ends in its own time, and a generator that still runs can't be closed.
        unfinished = [task for task in stepping if not task.done()]
        if unfinished:
            for task in unfinished:
                task.cancel()
            await asyncio.wait(unfinished)
        aclose: Any = getattr(events, "aclose", None)
        if aclose is not None:
            await loop.create_task(_aclose(aclose), context=context)

    try:
        while True:
            if os.getpid() != owner:
                raise GenerationError(_FORKED)
            future = asyncio.run_coroutine_threadsafe(step(), loop)
            waiting[:] = [future]
            if cancellation.cancelled:
                future.cancel()
            try:
                event = future.result()
            except concurrent.futures.CancelledError:
                return
            except BaseException:
                future.cancel()
                waiting.clear()
                del future
                raise
            if event is end:
                return
            yield event
    finally:
        if os.getpid() == owner:
            closed = asyncio.run_coroutine_threadsafe(close(), loop)
            if not _runs_here(loop):  # the garbage collector may be at work in the loop's own thread, which must go on
                closed.result()
                stepping.clear()


def call_in_loop(work: Callable[[], Awaitable[T]], cancellation: CancellationToken) -> T:
    """Run an asynchronous call from a thread, in the event loop that all of them share.

    Raises GenerationTimeoutError at the deadline, and GenerationError if the call is cancelled.
    """
    loop = _shared_loop()
    context = contextvars.copy_context()

    async def run() -> T:
        return await work()

    async def start() -> T:
        return await loop.create_task(run(), context=context)

    waiting = [asyncio.run_coroutine_threadsafe(start(), loop)]
    cancellation.on_cancel(lambda: _give_up(waiting))
    try:
        concurrent.futures.wait(waiting, cancellation.remaining())
        if not waiting[0].done():
            cancellation.check()
        return waiting[0].result()
    except concurrent.futures.CancelledError:
        raise GenerationError("The call was cancelled.") from None
    finally:
        _give_up(waiting)
        waiting.clear()


def _give_up(waiting: list[concurrent.futures.Future[Any]]) -> None:
    for future in waiting:
        future.cancel()


async def call_in_thread(work: Callable[[], T], cancellation: CancellationToken) -> T:
    """Run a synchronous call in a separate thread. The loop never blocks.

    The caller cancels *cancellation* when it leaves; the thread ends when the engine next checks that. Raises
    GenerationTimeoutError at the deadline.
    """
    waited_for = asyncio.wrap_future(_started(work))
    waited_for.add_done_callback(_retrieved)
    await asyncio.wait([waited_for], timeout=cancellation.remaining())
    if not waited_for.done():
        cancellation.check()
    try:
        return waited_for.result()
    finally:
        del waited_for


def _started(work: Callable[[], T]) -> concurrent.futures.Future[T]:
    """The result of *work*, which runs in a thread of its own."""
    done: concurrent.futures.Future[T] = concurrent.futures.Future()
    done.set_running_or_notify_cancel()  # a task that waits for it, and is cancelled, leaves it alone

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            done.set_exception(error)

    enter = contextvars.copy_context().run
    threading.Thread(target=enter, args=(run,), name="llamaforge-call", daemon=True).start()
    return done


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Nobody may be left to retrieve the error, about which asyncio would complain."""
    if not future.cancelled():
        future.exception()


async def _anext(events: AsyncIterator[Event], end: object) -> Any:
    return await anext(events, end)


async def _aclose(aclose: Callable[[], Any]) -> None:
    await aclose()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


_loop: asyncio.AbstractEventLoop | None = None
_loop_lock = threading.Lock()


def _shared_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _loop_lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="llamaforge-loop", daemon=True).start()
        return _loop


def _forget_loop() -> None:
    """After a fork, the child has no thread for the loop: the next stream starts one."""
    global _loop, _loop_lock
    _loop, _loop_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_loop)
