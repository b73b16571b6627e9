"""Texts for vectors and rankings: those of the command line, or one for each line of files or of standard input."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import click

from ..backends.registry import get_config
from .session import ModelChoice
from .values import utf8

STDIN = "-"


def input_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where texts come from."""
    for option in (
        click.option("--whole", is_flag=True, help="Each file is one text, instead of each line."),
        click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            metavar="FILE",
            help="Read texts from FILE, one in each line; - is standard input. Repeatable.",
        ),
    ):
        function = option(function)
    return function


def read_inputs(texts: Sequence[str], files: Sequence[str], *, whole: bool) -> Iterator[str]:
    """The *texts*, then those of *files*, read as needed; of standard input where neither is given.

    Empty lines are left out. Raises UsageError for a file that can't be read, or is not UTF-8, for an empty text, and
    for one that is a file's name.
    """
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise click.UsageError(f"Text {number} of the command line is empty.")
        if os.path.isfile(text):  # noqa: PTH113 - a text may be no possible path
            raise click.UsageError(
                f"{text} is a file. Pass --file {text} for its lines. If you mean the text, pass it on standard input."
            )
    for name in files:  # now, before a model is fetched and loaded
        if name != STDIN:
            try:
                os.stat(name)  # noqa: PTH116 - as above
            except (OSError, ValueError) as error:
                raise _unreadable(name, error) from None
    return _read(tuple(texts), tuple(files) or (() if texts else (STDIN,)), whole)


def for_task(choice: ModelChoice, task: Literal["embed", "rerank"]) -> ModelChoice:
    """*choice* for *task*: with the load parameter of that name, where a chosen backend has one."""
    choice = dataclasses.replace(choice, task=task)
    if choice.backend is not None and "task" not in get_config(choice.backend).__struct_fields__:
        return choice
    if choice.backend is None:  # the file of the model shows its task, or the user says it with --load
        return choice
    return dataclasses.replace(choice, load={"task": task, **choice.load})


def _read(texts: tuple[str, ...], files: tuple[str, ...], whole: bool) -> Iterator[str]:
    for text in texts:
        yield utf8(text, "The text")
    for name in files:
        if name == STDIN:
            yield from _texts_of(sys.stdin.buffer, "Standard input", whole)
            continue
        try:
            with Path(name).open("rb") as file:
                yield from _texts_of(file, name, whole)
        except OSError as error:
            raise _unreadable(name, error) from None


def _unreadable(name: str, error: OSError | ValueError) -> click.UsageError:
    return click.UsageError(f"{name} can't be read: {getattr(error, 'strerror', None) or error}")


def _texts_of(file: BinaryIO, name: str, whole: bool) -> Iterator[str]:
    for number, part in enumerate([file.read()] if whole else file, 1):
        try:
            text = part.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            line = number + part[: error.start].count(b"\n") if whole else number
            raise click.UsageError(
                f"{name} is not UTF-8 text (line {line}, byte {error.start}). Convert it first, for example with iconv."
            ) from None
        if text.strip():
            yield text
