"""Calls that work with and without ``await``."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class AwaitableResult(Generic[T]):
    """The result of a call that may be awaited.

    Outside an event loop, the work is done when the call returns. Inside one, it runs in a thread, so that the loop
    isn't blocked: await it. Cancelling the wait calls *abort* and waits until the work has ended.

    Its truth value is the result's. Exceptions of the work are raised by the call or by ``await``.

    Args:
        work: does the work and returns the result.
        abort: stops the work early.
    """

    __slots__ = ("_abort", "_future")

    def __init__(self, work: Callable[[], T], abort: Callable[[], None] | None = None) -> None:
        self._abort = abort
        self._future: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._future.set_result(work())
        else:
            run = contextvars.copy_context().run
            threading.Thread(target=run, args=(self._work, work), name="llamaforge-work", daemon=True).start()

    def result(self) -> T:
        """Wait for the result and return it. Raises any exception of the work."""
        return self._future.result()

    def __bool__(self) -> bool:
        return bool(self.result())

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    def __repr__(self) -> str:
        if not self._future.done():
            return "<AwaitableResult, pending: await it>"
        error = self._future.exception()
        return f"<AwaitableResult {self._future.result() if error is None else error!r}>"

    async def _wait(self) -> T:
        waiting = asyncio.wrap_future(self._future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if self._abort is not None:
                self._abort()
            with contextlib.suppress(Exception):
                await waiting
            raise

    def _work(self, work: Callable[[], T]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            self._future.set_exception(error)
