"""What belongs to the whole process: read, compared, and put back."""

from __future__ import annotations

import asyncio
import atexit
import builtins
import codecs
import contextlib
import decimal
import faulthandler
import gc
import json
import locale
import logging
import mimetypes
import multiprocessing
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

State = dict[str, Any]
"""Each part by its name."""

_SHARED: Final[tuple[tuple[Any, str], ...]] = (
    *((builtins, name) for name in ("print", "open", "input", "__import__")),
    *((socket, name) for name in ("socket", "create_connection", "getaddrinfo")),
    *((ssl, name) for name in ("SSLContext", "create_default_context", "_create_default_https_context")),
    *((time, name) for name in ("sleep", "time", "monotonic", "perf_counter")),
    *((json, name) for name in ("loads", "dumps")),
    *((os, name) for name in ("getcwd", "getenv", "_exit", "kill", "fork") if hasattr(os, name)),
    (subprocess, "Popen"),
    (threading, "Thread"),
    (asyncio, "run"),
    (logging.Logger, "_log"),
    (warnings, "showwarning"),
    (warnings, "formatwarning"),
)
"""Functions that libraries replace for everybody."""
_HOOKS: Final[tuple[tuple[Any, str], ...]] = (
    (sys, "excepthook"),
    (sys, "unraisablehook"),
    (sys, "displayhook"),
    (sys, "breakpointhook"),
    (threading, "excepthook"),
)
_STREAMS: Final[tuple[tuple[Any, str], ...]] = ((sys, "stdin"), (sys, "stdout"), (sys, "stderr"))


def read_state() -> State:
    """What belongs to the whole process, now."""
    return {name: read() for name, (read, _) in _parts().items()}


def put_back(state: State) -> None:
    """Make it again what it was, as far as that can be done."""
    for name, (read, write) in _parts().items():
        if write is not None and name in state and read() != state[name]:
            write(state[name])


def differences(before: State, now: State) -> dict[str, str]:
    """What has changed, and how. What wasn't there before is no change."""
    return {name: _difference(before[name], now[name]) for name in before if before[name] != now.get(name)}


def _parts() -> dict[str, tuple[Callable[[], Any], Callable[[Any], object] | None]]:
    found: dict[str, tuple[Callable[[], Any], Callable[[Any], object] | None]] = {
        "the environment": (lambda: dict(os.environ), _set_environment),
        "the working directory": (lambda: str(Path.cwd()), os.chdir),
        "signal handlers": (_signals, _set_signals),
        "signals of native code": (_native_signals, None),
        "timers": (_timers, None),
        "loggers": (_loggers, _set_loggers),
        "the logger class": (logging.getLoggerClass, logging.setLoggerClass),
        "warning filters": (lambda: list(warnings.filters), _set_filters),
        "the locale": (lambda: locale.setlocale(locale.LC_ALL), lambda value: locale.setlocale(locale.LC_ALL, value)),
        "the time zone": (lambda: time.tzname, None),
        "random numbers": (random.getstate, random.setstate),
        "the garbage collector": (lambda: (gc.isenabled(), gc.get_threshold(), gc.get_debug()), _set_collector),
        "the collector's callbacks": (lambda: list(gc.callbacks), None),
        "the default time limit of sockets": (socket.getdefaulttimeout, socket.setdefaulttimeout),
        "hooks for exceptions": _attributes(_HOOKS),
        "standard streams": _attributes(_STREAMS),
        "functions that all share": _attributes(_SHARED),
        "the recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
        "the switch interval": (sys.getswitchinterval, sys.setswitchinterval),
        "the longest integer": (sys.get_int_max_str_digits, sys.set_int_max_str_digits),
        "tracing": (lambda: (threading.gettrace(), threading.getprofile()), None),
        "the import system": (_imports, _set_imports),
        "the program's arguments": (lambda: list(sys.argv), lambda value: sys.argv.__setitem__(slice(None), value)),
        "the stack size of threads": (threading.stack_size, threading.stack_size),
        "the start method of processes": (lambda: multiprocessing.get_start_method(allow_none=True), None),
        "faulthandler": (faulthandler.is_enabled, None),
        "limits of the process": (_limits, None),
        "the folder of temporary files": (tempfile.gettempdir, lambda value: setattr(tempfile, "tempdir", value)),
        "the umask": (_umask, os.umask),
        "decimal's context": (lambda: repr(decimal.DefaultContext), None),
        "codecs": (lambda: codecs.lookup_error("strict"), None),
        "types of files": (lambda: len(mimetypes.types_map), None),
        **_of_libraries(),
    }
    return found


def exit_hooks() -> int:
    """How many functions are called when the interpreter ends."""
    count: Callable[[], int] = getattr(atexit, "_ncallbacks", lambda: 0)
    return count()


def _attributes(places: tuple[tuple[Any, str], ...]) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    def read() -> dict[str, Any]:
        return {f"{getattr(owner, '__name__', owner)}.{name}": getattr(owner, name, None) for owner, name in places}

    def write(values: Mapping[str, Any]) -> None:
        for (owner, name), value in zip(places, values.values(), strict=True):
            setattr(owner, name, value)

    return read, write


def _set_environment(values: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name not in values]:
        del os.environ[name]
    for name, value in values.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _signals() -> dict[str, Any]:
    return {number.name: signal.getsignal(number) for number in _known_signals()}


def _set_signals(handlers: Mapping[str, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _known_signals():
            wanted = handlers[number.name]
            if wanted is not None and signal.getsignal(number) != wanted:
                signal.signal(number, wanted)


def _known_signals() -> Iterator[signal.Signals]:
    for number in signal.valid_signals():
        if isinstance(number, signal.Signals):
            yield number


def _native_signals() -> list[str]:
    try:
        return re.findall(r"^Sig(?:Ign|Cgt):.*$", Path("/proc/self/status").read_text(encoding="utf-8"), re.M)
    except OSError:
        return []


def _timers() -> list[float]:
    kinds = [getattr(signal, name, None) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")]
    return [signal.getitimer(kind)[1] for kind in kinds if kind is not None]


def _loggers() -> dict[str, Any]:
    """The root logger, and the levels of all others that somebody has set."""
    root, manager = logging.getLogger(), logging.root.manager
    found: dict[str, Any] = {
        "the root logger": (root.level, root.disabled, list(root.handlers), list(root.filters)),
        "logging.disable()": manager.disable,
    }
    for name in ("asyncio", "concurrent.futures", "multiprocessing", "py.warnings"):
        logger = manager.loggerDict.get(name)
        if isinstance(logger, logging.Logger):
            found[name] = (logger.level, logger.disabled, list(logger.handlers), logger.propagate)
    return found


def _set_loggers(values: Mapping[str, Any]) -> None:
    root = logging.getLogger()
    level, root.disabled, root.handlers[:], root.filters[:] = values["the root logger"]
    root.setLevel(level)
    logging.disable(values["logging.disable()"])


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    getattr(warnings, "_filters_mutated", lambda: None)()


def _set_collector(values: tuple[bool, tuple[int, int, int], int]) -> None:
    enabled, threshold, debug = values
    (gc.enable if enabled else gc.disable)()
    gc.set_threshold(*threshold)
    gc.set_debug(debug)


def _imports() -> tuple[list[Any], ...]:
    return list(sys.path), list(sys.meta_path), list(sys.path_hooks)


def _set_imports(values: tuple[list[Any], ...]) -> None:
    sys.path[:], sys.meta_path[:], sys.path_hooks[:] = values


def _limits() -> list[Any]:
    try:
        import resource
    except ImportError:  # Windows has none
        return []
    names = ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_STACK")
    found: list[Any] = [resource.getrlimit(getattr(resource, name)) for name in names if hasattr(resource, name)]
    found.append(os.getpriority(os.PRIO_PROCESS, 0))
    if hasattr(os, "sched_getaffinity"):
        found.append(os.sched_getaffinity(os.getpid()))
    return found


def _of_libraries() -> dict[str, tuple[Callable[[], Any], Callable[[Any], object] | None]]:
    """The same for libraries that are loaded already."""
    found: dict[str, tuple[Callable[[], Any], Callable[[Any], object] | None]] = {}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and hasattr(numpy, "random"):
        found["numpy's random numbers"] = (lambda: str(numpy.random.get_state()), None)
        found["numpy's handling of errors"] = (lambda: numpy.geterr(), lambda value: numpy.seterr(**value))
        found["numpy's print options"] = (lambda: repr(numpy.get_printoptions()), None)
    if torch is not None and hasattr(torch, "get_rng_state"):
        found["torch's random numbers"] = (lambda: torch.get_rng_state().tolist(), None)
        found["torch's defaults"] = (
            lambda: (torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()),
            None,
        )
    return found


@contextlib.contextmanager
def stirred() -> Iterator[None]:
    """In this block, global generators of libraries that are loaded stand elsewhere than after any seed."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    numbers = numpy.random.get_state() if numpy is not None and hasattr(numpy, "random") else None
    more = torch.get_rng_state() if torch is not None and hasattr(torch, "get_rng_state") else None
    if numbers is not None and numpy is not None:
        numpy.random.random(3)
    if more is not None and torch is not None:
        torch.rand(3)
    try:
        yield
    finally:
        if numbers is not None and numpy is not None:
            numpy.random.set_state(numbers)
        if more is not None and torch is not None:
            torch.set_rng_state(more)


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        return f"{', '.join(map(str, names))} changed"
    text = f"{before!r} became {now!r}"
    return text if len(text) <= 200 else "it changed"
