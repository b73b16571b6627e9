"""The base class, and suggestions for misspelt names."""

from __future__ import annotations

import copyreg
from collections.abc import Iterable, Sequence
from typing import Any


class LlamaForgeError(Exception):
    """Base class of every error that LlamaForge raises on purpose."""

    message: str
    """What went wrong and what to do about it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def add_place(self, place: str) -> None:
        """Say first where the wrong value was set, such as a file: *place* is put before the message once."""
        if not self.message.startswith(place):
            self.message = f"{place}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take keyword arguments of their own, which the default protocol would lose.
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]


def closest(name: str, known: Iterable[str]) -> list[str]:
    """The names in *known* most similar to *name*, best first, at most three."""
    import difflib

    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_fold(candidate), candidate)
    found = difflib.get_close_matches(_fold(name), folded, n=3, cutoff=0.6)
    return [folded[key] for key in found]


def _fold(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def did_you_mean(suggestions: Sequence[str], known: Iterable[str], what: str) -> str:
    """The end of a message about an unknown name."""
    if suggestions:
        return f" Did you mean {' or '.join(map(repr, suggestions))}?"
    names = sorted(known)
    if not names:
        return f" There are no {what} yet."
    return f" Known {what}: {', '.join(names)}."
