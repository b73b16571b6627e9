"""Text goes to standard output and nothing else does, whatever an engine prints, and whoever reads it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llamaforge.cli.app import State, cli
from llamaforge.cli.output import ClosedOutputError, text_output
from support.plugins import make_distribution

ECHO = ("run", "--backend", "echo")

NOISY = """
    import atexit, ctypes, os, sys
    from llamaforge import BackendConfig, BackendSpec, hookimpl
    from llamaforge.backends.echo import EchoBackend

    def noise(where):
        print(f"NOISE print {where}")
        os.write(1, f"NOISE descriptor {where}\\n".encode())
        ctypes.CDLL(None).printf(f"NOISE printf {where}\\n".encode())
        sys.__stdout__.write(f"NOISE saved {where}\\n")

    noise("import")
    atexit.register(noise, "exit")

    class Noisy(EchoBackend):
        def load(self, model_path, config):
            noise("load")
            super().load(model_path, config)

        def unload(self):
            noise("unload")

        def stream(self, request, cancellation):
            for event in super().stream(request, cancellation):
                noise("stream")
                yield event

    SPEC = Noisy.spec = BackendSpec(
        name="noisy",
        target="noisy_module:Noisy",
        config="llamaforge.backends.echo:EchoConfig",
        summary="Prints",
        probe="noisy_module:probe",
    )

    def probe():
        noise("probe")
        return {"visible": ["a loud card"]}

    @hookimpl
    def llamaforge_backend():
        noise("hook")
        return SPEC
"""


def make_noisy(folder: Path) -> None:
    make_distribution(folder, "dist-noisy", {"llamaforge.backends": {"noisy": "noisy_module"}}, {"noisy_module": NOISY})


def test_what_an_engine_prints_goes_to_standard_error(llamaforge: Any) -> None:
    make_noisy(llamaforge.plugins)
    done = llamaforge("run", "--backend", "noisy", "-m", "x", "one two three")
    assert (done.returncode, done.stdout) == (0, "one two three\n")
    for where in ("import", "hook", "load", "stream", "unload", "exit"):
        for way in ("print", "descriptor", "printf", "saved"):
            assert f"NOISE {way} {where}" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("backends", "show", "noisy", "--json"), ("doctor", "--json", "noisy"), ("chat", "--backend", "noisy", "-m", "x")],
)
def test_no_command_lets_it_through(llamaforge: Any, arguments: tuple[str, ...]) -> None:
    make_noisy(llamaforge.plugins)
    done = llamaforge(*arguments, stdin="hello\n")
    assert "NOISE" not in done.stdout
    assert done.stdout


def test_a_reader_that_leaves_ends_it_quietly_and_stops_the_engine(llamaforge: Any) -> None:
    words = " ".join(f"word{number}\n" for number in range(2000))
    with llamaforge.start(*ECHO, "-p", "delay=0.01", words) as process:
        assert process.stdout.readline() == b"word0\n"
        process.stdout.close()
        assert process.wait(30) == 141  # all of it would take longer
        assert process.stderr.read() == b""


def test_head_in_a_shell(llamaforge: Any) -> None:
    line = f'{sys.executable} -m llamaforge run --backend echo -p delay=0.01 "$(seq 2000)" | head -1'
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        env=llamaforge.environment,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("arguments", [("--help",), ("models", "list"), ("backends", "show", "echo"), (*ECHO, "a")])
def test_a_reader_that_is_gone_already(llamaforge: Any, arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    with llamaforge.start(*arguments, stdout=write) as process:
        os.close(write)
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(llamaforge: Any, closed: str) -> None:
    line = f"{sys.executable} -m llamaforge run --backend echo hello {closed}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=llamaforge.environment, stdin=subprocess.DEVNULL
    )
    if ">&-" in closed.replace("2>&-", ""):
        assert (done.returncode, done.stdout) == (6, "")
        assert done.stderr == ("" if "2>&-" in closed else "Error: Standard output can't be written: it is closed.\n")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize("redirected", [">&-", ">/dev/full"])
@pytest.mark.parametrize("arguments", ["--help", "--version", "run --help", "models list", "backends show echo --json"])
def test_text_that_goes_nowhere_is_no_success(llamaforge: Any, redirected: str, arguments: str) -> None:
    line = f"{sys.executable} -m llamaforge {arguments} {redirected}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=llamaforge.environment, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 6
    assert "Standard output can't be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_that_prints_nothing_needs_no_standard_output(llamaforge: Any) -> None:
    line = f"{sys.executable} -m llamaforge models add mine x --backend echo >&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=llamaforge.environment)
    assert (done.returncode, done.stderr) == (0, f"Added mine to {llamaforge.config}.\n")


def test_a_full_disk_is_no_success(llamaforge: Any) -> None:
    with Path("/dev/full").open("wb") as full, llamaforge.start(*ECHO, "hello", stdout=full) as process:
        assert process.wait(60) == 6
        said = process.stderr.read().decode()
    assert "No space left" in said
    assert "Traceback" not in said


def test_output_is_utf8_whatever_the_locale_says(llamaforge: Any) -> None:
    for settings in ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}):
        done = llamaforge(*ECHO, "naïve 東京", stdin="piped 🎉", env=settings)
        assert (done.returncode, done.stdout) == (0, "naïve 東京\n\npiped 🎉\n")


def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path: Path) -> None:
    script = "from llamaforge.cli.output import text_output\nwith text_output() as out: out.write('a\\ud800b')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"a?b"


def test_standard_output_is_whole_again_afterwards() -> None:
    script = """
import os, sys
from llamaforge.cli.output import text_output
print("before")
with text_output() as out:
    out.write("text\\n")
    print("diverted")
    os.write(1, b"diverted\\n")
print("after")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "before\ntext\nafter\n"
    assert done.stderr == "diverted\n" * 2


def test_under_clicks_runner() -> None:
    done = CliRunner().invoke(cli, [*ECHO, "hello"], obj=State())
    assert (done.exit_code, done.stdout) == (0, "hello\n")


def test_under_pytests_capture(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with text_output() as output:
        print("diverted")
        output.line("text")
    assert capsys.readouterr() == ("text\n", "diverted\n")
    monkeypatch.setattr(sys, "stdout", None)
    with text_output() as output:
        output.line("nobody reads this")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with text_output() as output:
        output.line("text")
    assert sys.stdout.getvalue() == "text\n"


def test_under_pytests_capture_of_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    with text_output() as output:
        print("diverted")
        output.line("text")
    assert capfd.readouterr() == ("text\n", "diverted\n")


def test_a_broken_pipe_is_told_from_other_errors() -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    from llamaforge.cli.output import Output

    with pytest.raises(ClosedOutputError):
        Output(Gone()).write("text")
