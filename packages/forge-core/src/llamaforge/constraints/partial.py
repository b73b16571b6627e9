"""What a JSON text that is still being written says so far."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_WORD = re.compile(r'[^"\[\]{},:\s]+')
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}$")


def partial_json(text: str) -> Any:
    """The value that *text*, the beginning of a JSON text, has so far; None while it has none.

    Strings are taken as far as they go; a number or a word counts once it is followed by something.
    """
    closed = _closed(text)
    if closed is None:
        return None
    try:
        return msgspec.json.decode(closed)
    except (msgspec.DecodeError, RecursionError):
        return None


def _closed(text: str) -> str | None:
    """*text* without what is incomplete at its end, and with everything closed that is open."""
    open_ones: list[str] = []
    end, at = -1, 0
    """*end* is after the last value; what is open there, ``left`` closes."""
    left = ""
    names = False  # whether a string is a name here, and no value
    while at < len(text):
        character = text[at]
        if character == '"':
            begin, at, whole = at, *_string_end(text, at)
            is_name = names
            names = False
            if not whole:
                if is_name:
                    break
                piece = _HALF_ESCAPE.sub("", text[begin:])
                piece = _HALF_PAIR.sub("", piece)
                return text[:begin] + piece + '"' + _closers(open_ones)
            if not is_name:
                end, left = at, _closers(open_ones)
            continue
        at += 1
        if character in "[{":
            open_ones.append(character)
            names = character == "{"
            end, left = at, _closers(open_ones)
        elif character in "]}":
            if not open_ones:
                return None
            open_ones.pop()
            end, left = at, _closers(open_ones)
            names = False
        elif character == ",":
            names = bool(open_ones) and open_ones[-1] == "{"
        elif character == ":":
            names = False
        elif not character.isspace():
            word = _WORD.match(text, at - 1)
            at = at if word is None else word.end()
            if at < len(text):
                end, left = at, _closers(open_ones)
    return None if end < 0 else text[:end] + left


def _string_end(text: str, begin: int) -> tuple[int, bool]:
    """Where the string that begins at *begin* ends, and whether it does."""
    at = begin + 1
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text[at] == '"':
            return at + 1, True
        else:
            at += 1
    return len(text), False


def _closers(open_ones: list[str]) -> str:
    return "".join("]" if each == "[" else "}" for each in reversed(open_ones))
