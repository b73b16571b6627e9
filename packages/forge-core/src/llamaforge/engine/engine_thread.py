"""The thread that owns a model: it opens it, computes with it, and closes it.

No other thread computes. What a library keeps for each thread that does is then there once: OpenMP's workers, above
all, which wait for work far less eagerly as soon as the threads of the process are more than its processors.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .interface import Engine
from .scheduler import Scheduler


def open_scheduler(open_engine: Callable[[], Engine[Any]], **settings: Any) -> Scheduler:
    """Start the thread, and return the scheduler that runs in it once the engine is open.

    Args:
        open_engine: makes the engine.
        settings: for :class:`.scheduler.Scheduler`.

    Raises what *open_engine* raises. Where the wait is broken off (Ctrl+C), the engine is closed as soon as it is open.
    """
    opening = [open_engine]  # emptied, since a thread holds its arguments until it ends
    opened: Future[Scheduler] = Future()
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(_own, opening, settings, opened), name="llamaforge-engine", daemon=True).start()
    try:
        return opened.result()
    except BaseException:
        opened.add_done_callback(_close)
        raise


def _own(opening: list[Callable[[], Engine[Any]]], settings: dict[str, Any], opened: Future[Scheduler]) -> None:
    try:
        scheduler = Scheduler(opening.pop()(), **settings)
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
        opened.set_exception(error)
        return
    opened.set_result(scheduler)
    del opened
    scheduler.run()


def _close(opened: Future[Scheduler]) -> None:
    """Nobody waits for it any more."""
    if opened.exception() is None:
        opened.result().close()
