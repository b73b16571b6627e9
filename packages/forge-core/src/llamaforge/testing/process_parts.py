"""Parts of a process's state that are many things of one sort: loggers, functions, settings of libraries."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final


def differ(before: Any, now: Any) -> str:
    """How both differ, in words; nothing where they don't."""
    if before == now:
        return ""
    if isinstance(before, dict) and isinstance(now, dict):
        return _changed(name for name in {*before, *now} if before.get(name) != now.get(name))
    text = f"{before!r} became {now!r}"
    return text if len(text) <= 200 else "it changed"


def differ_in_known(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The same of what was there before. What a library adds when it is imported is no change."""
    return _changed(name for name in before if name not in now or now[name] != before[name])


@dataclass(frozen=True)
class Part:
    """One part: how it is read, how it is made again what it was, and how two readings differ."""

    read: Callable[[], Any]
    write: Callable[[Any], object] | None = None
    """What puts it back. None: it can't be."""
    differ: Callable[[Any, Any], str] = differ


def attributes(places: tuple[tuple[Any, str], ...]) -> Part:
    """Attributes of modules. One that isn't there is None."""

    def read() -> dict[str, Any]:
        return {f"{owner.__name__}.{name}": getattr(owner, name, None) for owner, name in places}

    def write(values: Mapping[str, Any]) -> None:
        for (owner, name), value in zip(places, values.values(), strict=True):
            if getattr(owner, name, None) is not value:
                setattr(owner, name, value)

    return Part(read, write)


# Loggers.


def loggers() -> dict[str, Any]:
    """All loggers there are, the root among them."""
    manager = logging.root.manager
    found: dict[str, Any] = {"logging.disable()": manager.disable, "the root logger": _logger(logging.root)}
    for name, logger in manager.loggerDict.copy().items():
        if isinstance(logger, logging.Logger):
            found[name] = _logger(logger)
    return found


def put_loggers_back(values: Mapping[str, Any]) -> None:
    """Make them again what they were. One that is new stays."""
    logging.disable(values["logging.disable()"])
    for name, value in values.items():
        logger = logging.root if name == "the root logger" else logging.root.manager.loggerDict.get(name)
        if not isinstance(logger, logging.Logger) or _logger(logger) == value:
            continue
        level, logger.disabled, logger.propagate, handlers, logger.filters[:] = value
        logger.setLevel(level)
        logger.handlers[:] = [handler for handler, *_ in handlers]
        for handler, own_level, handler.formatter, handler.filters[:] in handlers:
            handler.setLevel(own_level)


def _logger(logger: logging.Logger) -> tuple[Any, ...]:
    handlers = [(each, each.level, each.formatter, list(each.filters)) for each in logger.handlers]
    return logger.level, logger.disabled, logger.propagate, handlers, list(logger.filters)


# Functions.

_CLASSES: Final = (
    *(("logging", name) for name in ("Logger", "Handler", "Formatter", "LogRecord")),
    *(("threading", name) for name in ("Thread", "Timer")),
    *(("http.client", name) for name in ("HTTPConnection", "HTTPSConnection", "HTTPResponse")),
    *(("json", name) for name in ("JSONEncoder", "JSONDecoder")),
    *(("asyncio", name) for name in ("BaseEventLoop", "SelectorEventLoop", "Runner")),
    ("socket", "socket"),
    ("ssl", "SSLContext"),
    ("subprocess", "Popen"),
    ("pathlib", "Path"),
    ("concurrent.futures", "ThreadPoolExecutor"),
    ("random", "Random"),
    ("queue", "Queue"),
)
"""Classes of the standard library whose attributes libraries like to replace."""
_SETTINGS: Final = frozenset({"debuglevel", "_opener", "lastResort", "raiseExceptions"})
"""Of the standard library's modules and classes, those that a function sets or that are documented to be set."""
_OWN: Final = frozenset({"sys"})
"""Modules that are looked at part by part."""


def functions() -> dict[str, dict[str, Any]]:
    """All names in the standard library's modules, as far as they are loaded, and in some of its classes."""
    return {name: dict(vars(owner)) for name, owner in _owners()}


def put_functions_back(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Make functions and classes again what they were."""
    for owner_name, owner in _owners():
        for name in _replaced(values.get(owner_name, {}), vars(owner)):
            setattr(owner, name, values[owner_name][name])


def differ_in_functions(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> str:
    """Which functions, classes and constants were replaced or taken away, and what was added to the builtins."""
    changed = [f"{owner}.{name}" for owner in before if owner in now for name in _replaced(before[owner], now[owner])]
    shown = {"_"} if hasattr(sys, "ps1") else set()  # the interactive interpreter's last value
    added = now.get("builtins", {}).keys() - before.get("builtins", {}).keys() - shown
    return _changed([*changed, *(f"builtins.{name}" for name in added)])


def _owners() -> Iterator[tuple[str, Any]]:
    for name, module in sys.modules.copy().items():
        if name.partition(".")[0] in sys.stdlib_module_names - _OWN and hasattr(module, "__dict__"):
            yield name, module
    for module_name, name in _CLASSES:
        owner = getattr(sys.modules.get(module_name), name, None)
        if isinstance(owner, type):
            yield f"{module_name}.{name}", owner


def _replaced(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Names of functions, classes, constants and settings. Other values are the modules' own: counters, caches."""
    for name, value in before.items():
        if now.get(name) is not value and (
            callable(value)
            or name.isupper()
            or name in _SETTINGS
            or isinstance(value, classmethod | staticmethod | property)
        ):
            yield name


# Libraries that are loaded already.


def of_libraries() -> dict[str, Part]:
    """What numpy and torch keep for the whole process."""
    found: dict[str, Part] = {}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and hasattr(numpy, "random"):
        found["numpy's random numbers"] = Part(lambda: repr(numpy.random.get_state()))
    if torch is not None and hasattr(torch, "get_rng_state"):
        found["torch's random numbers"] = Part(lambda: torch.get_rng_state().numpy().tobytes())
        found["torch's default type"] = Part(torch.get_default_dtype, torch.set_default_dtype)
        found["torch's deterministic algorithms"] = Part(
            torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
        )
        found["torch's precision of products"] = Part(
            torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
        )
    return found


def of_libraries_in_threads() -> dict[str, Part]:
    """What they keep for each thread."""
    found: dict[str, Part] = {}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and hasattr(numpy, "get_printoptions"):
        found["numpy's handling of errors"] = Part(numpy.geterr, lambda was: numpy.seterr(**was))
        found["numpy's calls for errors"] = Part(
            lambda: (numpy.geterrcall(), numpy.getbufsize()),
            lambda was: (numpy.seterrcall(was[0]), numpy.setbufsize(was[1])),
        )
        found["numpy's print options"] = Part(numpy.get_printoptions, lambda was: numpy.set_printoptions(**was))
    if torch is not None and hasattr(torch, "is_grad_enabled"):
        found["torch's gradients"] = Part(torch.is_grad_enabled, torch.set_grad_enabled)
        found["torch's inference mode"] = Part(torch.is_inference_mode_enabled)
        if hasattr(torch, "get_default_device"):
            found["torch's default device"] = Part(torch.get_default_device, torch.set_default_device)
        found["torch's number of threads"] = Part(torch.get_num_threads, torch.set_num_threads)
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


def _changed(names: Any) -> str:
    found = sorted(map(str, names))
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f"{', '.join(found[:8])}{more} changed" if found else ""
