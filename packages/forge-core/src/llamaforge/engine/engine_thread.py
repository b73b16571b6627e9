"""The thread that owns a model: it opens it, computes with it, and closes it.

No other thread computes. What a library keeps for each thread that does is then there once: OpenMP's workers, above
all, which wait for work far less eagerly as soon as the threads of the process are more than its processors.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

EngineT = TypeVar("EngineT")


class Worker(Protocol):
    """What computes with an engine: a scheduler, or a batcher."""

    def run(self) -> None:
        """Work until :meth:`close`."""

    def close(self) -> None:
        """End, and close the engine; from any thread."""


WorkerT = TypeVar("WorkerT", bound=Worker)


def open_worker(open_engine: Callable[[], EngineT], employ: Callable[[EngineT], WorkerT]) -> WorkerT:
    """Start the thread, and return the worker that runs in it once the engine is open.

    Args:
        open_engine: makes the engine.
        employ: makes its worker.

    Raises what *open_engine* raises. Where the wait is broken off (Ctrl+C), the engine is closed as soon as it is open.
    """
    opening = [open_engine]  # emptied, since a thread holds its arguments until it ends
    opened: Future[WorkerT] = Future()
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(_own, opening, employ, opened), name="llamaforge-engine", daemon=True).start()
    try:
        return opened.result()
    except BaseException:
        opened.add_done_callback(_close)
        raise


def _own(opening: list[Callable[[], EngineT]], employ: Callable[[EngineT], WorkerT], opened: Future[WorkerT]) -> None:
    try:
        worker = employ(opening.pop()())
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
        opened.set_exception(error)
        return
    opened.set_result(worker)
    del opened
    worker.run()


def _close(opened: Future[WorkerT]) -> None:
    """Nobody waits for it any more."""
    if opened.exception() is None:
        opened.result().close()
