"""Server processes: real ones, which ignore signals, daemonize, crash; and owners that are killed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llamaforge.servers import ServerLog, ServerProcess
from support.processes import alive, eventually, survivors, tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what comes of a process is read from /proc")

FAMILY = """
import os, subprocess, sys, time
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleeper)                            # a worker
subprocess.Popen(sleeper, start_new_session=True)    # one with a session of its own
if os.fork() == 0:                                   # a daemon, whose parent is gone
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, sleeper)
    os._exit(0)
os.wait()
print("all there", flush=True)
time.sleep(600)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
OWNER = """
import os, sys, time
from llamaforge.servers import ServerLog, ServerProcess
server = ServerProcess([sys.executable, "-c", sys.argv[1]], os.environ, 30.0, ServerLog(None))
while "all there" not in server.log.tail():
    time.sleep(0.01)
if len(sys.argv) > 2 and os.fork() == 0:   # a child that has inherited the lifeline, and lives on
    time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""


def run(code: str, *, grace: float = 10.0, log: ServerLog | None = None) -> ServerProcess:
    return ServerProcess([sys.executable, "-c", code], os.environ, grace, log or ServerLog(None))


def said(server: ServerProcess, text: str) -> bool:
    return eventually(lambda: text in server.log.tail())


def test_it_ends_as_the_server_ends() -> None:
    server = run("import sys; print('no such model'); sys.exit(7)")
    assert server.ended.wait(30)
    assert server.exit_code == 7
    assert server.log.tail() == "no such model"
    assert not server.running
    server.stop()


def test_a_server_that_dies_of_a_signal() -> None:
    server = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert server.ended.wait(30)
    assert server.exit_code == -signal.SIGKILL


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    broken = tmp_path / "server"
    broken.write_text("not a program")
    server = ServerProcess([str(broken)], os.environ, 1.0, ServerLog(None))
    assert server.ended.wait(30)
    assert server.exit_code == 127
    assert "can't be run" in server.log.tail()


def test_stopping_leaves_nothing_of_it() -> None:
    server = run(FAMILY)
    assert said(server, "all there")
    family = tree(server.pid)
    assert len(family) == 5, "the guard, the server, a worker, one in a session of its own, a daemon"
    server.stop()
    assert not survivors(family, 0)
    assert server.exit_code == -signal.SIGTERM


def test_a_server_that_exits_leaves_nothing_behind() -> None:
    server = run(FAMILY.replace('print("all there", flush=True)\ntime.sleep(600)', "raise SystemExit(3)"))
    assert server.ended.wait(30)
    assert server.exit_code == 3
    assert server.processes() == []


def test_one_that_ignores_sigterm_is_killed() -> None:
    server = run(STUBBORN, grace=0.2)
    assert said(server, "up")
    server.stop()
    assert server.exit_code == -signal.SIGKILL


def test_one_that_needs_a_moment_to_end_gets_it() -> None:
    polite = """
import signal, sys, time
def leave(*_):
    time.sleep(0.3)
    print("bye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(600)
"""
    server = run(polite)
    assert said(server, "up")
    server.stop()
    assert server.exit_code == 0
    assert "bye" in server.log.tail()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whatever_ends_its_owner_ends_it(how: signal.Signals) -> None:
    assert_nothing_is_left(how)


def test_a_fork_of_the_owner_does_not_keep_it_alive() -> None:
    assert_nothing_is_left(signal.SIGKILL, "forked")


def assert_nothing_is_left(how: signal.Signals, *more: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, FAMILY, *more], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    with owner.stdout as output:
        assert output.readline() == b"ready\n"
        family = tree(owner.pid) - {owner.pid}
        assert len(family) == 5 + len(more)
        forked = {
            each for each in family if more and Path(f"/proc/{each}/cmdline").read_bytes().count(b"ServerProcess")
        }
        owner.send_signal(how)
        owner.wait(30)
    left = survivors(family - forked)
    for each in forked:
        os.kill(each, signal.SIGKILL)
    assert not left


def test_the_guard_is_killed() -> None:
    server = run(
        "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print('up', flush=True); time.sleep(600)"
    )
    assert said(server, "up")
    family = tree(server.pid)
    assert len(family) == 3
    os.kill(server.pid, signal.SIGKILL)
    assert server.ended.wait(30)
    assert not survivors(family)


def test_the_guard_and_the_owner_are_killed() -> None:
    command = [sys.executable, "-c", OWNER, "import time; print('all there', flush=True); time.sleep(600)"]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout as output:
        assert output.readline() == b"ready\n"
        family = tree(owner.pid) - {owner.pid}
        assert len(family) == 2
        (guard,) = [each for each in family if b"guard.py" in Path(f"/proc/{each}/cmdline").read_bytes()]
        for each in (owner.pid, guard):
            os.kill(each, signal.SIGKILL)
        owner.wait(30)
    assert not survivors(family)


def test_it_goes_with_the_last_one_who_holds_it() -> None:
    server = run("print('up', flush=True); import time; time.sleep(600)")
    assert said(server, "up")
    family = tree(server.pid)
    del server
    gc.collect()
    assert not survivors(family)


def test_a_fork_of_ours_does_not_end_our_server() -> None:
    server = run("print('up', flush=True); import time; time.sleep(600)")
    assert said(server, "up")
    child = os.fork()
    if child == 0:
        server.stop()
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.2)
    assert server.running
    assert all(alive(each) for each in tree(server.pid))
    server.stop()


def test_it_gets_nothing_on_standard_input() -> None:
    server = run("import sys; print(repr(sys.stdin.read()))")
    assert server.ended.wait(30)
    assert server.log.tail() == "''"


def test_it_ignores_no_signal_that_python_ignores() -> None:
    server = ServerProcess(["sh", "-c", "grep SigIgn /proc/self/status"], os.environ, 1.0, ServerLog(None))
    assert server.ended.wait(30)
    ignored = int(server.log.tail().split()[1], 16)
    for each in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored & (1 << (each - 1)), each.name


def test_many_starts_leave_no_descriptor_and_no_thread() -> None:
    import threading

    def one() -> None:
        server = run("print('up', flush=True); import time; time.sleep(600)")
        assert said(server, "up")
        server.stop()

    one()
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        one()
    gc.collect()
    assert eventually(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)
    assert eventually(lambda: not [each for each in threading.enumerate() if each.name.startswith("llamaforge-server")])
