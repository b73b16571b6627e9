"""A server process that we start, from its launch to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from . import guard
from .logs import ServerLog

CAN_LAUNCH: Final = os.name == "posix"
"""Whether this system has what the guard needs: forks, sessions, signals."""
_GUARD = Path(__file__).with_name("guard.py")
_SLACK = 4.0
"""Seconds that the guard may take beyond the server's own."""


class ServerProcess:
    """A command that runs under a guard (see :mod:`.guard`) and never outlives this process.

    Args:
        command: the program and its arguments, without secrets: other users can read it.
        environment: all of its environment variables.
        grace: seconds between SIGTERM and SIGKILL when it is stopped.
        log: receives its output.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], grace: float, log: ServerLog) -> None:
        self.log = log
        self.ended = threading.Event()
        """Set once the process and all its descendants have ended."""
        self._grace = grace
        self._owner = os.getpid()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(grace), "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C at the terminal is for us, and we see to the server
        )
        threading.Thread(
            target=_watch, args=(self._guard, log, self.ended), name="llamaforge-server", daemon=True
        ).start()
        # Also when nobody holds it any more, and when the interpreter ends.
        self._stop = weakref.finalize(self, _stop, self._guard, grace, self.ended, os.getpid())

    @property
    def ours(self) -> bool:
        """Whether this process started it; not so in a fork of the one that did."""
        return os.getpid() == self._owner

    @property
    def pid(self) -> int:
        """The guard's process id. The server and its children are its descendants."""
        return self._guard.pid

    @property
    def exit_code(self) -> int | None:
        """How the server ended: its exit code, or the negative number of the signal. None while it runs."""
        return self._guard.returncode if self.ended.is_set() else None

    @property
    def running(self) -> bool:
        """Whether it is still running."""
        return not self.ended.is_set()

    def processes(self) -> list[int]:
        """The ids of the server's processes."""
        return guard.descendants(self.pid)

    def stop(self) -> None:
        """Stop it with SIGTERM and, after the grace period, SIGKILL. Returns when all its processes have ended."""
        self._stop()


def _watch(process: subprocess.Popen[bytes], log: ServerLog, ended: threading.Event) -> None:
    """Take what is printed, and wait for the end."""
    reader = threading.Thread(target=_read, args=(process, log), name="llamaforge-server-log", daemon=True)
    reader.start()
    process.wait()
    _sweep(process.pid)  # only where the guard itself was killed is anything left
    reader.join(1.0)
    ended.set()


def _read(process: subprocess.Popen[bytes], log: ServerLog) -> None:
    if process.stdout is not None:
        with contextlib.suppress(OSError, ValueError), process.stdout as output:
            while data := os.read(output.fileno(), 65536):
                log.feed(data)
    log.finish()


def _stop(process: subprocess.Popen[bytes], grace: float, ended: threading.Event, owner: int) -> None:
    if os.getpid() != owner:  # a fork of us: the server isn't its own
        return
    if not ended.is_set():
        process.terminate()
        if not ended.wait(grace + _SLACK):
            process.kill()
            _sweep(process.pid)
            ended.wait(_SLACK)
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _sweep(session: int) -> None:
    """Kill whatever is left in the session that the guard began."""
    for process, _, its_session in guard.processes():
        if its_session == session and process != session:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
