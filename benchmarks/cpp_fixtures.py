"""Reads the cases of llama.cpp's tests/test-chat.cpp: what models write, and what is to be made of it.

Nothing of that file is kept here. The cases are chains of calls, ``tst.test(TEXT).tools({...}).expect(MESSAGE).run()``;
their arguments are literals, constants of the file, and calls of a few helpers, which :class:`_Reader` evaluates.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)|R"(?P<delim>[^(\s]*)\((?P<raw>.*?)\)(?P=delim)"|"(?P<text>(?:\\.|[^"\\])*)"
    |(?P<name>[A-Za-z_][\w:]*)|(?P<number>\d+)|(?P<sign>->|.)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass
class Message:
    """What a test expects."""

    content: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Case:
    """One test."""

    template: str
    """The template's file."""
    text: str
    tools: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """What else it sets: ``reasoning_format``, ``enable_thinking``, ``is_partial``..."""
    expected: Message = field(default_factory=Message)


class _Unreadable(Exception):
    pass


@dataclass
class _Call:
    name: str
    arguments: list[Any]


class _Reader:
    def __init__(self, source: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        for match in _TOKEN.finditer(source):
            if match["skip"] is not None:
                continue
            if match["raw"] is not None:
                self._tokens.append(("string", match["raw"]))
            elif match["text"] is not None:
                self._tokens.append(("string", _unescaped(match["text"])))
            else:
                kind = "name" if match["name"] else "number" if match["number"] else "sign"
                self._tokens.append((kind, match[0]))
        self._known: dict[str, Any] = {}

    def cases(self) -> Iterator[Case]:
        templates: dict[str, str] = {}
        tokens = self._tokens
        at = 0
        while at < len(tokens):
            kind, word = tokens[at]
            following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
            if kind == "name" and word.startswith("common_chat_") and tokens[at + 1][0] == "name":
                at = self._constant(at)
            elif kind == "name" and following == "=" and tokens[at + 2][1] == "peg_tester":
                named = tokens[at + 4]
                templates[word] = named[1].rpartition("/")[2] if named[0] == "string" else ""
                at += 5
            elif kind == "name" and following == "." and tokens[at + 2][1] == "test" and templates.get(word):
                case, at = self._case(templates[word], at + 1)
                if case is not None:
                    yield case
            else:
                at += 1

    def _constant(self, at: int) -> int:
        """A tool or a message that has a name."""
        name, sign = self._tokens[at + 1][1], self._tokens[at + 2][1]
        try:
            if sign == "=":
                self._known[name], at = self._value(at + 3)
            elif sign == "{":
                self._known[name], at = self._value(at + 2)
            else:
                at += 2
        except (_Unreadable, IndexError):
            at += 3
        return at

    def _case(self, template: str, at: int) -> tuple[Case | None, int]:
        steps: list[_Call] = []
        try:
            while self._tokens[at][1] == ".":
                name = self._tokens[at + 1][1]
                arguments, at = self._list(at + 2, ")")
                steps.append(_Call(name, arguments))
            return _case_of(template, steps), at
        except (_Unreadable, IndexError):
            return None, at + 1

    def _list(self, at: int, end: str) -> tuple[list[Any], int]:
        found = []
        at += 1
        while self._tokens[at][1] != end or self._tokens[at][0] == "string":
            value, at = self._value(at)
            found.append(value)
            if self._tokens[at][1] == ",":
                at += 1
        return found, at + 1

    def _value(self, at: int) -> tuple[Any, int]:
        kind, word = self._tokens[at]
        if kind == "string":
            at += 1
            while self._tokens[at][0] == "string" or self._tokens[at][1] == "+":
                if self._tokens[at][1] == "+":
                    more, at = self._value(at + 1)
                    return word + more, at
                word += self._tokens[at][1]
                at += 1
            return word, at
        if kind == "number":
            return int(word), at + 1
        if word == "{":
            return self._list(at, "}")
        if kind != "name":
            raise _Unreadable(word)
        at += 1
        if self._tokens[at][1] == "(":
            arguments, at = self._list(at, ")")
            return _called(word, arguments), at
        if word in ("true", "false"):
            return word == "true", at
        return self._known.get(word, word), at


def _unescaped(text: str) -> str:
    text = text.replace("\n", "\\n")
    return str(ast.literal_eval(f'"{text}"'))


def _called(name: str, arguments: list[Any]) -> Any:
    if name == "std::string":
        return arguments[0]
    if name == "simple_assist_msg":
        content, reasoning, tool, given, ident = [*arguments, *[""] * (5 - len(arguments))]
        return Message(content, reasoning, [(tool, given)] if tool or ident else [])
    if name == "message_with_tool_calls":
        return Message("", "", [tuple(arguments)])  # type: ignore[list-item]
    if name == "message_with_tool_calls_and_reasoning":
        return Message("", arguments[2], [(arguments[0], arguments[1])])
    if name == "message_with_reasoning_content_and_multiple_tool_calls":
        return Message(arguments[1], arguments[0], [(each[0], each[1]) for each in arguments[2]])
    if name == "message_with_content_and_tool_call":
        return Message(arguments[0], "", [(arguments[1], arguments[2])])
    if name == "message_with_reasoning_and_tool_call":
        return Message("", arguments[0], [(arguments[1], arguments[2])])
    raise _Unreadable(name)


def _case_of(template: str, steps: list[_Call]) -> Case | None:
    case = Case(template, "")
    for step in steps:
        first = step.arguments[0] if step.arguments else True
        if step.name == "test":
            case.text = first
        elif step.name == "tools":
            case.tools = [_tool(each) for each in first]
        elif step.name == "expect":
            if not isinstance(first, Message):
                raise _Unreadable(str(first))
            case.expected = first
        elif step.name == "expect_content":
            case.expected = Message(first, case.expected.reasoning, case.expected.calls)
        elif step.name == "expect_reasoning":
            case.expected = Message(case.expected.content, first, case.expected.calls)
        elif step.name == "expect_tool_calls":
            calls = [(each[0], each[1]) for each in first]
            case.expected = Message(case.expected.content, case.expected.reasoning, calls)
        elif step.name != "run":
            case.settings[step.name] = first
    return case


def _tool(described: Any) -> dict[str, Any]:
    if not isinstance(described, list):
        raise _Unreadable(str(described))
    name, description, parameters = described
    function = {"name": name, "description": description}
    if parameters.strip():
        function["parameters"] = json.loads(parameters)
    return {"type": "function", "function": function}


def read_cases(file: Path) -> list[Case]:
    """All cases of *file* that can be evaluated."""
    return list(_Reader(file.read_text(encoding="utf-8")).cases())
