"""The real command in processes of its own, with a model file and a cache of its own."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge.cli import app, plugin_commands

COMMAND = [sys.executable, "-m", "llamaforge"]
PATIENCE = 300.0


class CommandLine:
    """Runs ``llamaforge`` as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = folder / "plugins"
        self.plugins.mkdir()
        self.config = folder / "models.toml"
        self.cache = folder / "cache"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("LLAMAFORGE_", "OPENAI_"))
        }
        self.environment = {
            **inherited,
            "LLAMAFORGE_CONFIG": str(self.config),
            "LLAMAFORGE_CACHE": str(self.cache),
            "LLAMAFORGE_HISTORY": str(folder / "history"),
            "PYTHONPATH": str(self.plugins),
        }

    def start(self, *arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
        """Start it; standard input is empty unless *settings* says otherwise."""
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
        environment = self.environment | settings.pop("env", {})
        return subprocess.Popen([*COMMAND, *arguments], env=environment, cwd=self.folder, **settings)

    def __call__(
        self, *arguments: str, stdin: str | bytes | None = None, **settings: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end; outputs as text."""
        if stdin is not None:
            settings["stdin"] = subprocess.PIPE
        given = stdin.encode() if isinstance(stdin, str) else stdin
        with self.start(*arguments, **settings) as process:
            try:
                out, err = process.communicate(given, PATIENCE)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(
            process.args, process.returncode, (out or b"").decode("utf-8"), (err or b"").decode("utf-8")
        )

    def fine(self, *arguments: str, **settings: Any) -> str:
        """Run it; what it printed. It must have ended with 0."""
        done = self(*arguments, **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def llamaforge(tmp_path: Path) -> CommandLine:
    """The command, with nothing configured."""
    return CommandLine(tmp_path)


class InProcess:
    """Runs ``llamaforge`` in this process, as far as that goes: quick, for what needs no process of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.plugins = folder, folder / "site"
        self.config, self.cache = folder / "models.toml", folder / "cache"
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str | bytes, stdin: str | bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run it; a command line's bytes may be given as such."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        self._capsys.readouterr()
        code = app.run([os.fsdecode(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    def fine(self, *arguments: str | bytes, **settings: Any) -> str:
        """Run it; what it printed. It must have ended with 0."""
        done = self(*arguments, **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def quickly(
    tmp_path: Path, plugin_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> InProcess:
    """The command in this process, with nothing configured and a folder for plugins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLAMAFORGE_CONFIG", str(tmp_path / "models.toml"))
    monkeypatch.setenv("LLAMAFORGE_CACHE", str(tmp_path / "cache"))
    plugin_commands._any.cache_clear()
    return InProcess(tmp_path, monkeypatch, capsys)


class Terminal:
    """A command at a pseudo-terminal. *separate*: standard output is a pipe, and only the rest is the terminal."""

    def __init__(self, command: CommandLine, *arguments: str, separate: bool = False, term: str = "dumb") -> None:
        self._master, slave = pty.openpty()
        stdout: Any = subprocess.PIPE if separate else slave
        self.process = command.start(
            *arguments,
            stdin=slave,
            stdout=stdout,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it as at a desk
            env={"TERM": term, "COLUMNS": "120"},
        )
        os.close(slave)
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")  # reads may split a character

    def type(self, text: str) -> None:
        """Type *text*."""
        os.write(self._master, text.encode())

    def press(self, key: str, *, at_once: bool = False) -> None:
        """Press Ctrl-C or Ctrl-D as people do at a prompt: once the program waits for what they type.

        What comes between the prompt and that is lost in CPython's own line editing. *at_once*: while it is at work.
        """
        before = None
        while not at_once and before != (before := self._state()):
            time.sleep(0.2)
        os.write(self._master, {"Ctrl-C": b"\x03", "Ctrl-D": b"\x04"}[key])

    def _state(self) -> str:
        """What changes while the program is at work: its state and the time that it took, of Linux."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        if not stat.exists():
            time.sleep(1)
            return ""
        fields = stat.read_text().rpartition(")")[2].split()
        return " ".join((fields[0], fields[11], fields[12]))

    def expect(self, text: str, after: int | None = None) -> int:
        """Wait until *text* is on the screen, beyond the position *after*; the position behind it."""
        start = len(self.seen) if after is None else after
        deadline = time.monotonic() + PATIENCE
        while (found := self.seen.find(text, start)) < 0:
            assert time.monotonic() < deadline, f"{text!r} never came: {self.seen!r}"
            assert self._read(), f"it ended before {text!r} came: {self.seen!r}"
        return found + len(text)

    def end(self) -> int:
        """Read what is left and wait for the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End whatever still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._master)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], PATIENCE)
        assert ready, f"it said nothing more: {self.seen!r}"
        with contextlib.suppress(OSError):  # Linux says so when nobody holds the other end any more
            if data := os.read(self._master, 4096):
                self.seen = (self.seen + self._decoder.decode(data)).replace("\r\n", "\n")
                return True
        return False


@pytest.fixture
def terminal(llamaforge: CommandLine) -> Iterator[Callable[..., Terminal]]:
    """Start the command at a terminal."""
    opened: list[Terminal] = []

    def start(*arguments: str, **settings: Any) -> Terminal:
        opened.append(Terminal(llamaforge, *arguments, **settings))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
