"""Reads the user's turns: lines from a terminal or a pipe, joined if they belong together."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from .output import Output
from .values import utf8

_FENCE = '"""'


class Turns:
    """Reads one turn after another.

    Args:
        read_line: called with a prompt for each line; raises EOFError at the end.
    """

    def __init__(self, read_line: Callable[[str], str]) -> None:
        self._read_line = read_line

    def next(self) -> str:
        """The next turn: one line, several lines that end in a backslash, or all between two lines of three quotes.

        A turn that the end of input cuts off is returned as it is. Raises EOFError if there is no further turn.
        """
        line = self._read_line("> ")
        if line.strip() == _FENCE:
            return self._fenced()
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            try:
                lines.append(self._read_line("| "))
            except EOFError:
                break
        return "\n".join(lines)

    def _fenced(self) -> str:
        lines: list[str] = []
        with contextlib.suppress(EOFError):
            while (line := self._read_line("| ")).strip() != _FENCE:
                lines.append(line)
        return "\n".join(lines)


def terminal_lines(output: Output) -> Callable[[str], str]:
    """Lines typed at a terminal."""

    def read_line(prompt: str) -> str:
        with output.as_stdout():
            return utf8(input(prompt), "The line")

    return read_line


def piped_lines() -> Callable[[str], str]:
    """Lines of standard input, without prompts."""

    def read_line(_: str) -> str:
        raw = sys.stdin.buffer.readline()
        if not raw:
            raise EOFError
        return utf8(raw.decode("utf-8", errors="surrogateescape"), "Standard input").rstrip("\r\n")

    return read_line
