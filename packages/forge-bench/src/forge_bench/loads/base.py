"""What every load can do, and text whose length the engine has counted."""

from __future__ import annotations

import random
from typing import Any, Final, Protocol

import msgspec

from ..driver import Item


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine counts our words, found out by asking it: ``tokens = overhead + per_word * words``."""

    per_word: float = 1.0
    """Tokens of a word."""
    overhead: float = 0.0
    """Tokens that the chat template adds."""
    measured: bool = False
    """Whether the engine said so. Otherwise one token a word is assumed."""

    def words(self, tokens: float, *, whole: bool = True) -> int:
        """How many words make *tokens* tokens; *whole*: of a whole prompt, template included. At least 1."""
        return max(1, round((tokens - (self.overhead if whole else 0)) / self.per_word))

    @classmethod
    def of_counts(cls, first: tuple[int, int], second: tuple[int, int]) -> Wording:
        """From two texts, each given by its words and the engine's tokens; the second is longer."""
        (words, tokens), (more_words, more_tokens) = first, second
        per_word = (more_tokens - tokens) / (more_words - words)
        if per_word <= 0:
            return cls()
        return cls(per_word=per_word, overhead=max(0.0, tokens - per_word * words), measured=True)


class Load(Protocol):
    """A source of requests."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    @property
    def size(self) -> int | None:
        """How many requests it has by itself. None: as many as are wanted."""
        ...

    @property
    def needs_wording(self) -> bool:
        """Whether it makes texts of given lengths, so that the engine must be asked how it counts."""
        ...

    def draw(self, count: int, *, seed: int, salt: str, wording: Wording, fresh: bool) -> list[Item]:
        """The next *count* requests.

        Args:
            count: how many.
            seed: decides lengths and order; the same seed gives the same.
            salt: decides texts, so that no cache knows them: another one for each trial.
            wording: how the engine counts words.
            fresh: whether all texts have to be new ones, as for warming up.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """For the report."""
        ...


_VOCABULARY: Final = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city community name president team minute idea body information back parent face
others level office door health person art war history party result change morning reason research girl guy moment air
teacher force education foot boy age policy music process market sense nation plan college interest death experience
effect use class control care field development role effort rate heart drug show leader light voice wife police mind
price report decision son view relationship town road arm difference value building action model season society tax
director position player record paper space ground form event official matter center couple site project activity star
table need court oil situation cost industry figure street image phone data picture practice piece land product doctor
wall worker news test movie north love step support technology section film chance sample scale
"""
_WORDS: Final = tuple(_VOCABULARY.split())
"""Common English words, which are one token each, with the space before, in the vocabularies of most models."""


def text_of(words: int, source: random.Random) -> str:
    """A text of so many words."""
    return " ".join(source.choices(_WORDS, k=words))


def source_of(*parts: object) -> random.Random:
    """Random numbers that depend on *parts* alone, the same in every process."""
    return random.Random(":".join(map(str, parts)))  # noqa: S311 - texts, not cryptography


def mark(salt: str, number: int) -> str:
    """A short beginning that makes a text a new one."""
    return f"[{source_of(salt, 'mark', number).getrandbits(32):08x}] "
