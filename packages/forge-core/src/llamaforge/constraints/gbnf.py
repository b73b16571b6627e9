"""GBNF, llama.cpp's grammar format, translated to Lark.

The format: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md. llama.cpp's own reader and matcher are
never used in the process: a token that doesn't fit ends it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ..errors import ConstraintError

_DEEPEST: Final = 60
"""Levels of parentheses."""
_MOST: Final = 10_000
"""Repetitions that {m,n} may ask for."""
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_REPEATED = re.compile(r"\{\s*(\d{1,6})\s*(?:(,)\s*(\d{1,6})?\s*)?\}")
_TOKEN = re.compile(r"<\[(\d{1,9})\]>|<[^<>\s\[\]]+>")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "[": "[", "]": "]"}
_HEX: Final = {"x": 2, "u": 4, "U": 8}
_QUANTIFIERS: Final = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass(frozen=True, slots=True)
class _Literal:
    text: str


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One character, as a regular expression."""

    regex: str


@dataclass(frozen=True, slots=True)
class _Token:
    """A special token, as a grammar in Lark has it."""

    lark: str


@dataclass(frozen=True, slots=True)
class _Name:
    name: str
    place: int


@dataclass(frozen=True, slots=True)
class _Repeat:
    node: _Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class _Sequence:
    nodes: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    nodes: tuple[_Node, ...]


_Node = _Literal | _Pattern | _Token | _Name | _Repeat | _Sequence | _Choice


def is_gbnf(text: str) -> bool:
    """Whether *text* is GBNF and not Lark: its rules have ``::=``."""
    return re.search(r"^[ \t]*[A-Za-z0-9_-]+[ \t]*::=", text, re.MULTILINE) is not None


def to_lark(text: str) -> str:
    """*text* in Lark. Raises ConstraintError, with the line and the column, for what is no GBNF."""
    return _Writer(_Reader(text).rules(), lambda place, reason: _error(text, place, reason)).write()


def _error(text: str, place: int, reason: str) -> ConstraintError:
    line = text.count("\n", 0, place) + 1
    column = place - (text.rfind("\n", 0, place) + 1) + 1
    return ConstraintError("grammar", f"line {line}, column {column}", reason)


class _Reader:
    """Reads rules from a text."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0

    def rules(self) -> dict[str, _Node]:
        found: dict[str, _Node] = {}
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._text):
            name = self._match(_NAME)
            if name is None:
                raise self._error("a rule begins with its name: name ::= ...")
            self._skip(_SPACE)
            if not self._take("::="):
                raise self._error(f"the rule {name[0]!r} needs '::=' after its name.")
            if name[0] in found:
                raise self._error(f"there are two rules {name[0]!r}.")
            found[name[0]] = self._alternatives(inside=False)
            self._skip(_SPACE)
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                raise self._error(f"{self._text[self._at]!r} can't stand here.")
            self._skip(_SPACE_AND_LINES)
        return found

    def _alternatives(self, *, inside: bool) -> _Node:
        """Alternatives. Lines may end after ``::=`` and ``|``, and anywhere *inside* parentheses."""
        nodes = []
        while True:
            self._skip(_SPACE_AND_LINES)
            nodes.append(self._sequence(inside=inside))
            if not self._take("|"):
                return nodes[0] if len(nodes) == 1 else _Choice(tuple(nodes))

    def _sequence(self, *, inside: bool) -> _Node:
        nodes: list[_Node] = []
        while True:
            if self._begins_a_rule():
                break
            node = self._element()
            if node is None:
                break
            self._skip(_SPACE_AND_LINES if inside else _SPACE)
            while (repeat := self._repetition(node)) is not None:
                node = repeat
                self._skip(_SPACE_AND_LINES if inside else _SPACE)
            nodes.append(node)
        return nodes[0] if len(nodes) == 1 else _Sequence(tuple(nodes))

    def _begins_a_rule(self) -> bool:
        """An empty last alternative is followed by the next rule."""
        name = _NAME.match(self._text, self._at)
        return name is not None and self._text.startswith("::=", _end(_SPACE, self._text, name.end()))

    def _element(self) -> _Node | None:
        character = self._text[self._at : self._at + 1]
        if character == '"':
            return _Literal(self._literal())
        if character == "[":
            return _Pattern(self._character_class())
        if character == ".":
            self._at += 1
            return _Pattern("(?s:.)")
        if character == "(":
            return self._group()
        if character == "!":
            raise self._error("'!' before a token can't be enforced.")
        if character == "<":
            return self._token()
        begin = self._at
        name = self._match(_NAME)
        return None if name is None else _Name(name[0], begin)

    def _group(self) -> _Node:
        begin = self._at
        self._at += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"parentheses are nested deeper than {_DEEPEST} levels.")
        node = self._alternatives(inside=True)
        self._skip(_SPACE_AND_LINES)
        if not self._take(")"):
            self._at = begin
            raise self._error("this parenthesis is not closed.")
        self._depth -= 1
        return node

    def _token(self) -> _Token:
        found = self._match(_TOKEN)
        if found is None:
            raise self._error("a token is written <name> or <[id]>.")
        from .grammar import special_token

        return _Token(found[0] if found[1] else special_token(found[0]))

    def _repetition(self, node: _Node) -> _Repeat | None:
        character = self._text[self._at : self._at + 1]
        if character in _QUANTIFIERS:
            self._at += 1
            return _Repeat(node, *_QUANTIFIERS[character])
        if character != "{":
            return None
        found = self._match(_REPEATED)
        if found is None:
            raise self._error("a repetition is written {m}, {m,} or {m,n}.")
        least = int(found[1])
        most = (int(found[3]) if found[3] else None) if found[2] else least
        if max(least, most or 0) > _MOST or (most is not None and most < least):
            raise self._error(f"a repetition has 0 <= m <= n <= {_MOST:,}.")
        return _Repeat(node, least, most)

    def _literal(self) -> str:
        begin = self._at
        self._at += 1
        text = ""
        while not self._take('"'):
            if self._at >= len(self._text):
                self._at = begin
                raise self._error("this string is not closed.")
            text += self._character()
        return text

    def _character_class(self) -> str:
        begin = self._at
        self._at += 1
        negated = self._take("^")
        parts = []
        while not self._take("]"):
            low = self._class_character(begin)
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                high = self._class_character(begin)
                if high < low:
                    raise self._error(f"the range {low!r}-{high!r} is empty.")
                parts.append(f"{_in_class(low)}-{_in_class(high)}")
            else:
                parts.append(_in_class(low))
        if not parts:
            if negated:
                return "(?s:.)"
            raise self._error("a class must have a character.")
        return f"[{'^' if negated else ''}{''.join(parts)}]"

    def _class_character(self, begin: int) -> str:
        if self._at >= len(self._text):
            self._at = begin
            raise self._error("this class is not closed.")
        return self._character()

    def _character(self) -> str:
        character = self._text[self._at]
        self._at += 1
        if character != "\\":
            return character
        kind = self._text[self._at : self._at + 1]
        if kind in _HEX:
            digits = self._text[self._at + 1 : self._at + 1 + _HEX[kind]]
            if re.fullmatch(rf"[0-9A-Fa-f]{{{_HEX[kind]}}}", digits):
                number = int(digits, 16)
                if number <= 0x10FFFF and not 0xD800 <= number < 0xE000:
                    self._at += 1 + _HEX[kind]
                    return chr(number)
        elif kind and kind in _ESCAPES:
            self._at += 1
            return _ESCAPES[kind]
        raise self._error(f"'\\{kind}' is not an escape sequence. Use \\n \\r \\t \\\" \\\\ \\[ \\] \\xHH \\uHHHH.")

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._at = _end(pattern, self._text, self._at)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _take(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _error(self, reason: str) -> ConstraintError:
        return _error(self._text, self._at, reason)


@dataclass(slots=True)
class _Writer:
    """Writes rules in Lark.

    What is regular becomes a terminal, as large as possible: characters one by one would be slow, and between two
    terminals llguidance takes the longest first one.
    """

    rules: dict[str, _Node]
    error: Callable[[int, str], ConstraintError]
    _terminals: dict[str, bool] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _more: list[str] = field(default_factory=list)

    def write(self) -> str:
        if "root" not in self.rules:
            raise self.error(0, "there must be a rule 'root'.")
        self._find_terminals()
        for number, name in enumerate(self.rules):
            self._names[name] = f"T{number}" if self._terminals[name] else f"r{number}"
        lines = [f"start: {self._names['root']}"]
        for name, node in self.rules.items():
            lines.append(f"{self._names[name]}: {self._lark(node, whole=self._terminals[name])}")
        return "\n".join([*lines, *self._more]) + "\n"

    def _find_terminals(self) -> None:
        """A rule is regular if it refers to regular rules alone, and not to itself."""
        for name in self.rules:
            for each in _names(self.rules[name]):
                if each.name not in self.rules:
                    raise self.error(each.place, f"there is no rule {each.name!r}.")
            self._terminals[name] = False
        changed = True
        while changed:
            changed = False
            for name, node in self.rules.items():
                if not self._terminals[name] and self._is_regular(node):
                    self._terminals[name] = changed = True

    def _is_regular(self, node: _Node) -> bool:
        if isinstance(node, _Name):
            return self._terminals[node.name]
        if isinstance(node, _Repeat):
            return self._is_regular(node.node)
        if isinstance(node, _Sequence | _Choice):
            return all(map(self._is_regular, node.nodes))
        return not isinstance(node, _Token)

    def _lark(self, node: _Node, *, whole: bool) -> str:
        """*node* in Lark; *whole* within a terminal, where nothing else becomes one."""
        if not whole and self._is_regular(node) and not isinstance(node, _Name | _Literal):
            self._more.append(f"A{len(self._more)}: {self._lark(node, whole=True)}")
            return f"A{len(self._more) - 1}"
        if isinstance(node, _Literal):
            return json.dumps(node.text, ensure_ascii=False)
        if isinstance(node, _Pattern):
            return f"/{node.regex}/"
        if isinstance(node, _Token):
            return node.lark
        if isinstance(node, _Name):
            return self._names[node.name]
        if isinstance(node, _Repeat):
            most = "" if node.most is None else node.most
            return f"({self._lark(node.node, whole=whole)}){{{node.least},{most}}}"
        if isinstance(node, _Choice):
            return "(" + " | ".join(self._lark(each, whole=whole) for each in node.nodes) + ")"
        return " ".join(self._parts(node.nodes, whole=whole)) or '""'

    def _parts(self, nodes: tuple[_Node, ...], *, whole: bool) -> Iterator[str]:
        """The parts of a sequence; neighbours that are regular become one."""
        run: list[_Node] = []
        for node in nodes:
            if not whole and self._is_regular(node):
                run.append(node)
                continue
            if run:
                yield self._lark(run[0] if len(run) == 1 else _Sequence(tuple(run)), whole=whole)
                run = []
            yield self._lark(node, whole=whole)
        if run:
            yield self._lark(run[0] if len(run) == 1 else _Sequence(tuple(run)), whole=whole)


def _names(node: _Node) -> Iterator[_Name]:
    if isinstance(node, _Name):
        yield node
    elif isinstance(node, _Repeat):
        yield from _names(node.node)
    elif isinstance(node, _Sequence | _Choice):
        for each in node.nodes:
            yield from _names(each)


def _in_class(character: str) -> str:
    if character.isalnum() or ord(character) > 0x7F:
        return character
    return f"\\x{ord(character):02X}"


def _end(pattern: re.Pattern[str], text: str, begin: int) -> int:
    found = pattern.match(text, begin)
    return begin if found is None else found.end()
