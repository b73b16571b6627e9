"""From the scheduler's thread to whoever waits for an answer: a thread, or a task of an event loop. Nobody polls."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from typing import Protocol

from ..results import Event

Item = Event | Exception
"""An event, or the error that ends the request."""


class EventQueue(Protocol):
    """Takes the events of one request."""

    def put(self, item: Item) -> None:
        """Deliver *item*, from any thread, without waiting for the reader."""


class ThreadEventQueue:
    """Read by a thread."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()

    def put(self, item: Item) -> None:
        """Deliver *item*."""
        self._items.put(item)

    def get(self, timeout: float | None) -> Item | None:
        """The next item; None after *timeout* seconds without one."""
        try:
            return self._items.get(timeout=timeout)
        except queue.Empty:
            return None


class LoopEventQueue:
    """Read by a task; to be made in its event loop."""

    __slots__ = ("_items", "_loop_waker", "arrival")

    arrival: asyncio.Future[None] | None
    """What the task waits for, while it waits."""

    def __init__(self) -> None:
        self._loop_waker = _loop_waker()
        self._items: deque[Item] = deque()
        self.arrival = None

    def put(self, item: Item) -> None:
        """Deliver *item*; the loop is woken only while the task waits."""
        self._items.append(item)
        if self.arrival is not None:
            self._loop_waker.ring(self)

    async def get(self, timeout: float | None) -> Item | None:  # noqa: ASYNC109 - as its twin has it
        """The next item; None after *timeout* seconds without one."""
        while not self._items:
            self.arrival = arrival = self._loop_waker.loop.create_future()
            try:
                if self._items:  # it came in between
                    break
                if timeout is None:
                    await arrival
                else:
                    async with asyncio.timeout(timeout):
                        await arrival
            except TimeoutError:
                return None
            finally:
                self.arrival = None
        return self._items.popleft()


class _LoopWaker:
    """Wakes an event loop once for all queues that were filled meanwhile: each call is a system call."""

    __slots__ = ("_filled", "_rung", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._filled: deque[LoopEventQueue] = deque()
        self._rung = False

    def ring(self, event_queue: LoopEventQueue) -> None:
        """Wake the task that waits at *event_queue*, from any thread."""
        self._filled.append(event_queue)  # before the look: whoever answers clears the mark first and empties this then
        if not self._rung or self.loop.is_closed():  # closed, it never answers what was rung before
            self._rung = True
            try:
                self.loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # the loop is closed: nobody reads any more
                self._rung = False
                self._filled.clear()

    def _answer(self) -> None:
        self._rung = False
        while self._filled:
            arrival = self._filled.popleft().arrival
            if arrival is not None and not arrival.done():
                arrival.set_result(None)


class _LoopWakers(threading.local):
    """The bell of the event loop that runs in this thread."""

    bell: _LoopWaker | None = None


_loop_wakers = _LoopWakers()


def _loop_waker() -> _LoopWaker:
    loop = asyncio.get_running_loop()
    bell = _loop_wakers.bell
    if bell is None or bell.loop is not loop:
        bell = _loop_wakers.bell = _LoopWaker(loop)
    return bell
