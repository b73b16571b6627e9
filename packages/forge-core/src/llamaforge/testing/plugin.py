"""What the kit tells pytest: the marker of its slow checks, and the lines at the end that sum it up by promise.

pytest finds it by its entry point, and a test class of the kit registers it where plugins aren't loaded by themselves.
Nothing else of the kit is imported before there is something to sum up.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pytest

NAME: Final = "llamaforge.testing.plugin"
KEYWORD: Final = "llamaforge_check"
"""An attribute of every check, which pytest makes a keyword of its report."""
UNMEASURED: Final = "could not be measured"
NOT_RUN: Final = "not run"
GRACE: Final = 3.0
"""Seconds that threads have to end at the interpreter's end."""


class Summary:
    """The outcomes of one session, by test class and check."""

    def __init__(self) -> None:
        self._outcomes: dict[str, dict[str, tuple[str, str]]] = {}
        self.status = 0

    def add(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        if KEYWORD not in report.keywords or "::" not in report.nodeid:
            return
        outcome = _outcome(report)
        if outcome is None:
            return
        owner, _, name = report.nodeid.rpartition("::")
        checks = self._outcomes.setdefault(owner.rpartition("::")[2], {})
        name = name.partition("[")[0]
        if checks.get(name, ("", ""))[0] != "failed":
            checks[name] = outcome

    def lines(self) -> list[str]:
        """What is printed."""
        return [line for owner, checks in self._outcomes.items() for line in _told(owner, checks)]


def pytest_configure(config: pytest.Config) -> None:
    """Explain the marker."""
    start(config)


def start(config: pytest.Config) -> None:
    """Sum up what comes in this session, if that isn't done yet."""
    if KEY not in config.stash:
        config.stash[KEY] = Summary()
        config.addinivalue_line(
            "markers", "slow: checks of llamaforge's conformance kit that daily work can do without (-m 'not slow')"
        )


KEY: Final = pytest.StashKey[Summary]()
_SUMMARIES: Final[list[Summary]] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    """Reports don't know their session."""
    _SUMMARIES.append(session.config.stash[KEY])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember it; with pytest-xdist, in the process that prints."""
    if _SUMMARIES:
        _SUMMARIES[-1].add(report)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how it ended."""
    session.config.stash[KEY].status = int(exitstatus)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the lines."""
    lines = config.stash[KEY].lines()
    if lines:
        terminalreporter.section("conformance")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Threads of a broken backend that never end would keep the interpreter from ending, after all has been said."""
    summary = config.stash.get(KEY, None)
    if summary is not None and summary in _SUMMARIES:
        _SUMMARIES.remove(summary)
    if summary is not None and summary.lines() and not hasattr(config, "workerinput"):
        threading.Thread(target=_end_anyway, args=(summary.status,), name="conformance", daemon=True).start()


def _outcome(report: pytest.TestReport) -> tuple[str, str] | None:
    if report.failed:
        return "failed", ""
    if report.skipped:
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = told.removeprefix("Skipped: ")
        kind = next((kind for kind in (UNMEASURED, NOT_RUN) if reason.startswith(kind)), "excused")
        return kind, reason.removeprefix(f"{kind}: ")
    return ("passed", "") if report.when == "call" else None


def _told(owner: str, checks: Mapping[str, tuple[str, str]]) -> list[str]:
    """The lines about one test class."""
    from .promises import BY_CHECK

    kinds = {name: kind for name, (kind, _) in checks.items()}
    promises = {promise.id: promise for name in checks for promise in BY_CHECK.get(name, ())}
    state = {key: _state(kinds[name] for name in promise.checks if name in kinds) for key, promise in promises.items()}
    broken = [key for key, kind in state.items() if kind == "failed"]
    unseen = [key for key, kind in state.items() if kind not in ("failed", "passed")]
    lines = [f"{key} is broken: {promises[key].says} (docs/{promises[key].link})" for key in broken]
    lines += [f"{key} could not be measured: {promises[key].says}" for key in unseen]
    lines.append(
        f"{owner}: {_counted(kinds.values())}; of {len(promises)} promises {len(promises) - len(broken) - len(unseen)} "
        f"are kept, {len(broken)} broken, {len(unseen)} could not be measured"
    )
    return lines


def _state(kinds: Iterable[str]) -> str:
    """What becomes of a promise: one failure breaks it, and one check that passes is enough to have seen it."""
    found = set(kinds)
    return next((kind for kind in ("failed", "passed", UNMEASURED) if kind in found), NOT_RUN)


def _counted(kinds: Iterable[str]) -> str:
    found = list(kinds)
    names = ("passed", "failed", UNMEASURED, "excused", NOT_RUN)
    counts = ", ".join(f"{found.count(name)} {name}" for name in names if found.count(name) or name in names[:3])
    return f"{len(found)} checks: {counts}"


def _end_anyway(status: int) -> None:
    """End the process if the interpreter waits for threads that don't end."""
    while not _waits_for_threads():
        time.sleep(0.1)
    time.sleep(GRACE)
    names = [thread.name for thread in threading.enumerate() if not thread.daemon and thread.is_alive()]
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    told = f"conformance: threads of the backend never end ({', '.join(names)}): the process ends without them.\n"
    with contextlib.suppress(OSError):
        os.write(2, told.encode())
    os._exit(status)


def _waits_for_threads() -> bool:
    main = threading.main_thread()
    frame = sys._current_frames().get(main.ident or 0)
    if frame is None or not main.is_alive():
        return True
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code is threading._shutdown.__code__  # type: ignore[attr-defined]
