"""``llamaforge chat --tools``: functions of the user's that the model calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.plugins import CALLER, make_distribution

TOOLS = '''
import enum

class Unit(enum.Enum):
    C = "C"

def weather(city: str, unit: Unit = Unit.C) -> str:
    """The weather in a city."""
    print("printed by the tool")
    return f"sun in {city}"

def fails(city: str) -> str:
    raise LookupError(city)

class Box:
    def weather(self, city: str) -> str:
        return f"boxed {city}"

box = Box()
number = 3
'''
CHAT = ("chat", "--backend", "caller", "-m", "m")


@pytest.fixture
def tools(quickly: Any) -> Any:
    make_distribution(quickly.plugins, "caller", {"llamaforge.backends": {"caller": "caller"}}, {"caller": CALLER})
    (quickly.folder / "mytools.py").write_text(TOOLS)
    return quickly


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("mytools:weather", "sun in Rome after thought\n"),
        ("./mytools.py:weather", "sun in Rome after thought\n"),
        ("mytools:box.weather", "boxed Rome after thought\n"),
        ("mytools:fails", "Error: LookupError: Rome after thought\n"),
    ],
)
def test_functions_are_called(tools: Any, reference: str, says: str) -> None:
    done = tools(*CHAT, "--tools", reference, "--yes", stdin="Rome\n")
    assert (done.returncode, done.stdout) == (0, says), done.stderr
    assert 'Calling weather(city="Rome")' in done.stderr or 'Calling fails(city="Rome")' in done.stderr


def test_calls_and_results_stay_in_the_conversation(tools: Any) -> None:
    turns = "Rome\n/save a.json\n/undo\nno call\n/save b.json\n/load a.json\n/retry\n/save c.json\nno call\n"
    done = tools(*CHAT, "--tools", "mytools:weather", "--yes", stdin=turns)
    assert done.returncode == 0, done.stderr
    said = "sun in Rome after thought\n"
    assert done.stdout == f"{said}None 1\n{said}None 5\n"
    messages = json.loads((tools.folder / "a.json").read_text())["messages"]
    assert [turn["role"] for turn in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1]["reasoning_content"] == "thought"
    assert messages[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert [turn["role"] for turn in json.loads((tools.folder / "b.json").read_text())["messages"]] == [
        "user",
        "assistant",
    ]
    assert json.loads((tools.folder / "c.json").read_text())["messages"] == messages


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--tools", "mytools:weather"), "standard input is no terminal. Pass --yes"),
        (("--tools", "weather", "--yes"), "name a module and a function in it"),
        (("--tools", "nowhere_at_all:f", "--yes"), "nowhere_at_all can't be imported"),
        (("--tools", "gone.py:f", "--yes"), "gone.py can't be imported"),
        (("--tools", "mytools:nothing", "--yes"), "there is no 'nothing' in mytools."),
        (("--tools", "os:sep", "--yes"), "--tools os:sep: it must be a function"),
        (("--tools", "mytools:number", "--yes"), "--tools mytools:number: "),
        (("--tools", "mytools:weather", "--tools", "./mytools.py:weather", "--yes"), "name of another tool"),
        (("--tools", "mytools:weather", "--yes", "--tool-choice", "nothing"), "tool_choice must be"),
        (("--tool-choice", "required"), "tool_choice needs tools"),
    ],
)
def test_what_is_no_tool_is_refused(tools: Any, arguments: tuple[str, ...], says: str) -> None:
    done = tools(*CHAT, *arguments, stdin="Rome\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_tool_choice_can_be_set(tools: Any) -> None:
    turns = "/set tool_choice=auto\nno call\n/set tool_choice=nonsense\n"
    done = tools(*CHAT, "--tools", "mytools:weather", "--yes", stdin=turns)
    assert (done.returncode, done.stdout) == (2, "auto 1\n")
    assert "tool_choice must be" in done.stderr


def test_each_call_is_asked_about(llamaforge: Any, terminal: Callable[..., Any], tmp_path: Path) -> None:
    make_distribution(llamaforge.plugins, "caller", {"llamaforge.backends": {"caller": "caller"}}, {"caller": CALLER})
    (tmp_path / "mytools.py").write_text(TOOLS)
    chat = terminal(*CHAT, "--tools", "mytools:weather")
    chat.expect("> ")
    chat.type("Rome\n")
    asked = chat.expect('The model wants to call weather(city="Rome")')
    chat.expect("Call it? [y/N] ", asked)
    chat.type("y\n")
    answered = chat.expect("sun in Rome after thought", asked)
    chat.expect("> ", answered)
    chat.type("Oslo\n")
    chat.expect("Call it? [y/N] ", answered)
    chat.type("\n")
    chat.expect("The user declined this call. after thought", answered)
    chat.expect("> ", chat.seen.rfind("after thought"))
    chat.press("Ctrl-D")
    assert chat.end() == 0


def test_run_tells_of_calls(tools: Any) -> None:
    tool = json.dumps([{"type": "function", "function": {"name": "weather"}}])
    done = tools("run", "--backend", "caller", "-m", "m", "--tools", tool, "Rome")
    assert (done.returncode, done.stdout) == (0, "")
    assert 'The model calls weather(city="Rome").' in done.stderr
