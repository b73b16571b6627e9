"""From the scheduler's thread to whoever waits for an answer: a thread, or a task of an event loop. Nobody polls."""

from __future__ import annotations

import asyncio
import queue
from collections import deque
from typing import Protocol

from ..results import Event

Item = Event | Exception
"""An event, or the error that ends the request."""


class Mailbox(Protocol):
    """Takes the events of one request."""

    def put(self, item: Item) -> None:
        """Deliver *item*, from any thread, without waiting for the reader."""


class ThreadMailbox:
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


class LoopMailbox:
    """Read by a task; to be made in its event loop."""

    __slots__ = ("_arrival", "_items", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        self._arrival: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """Deliver *item*; the loop is woken only while the task waits."""
        self._items.append(item)
        if self._arrival is not None:
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop is closed: nobody reads any more
                self._arrival = None

    async def get(self, timeout: float | None) -> Item | None:  # noqa: ASYNC109 - as its twin has it
        """The next item; None after *timeout* seconds without one."""
        while not self._items:
            self._arrival = arrival = self._loop.create_future()
            try:
                if self._items:  # it came in between
                    break
                async with asyncio.timeout(timeout):
                    await arrival
            except TimeoutError:
                return None
            finally:
                self._arrival = None
        return self._items.popleft()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
