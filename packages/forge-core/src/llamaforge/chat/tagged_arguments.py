"""Arguments of tool calls that stand between tags, one by one."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import Any, Final

from .output_format import Tags
from .reader import Emit, Reader, Steps
from .values import WORDS, between_tags, escaped, kinds, to_json

_NULL: Final = "null"
_SHORT: Final = 256
"""Characters up to which a value is held back until its end, which shows what it is."""
_LETTERS: Final = string.ascii_letters
_WORD: Final = re.compile("[A-Za-z]+")
_MAY_BE_A_VALUE: Final = re.compile(r"\s*(?:[\[{(\"']|[-+.\deE]*\s*$|$)")
"""What is long and no text: something in brackets or quotes, or a number."""


def read_tagged(reader: Reader, tags: Tags | None, schema: Any, emit: Emit) -> Steps[None]:
    """Read arguments that stand between *tags*, as *schema* has them, and write them as a JSON object."""
    if tags is None:
        return
    properties = schema.get("properties") if isinstance(schema, dict) else None
    emit("{")
    count = 0
    seen: set[str] = set()
    while True:
        yield from reader.space()
        if not (yield from reader.literal(tags.key_begin.strip())):
            break
        said: list[str] = []
        ends = (tags.key_end.strip(), tags.key_end_json.strip())
        ended = yield from reader.until(ends, said.append)
        key = "".join(said).strip()
        if not ended:
            return
        emitted: Emit = emit if key not in seen else _ignore
        if key not in seen:
            emit((", " if count else "") + to_json(key) + ": ")
            count += 1
        seen.add(key)
        property_schema = properties.get(key) if isinstance(properties, dict) else None
        allowed = kinds(resolve(property_schema, schema))
        if tags.key_end_json:
            allowed = frozenset({"string"}) if ended == tags.key_end.strip() else allowed
        if not (yield from _tagged_value(reader, tags, allowed, emitted)):
            return
    if (yield from reader.peek()) and not reader.was_short:  # it is at its end, and not cut
        emit("}")


def _tagged_value(reader: Reader, tags: Tags, allowed: frozenset[str] | None, emit: Emit) -> Steps[bool]:
    if before := tags.value_begin.strip():
        yield from reader.space()
        if not (yield from reader.literal(before)) and reader.was_short:
            return False
    if (tags.key_end + tags.value_begin).endswith("\n"):
        yield from reader.literal("\n")
    ends = (tags.value_end, tags.value_end.strip())
    if allowed is not None and "string" in allowed and allowed <= {"string", "null"}:
        text = _TextValue(emit, maybe_null=len(allowed) > 1)
        ended = yield from reader.until(ends, text.feed, inside=True)
        if ended:
            text.finish()
        elif not reader.is_cut:
            text.cut()
        return bool(ended)
    mark = reader.mark()
    if allowed is not None and "string" not in allowed:  # the end may be spelled within its strings
        value = _JsonValue(emit, reader.keep)
        yield from reader.space()
        yield from reader.json(value.feed)
        yield from reader.space()
        if (yield from reader.literal(tags.value_end.strip())):
            value.finish(allowed)
            return True
        if value.is_told:
            return bool((yield from reader.until(ends, _ignore)))
    reader.reset(mark)
    loose = _LooseValue(emit, allowed)
    if not (yield from reader.until(ends, loose.feed, inside=True)):
        return False
    loose.finish()
    return True


class _JsonValue:
    """A value that ought to be JSON. A long one is passed on as it comes, with Python's words as JSON's; a short one is
    looked at first, since it may be Python's altogether.

    *on_told* is called once, when its text is no longer needed.
    """

    def __init__(self, emit: Emit, on_told: Callable[[], None]) -> None:
        self._emit = emit
        self._on_told = on_told
        self._held: list[str] = []
        self._length = 0
        self._word = ""
        self._in_string = False
        self.is_told = False

    def feed(self, piece: str) -> None:
        """The next piece, as :meth:`.reader.Reader.json` has it: a quote that begins or ends a string is alone."""
        if self.is_told:
            self._emit(self._plain(piece))
            return
        self._held.append(piece)
        self._length += len(piece)
        if self._length > _SHORT:
            self._tell()
            self._emit("".join(map(self._plain, self._held)))
            self._held.clear()

    def finish(self, allowed: frozenset[str]) -> None:
        if self.is_told:
            self._emit(self._plain("\n").rstrip())
        else:
            self._tell()
            self._emit(between_tags("".join(self._held), allowed))

    def _plain(self, piece: str) -> str:
        if not self._in_string and piece != '"':
            run = self._word + piece
            self._word = run[len(run.rstrip(_LETTERS)) :]
            return _WORD.sub(lambda word: WORDS.get(word[0], word[0]), run[: len(run) - len(self._word)])
        word, self._word = self._word, ""
        self._in_string ^= piece == '"'
        return WORDS.get(word, word) + piece

    def _tell(self) -> None:
        self.is_told = True
        self._on_told()


class _LooseValue:
    """A value of any type. It is passed on as it comes once it can only be a text."""

    def __init__(self, emit: Emit, allowed: frozenset[str] | None) -> None:
        self._emit = emit
        self._allowed = allowed
        self._held = ""
        self._is_text = False

    def feed(self, text: str) -> None:
        self._held += text
        if not self._is_text:
            if len(self._held) <= _SHORT or not self._must_be_text():
                return
            self._is_text = True
            self._emit('"')
            self._held = self._held.lstrip()
        solid = self._held.rstrip()
        self._emit(escaped(solid))
        self._held = self._held[len(solid) :]

    def finish(self) -> None:
        self._emit('"' if self._is_text else between_tags(self._held, self._allowed))

    def _must_be_text(self) -> bool:
        if self._allowed is not None and "string" not in self._allowed:
            return False
        return not _MAY_BE_A_VALUE.match(self._held)


class _TextValue:
    """A text between tags, written as a JSON string while it comes; or null, where the schema allows it."""

    def __init__(self, emit: Emit, *, maybe_null: bool) -> None:
        self._emit = emit
        self._undecided: str | None = "" if maybe_null else None
        if not maybe_null:
            emit('"')

    def feed(self, text: str) -> None:
        if self._undecided is not None:
            self._undecided += text
            if _NULL.startswith(self._undecided):
                return
            text, self._undecided = self._undecided, None
            self._emit('"')
        self._emit(escaped(text))

    def finish(self) -> None:
        if self._undecided == _NULL:
            self._emit(_NULL)
            return
        self.cut()
        self._emit('"')

    def cut(self) -> None:
        if self._undecided is not None:
            text, self._undecided = self._undecided, None
            self._emit('"' + escaped(text))


def _ignore(text: str) -> None:
    """What is said twice counts once."""


def resolve(schema: Any, root: Any) -> Any:
    """*schema*, or what its ``$ref`` within *root* stands for."""
    for _ in range(16):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        schema = root
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            schema = schema.get(part) if isinstance(schema, dict) else None
    return None
