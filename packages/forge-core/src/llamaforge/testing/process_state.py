"""What belongs to the whole process: read, compared, and put back.

A part that can be put back is seen even where a backend always sets it to the same value: the kit loads the model once,
puts all back, and looks at what the second load does.
"""

from __future__ import annotations

import asyncio
import atexit
import codecs
import contextlib
import copyreg
import decimal
import faulthandler
import gc
import locale
import logging
import mimetypes
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from .process_parts import (
    Part,
    attributes,
    differ_in_functions,
    differ_in_known,
    functions,
    loggers,
    of_libraries,
    of_libraries_in_threads,
    put_functions_back,
    put_loggers_back,
)
from .process_system import of_the_system, of_the_system_in_threads

State = dict[str, Any]
"""Each part by its name."""

_ATTRIBUTES: Final = (
    (sys, "excepthook"),
    (sys, "unraisablehook"),
    (sys, "displayhook"),
    (sys, "breakpointhook"),
    (sys, "tracebacklimit"),
    (sys, "dont_write_bytecode"),
    (sys, "pycache_prefix"),
    (threading, "excepthook"),
    (tempfile, "template"),
    (decimal, "DefaultContext"),
)
_STREAMS: Final = tuple((sys, name) for name in ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"))
_ENCODING_ERRORS: Final = (
    "strict",
    "ignore",
    "replace",
    "xmlcharrefreplace",
    "backslashreplace",
    "namereplace",
    "surrogateescape",
)
_CONTEXT: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def read_state() -> State:
    """What belongs to the whole process, now."""
    return {name: part.read() for name, part in _parts().items()}


def read_thread() -> State:
    """What belongs to the thread that calls this. What it sets in the main thread, the program's own code meets."""
    return {name: part.read() for name, part in _parts_of_a_thread().items()}


def put_back(state: State) -> None:
    """Make it again what it was, as far as that can be done; in the main thread."""
    for name, part in (_parts() | _parts_of_a_thread()).items():
        if part.write is not None and name in state and part.differ(state[name], part.read()):
            with contextlib.suppress(Exception):
                part.write(state[name])


def differences(before: State, now: State) -> dict[str, str]:
    """What has changed, and how. What wasn't there before is no change."""
    parts = _parts() | _parts_of_a_thread()
    found = {name: parts[name].differ(before[name], now[name]) for name in before if name in now and name in parts}
    return {name: how for name, how in found.items() if how}


def exit_hooks() -> int:
    """How many functions are called when the interpreter ends."""
    count: Any = getattr(atexit, "_ncallbacks", lambda: 0)
    return int(count())


def _parts() -> dict[str, Part]:
    return {
        "the environment": Part(lambda: dict(os.environ), _set_environment),
        "the working directory": Part(lambda: str(Path.cwd()), os.chdir),
        "the time zone": Part(lambda: time.tzname, lambda _: getattr(time, "tzset", lambda: None)()),
        "loggers": Part(loggers, put_loggers_back, differ_in_known),
        "the logger class": Part(logging.getLoggerClass, logging.setLoggerClass),
        "the factory of log records": Part(logging.getLogRecordFactory, logging.setLogRecordFactory),
        "names of log levels": Part(logging.getLevelNamesMapping, _set_levels),
        "warning filters": Part(lambda: list(warnings.filters), _set_filters),
        "the locale": Part(lambda: locale.setlocale(locale.LC_ALL), lambda was: locale.setlocale(locale.LC_ALL, was)),
        "random numbers": Part(random.getstate, random.setstate),
        "the garbage collector": Part(_collector, _set_collector),
        "the collector's callbacks": Part(lambda: list(gc.callbacks), lambda was: _refill(gc.callbacks, was)),
        "the default time limit of sockets": Part(socket.getdefaulttimeout, socket.setdefaulttimeout),
        "hooks and switches": attributes(_ATTRIBUTES),
        "standard streams": attributes(_STREAMS),
        "settings of standard streams": Part(_settings_of_streams, _set_settings_of_streams),
        "functions that all share": Part(functions, put_functions_back, differ_in_functions),
        "loaded modules": Part(lambda: dict(sys.modules), sys.modules.update, differ_in_known),
        "the recursion limit": Part(sys.getrecursionlimit, sys.setrecursionlimit),
        "the switch interval": Part(sys.getswitchinterval, sys.setswitchinterval),
        "the longest integer": Part(sys.get_int_max_str_digits, sys.set_int_max_str_digits),
        "flags of libraries that are opened": Part(*_flags_of_libraries()),
        "tracing": Part(lambda: (threading.gettrace(), threading.getprofile(), _monitors()), _set_tracing),
        "tracing of memory": Part(
            tracemalloc.is_tracing, lambda was: (tracemalloc.start if was else tracemalloc.stop)()
        ),
        "the import system": Part(_imports, _set_imports),
        "the program's arguments": Part(lambda: list(sys.argv), lambda was: _refill(sys.argv, was)),
        "the stack size of threads": Part(threading.stack_size, threading.stack_size),
        "the start method of processes": Part(
            lambda: multiprocessing.get_start_method(allow_none=True),
            lambda was: multiprocessing.set_start_method(was, force=True),
        ),
        "faulthandler": Part(faulthandler.is_enabled, _set_faulthandler),
        "the folder of temporary files": Part(tempfile.gettempdir, lambda was: setattr(tempfile, "tempdir", was)),
        "the event loop policy": Part(_policy, _set_policy),
        "decimal's defaults": Part(
            lambda: _context(decimal.DefaultContext), lambda was: _set_context(decimal.DefaultContext, was)
        ),
        "codecs": Part(lambda: {name: codecs.lookup_error(name) for name in _ENCODING_ERRORS}, _set_codecs),
        "pickling": Part(
            lambda: dict(copyreg.dispatch_table), lambda was: copyreg.dispatch_table.update(was), differ_in_known
        ),
        "types of files": Part(_types_of_files, _set_types_of_files),
        **of_the_system(),
        **of_libraries(),
    }


def _parts_of_a_thread() -> dict[str, Part]:
    return {
        "decimal's context": Part(
            lambda: _context(decimal.getcontext()), lambda was: _set_context(decimal.getcontext(), was)
        ),
        "tracing of the main thread": Part(lambda: (sys.gettrace(), sys.getprofile()), _set_own_tracing),
        "hooks of asynchronous generators": Part(
            lambda: (*sys.get_asyncgen_hooks(), sys.get_coroutine_origin_tracking_depth()), _set_hooks_of_generators
        ),
        "names of thread and process": Part(_names, _set_names),
        "the main thread's event loop": Part(_loop, asyncio.set_event_loop, _differ_in_loops),
        **of_the_system_in_threads(),
        **of_libraries_in_threads(),
    }


def _set_environment(values: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name not in values]:
        del os.environ[name]
    for name, value in values.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _set_levels(names: Mapping[str, int]) -> None:
    for name, level in names.items():
        if logging.getLevelNamesMapping().get(name) != level:
            logging.addLevelName(level, name)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    getattr(warnings, "_filters_mutated", lambda: None)()


def _collector() -> tuple[Any, ...]:
    return gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count() > 0


def _set_collector(values: tuple[Any, ...]) -> None:
    enabled, threshold, debug, frozen = values
    (gc.enable if enabled else gc.disable)()
    gc.set_threshold(*threshold)
    gc.set_debug(debug)
    if not frozen:
        gc.unfreeze()


def _imports() -> tuple[list[Any], ...]:
    return list(sys.path), list(sys.meta_path), list(sys.path_hooks)


def _set_imports(values: tuple[list[Any], ...]) -> None:
    sys.path[:], sys.meta_path[:], sys.path_hooks[:] = values


def _settings_of_streams() -> dict[str, tuple[Any, ...]]:
    names = ("encoding", "errors", "line_buffering", "write_through")
    return {
        stream: tuple(getattr(getattr(sys, stream), name, None) for name in names)
        for stream in ("stdin", "stdout", "stderr")
    }


def _set_settings_of_streams(was: Mapping[str, tuple[Any, ...]]) -> None:
    for stream, (encoding, errors, buffered, through) in was.items():
        reconfigure: Any = getattr(getattr(sys, stream), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding=encoding, errors=errors, line_buffering=buffered, write_through=through)


def _flags_of_libraries() -> tuple[Callable[[], Any], Callable[[Any], object]]:
    if not hasattr(sys, "getdlopenflags"):  # Windows has none
        return (lambda: None), (lambda _: None)
    return sys.getdlopenflags, sys.setdlopenflags


def _monitors() -> tuple[Any, ...]:
    monitoring: Any = getattr(sys, "monitoring", None)  # from Python 3.12 on
    return () if monitoring is None else tuple(map(monitoring.get_tool, range(6)))


def _set_tracing(was: tuple[Any, ...]) -> None:
    trace, profile, monitors = was
    threading.settrace(trace)
    threading.setprofile(profile)
    monitoring: Any = getattr(sys, "monitoring", None)
    for number, tool in enumerate(monitors):
        if tool is None:
            monitoring.free_tool_id(number)


def _set_faulthandler(was: bool) -> None:
    if was:
        faulthandler.enable(sys.__stderr__ or 2)
    else:
        faulthandler.disable()


def _policy() -> Any:
    with warnings.catch_warnings():  # deprecated from Python 3.14 on
        warnings.simplefilter("ignore", DeprecationWarning)
        return asyncio.get_event_loop_policy()


def _set_policy(was: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(was)


def _loop() -> Any:
    """The loop that the thread has for those who ask for one outside of any; None where that is not known."""
    return getattr(getattr(_policy(), "_local", None), "_loop", None)


def _differ_in_loops(before: Any, now: Any) -> str:
    """``asyncio.run`` leaves none, wherever it is called."""
    return "" if now is None or now is before else f"{before!r} became {now!r}"


def _names() -> tuple[str, str]:
    return threading.current_thread().name, multiprocessing.current_process().name


def _set_names(was: tuple[str, str]) -> None:
    threading.current_thread().name, multiprocessing.current_process().name = was


def _context(context: decimal.Context) -> tuple[Any, ...]:
    """All but the flags, which every computation sets."""
    return (*(getattr(context, name) for name in _CONTEXT), [kind for kind, traps in context.traps.items() if traps])


def _set_context(context: decimal.Context, was: tuple[Any, ...]) -> None:
    *values, traps = was
    for name, value in zip(_CONTEXT, values, strict=True):
        setattr(context, name, value)
    for kind in context.traps:
        context.traps[kind] = kind in traps


def _set_codecs(was: Mapping[str, Any]) -> None:
    for name, handler in was.items():
        codecs.register_error(name, handler)


def _types_of_files() -> dict[str, str]:
    if not mimetypes.inited:
        mimetypes.init()
    return dict(mimetypes.types_map)


def _set_types_of_files(was: Mapping[str, str]) -> None:
    mimetypes.types_map.clear()
    mimetypes.types_map.update(was)


def _set_own_tracing(was: tuple[Any, Any]) -> None:
    sys.settrace(was[0])
    sys.setprofile(was[1])


def _set_hooks_of_generators(was: tuple[Any, ...]) -> None:
    sys.set_asyncgen_hooks(*was[:2])
    sys.set_coroutine_origin_tracking_depth(was[2])


def _refill(kept: list[Any], values: list[Any]) -> None:
    kept[:] = values
