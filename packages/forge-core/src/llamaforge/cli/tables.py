"""Rows of text: drawn by rich on a terminal, plain aligned columns for everything else."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from .output import Output

_NARROW: Final = 60
"""Columns of a terminal below which a table that doesn't fit can't be read any more."""


def write_table(output: Output, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write *rows* below *heads*. Nothing is cut off or wrapped where no terminal sets a width.

    On a terminal too narrow for the columns, each row becomes a block with one line for each of its cells.
    """
    if output.is_terminal:
        output.write(_drawn(heads, rows))
        return
    cells = [list(heads), *(list(map(_one_line, row)) for row in rows)]
    widths = _widths(cells)
    for row in cells:
        output.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _drawn(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, force_terminal=True)
    if console.width < min(_NARROW, sum(_widths([heads, *rows])) + 2 * len(heads)):
        return _blocks(heads, rows, console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    with console.capture() as drawn:
        console.print(table)
    return drawn.get()


def _blocks(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """The first cell of each row on a line of its own, the others below it with their heads."""
    lines = []
    for row in rows:
        lines += _wrapped(row[0], width)
        for head, cell in zip(heads[1:], row[1:], strict=True):
            lines += _wrapped(f"{head.lower()}: {cell}", width, indent="  ")
        lines.append("")
    return "\n".join(lines)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """*text* in lines of *width* characters, the first one indented, the others a step more."""
    return textwrap.wrap(
        _one_line(text), max(width, 20), initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]


def _one_line(cell: str) -> str:
    return " ".join(cell.split("\n"))
