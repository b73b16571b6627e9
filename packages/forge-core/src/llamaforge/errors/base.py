"""The base class, and suggestions for misspelt names."""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Iterable, Sequence
from typing import Any, Final

_SIMILAR: Final = 0.65
"""From which ratio of equal characters on two names are similar: 'oen' is one (0.67), 'nope' is not openai (0.6)."""

_BEGINNING: Final = 4
"""Characters from which on the beginning of a name stands for it."""

_LONGEST: Final = 1000
"""Characters of a name, at most, that may stand for another one: comparing takes its time."""


class LlamaForgeError(Exception):
    """Base class of every error that LlamaForge raises on purpose."""

    message: str
    """What went wrong and what to do about it."""
    _has_place = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def add_place(self, place: str) -> None:
        """Say first where the wrong value was set, such as a file. Only the first *place* counts: it is the closest."""
        if not self._has_place:
            self._has_place = True
            self.message = f"{place}: {_within(self.message)}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take keyword arguments of their own, which the default protocol would lose.
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]


def own_copy(error: BaseException) -> BaseException:
    """A copy of *error* for one of several callers: an exception that is raised grows a traceback, in each thread.

    An exception that can't be copied becomes a LlamaForgeError with its text.
    """
    try:
        own = copy.copy(error)
    except Exception:  # noqa: BLE001 - an engine's own exception may take any arguments
        own = None
    return own if type(own) is type(error) else LlamaForgeError(f"{type(error).__name__}: {error}")


def _within(sentence: str) -> str:
    """*sentence* after a colon: in lower case, unless it begins with a name."""
    return sentence[0].lower() + sentence[1:] if sentence.startswith(("The ", "There ", "No ")) else sentence


def closest(name: str, known: Iterable[str]) -> list[str]:
    """The names in *known* that *name* may stand for, best first, at most three.

    Those are names that begin with *name*, and names that are nearly the same. Case and punctuation don't count.
    """
    import difflib

    if len(name) > _LONGEST:
        return []
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_fold(candidate), candidate)
    wanted = _fold(name)
    found = difflib.get_close_matches(wanted, folded, n=3, cutoff=_SIMILAR)
    begun = sorted((key for key in folded if key.startswith(wanted)), key=len) if len(wanted) >= _BEGINNING else []
    return [folded[key] for key in dict.fromkeys([*found, *begun])][:3]


def _fold(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def did_you_mean(suggestions: Sequence[str], known: Iterable[str], what: str) -> str:
    """The end of a message about an unknown name."""
    if suggestions:
        return f" Did you mean {' or '.join(map(repr, suggestions))}?"
    names = sorted(known)
    if not names:
        return f" There are no {what}."
    return f" Known {what}: {', '.join(names)}."
