"""Options for the format of an answer: ``--schema``, ``--choice``, ``--regex``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .values import JsonType, TextType

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_OPTIONS = ("schema", "choice", "regex")


class SchemaType(JsonType):
    """A JSON value, or the name of a file that holds one, with or without ``@``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the file, or parse the text."""
        return super().convert(_at_file(value, "{["), param, ctx)


class GrammarType(TextType):
    """A grammar, or the name of a file that holds one, with or without ``@``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the file, if it is one."""
        return super().convert(_at_file(value, ""), param, ctx)


def format_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the answer must look like."""
    for option in (
        click.option("--regex", metavar="REGEX", type=TextType(), help="A regular expression that the answer matches."),
        click.option(
            "--choice", metavar="TEXT", multiple=True, help="An answer that is allowed. Give it for each of them."
        ),
        click.option(
            "--schema",
            "--json-schema",
            "schema",
            metavar="FILE|JSON",
            type=SchemaType(),
            help="A JSON schema that the answer follows: a file, or the schema itself.",
        ),
    ):
        function = option(function)
    return function


def take_format(options: dict[str, Any]) -> None:
    """Make ``response_format`` of the options for formats among a command's *options*.

    Raises UsageError where several are given.
    """
    given = {name: options.pop(name) for name in _OPTIONS}
    given = {name: value for name, value in given.items() if value not in (None, ())}
    also = [f"--{name.replace('_', '-')}" for name in ("response_format", "grammar") if options.get(name) is not None]
    names = [*(f"--{name}" for name in given), *also]
    if given and len(names) > 1:
        raise click.UsageError(f"{' and '.join(names)} contradict each other: an answer can follow only one of them.")
    for name, value in given.items():
        if name == "schema":
            options["response_format"] = {"type": "json_schema", "json_schema": {"schema": value}}
        else:
            options["response_format"] = {"type": name, name: list(value) if name == "choice" else value}


def _at_file(value: Any, begins: str) -> Any:
    """*value* with ``@`` before it if it is the name of a file.

    JSON *begins* with one of these characters; for a grammar that is empty.
    """
    if not isinstance(value, str) or value.startswith("@") or (value and value[0] in begins) or "\n" in value:
        return value
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        pass
    else:
        return value
    try:
        is_file = Path(value).expanduser().is_file()
    except (OSError, ValueError):
        is_file = False
    # What is no JSON, and no grammar since it has no rule, can only be meant as a file's name.
    return f"@{value}" if is_file or begins or ":" not in value else value
