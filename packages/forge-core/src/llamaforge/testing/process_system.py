"""Parts of a process's state that the operating system keeps: signals, timers, files, limits."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .process_parts import Part


def of_the_system() -> dict[str, Part]:
    """What the process has."""
    return {
        "signal handlers": Part(_signals, _set_signals),
        "signals of native code": Part(lambda: _status("SigIgn", "SigCgt")),
        "timers": Part(_timers, _set_timers),
        "the files that standard streams are": Part(_standard_files),
        "the process's name": Part(*_name_of_process()),
        "limits of the process": Part(_limits, _set_limits),
        "the umask": Part(_umask, os.umask),
    }


def of_the_system_in_threads() -> dict[str, Part]:
    """What each thread has."""
    return {
        "blocked signals": Part(*_blocked_signals()),
    }


def _status(*fields: str) -> list[str]:
    """Lines of what Linux tells of this process; elsewhere none."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.partition(":")[0] in fields]
    return []


def _known_signals() -> Iterator[signal.Signals]:
    for number in signal.valid_signals():
        if isinstance(number, signal.Signals):
            yield number


def _signals() -> dict[str, Any]:
    return {number.name: signal.getsignal(number) for number in _known_signals()}


def _set_signals(handlers: Mapping[str, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _known_signals():
            wanted = handlers[number.name]
            if wanted is not None and signal.getsignal(number) != wanted:
                signal.signal(number, wanted)


def _blocked_signals() -> tuple[Callable[[], Any], Callable[[Any], object]]:
    mask: Any = getattr(signal, "pthread_sigmask", None)
    if mask is None:  # Windows has none
        return (lambda: None), (lambda _: None)
    return (lambda: mask(signal.SIG_BLOCK, ())), (lambda was: mask(signal.SIG_SETMASK, was))


def _kinds_of_timers() -> list[int]:
    kinds = [getattr(signal, name, None) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")]
    return [kind for kind in kinds if kind is not None]


def _timers() -> list[tuple[bool, float]]:
    """Whether each runs, and how often it comes again."""
    return [(left > 0, again) for left, again in map(signal.getitimer, _kinds_of_timers())]


def _set_timers(was: list[tuple[bool, float]]) -> None:
    """Stop those that didn't run. How much time was left of others isn't known."""
    for kind, (ran, _) in zip(_kinds_of_timers(), was, strict=True):
        if not ran:
            signal.setitimer(kind, 0)


def _standard_files() -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for number in range(3):
        try:
            told = os.fstat(number)
        except OSError:
            found.append(None)
        else:
            found.append((told.st_dev, told.st_ino))
    return found


def _name_of_process() -> tuple[Callable[[], Any], Callable[[Any], object]]:
    path = Path("/proc/self/comm")
    if not path.exists():
        return (lambda: None), (lambda _: None)
    return path.read_bytes, path.write_bytes


def _limits() -> dict[str, Any]:
    try:
        import resource
    except ImportError:  # Windows has none
        return {}
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    found: dict[str, Any] = {name: resource.getrlimit(getattr(resource, name)) for name in names}
    found["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
    found["group and session"] = os.getpgrp(), os.getsid(0)
    if hasattr(os, "sched_getaffinity"):
        found["CPUs"] = os.sched_getaffinity(0)
    return found


def _set_limits(was: Mapping[str, Any]) -> None:
    import resource

    for name, value in was.items():
        with contextlib.suppress(OSError, ValueError):  # some can only be lowered
            if name == "CPUs":
                os.sched_setaffinity(0, value)
            elif name == "nice":
                os.setpriority(os.PRIO_PROCESS, 0, value)
            elif name.startswith("RLIMIT_"):
                resource.setrlimit(getattr(resource, name), value)


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask
