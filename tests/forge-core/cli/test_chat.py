"""``llamaforge chat``: turns, commands, Ctrl-C; at a terminal and from a pipe."""

from __future__ import annotations

import json
import os
import time
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
    """They are the same from a pipe, so that a chat can be scripted."""
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
        ("/save", "needs the name of a file"),
        ("/save there.txt", "exists already"),
        ("/load", "needs the name of a file"),
        ("/load gone.json", "can't be read"),
        ("/load there.txt", "is not a JSON file as /save writes it"),
        ("/retry", "no turn to answer again"),
        ("/set nonsense=1", "There is no parameter 'nonsense'"),
        ("/set raw=true", "There is no parameter 'raw'"),
        ("/set top_k=-1", "top_k must be"),
        ("/model no-such-model", "There is no model 'no-such-model'"),
        ("/save no/such/folder/x.json", "can't be written"),
    ],
)
def test_a_command_that_fails_ends_a_piped_chat(quickly: Any, line: str, says: str) -> None:
    (quickly.folder / "there.txt").write_text("precious")
    done = quickly(*ECHO, stdin=f"{line}\nhello\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert (quickly.folder / "there.txt").read_text() == "precious"


def test_a_saved_conversation_goes_on(quickly: Any) -> None:
    quickly.fine(*ECHO, "-s", "be kind", stdin="one\n/save first.json\n")
    quickly.fine(*ECHO, stdin="lost\n/load first.json\ntwo\n/save second.json\n")
    expected = [("system", "be kind"), ("user", "one"), ("assistant", "one"), ("user", "two"), ("assistant", "two")]
    assert saved(quickly.folder / "second.json") == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "is not a conversation"),
        ('{"messages": {}}', "is not a conversation"),
        ('{"messages": [{"role": "user"}]}', "has no role, or no content that is text"),
        ('{"messages": [{"role": "user", "content": [1]}]}', "has no role, or no content that is text"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "turn 1 has the role 'assistant'; 'user' is"),
        ('[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]', "'user'; 'assistant' is expected"),
        ("[" * 100_000, "is not a JSON file as /save writes it"),
    ],
)
def test_what_is_no_conversation_is_not_loaded(quickly: Any, text: str, says: str) -> None:
    (quickly.folder / "x.json").write_text(text)
    done = quickly(*ECHO, stdin="/load x.json\n")
    assert done.returncode == 2
    assert says in done.stderr


def test_a_question_without_an_answer_can_be_asked_again(quickly: Any) -> None:
    messages = [{"role": "user", "content": "again"}]
    (quickly.folder / "x.json").write_text(json.dumps({"messages": messages}))
    done = quickly(*ECHO, stdin="/load x.json\n/retry\n/retry\n/save x.json\n")
    assert (done.returncode, done.stdout) == (0, "again\nagain\n")
    assert saved(quickly.folder / "x.json") == [("user", "again"), ("assistant", "again")]


def test_parameters_are_set_for_the_turns_that_follow(quickly: Any) -> None:
    first = '/set max_tokens=2\na b c\n/set\n/set max_tokens=\na b c\n/set stop ["b"]\na b c\n'
    done = quickly(*ECHO, "--seed", "7", stdin=f"{first}/set stop=\n/set seed=\n/set\n")
    assert (done.returncode, done.stdout) == (0, "a b\na b c\na \n")
    shown = "max_tokens = 2\n", "seed = 7\nmax_tokens = 2\n", "max_tokens is unset.", 'stop = ["b"]', "Nothing is set."
    for text in shown:
        assert text in done.stderr


def test_the_model_is_changed_and_the_conversation_stays(quickly: Any) -> None:
    quickly.fine("models", "add", "second", "x", "--backend", "echo")
    done = quickly(*ECHO, stdin="one\n/model second\ntwo\n/model\n/save out.json\n")
    assert (done.returncode, done.stdout) == (0, "one\ntwo\n")
    assert "Model: second, on echo\nOther models: smollm2-135m-instruct" in done.stderr
    assert len(saved(quickly.folder / "out.json")) == 4
    assert json.loads((quickly.folder / "out.json").read_text())["model"] == "second"


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
    at = screen.expect("echo on echo. /help lists commands", 0)
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


def test_ctrl_c_before_the_first_word_keeps_the_question(terminal: Callable[..., Any]) -> None:
    screen = terminal(*ECHO, "-p", "delay=4")
    at = screen.expect("> ", 0)
    screen.type("hello\n")
    at = screen.expect("hello\n", at)
    time.sleep(1)  # the terminal shows what is typed before the command has read it
    screen.press("Ctrl-C", at_once=True)
    at = screen.expect("(stopped; /retry asks again)", at)
    at = screen.expect("> ", at)
    screen.type("/retry\n")
    at = screen.expect("/retry\nhello\n> ", at)
    screen.press("Ctrl-D")
    assert screen.end() == 0


def test_typed_lines_are_known_in_the_next_chat(terminal: Callable[..., Any], tmp_path: Path) -> None:
    history = tmp_path / "history"
    screen = terminal(*ECHO)
    at = screen.expect("> ", 0)
    screen.type("grüße von gestern\n")
    screen.expect("gestern\ngrüße von gestern\n> ", at)
    screen.press("Ctrl-D")
    assert screen.end() == 0
    assert history.read_text("utf-8") == "grüße von gestern\n"
    assert history.stat().st_mode & 0o777 == 0o600

    screen = terminal(*ECHO)
    at = screen.expect("> ", 0)
    screen.type("\x10\n")  # Ctrl-P: the line before
    screen.expect("grüße von gestern\ngrüße von gestern\n> ", at)
    screen.press("Ctrl-D")
    assert screen.end() == 0
    assert history.read_text("utf-8").count("gestern") in (1, 2), "readline may keep a repeated line once"


def test_a_history_that_can_not_be_kept_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import readline

    from llamaforge.cli.history import line_editing

    def chat() -> str:
        before = readline.get_current_history_length()
        with line_editing():
            readline.add_history("typed now")
        while readline.get_current_history_length() > before:
            readline.remove_history_item(readline.get_current_history_length() - 1)
        return capsys.readouterr().err

    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, says in (("folder", "a folder is there"), ("pipe", "a named pipe is there"), ("file/history", "history")):
        monkeypatch.setenv("LLAMAFORGE_HISTORY", str(tmp_path / path))
        said = chat()
        assert says in said
        assert "LLAMAFORGE_HISTORY names another file" in said
    monkeypatch.setenv("LLAMAFORGE_HISTORY", os.devnull)
    assert chat() == ""
    assert not Path(os.devnull).is_file()
    monkeypatch.setenv("LLAMAFORGE_HISTORY", str(tmp_path / "new" / "history"))
    monkeypatch.setattr("llamaforge.cli.history._LINES", 3)
    for _ in range(5):
        assert chat() == ""
    assert (tmp_path / "new" / "history").read_text() == "typed now\n" * 3


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
    at = screen.expect("Ctrl-C again", at)
    at = screen.expect("> ", at)
    screen.type("hello\n")
    at = screen.expect("hello\nhello\n> ", at)
    screen.press("Ctrl-C")
    at = screen.expect("Ctrl-C again", at)
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
