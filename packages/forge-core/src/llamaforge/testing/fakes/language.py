"""A language model of a few hundred tokens, whose logits are hashes: small, exact, and with a real distribution."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_WORDS: Final = (
    "a able above after again air all along also always an and are as at away back be bear because before bell "
    "best bird blue boat book both bread bright but by came can cat child clear cloud coast cold come could dark "
    "day deep did dog door down each early earth end even evening ever every far fire first fish five fog for "
    "found fox free from full garden gave glass go gold good gray great green grew had hand harbour has he heard "
    "her high hill his home horse house how in into island it keeper kept knew lamp land last late left letter "
    "life light little long look made man many map"
)
CONTROL: Final = "<|im_end|>"
"""How the token that ends an answer is spelled."""
_MARKS: Final = b",.;\n"
_CHARACTERS: Final = ("é", "ß", "ñ", "東", "海", "…", "🦊", "🌊", "👋🏽")
_NOISE: Final = 2.0
_FAVOURITES: Final = (7.0, 5.5, 4.5)
_CONTINUES: Final = 14.0
_HARDLY: Final = -6.0
_END_LOGIT: Final = 14.0


class ToyLanguage:
    """Tokens and their logits.

    Tokens are the 256 bytes, some words, and one that ends an answer. Characters beyond ASCII are tokens of
    single bytes, so UTF-8 sequences are split over tokens, as in real vocabularies. The logits depend on the whole
    prompt, on the last tokens and on how many there were; a few favourites stand out, as in real models.

    Args:
        length: about how many tokens an answer has before it ends.
    """

    def __init__(self, length: int = 48) -> None:
        self._length = length
        words = [f" {word}".encode() for word in dict.fromkeys(_WORDS.split())]
        self.tokens: tuple[bytes, ...] = (*(bytes([byte]) for byte in range(256)), *words)
        self.end = len(self.tokens)
        """The token that ends an answer; it has no text."""
        self.size = self.end + 1
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first)), re.DOTALL)
        self._characters = tuple(character.encode() for character in _CHARACTERS)
        opening = [encoded[0] for encoded in self._characters]
        self._words = list(range(256, self.end))
        self._candidates = [*self._words, *_MARKS, *opening * 4]
        self._floor = [self._base(number) for number in range(self.size)]

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The tokens of *text*. Where *special*, :data:`CONTROL` is the token that ends an answer.

        Raises UnicodeEncodeError for half a surrogate pair.
        """
        if special and CONTROL in text:
            first, *others = (self.tokenize(part) for part in text.split(CONTROL))
            return [*first, *(token for part in others for token in (self.end, *part))]
        return [self._ids[found] for found in self._pattern.findall(text.encode())]

    def fingerprint(self, prompt: Sequence[int]) -> bytes:
        """What :meth:`logits` needs to know of a prompt."""
        return hashlib.blake2b(b"".join(number.to_bytes(2, "big") for number in prompt), digest_size=16).digest()

    def logits(self, fingerprint: bytes, answer: Sequence[int]) -> list[float]:
        """The logit of each token after the prompt and *answer*."""
        recent = b"".join(number.to_bytes(2, "big") for number in (*answer[-3:], len(answer) // 8))
        drawn = hashlib.shake_128(fingerprint + recent).digest(2 * self.size + 2 * len(_FAVOURITES))
        logits = [
            base + _NOISE * (drawn[2 * number] * 256 + drawn[2 * number + 1]) / 65536
            for number, base in enumerate(self._floor)
        ]
        picks = drawn[2 * self.size :]
        candidates = self._candidates if answer else self._words  # an answer begins with a word, and so with a space
        for rank, extra in enumerate(_FAVOURITES):
            pick = (picks[2 * rank] * 256 + picks[2 * rank + 1]) % len(candidates)
            favourite = candidates[pick]
            logits[favourite] = max(logits[favourite], extra + drawn[rank] / 256)
        logits[self.end] = _END_LOGIT * (len(answer) / self._length) ** 3 + _HARDLY
        following = self._following(_unfinished(answer))
        if following:
            chosen = following[drawn[0] % len(following)]
            logits[chosen] = _CONTINUES
            logits[self.end] = _HARDLY
        return logits

    def _following(self, begun: bytes) -> list[int]:
        """The bytes that go on with a character that was begun."""
        if not begun:
            return []
        return [known[len(begun)] for known in self._characters if known.startswith(begun) and len(known) > len(begun)]

    def _base(self, number: int) -> float:
        if number >= 256:
            return 0.0
        return -_NOISE if 32 <= number < 127 else _HARDLY - _NOISE


def _unfinished(answer: Sequence[int]) -> bytes:
    """The bytes at the end of *answer* that are the beginning of a known character beyond ASCII."""
    tail: list[int] = []
    for number in reversed(answer[-8:]):
        if not 128 <= number < 256:
            break
        tail.append(number)
    data = bytes(reversed(tail))
    begins = _beginnings()
    while data and data not in begins:
        data = data[1:]
    return data


@lru_cache(maxsize=1)
def _beginnings() -> frozenset[bytes]:
    encoded = [character.encode() for character in _CHARACTERS]
    return frozenset(each[:cut] for each in encoded for cut in range(1, len(each)))
