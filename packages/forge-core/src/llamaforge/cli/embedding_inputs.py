"""Texts for vectors and rankings: one for each line of files or of standard input, read as needed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import click

from ..backends.registry import get_config
from .session import ModelChoice

STDIN = "-"


def lines_of(files: Sequence[str]) -> Iterator[str]:
    """The lines of *files*, without their line breaks; of standard input where there are none, or for ``-``.

    Lines without content are left out. Raises UsageError for a file that can't be read, or is not UTF-8.
    """
    for name in files or (STDIN,):
        if name == STDIN:
            yield from _lines(sys.stdin.buffer, "Standard input")
            continue
        try:
            with Path(name).open("rb") as file:
                yield from _lines(file, name)
        except OSError as error:
            raise click.UsageError(f"{name} can't be read: {error.strerror or error}") from None


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise click.UsageError(
                f"{name} is not UTF-8 text (line {number}, byte {error.start}). Convert it first, for example with "
                "iconv."
            ) from None
        if text.strip():
            yield text


def for_task(choice: ModelChoice, task: Literal["embed", "rerank"]) -> ModelChoice:
    """*choice* with the load parameter ``task``, where the chosen backend has one."""
    if choice.backend is not None and "task" not in get_config(choice.backend).__struct_fields__:
        return choice
    if choice.backend is None:  # the file of the model shows its task, or the user says it with --load
        return choice
    return dataclasses.replace(choice, load={"task": task, **choice.load})
