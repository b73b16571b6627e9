"""Text that arrives in pieces, read as if it had come at once.

A parser is a generator: wherever it needs more text than there is, it yields. What it reads never depends on where the
pieces were cut, because every method here waits until more text could not change the outcome.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator
from typing import Final, TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""What a reading method is: it yields where it waits for more text, and returns its result."""
Emit = Callable[[str], None]

_SPACE: Final = re.compile(r"\s*")
_IN_JSON_STRING: Final = re.compile(r'[^"\\]*')
_NO_STRUCTURE: Final = re.compile(r"[\s\w+\-.:,]*", re.ASCII)


class Reader:
    """The text so far, and how much of it has been read."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self.ended = False
        """Whether no more text will come."""
        self.is_cut = False
        """Whether the text ended because it was cut."""
        self._is_short = False
        self._marks = 0

    def feed(self, piece: str) -> None:
        """More text."""
        if not self._marks and self._at:
            self._text = self._text[self._at :]
            self._at = 0
        self._text += piece

    @property
    def rest(self) -> str:
        """What has come and was not read yet."""
        return self._text[self._at :]

    @property
    def was_short(self) -> bool:
        """Whether the text was cut in the middle of something that was expected, so that nobody can say what it is."""
        return self.is_cut and self._is_short

    def mark(self) -> int:
        """A place to come back to: :meth:`reset` or :meth:`keep` must follow."""
        self._marks += 1
        return self._at

    def reset(self, mark: int) -> None:
        """Go back to *mark*. What was begun there and then cut is left out."""
        self._marks -= 1
        self._at = len(self._text) if self.was_short else mark

    def keep(self) -> None:
        """What was read since the last mark stays read."""
        self._marks = max(0, self._marks - 1)

    def commit(self) -> None:
        """Forget all marks: nobody will go back over what was read."""
        self._marks = 0

    def back(self, count: int) -> None:
        """Go back over the last *count* characters that were read since the last wait."""
        self._at -= count

    def peek(self) -> Steps[str]:
        """The next character; empty at the end."""
        while self._at >= len(self._text):
            if self.ended:
                self._is_short = True
                return ""
            yield
        return self._text[self._at]

    def take(self) -> Steps[str]:
        """Read the next character; empty at the end."""
        character = yield from self.peek()
        self._at += len(character)
        return character

    def space(self) -> Steps[str]:
        """Read white space. Returns it."""
        read = ""
        while True:
            match = _SPACE.match(self._text, self._at)
            found = match[0] if match else ""
            self._at += len(found)
            read += found
            if self._at < len(self._text) or self.ended:
                return read
            yield

    def literal(self, expected: str) -> Steps[bool]:
        """Read *expected* if it comes next."""
        while True:
            have = self._text[self._at : self._at + len(expected)]
            if have == expected:
                self._at += len(expected)
                return True
            if not expected.startswith(have):
                return False
            if self.ended:
                self._is_short = True
                return False
            yield

    def one_of(self, expected: tuple[str, ...]) -> Steps[str]:
        """Read the longest of *expected* that comes next. Returns it; empty where none does."""
        for each in sorted(expected, key=len, reverse=True):
            if each and (yield from self.literal(each)):
                return each
        return ""

    def until(self, markers: tuple[str, ...], emit: Emit, *, inside: bool = False) -> Steps[str]:
        """Read up to and including the first of *markers*, and *emit* what stands before it, as soon as that is sure.

        Returns the marker; empty where the text ended without one. Of two that begin in one place, the longer counts.
        *inside* says that one of them must follow, so that where the text was cut in it, its beginning is no text.
        """
        pattern, prefixes, longest = _compiled(markers)
        while True:
            match = pattern.search(self._text, self._at)
            if match is not None:
                could_grow = match.end() == len(self._text) and not self.ended and match[0] in prefixes
                if match.start() > self._at:
                    emit(self._text[self._at : match.start()])
                if not could_grow:
                    self._at = match.end()
                    return match[0]
                self._at = match.start()
            else:
                stop = len(self._text)
                if not self.ended or (inside and self.is_cut):
                    stop -= _held(self._text, self._at, prefixes, longest)
                if stop > self._at:
                    emit(self._text[self._at : stop])
                    self._at = stop
                if self.ended:
                    self._at = len(self._text)
                    self._is_short = True
                    return ""
            yield

    def json(self, emit: Emit) -> Steps[bool]:
        """Read one JSON value, or what looks like the beginning of one, and *emit* its text as it comes.

        Returns whether it was complete. It ends before the first character that no JSON value could have there.
        """
        first = yield from self.peek()
        if first == '"':
            return (yield from self._json_string(emit))
        if first in ("{", "["):
            return (yield from self._json_nested(emit))
        return (yield from self._json_scalar(emit))

    def _json_scalar(self, emit: Emit) -> Steps[bool]:
        read = False
        while (character := (yield from self.peek())) and (
            (character.isascii() and character.isalnum()) or character in "+-."
        ):
            self._at += 1
            emit(character)
            read = True
        return read

    def _json_string(self, emit: Emit) -> Steps[bool]:
        emit((yield from self.take()))
        while True:
            match = _IN_JSON_STRING.match(self._text, self._at)
            if match is not None and match[0]:
                emit(match[0])
                self._at = match.end()
            character = yield from self.take()
            if character == "\\":
                emit(character + (yield from self.take()))
            elif character:
                emit(character)
                if character == '"':
                    return True
            else:
                return False

    def _json_nested(self, emit: Emit) -> Steps[bool]:
        closers: list[str] = []
        while True:
            match = _NO_STRUCTURE.match(self._text, self._at) if closers else None
            if match is not None and match[0]:
                emit(match[0])
                self._at = match.end()
            character = yield from self.peek()
            if character in ("{", "["):
                closers.append("}" if character == "{" else "]")
            elif character == '"':
                if not (yield from self._json_string(emit)):
                    return False
                continue
            elif character and closers and character == closers[-1]:
                closers.pop()
            elif character and _NO_STRUCTURE.fullmatch(character):
                continue  # it came just now
            else:
                return False
            self._at += 1
            emit(character)
            if not closers:
                return True


@functools.lru_cache(maxsize=512)
def _compiled(markers: tuple[str, ...]) -> tuple[re.Pattern[str], frozenset[str], int]:
    """A pattern for *markers*, everything that one of them may go on from, and the length of the longest."""
    known = sorted({marker for marker in markers if marker}, key=len, reverse=True)
    prefixes = frozenset(marker[:length] for marker in known for length in range(1, len(marker)))
    return re.compile("|".join(map(re.escape, known)) or "(?!)"), prefixes, max(map(len, known), default=0)


def _held(text: str, begin: int, prefixes: frozenset[str], longest: int) -> int:
    """How many characters at the end of *text* may be the beginning of a marker."""
    for length in range(min(longest - 1, len(text) - begin), 0, -1):
        if text[-length:] in prefixes:
            return length
    return 0
