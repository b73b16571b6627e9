"""A buffer for growing text."""

from __future__ import annotations

from typing import Final

_MOST: Final = 512
"""Pieces that are kept separately before they are joined."""


class TextBuffer:
    """Collects pieces of a text in about as much memory as the text; a list of short pieces takes ten times as much.

    (So does ``io.StringIO`` in Python 3.11, which keeps such a list.)
    """

    __slots__ = ("_blocks", "_pieces")

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._pieces: list[str] = []

    def write(self, piece: str) -> None:
        """Append *piece*."""
        pieces = self._pieces
        pieces.append(piece)
        if len(pieces) == _MOST:
            self._blocks.append("".join(pieces))
            pieces.clear()

    def __str__(self) -> str:
        return "".join(self._blocks) + "".join(self._pieces)
