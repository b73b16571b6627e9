"""Guesses from the text so far.

Prompt-lookup decoding (Apoorv Saxena, 2023, https://github.com/apoorvumang/prompt-lookup-decoding): where the last few
tokens stood before, what followed them then may follow now. The engine checks all guesses in one step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_LENGTHS: Final = (3, 2)
"""Lengths of the tail that is looked for, longest first."""


class PromptLookup:
    """The tokens of one request, with an index of where each short run of them stood last.

    Args:
        tokens: those that are there already.
        most: guesses at a time, at most.
    """

    __slots__ = ("_ends", "_most", "_tokens", "_width")

    def __init__(self, tokens: Iterable[int], most: int) -> None:
        self._tokens: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}
        self._most = most
        self._width = most
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """The text goes on with *token*."""
        tokens = self._tokens
        end = len(tokens)
        for length in _LENGTHS:  # only now, so that a tail is never found where it stands itself
            if end >= length:
                self._ends[tuple(tokens[end - length :])] = end
        tokens.append(token)

    def guess(self, room: int) -> list[int]:
        """What may come next: *room* tokens at most; none where the tail is new."""
        count = min(self._width, room)
        if count > 0:
            for length in _LENGTHS:
                end = self._ends.get(tuple(self._tokens[-length:]))
                if end is not None:
                    return self._tokens[end : end + count]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """*right* of *guessed* guesses came true: guess more next time, or fewer, since each costs computation."""
        self._width = min(self._most, self._width * 2) if right == guessed else max(1, right)
