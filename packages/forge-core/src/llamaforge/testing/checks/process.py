"""The process is the host's: what belongs to all of it is left as it was."""

from __future__ import annotations

import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from ..expect import Told, comes_true, expect
from ..kit import Kit

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD", "SIGPIPE", "SIGSEGV", "SIGABRT", "SIGALRM", "SIGUSR1")


class ProcessChecks(Kit):
    """A backend is one part of somebody's program."""

    def test_the_process_is_left_as_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Loading, asking and unloading change nothing that belongs to the whole process.

        Looked at are the environment, the working directory, signal handlers, the root logger, warning filters, the
        locale, global random numbers, the garbage collector, the default time limit of sockets, hooks for exceptions,
        standard streams, and, after unloading, temporary files.

        Why: another part of the program relies on them, and its author looks for the fault there. Look at: a library
        that is set up for the backend; undo it, or set it up for the backend alone.
        """
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.chdir(Path.cwd())  # or a backend that goes elsewhere takes the rest of the tests with it
        with self.fresh() as first:  # what a library sets up once, when it is first used, is another check's matter
            first.say(2)
        before, files = _state(), set(tmp_path.iterdir())
        with self.fresh() as subject:
            self._unchanged(before, "loading")
            subject.say(2)
            if subject.full:
                if subject.has_template:
                    subject.chat([{"role": "user", "content": "Hello"}], **subject.greedy, **subject.limit(2))
                sampled = {"seed": 4} if subject.declares("seed") else {}
                subject.ask(**subject.limit(2), **sampled)
                self.run_async(lambda: subject.backend.agenerate(self.prompt, {**subject.greedy, **subject.limit(2)}))
            self._unchanged(before, "requests")
        self._unchanged(before, "unloading")

        def left() -> list[str]:
            gc.collect()
            return sorted(path.name for path in tmp_path.iterdir() if path not in files)

        comes_true(lambda: not left(), self.grace)
        expect(not left(), "no temporary file left after unloading", left())

    def _unchanged(self, before: dict[str, Any], after: str) -> None:
        __tracebackhide__ = True
        now = _state()
        changed = {name: (before[name], now[name]) for name in before if before[name] != now[name]}
        told = ", ".join(f"{name}: {_difference(*values)}" for name, values in changed.items())
        expect(not changed, f"the process to be after {after} what it was", Told(told))


def _state() -> dict[str, Any]:
    """What belongs to the whole process."""
    root = logging.getLogger()
    found: dict[str, Any] = {
        "the environment": dict(os.environ),
        "the working directory": str(Path.cwd()),
        "signal handlers": {
            name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS if hasattr(signal, name)
        },
        "the root logger": (
            root.level,
            root.disabled,
            list(root.handlers),
            list(root.filters),
            logging.root.manager.disable,
        ),
        "the logger class": logging.getLoggerClass(),
        "warning filters": list(warnings.filters),
        "the way warnings are shown": warnings.showwarning,
        "the locale": locale.setlocale(locale.LC_ALL),
        "random numbers": random.getstate(),
        "the garbage collector": (gc.isenabled(), gc.get_threshold(), gc.get_debug()),
        "the default time limit of sockets": socket.getdefaulttimeout(),
        "hooks for exceptions": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "standard streams": (sys.stdin, sys.stdout, sys.stderr),
        "limits of the interpreter": (sys.getrecursionlimit(), sys.getswitchinterval()),
        "the umask": _umask(),
    }
    for name, read in _of_libraries().items():
        found[name] = read()
    return found


def _of_libraries() -> dict[str, Callable[[], Any]]:
    """The same for libraries that are loaded already."""
    found: dict[str, Callable[[], Any]] = {}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        found["numpy's random numbers"] = lambda: str(numpy.random.get_state())
        found["numpy's handling of errors"] = lambda: numpy.geterr()
    if torch is not None:
        found["torch's random numbers"] = lambda: torch.get_rng_state().tolist()
        found["torch's defaults"] = lambda: (torch.get_default_dtype(), torch.is_grad_enabled())
    return found


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
