"""Forks: the child process has the objects of its parent, but none of its threads.

A lock that another thread held would stay locked there forever, and that thread's work would never continue. So objects
with such locks or threads are notified in the child, before anything else runs there.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar

_logger = logging.getLogger("llamaforge")


class ForkAware(Protocol):
    """An object that threads share."""

    def after_fork(self) -> None:
        """Called in the child of a fork, where the thread that forked is the only one."""


class _Lock(Protocol):
    def acquire(self, blocking: bool = ...) -> bool: ...

    def release(self) -> None: ...


LockT = TypeVar("LockT", bound=_Lock)

_watched: dict[int, weakref.ref[ForkAware]] = {}


def watch(owner: ForkAware) -> None:
    """Call ``owner.after_fork()`` in each child that this process forks, for as long as *owner* is alive."""
    key = id(owner)
    _watched[key] = weakref.ref(owner, lambda _: _watched.pop(key, None))


def renewed(lock: LockT, make: Callable[[], LockT]) -> LockT:
    """In the child: *lock*, or a new one where another thread held it. One that this thread holds stays held, where it
    is reentrant."""
    if lock.acquire(blocking=False):
        lock.release()
        return lock
    return make()


class ForkSafeLock:
    """A lock for ``with`` that no thread of the parent holds in a forked child."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        watch(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def after_fork(self) -> None:
        """Renew it, unless it is this thread that holds it."""
        self._lock = renewed(self._lock, threading.RLock)


def _tell_child() -> None:
    for reference in list(_watched.values()):
        owner = reference()
        if owner is not None:
            try:
                owner.after_fork()
            except Exception:
                _logger.exception("%s could not be reset after a fork.", type(owner).__name__)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_child)
