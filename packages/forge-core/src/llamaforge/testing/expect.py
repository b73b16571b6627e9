"""Assertions that report the expected and the actual value."""

from __future__ import annotations

import inspect
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .heartbeat import beat, running_check
from .promises import BY_CHECK

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

_LONGEST = 600


class NotAsExpected(AssertionError):
    """A backend breaks the contract. Attributes: ``expected``; ``came`` (the actual value)."""

    def __init__(self, expected: str, came: object) -> None:
        self.expected = expected
        self.came = came if isinstance(came, Told) else shown(came)
        super().__init__(f"\nexpected: {expected}\ncame:     {self.came}{_broken_promises()}")


class Hangs(NotAsExpected):
    """The backend doesn't come back. Whatever it was asked through can't be used any more."""


class Told(str):
    """The actual result in words rather than as a value."""


def _broken_promises() -> str:
    """A line that names the promises of the check that is running, in this thread or, if it has others, in one."""
    frame = inspect.currentframe()
    kept = BY_CHECK.get(running_check(), ())
    while frame is not None and not kept:
        kept = BY_CHECK.get(frame.f_code.co_name, ())
        frame = frame.f_back
    told = "; ".join(f"{promise.id}, {promise.says} (docs/{promise.link})" for promise in kept)
    return f"\npromised: {told}" if told else ""


def shown(value: object) -> str:
    """*value* for a message: an exception by its type and text, anything else as its repr, shortened if it is long."""
    text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def expect(condition: object, expected: str, came: object) -> None:
    """Fail unless *condition* holds."""
    __tracebackhide__ = True
    beat()
    if not condition:
        raise NotAsExpected(expected, came)


def expect_equal(came: object, wanted: object, what: str) -> None:
    """Fail unless *came* equals *wanted*; *what* names the value."""
    __tracebackhide__ = True
    beat()
    if came != wanted:
        raise NotAsExpected(f"{what} to be {shown(wanted)}", came)


def expect_refusal(kind: type[E] | tuple[type[E], ...], call: Callable[[], object], what: str) -> E:
    """The error of *kind* that *call* raises. Fail if it returns or raises something else."""
    __tracebackhide__ = True
    beat()
    kinds = kind if isinstance(kind, tuple) else (kind,)
    names = " or ".join(each.__name__ for each in kinds)
    try:
        returned = call()
    except kinds as error:
        return error
    except Hangs:
        raise
    except Exception as error:
        raise NotAsExpected(f"{names} for {what}", error) from error
    raise NotAsExpected(f"{names} for {what}", Told(f"no error: {shown(returned)}"))


def within(seconds: float, call: Callable[[], T], doing: str) -> T:
    """Return or raise the outcome of *call*. Fail, with its stack, if it takes more than *seconds*."""
    __tracebackhide__ = True
    outcome: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised again below
            outcome.append((None, error))

    worker = threading.Thread(target=work, name="conformance", daemon=True)
    beat()
    worker.start()
    worker.join(seconds)
    beat()
    if not outcome:
        where = stack_of(worker)
        raise Hangs(f"{doing} to end within {seconds:g} s (patience)", Told(f"it hangs at\n{where}"))
    returned, error = outcome[0]
    if error is not None:
        raise error
    value: T = returned
    return value


def stack_of(thread: threading.Thread) -> str:
    """Where *thread* is now."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else "it is not known where"


def together(seconds: float, works: Sequence[Callable[[], None]]) -> None:
    """Run all at once, in threads. The first failure of any is the check's; so is taking more than *seconds*."""
    __tracebackhide__ = True
    failures: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            start.wait()
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,), name="conformance", daemon=True) for work in works]

    def wait_for_all() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    within(seconds, wait_for_all, f"{len(works)} threads at once")
    if failures:
        raise failures[0] if isinstance(failures[0], NotAsExpected) else NotAsExpected("no failure", failures[0])


def comes_true(condition: Callable[[], object], seconds: float) -> bool:
    """Whether *condition* holds at some moment of the next *seconds*."""
    deadline = time.perf_counter() + seconds
    beat()
    while not condition():
        if time.perf_counter() > deadline:
            return bool(condition())
        time.sleep(0.02)
    return True
