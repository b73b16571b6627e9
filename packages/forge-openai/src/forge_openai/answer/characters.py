"""Characters that a server cut in two between chunks, put together again.

A server that sends its tokens one by one may cut a character: as two halves of a UTF-16 surrogate pair in the escapes
of two JSON texts (RFC 8259, section 7), or as bytes of UTF-8 that are no text by themselves. Python's ``json`` keeps
the former as lone surrogates; the latter are read with the error handler ``surrogateescape``, which makes a low
surrogate of each byte. So both are marked in the text, and what precedes them distinguishes them.
"""

from __future__ import annotations

import json
import re
from typing import Final

_has_surrogate = re.compile("[\ud800-\udfff]").search
_PAIR: Final = re.compile("([\ud800-\udbff])([\udc00-\udfff])")
_BYTES: Final = re.compile("[\udc80-\udcff]+")
_LONE: Final = re.compile("[\ud800-\udfff]")
_BYTE: Final = 0xDC00
"""``surrogateescape`` adds it to a byte."""
_REPLACEMENT: Final = "\ufffd"


def load_json(data: bytes) -> object:
    """The JSON value in *data*, whose texts may hold surrogates.

    It takes more than the standard: line breaks in texts, ``NaN``, ``Infinity``. Raises ValueError or RecursionError.
    """
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    found: object = json.loads(text, strict=False)
    return found


class CharacterJoiner:
    """Pieces of a text in, the same text without surrogates out.

    The beginning of a character at the end of a piece waits for the next piece.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """What is complete now."""
        text = self._held + piece
        self._held = ""
        if not _has_surrogate(text):
            return text
        end = len(text) - _unfinished(text)
        self._held = text[end:]
        return mend(text[:end])

    def finish(self) -> str:
        """What still waits; a character of which the rest never came is U+FFFD."""
        held, self._held = self._held, ""
        return mend(held)


def mend(text: str) -> str:
    """*text* with each pair of surrogates and each run of bytes as characters; anything else becomes U+FFFD."""
    if not _has_surrogate(text):
        return text
    text = _PAIR.sub(lambda pair: (pair[1] + pair[2]).encode("utf-16", "surrogatepass").decode("utf-16"), text)
    text = _BYTES.sub(lambda run: bytes(ord(c) - _BYTE for c in run[0]).decode("utf-8", "replace"), text)
    return _LONE.sub(_REPLACEMENT, text)


def _unfinished(text: str) -> int:
    """How many code points at the end of *text* are the beginning of a character."""
    if "\ud800" <= text[-1] <= "\udbff":
        return 1
    for count in range(1, min(3, len(text)) + 1):
        byte = ord(text[-count]) - _BYTE
        if not 0x80 <= byte <= 0xFF:
            return 0
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            # Behind a high surrogate it is the second half of a pair, and no byte.
            paired = len(text) > count and "\ud800" <= text[-count - 1] <= "\udbff"
            return count if count < needed and not paired else 0
    return 0
