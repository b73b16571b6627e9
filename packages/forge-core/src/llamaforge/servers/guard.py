"""The guard: a small process between us and a server that we start, so that the server never outlives us.

Run as a script, by the standard library alone::

    python -I -S guard.py OWNER GRACE -- COMMAND ...

Its standard input is a lifeline: a pipe that nobody writes to, and that the system closes when its owner ends, however
it ends. Then, or at SIGTERM, the server gets SIGTERM, and GRACE seconds later (2 at most after the owner's death)
everything that came of it gets SIGKILL. On Linux that is everything: whatever loses its parent becomes the guard's
child (PR_SET_CHILD_SUBREAPER), sessions and process groups of its own notwithstanding. Should the guard itself be
killed, the server goes with it (PR_SET_PDEATHSIG). The guard is a process of one thread, so it may fork; we may not.

It ends as the server ended: with its exit code, or by its signal.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

ORPHAN_GRACE = 2.0
"""Seconds to end in that a server gets whose owner is dead."""
_GLANCE = 0.5
"""Seconds between two looks at the owner: a process that it forked may keep the lifeline open."""
_PERSISTENCE = 3.0
"""Seconds for which what does not die is sent SIGKILL."""
_PDEATHSIG, _CHILD_SUBREAPER = 1, 36


def main(owner: int, grace: float, command: list[str]) -> None:
    """Run *command* for the process *owner*; end as it ends."""
    signals = _catch_signals()
    _prctl(_CHILD_SUBREAPER, 1)
    server = _start(command)
    status = _watch(server, owner, grace, signals)
    found = _end_all(server)
    _leave(status if status is not None else found)


def processes() -> Iterator[tuple[int, int, int]]:
    """Process, parent and session of every process that there is; nothing where the system has no /proc."""
    try:
        entries = os.listdir("/proc")  # noqa: PTH208 - pathlib would double the time that a guard takes to begin
    except OSError:
        return
    for entry in entries:
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123
                fields = stat.read().rpartition(b")")[2].split()
                yield int(entry), int(fields[1]), int(fields[3])


def descendants(root: int) -> list[int]:
    """The children of the process *root*, their children, and so on."""
    children: dict[int, list[int]] = {}
    for process, parent, _ in processes():
        children.setdefault(parent, []).append(process)
    found = list(children.get(root, ()))
    for each in found:  # grows meanwhile
        found += children.get(each, ())
    return found


def _catch_signals() -> int:
    """Have signals come as bytes; the descriptor to read them from."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(each, lambda *_: None)
    return readable


def _start(command: list[str]) -> int:
    guard = os.getpid()
    server = os.fork()
    if server:
        return server
    try:
        os.setpgid(0, 0)
        _prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == guard:
            for each in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be handed down
                signal.signal(each, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.execvp(command[0], command)  # noqa: S606 - a list, no shell
    except OSError as error:
        os.write(2, f"{command[0]} can't be run: {error.strerror}\n".encode())
    os._exit(127)


def _watch(server: int, owner: int, grace: float, signals: int) -> int | None:
    """Wait for the server's end, its wait status; None where it must be killed now."""
    lifeline: list[int] = [0]
    end_at: float | None = None
    while True:
        _, status = _reap(server)
        if status is not None:
            return status
        now = time.monotonic()
        if end_at is not None and now >= end_at:
            return None
        readable = select.select(
            [*lifeline, signals], [], [], _GLANCE if end_at is None else min(end_at - now, _GLANCE)
        )
        asked = False
        if signals in readable[0]:
            asked = bool({signal.SIGTERM, signal.SIGINT, signal.SIGHUP} & set(os.read(signals, 512)))
        orphaned = 0 in readable[0] or os.getppid() != owner
        if 0 in readable[0]:
            lifeline.clear()
        if asked or orphaned:
            allowed = time.monotonic() + (min(grace, ORPHAN_GRACE) if orphaned else grace)
            if end_at is None:
                _signal_group(server, signal.SIGTERM)
            end_at = allowed if end_at is None else min(end_at, allowed)


def _reap(server: int) -> tuple[bool, int | None]:
    """Bury the dead. Whether any child is left, and the server's wait status if it was among them."""
    status = None
    while True:
        try:
            process, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, status
        if process == 0:
            return True, status
        if process == server:
            status = how


def _end_all(server: int) -> int | None:
    """Kill what is left of the server and of all that came of it; the server's wait status, where it dies now."""
    status = None
    give_up = time.monotonic() + _PERSISTENCE
    while time.monotonic() < give_up:
        _signal_group(server, signal.SIGKILL)
        for process in descendants(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        left, how = _reap(server)
        status = how if how is not None else status
        if not left:
            break
        time.sleep(0.01)
    return status


def _signal_group(server: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(server, number)


def _leave(status: int | None) -> None:
    if status is not None and os.WIFSIGNALED(status):
        with contextlib.suppress(ImportError, OSError, ValueError):
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError):  # not to be set for SIGKILL
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[4:])
