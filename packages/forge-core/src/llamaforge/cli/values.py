"""``name=value`` on the command line, and text that must be UTF-8."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic since click 8.5

_WORDS = {"True": True, "False": False}
"""As Python users type them."""


def parse_value(text: str) -> Any:
    """*text* as JSON or TOML reads it: ``8``, ``0.5``, ``true``, ``"text"``, ``[1, 2]``, ``{"a": 1}``.

    Anything else, and a date, is text.
    """
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = read.get("value")
    return value if len(read) == 1 and _is_plain(value) else text


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return isinstance(value, str | int | float | bool)


def parse_pairs(ctx: click.Context, param: click.Parameter, values: Iterable[str]) -> dict[str, Any]:
    """A click callback: ``name=value`` options as a dict.

    A value is never shown in an error: it may be a key.
    """
    pairs: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter("use NAME=VALUE.", ctx, param)
        if name in pairs:
            raise click.BadParameter(f"{name} is given twice.", ctx, param)
        pairs[name] = parse_value(value)
    return pairs


class JsonType(_ParamType):
    """A JSON value, or ``@FILE`` for a file that holds one; *or_text*: what does not begin as an object is text."""

    name = "JSON"

    def __init__(self, *, or_text: bool = False) -> None:
        self._or_text = or_text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse it."""
        if not isinstance(value, str):
            return value
        text = _of_file(self, value, param, ctx)
        if self._or_text and not text.lstrip().startswith("{"):
            return text
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            advice = (
                " Python functions are for `llamaforge chat`." if param is not None and param.name == "tools" else ""
            )
            return self.fail(f"it is not valid JSON: {error}. Give JSON, or @FILE for a file.{advice}", param, ctx)


class TextType(_ParamType):
    """Text, or ``@FILE`` for a file that holds it."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the file, if it is one."""
        return _of_file(self, value, param, ctx)


def _of_file(kind: _ParamType, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
    if not value.startswith("@"):
        return value
    path = Path(value[1:]).expanduser()
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return kind.fail(f"the file {path} can't be read: {reason}.", param, ctx)


def utf8(text: str, what: str) -> str:
    """*text*, which came from the command line or a terminal, read as UTF-8 whatever the locale says.

    Raises UsageError where its bytes were not UTF-8.
    """
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        pass
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        raise click.UsageError(f"{what} is not UTF-8 text. Convert it first, for example with iconv.") from None
