"""Values in other notations than JSON, read as they arrive and written as JSON."""

from __future__ import annotations

import ast
import json
import re
from typing import Any, Final

from .reader import Emit, Reader, Steps

_DEPTH: Final = 48
"""Values nested deeper are no arguments."""
_LITERAL_LENGTH: Final = 20_000
"""Characters up to which a value is read as Python."""
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
WORDS: Final = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_BARE_END: Final = ",}])\n"
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "a": "\a", "v": "\v", "\n": ""}


def to_json(value: Any) -> str:
    """*value* as JSON, as templates write it."""
    return json.dumps(value, ensure_ascii=False)


def escaped(text: str) -> str:
    """*text* as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def read_value(reader: Reader, emit: Emit, quotes: tuple[str, ...], *, escapes: bool, depth: int = 0) -> Steps[bool]:
    """Read a value whose keys may be bare and whose words may be Python's. Its strings stand between *quotes*, with
    backslash *escapes* or as they are. Returns whether it was complete."""
    yield from reader.space()
    if depth > _DEPTH:
        return False
    quote = yield from reader.one_of(quotes)
    if quote:
        return (yield from read_string(reader, emit, quote, escapes=escapes))
    first = yield from reader.peek()
    if first == "{":
        return (yield from _members(reader, emit, quotes, escapes, depth))
    if first in ("[", "("):
        return (yield from _items(reader, emit, quotes, escapes, depth, "]" if first == "[" else ")"))
    return (yield from _bare(reader, emit))


def read_string(reader: Reader, emit: Emit, quote: str, *, escapes: bool) -> Steps[bool]:
    """Read the rest of a string up to its closing *quote*, and write it as a JSON string."""
    emit('"')
    markers = (quote, "\\") if escapes else (quote,)
    while True:
        marker = yield from reader.until(markers, lambda text: emit(escaped(text)), inside=True)
        if marker == "\\":
            emit(escaped((yield from _escape(reader))))
        else:
            if marker or not reader.is_cut:
                emit('"')
            return bool(marker)


def _escape(reader: Reader) -> Steps[str]:
    kind = yield from reader.take()
    length = {"x": 2, "u": 4, "U": 8}.get(kind, 0)
    if not length:
        return _ESCAPES.get(kind, kind if kind in "'\"\\" else f"\\{kind}")
    digits = ""
    while len(digits) < length and (digit := (yield from reader.peek())) and digit in "0123456789abcdefABCDEF":
        digits += yield from reader.take()
    try:
        character = chr(int(digits, 16))
        character.encode()
    except (ValueError, OverflowError):
        return f"\\{kind}{digits}"
    return character


def _members(reader: Reader, emit: Emit, quotes: tuple[str, ...], escapes: bool, depth: int) -> Steps[bool]:
    yield from reader.take()
    emit("{")
    count = 0
    while True:
        yield from reader.space()
        if (yield from reader.literal("}")):
            emit("}")
            return True
        if not (yield from reader.peek()):
            return False
        if count:
            emit(", ")
        count += 1
        quote = yield from reader.one_of(quotes)
        key: list[str] = []
        if quote:
            if not (yield from read_string(reader, key.append, quote, escapes=escapes)):
                return False
            yield from reader.space()
            if not (yield from reader.literal(":")):
                return False
        else:
            if not (yield from reader.until((":",), key.append)):
                return False
            key = [to_json("".join(key).strip())]
        emit("".join(key) + ": ")
        if not (yield from read_value(reader, emit, quotes, escapes=escapes, depth=depth + 1)):
            return False
        yield from reader.space()
        if not (yield from reader.literal(",")) and (yield from reader.peek()) != "}":
            return False


def _items(reader: Reader, emit: Emit, quotes: tuple[str, ...], escapes: bool, depth: int, closer: str) -> Steps[bool]:
    yield from reader.take()
    emit("[")
    count = 0
    while True:
        yield from reader.space()
        if (yield from reader.literal(closer)):
            emit("]")
            return True
        if not (yield from reader.peek()):
            return False
        if count:
            emit(", ")
        count += 1
        if not (yield from read_value(reader, emit, quotes, escapes=escapes, depth=depth + 1)):
            return False
        yield from reader.space()
        if not (yield from reader.literal(",")) and (yield from reader.peek()) != closer:
            return False


def _bare(reader: Reader, emit: Emit) -> Steps[bool]:
    word = ""
    while (character := (yield from reader.peek())) and character not in _BARE_END:
        word += yield from reader.take()
    word = word.strip()
    if not word or reader.was_short:
        return False
    emit(WORDS.get(word) or (word if _NUMBER.fullmatch(word) else to_json(word)))
    return True


def loose_value(text: str) -> str:
    """The JSON of a value that stood between tags and that its schema doesn't call a string."""
    text = text.strip()
    if text in WORDS:
        return WORDS[text]
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        pass
    else:
        return text
    if text[:1] in ("[", "{", "(") and len(text) <= _LITERAL_LENGTH:
        try:
            return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            pass
    return to_json(text)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def kinds(schema: Any, depth: int = 0) -> frozenset[str] | None:
    """The JSON types that *schema* allows; None where it allows all or doesn't say."""
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    named = schema.get("type")
    if isinstance(named, str):
        named = [named]
    if isinstance(named, list) and named:
        return frozenset(each for each in named if isinstance(each, str))
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list) and values:
        return frozenset(map(kind_of, values))
    for name in ("anyOf", "oneOf", "allOf"):
        options = schema.get(name)
        if isinstance(options, list) and options:
            found = [kinds(option, depth + 1) for option in options]
            known = [each for each in found if each is not None]
            if name == "allOf":
                return frozenset.intersection(*known) if known else None
            return frozenset().union(*known) if len(known) == len(found) else None
    return None


def kind_of(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def between_tags(text: str, allowed: frozenset[str] | None) -> str:
    """The JSON of a value that stood between tags, where its schema has the types *allowed*."""
    found = loose_value(text)
    if allowed is None:
        return found
    kind = kind_of(json.loads(found))
    if kind in allowed or (kind == "integer" and "number" in allowed):
        return found
    if kind == "number" and "integer" in allowed and float(found).is_integer():
        return found
    return to_json(text) if "string" in allowed else found
