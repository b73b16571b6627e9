"""Arguments of tool calls that stand between tags, one by one."""

from __future__ import annotations

from typing import Any, Final

from .output_format import Tags
from .reader import Emit, Reader, Steps
from .values import between_tags, escaped, kinds, to_json

_NULL: Final = "null"


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
    said: list[str] = []
    mark = reader.mark()
    if allowed is not None and "string" not in allowed:  # the end may be spelled within its strings
        yield from reader.space()
        yield from reader.json(said.append)
        yield from reader.space()
        if (yield from reader.literal(tags.value_end.strip())):
            reader.keep()
            emit(between_tags("".join(said), allowed))
            return True
        said.clear()
    reader.reset(mark)
    if not (yield from reader.until(ends, said.append)):
        return False
    emit(between_tags("".join(said), allowed))
    return True


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
