"""Observers: what happened to each request, for telemetry, logs and figures.

An observer hears of each request's start and of exactly one end, on every path: calls, streams, batches, their
asynchronous versions, vectors and rankings, basic backends, and the server::

    from llamaforge import observers

    class Costs(observers.Observer):
        def on_end(self, request, end):
            if end.usage is not None:
                bill(request.model, end.usage.total_tokens)

    observers.attach(Costs())

Observers that are installed plugins (entry-point group ``llamaforge.observers``) have a name. The environment variable
``LLAMAFORGE_OBSERVERS`` attaches them, separated by commas: ``LLAMAFORGE_OBSERVERS=otel,log``.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from . import observing
from .errors import BrokenPluginError, InvalidParameterError, LlamaForgeError, closest
from .forks import ForkSafeLock
from .observation import ObservedRequest, Observer, Operation, Outcome, RequestEnd
from .plugins import OBSERVERS, guarded, import_object

__all__ = [
    "Attachment",
    "ObservedRequest",
    "Observer",
    "Operation",
    "Outcome",
    "RequestEnd",
    "attach",
    "attached",
    "detach",
    "installed",
    "load",
]

BUILT_IN: Final = {"log": "llamaforge.response_log.recorder:LogObserver"}
"""Core's own observers, and where each is."""

_logger = logging.getLogger("llamaforge")
_lock: Final = ForkSafeLock()
_loading: Final = ForkSafeLock()
_loader: int | None = None
"""The thread that loads observers; requests that they make meanwhile are not observed."""


class Attachment:
    """An attached observer; leaving the ``with`` block detaches it."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        detach(self.observer)


def attach(observer: Observer | str) -> Attachment:
    """Let *observer* hear of all requests that begin from now on, in this process.

    Args:
        observer: an observer, or the name of an installed one. Attaching the same object again changes nothing.

    Raises InvalidParameterError, and BrokenPluginError or DuplicatePluginError for an installed one.
    """
    if isinstance(observer, str):
        observer = load(observer)
    if not isinstance(observer, Observer):
        message = f"An observer is an object of a class derived from llamaforge.observers.Observer, not {observer!r}."
        raise InvalidParameterError("observer", None, "an Observer", show_value=False, message=message)
    with _lock:
        if not any(each is observer for each in observing.attached):
            observing.attached = (*observing.attached, observer)
        observing.wanted = True
    return Attachment(observer)


def detach(observer: Observer) -> None:
    """Let *observer* hear of no further requests, and close it. It still hears the ends of those that have begun.

    An observer that isn't attached is left alone.
    """
    with _lock:
        left = tuple(each for each in observing.attached if each is not observer)
        if len(left) == len(observing.attached):
            return
        observing.attached = left
        observing.wanted = bool(left or observing.pending)
    observer.close()


def attached() -> list[Observer]:
    """The observers that hear of requests now."""
    return list(observing.attached)


def installed() -> list[str]:
    """The names of the installed observers, and of core's own. Imports none."""
    return sorted({*BUILT_IN, *OBSERVERS.names()})


def load(name: str) -> Observer:
    """A new observer of the kind *name*.

    Raises InvalidParameterError with the closest names, BrokenPluginError or DuplicatePluginError.
    """
    known = installed()
    if name not in known:
        near = " or ".join(map(repr, closest(name, known)))
        message = f"No observer is called {name!r}." + (f" Did you mean {near}?" if near else "")
        message += f" Installed: {', '.join(known) or 'none'}."
        raise InvalidParameterError("observer", name, "the name of an installed observer", message=message)
    with guarded("observer", name, OBSERVERS.owner(name)):
        return find(name)()


def find(name: str) -> Callable[[], Observer]:
    """What makes the observer *name*. Raises KeyError, BrokenPluginError or DuplicatePluginError."""
    made: Any = import_object(BUILT_IN[name]) if name in BUILT_IN else OBSERVERS.load(name)
    if not callable(made):
        reason = f"its hook returned {type(made).__name__}, which is not callable"
        raise BrokenPluginError("observer", name, OBSERVERS.owner(name), reason, reason)
    return made  # type: ignore[no-any-return]


def load_pending() -> None:
    """Attach the observers that ``LLAMAFORGE_OBSERVERS`` names. What can't be loaded is logged: requests go on.

    Requests that begin meanwhile wait here, since all are to be observed.
    """
    global _loader
    if _loader == threading.get_ident():
        return
    with _loading:
        if not observing.pending:
            return
        _loader = threading.get_ident()
        try:
            for name in filter(None, (each.strip() for each in observing.pending.split(","))):
                try:
                    attach(name)
                except (LlamaForgeError, OSError) as error:
                    _logger.warning("%s, in the environment variable %s: %s", name, observing.VARIABLE, error)
        finally:
            _loader = None
            with _lock:
                observing.pending = ""
                observing.wanted = bool(observing.attached)


@atexit.register
def _close_all() -> None:
    for observer in observing.attached:
        with contextlib.suppress(Exception):
            observer.close()
