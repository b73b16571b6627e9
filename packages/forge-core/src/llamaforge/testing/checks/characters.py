"""Characters of a prompt: each reaches the model as it stands."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from ...errors import LlamaForgeError
from ..expect import expect
from ..kit import Kit
from ..subject import Subject
from ..ways import cells_within, spread
from .reading import BASE, fingerprint, told_by

FRAME: Final = "Repeat what it says: a{}b. And then go on."
PLAIN: Final = ("", " ", "\n", "?", "\ufffd", "-", "_", ".", "'", '"', "&", "<", "\\")
"""What other characters are taken for, or replaced by."""
SPACES: Final = (
    *("\t", "\v", "\f", "\r", "\r\n", "\x85", "\u2028", "\u2029", "\u00a0", "\u3000", "\u2003", "\u2009", "\u202f"),
    *("  ", "   ", "    ", "\t\t", "\n\n", "\n\n\n", "\n\n\n\n", " \n", "  \n", "\n ", "\n\t"),
)
UNSEEN: Final = (
    *("\x00", "\x00c", "\x01", "\x07", "\x08", "\x1a", "\x1ac", "\x1b", "\x1b[0m", "\x7f"),
    *("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u202e", "\ufe0e", "\ufe0f"),
)
LETTERS: Final = (
    *("e", "\u00e9", "\u00c9", "e\u0301", "E", "o\u0308", "\u00f6", "\u00d6", "n\u0303", "\u0301", "\u00e5", "\u00c5"),
    *("\u212b", "\u00df", "\u1e9e", "ss", "\u0130", "\u0131", "i", "\u0434", "\u0414", "\u03c3", "\u03c2", "\u03a3"),
    *("\uac00", "\u1100\u1161", "\ufb01", "fi", "\uff21", "A", "\uff8a", "\u30cf", "\u6d77", "\u0e01\u0e48"),
    *("\u2460", "1", "\u00bd", "\u00b2", "2", "\u2122", "TM", "\U0001d504"),
)
MARKS: Final = (
    *("\u2019", "\u2018", "\u201c", "\u201d", "\u2013", "\u2014", "\u2026", "...", "\u00ab", "`", "\u00b4"),
    *("\\n", "\\t", "\\\\", "\\u00e9", "&amp;", "&lt;", "&#39;", "%20", "+", "%s", "%%", "%", "$$", "$"),
    *("{{", "{", "{}", "{{ x }}", "{% x %}", "<b>", "</b>", "<br>", "**", "*", "#", "```", "</s", "[INST"),
)
PICTURES: Final = (
    *("\U0001f98a", "\U0001f98a\U0001f3fd", "\U0001f3fd", "\u2764", "\u2764\ufe0f", "\ue000"),
    *("\U0001f468\u200d\U0001f469", "\U0001f468\U0001f469", "\U0001f1e9\U0001f1ea", "\U0001f1e9"),
)
ODD: Final = tuple(dict.fromkeys((*SPACES, *UNSEEN, *LETTERS, *MARKS, *PICTURES)))
FORMS: Final = ("NFC", "NFD", "NFKC", "NFKD")
MOST: Final = 480
"""Prompts of all ways to send them, as far as the engine's speed allows them; each costs about as much as some
tokens."""
COST: Final = 12


class CharacterChecks(Kit, slow=True):
    """What can't be asked for is seen by what it does to the first token."""

    def test_every_character_counts(self, subject: Subject) -> None:
        """White space, control characters, capitals, accents and marks of a prompt reach the model as they stand: no
        two of many prompts that differ in one character are read alike, raw or not.

        Why: text after a NUL, or a line's indentation, is lost where text passes through native code. Look at:
        ``strip``, ``lower``, normalisation, C strings, line endings. What the model's own tokenizer normalizes is
        named by the setting ``normalizes``. A model made for tests needs an embedding of its own for each token.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        hows = [how for how in ("raw", "as it is", "as a turn") if self._seen(subject, "x", how) is not None]
        if not hows:
            return
        most = min(MOST, cells_within(subject, COST, 4.0, least=90)) // len(hows)
        for place, how in enumerate(hows):
            odd = spread(ODD[place:], most - len(PLAIN))
            seen: dict[Any, str] = {}
            for letters in dict.fromkeys((*PLAIN, *(each for letter in odd for each in (letter, *_forms(letter))))):
                came = self._seen(subject, FRAME.format(letters), how)
                if came is None:
                    continue
                other = seen.setdefault(came, letters)
                same = other == letters or self._normal(other) == self._normal(letters)
                expect(same, f"{letters!r} to be read otherwise than {other!r} ({how}, in {FRAME!r})", came)
        if "raw" not in hows:
            return
        edges = (
            "The sea",
            " The sea",
            "The sea ",
            "The sea\n",
            "\n\nThe sea",
            "The sea  ",
            "\ufeffThe sea",
            "\tThe sea",
        )
        read = {text: self._seen(subject, text, "raw") for text in edges}
        alike = [
            (one, other)
            for one in edges
            for other in edges
            if one < other and read[one] == read[other] and self._normal(one) != self._normal(other)
        ]
        expect(not alike, "white space at the edges of a raw prompt to be read", alike)

    def _normal(self, text: str) -> str:
        """*text* as the model's own tokenizer normalizes it."""
        if self.normalizes is None:
            return text
        if "K" in self.normalizes:  # such tokenizers drop control characters, too
            text = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cc", "Cf"))
            return " ".join(unicodedata.normalize(self.normalizes, text).split())
        return unicodedata.normalize(self.normalizes, text)

    def _seen(self, subject: Subject, prompt: str, how: str) -> Any:
        told = told_by(subject)
        try:
            if how == "as a turn":
                turns = [{"role": "user", "content": prompt}, *BASE[1:]]
                return fingerprint(subject.backend.chat(turns, told)) if subject.has_template else None
            return fingerprint(subject.generate(prompt, {**told, "raw": (how == "raw") or None}))
        except LlamaForgeError:
            return None


def _forms(letters: str) -> Iterator[str]:
    """What *letters* become where somebody takes another form for the same."""
    if not letters.isascii():
        yield letters.lower()
        yield from (unicodedata.normalize(form, letters) for form in FORMS)
        yield "".join(each for each in unicodedata.normalize("NFD", letters) if not unicodedata.combining(each))
