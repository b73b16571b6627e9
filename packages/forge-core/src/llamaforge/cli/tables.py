"""Rows of text: drawn by rich on a terminal, plain aligned columns for everything else."""

from __future__ import annotations

from collections.abc import Sequence

from .output import Output


def write_table(output: Output, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write *rows* below *heads*. Nothing is cut off or wrapped where no terminal sets a width."""
    if output.is_terminal:
        output.write(_drawn(heads, rows))
        return
    cells = [list(heads), *(list(map(_one_line, row)) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        output.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _drawn(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, force_terminal=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    with console.capture() as drawn:
        console.print(table)
    return drawn.get()


def _one_line(cell: str) -> str:
    return " ".join(cell.split("\n"))
