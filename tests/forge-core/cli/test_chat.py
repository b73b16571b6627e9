"""``llamaforge chat``: turns, commands, Ctrl-C; at a terminal and from a pipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.plugins import make_distribution

ECHO = ("chat", "--backend", "echo")


def saved(path: Path) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in json.loads(path.read_text("utf-8"))["messages"]]


def test_piped_lines_are_turns_and_only_answers_are_printed(llamaforge: Any) -> None:
    done = llamaforge(*ECHO, stdin="Grüße\n\nsecond turn\nlast, without a line break")
    assert done.returncode == 0
    assert done.stdout == "Grüße\nsecond turn\nlast, without a line break\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("typed", "turns"),
    [
        ("one \\\ntwo\\\nthree\n", ["one \ntwo\nthree"]),
        ('"""\na\n\n  b\n"""\nc\n', ["a\n\n  b", "c"]),
        ('"""\ncut off', ["cut off"]),
        ("cut off\\", ["cut off\n"]),
        (" /help\n", [" /help"]),
        ("a\r\nb\r\n", ["a", "b"]),
    ],
)
def test_turns_of_several_lines(quickly: Any, typed: str, turns: list[str]) -> None:
    quickly.fine(*ECHO, stdin=f"{typed}\n/save out.json\n" if "cut off" not in typed else typed)
    if "cut off" not in typed:
        assert [text for role, text in saved(quickly.folder / "out.json") if role == "user"] == turns
    else:
        assert quickly.fine(*ECHO, stdin=typed).rstrip("\n") == turns[0].rstrip("\n")


def test_commands(quickly: Any) -> None:
    first = "/system be kind\none\ntwo\n/undo\nthree\n/save first.json\n"
    turns = f"{first}/reset\n/system\nfour\n/save second.json\n/exit\nfive\n"
    done = quickly(*ECHO, "-s", "be brief", stdin=turns)
    assert (done.returncode, done.stdout) == (0, "one\ntwo\nthree\nfour\n")
    assert saved(quickly.folder / "first.json") == [
        ("system", "be kind"),
        ("user", "one"),
        ("assistant", "one"),
        ("user", "three"),
        ("assistant", "three"),
    ]
    assert saved(quickly.folder / "second.json") == [("user", "four"), ("assistant", "four")]
    about = json.loads((quickly.folder / "second.json").read_text())
    assert (about["model"], about["backend"]) == ("echo", "echo")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/nonsense", "There is no command /nonsense"),
        ("/undo", "nothing to undo"),
        ("/save", "needs a file's name"),
        ("/save there.txt", "is there already"),
        ("/save no/such/folder/x.json", "can't be written"),
    ],
)
def test_a_command_that_fails_ends_a_piped_chat(quickly: Any, line: str, says: str) -> None:
    (quickly.folder / "there.txt").write_text("precious")
    done = quickly(*ECHO, stdin=f"{line}\nhello\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert (quickly.folder / "there.txt").read_text() == "precious"


def test_a_conversation_may_be_saved_again_to_its_own_file(quickly: Any) -> None:
    quickly.fine(*ECHO, stdin="one\n/save out.json\ntwo\n/save out.json\n")
    assert len(saved(quickly.folder / "out.json")) == 4


def test_an_error_ends_a_piped_chat_with_its_exit_code(quickly: Any) -> None:
    done = quickly(*ECHO, "-p", "n_ctx=6", stdin="one\none two three four five six\nafter\n")
    assert (done.returncode, done.stdout) == (2, "one\n")
    assert "the context holds 6" in done.stderr


def test_bad_parameters_are_refused_before_anything_is_loaded(quickly: Any) -> None:
    done = quickly("chat", "--top-k", "-1", "-m", "pypi:no-such-distribution/x.gguf")
    assert done.returncode == 2
    assert "top_k must be" in done.stderr


def test_a_basic_backend_can_not_chat(quickly: Any) -> None:
    source = """
        from llamaforge import BackendSpec, BaseBackend, hookimpl

        class Basic(BaseBackend):
            def load_model(self, model_path, parameters=None): pass
            def generate(self, prompt, parameters=None): return prompt
            def generate_stream(self, prompt, parameters=None): yield prompt
            def is_model_loaded(self): return True

        @hookimpl
        def llamaforge_backend():
            return BackendSpec(name="basic", target="b:Basic", config="llamaforge:BackendConfig", summary="")
    """
    make_distribution(quickly.plugins, "dist-basic", {"llamaforge.backends": {"basic": "b"}}, {"b": source})
    done = quickly("chat", "--backend", "basic", "-m", "x", stdin="hello\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not support chat" in done.stderr
    assert "llamaforge run" in done.stderr


def test_at_a_terminal(terminal: Callable[..., Any], tmp_path: Path) -> None:
    screen = terminal(*ECHO)
    at = screen.expect("echo on echo. /help tells more", 0)
    at = screen.expect("> ", at)
    screen.type("hello there\n")
    at = screen.expect("hello there\nhello there\n> ", at)
    screen.type("/help\n")
    at = screen.expect("/system TEXT", at)
    at = screen.expect("> ", at)
    screen.type("first\\\n")
    at = screen.expect("| ", at)
    screen.type("second\n")
    at = screen.expect("first\nsecond\n> ", at)
    screen.type("/wrong\n")
    at = screen.expect("There is no command /wrong", at)
    at = screen.expect("> ", at)
    screen.type("/save talk.json\n")
    at = screen.expect("Saved to", at)
    screen.expect("> ", at)
    screen.press("Ctrl-D")
    assert screen.end() == 0
    assert saved(tmp_path / "talk.json")[-1] == ("assistant", "first\nsecond")


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal: Callable[..., Any], tmp_path: Path) -> None:
    screen = terminal(*ECHO, "-p", "delay=0.1")
    at = screen.expect("> ", 0)
    screen.type("a b c d e f g h i j k l m n o p q r s t u v w x y z " * 4 + "\n")
    at = screen.expect("\n", at)
    at = screen.expect("d e f", at)
    screen.press("Ctrl-C", at_once=True)
    at = screen.expect("(stopped)\n> ", at)
    screen.type("again\n")
    at = screen.expect("again\nagain\n> ", at)
    screen.type("/save talk.json\n")
    at = screen.expect("Saved to", at)
    screen.expect("> ", at)
    screen.type("/exit\n")
    assert screen.end() == 0
    assert "Traceback" not in screen.seen
    turns = saved(tmp_path / "talk.json")
    assert [role for role, _ in turns] == ["user", "assistant", "user", "assistant"]
    assert turns[1][1].startswith("a b c d e f")
    assert turns[0][1].startswith(turns[1][1])
    assert len(turns[1][1]) < len(turns[0][1])
    assert turns[3] == ("assistant", "again")


def test_ctrl_c_twice_tears_a_stuck_engine_away(terminal: Callable[..., Any], llamaforge: Any) -> None:
    source = """
        import time
        from llamaforge import BackendSpec, TextDelta, hookimpl
        from llamaforge.backends.echo import EchoBackend

        class Stuck(EchoBackend):
            def stream(self, request, cancellation):
                if "stuck" in request.messages[-1].text:
                    yield TextDelta("so far")
                    time.sleep(3600)
                yield from super().stream(request, cancellation)

        SPEC = Stuck.spec = BackendSpec(
            name="stuck", target="stuck_module:Stuck", config="llamaforge.backends.echo:EchoConfig", summary="",
            capabilities=EchoBackend.spec.capabilities,
        )

        @hookimpl
        def llamaforge_backend():
            return SPEC
    """
    make_distribution(
        llamaforge.plugins, "d", {"llamaforge.backends": {"stuck": "stuck_module"}}, {"stuck_module": source}
    )
    screen = terminal("chat", "--backend", "stuck", "-m", "x")
    at = screen.expect("> ", 0)
    screen.type("get stuck\n")
    at = screen.expect("so far", at)
    screen.press("Ctrl-C")
    screen.press("Ctrl-C")
    at = screen.expect("> ", at)
    screen.type("hello\n")
    screen.expect("hello\nhello\n> ", at)
    screen.press("Ctrl-D")
    assert screen.end() == 0
    assert "Traceback" not in screen.seen


def test_ctrl_c_at_the_prompt_clears_the_line_and_twice_leaves(terminal: Callable[..., Any]) -> None:
    screen = terminal(*ECHO)
    at = screen.expect("> ", 0)
    screen.type("half a line")
    at = screen.expect("half a line", at)
    screen.press("Ctrl-C")
    at = screen.expect("Ctrl-C once more", at)
    at = screen.expect("> ", at)
    screen.type("hello\n")
    at = screen.expect("hello\nhello\n> ", at)
    screen.press("Ctrl-C")
    at = screen.expect("Ctrl-C once more", at)
    screen.expect("> ", at)
    screen.press("Ctrl-C")
    assert screen.end() == 0
    assert "half a line\nhalf" not in screen.seen


def test_an_error_does_not_end_a_chat_at_a_terminal(terminal: Callable[..., Any], tmp_path: Path) -> None:
    screen = terminal(*ECHO, "-p", "n_ctx=6")
    at = screen.expect("> ", 0)
    screen.type("one two three four five six\n")
    at = screen.expect("the context holds 6", at)
    at = screen.expect("> ", at)
    screen.type("hi\n")
    at = screen.expect("hi\nhi\n> ", at)
    screen.type("/save talk.json\n")
    at = screen.expect("Saved to", at)
    screen.expect("> ", at)
    screen.press("Ctrl-D")
    assert screen.end() == 0
    assert saved(tmp_path / "talk.json") == [("user", "hi"), ("assistant", "hi")]


def test_answers_into_a_file_while_typing_at_a_terminal(terminal: Callable[..., Any]) -> None:
    screen = terminal(*ECHO, separate=True)
    at = screen.expect("> ", 0)
    screen.type("hello\n")
    screen.expect("> ", at)
    screen.press("Ctrl-D")
    assert screen.process.stdout.read() == b"hello\n"
    assert screen.end() == 0
