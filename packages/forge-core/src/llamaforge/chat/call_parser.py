"""Reads tool calls, in any of the notations that an :class:`.output_format.CallFormat` describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from .output_format import CallFormat
from .reader import Emit, Reader, Steps
from .tagged_arguments import read_tagged
from .values import read_value, to_json

_NAMES: Final = frozenset({"name", "function", "tool_name"})
_ARGUMENTS: Final = frozenset({"arguments", "parameters", "args"})
_OTHERS: Final = frozenset({"id", "call_id", "tool_call_id", "type"})


class CallSink(Protocol):
    """Takes calls as they are read."""

    def open_call(self, name: str, call_id: str = "") -> None:
        """A call of the tool *name* begins."""

    def arguments(self, text: str) -> None:
        """More of its arguments, which are JSON."""

    def close_call(self, *, is_whole: bool = True) -> None:
        """The call is over. Where *is_whole* and there were no arguments, they are an empty object."""


class CallParser:
    """Parses the calls of one answer.

    Args:
        form: how they are written.
        tools: the schemas of the tools' parameters, by name.
        reader: where the text is.
        sink: where the calls go.
    """

    def __init__(self, form: CallFormat, tools: Mapping[str, Any], reader: Reader, sink: CallSink) -> None:
        self._form = form
        self._tools = tools
        self._reader = reader
        self._sink = sink
        self._begin = tuple(form.begin.split())
        self._end = tuple(form.end.split())
        self._section = form.section.rstrip("[ \n").strip()
        self._section_end = form.section_end.strip("] \n").strip()
        names = (form.name_end, form.id_begin, form.tags.key_begin if form.tags else "")
        self._name_ends = tuple({each.strip() for each in (*names, *self._end[:1]) if each.strip()})
        if form.arguments in ("json", "braces"):
            self._name_ends += ("{",)

    @property
    def triggers(self) -> tuple[str, ...]:
        """What begins a call wherever it stands."""
        first = self._begin[0] if self._begin else ""
        return tuple({each for each in (self._section, first, *self._form.triggers) if each})

    @property
    def is_bare(self) -> bool:
        """Whether a call may begin with nothing but a brace or a bracket."""
        return not self._section and not self._begin

    def bare(self) -> Steps[bool]:
        """Read calls that begin at a brace or bracket. Returns whether there were any; else nothing is read.

        Where the text was cut while it was open whether a call comes, all of it is read, and nothing is told.
        """
        return (yield from self._calls(known=True))

    def triggered(self, trigger: str) -> Steps[bool]:
        """Read the calls after *trigger*. Returns as :meth:`bare`."""
        name_begin = self._form.name_begin.strip()
        if trigger == name_begin:  # the text before it was left out
            return (yield from self._calls(begun=True, named=True))
        if self._begin and trigger == self._begin[0]:
            return (yield from self._calls(begun=True))
        return (yield from self._calls(known=self.is_bare))

    def _calls(self, *, begun: bool = False, named: bool = False, known: bool = False) -> Steps[bool]:
        reader = self._reader
        count = 0
        mark = reader.mark()
        yield from reader.space()
        listed = not begun and (yield from reader.literal("["))
        while True:
            yield from reader.space()
            if not begun and not (yield from self._call_begins(count)):
                break
            if not (yield from self._call(begun=begun, named=named, known=known and not count)):
                break
            count += 1
            begun = named = False
            last = reader.mark()
            yield from reader.space()
            separator = self._form.separator.strip()
            if separator:
                yield from reader.literal(separator)
            else:
                yield from reader.one_of((",", ";") if listed or self.is_bare else ())
            yield from reader.space()
            if listed and (yield from reader.literal("]")):
                listed = False
                reader.keep()
                break
            if not (yield from self._call_begins(count)):
                reader.reset(last)
                break
            reader.keep()
        if not count:
            empty = listed and (yield from reader.literal("]"))
            if not empty and not (self._section and not known and (yield from self._at_section_end())):
                reader.reset(mark)
                return reader.was_short
            reader.keep()
        yield from self._close_section(listed)
        return True

    def _at_section_end(self) -> Steps[bool]:
        return bool(self._section_end) and (yield from self._sees(self._section_end))

    def _close_section(self, listed: bool) -> Steps[None]:
        reader = self._reader
        mark = reader.mark()
        yield from reader.space()
        if listed and (yield from reader.literal("]")):
            yield from reader.space()
        if self._section_end and not (yield from reader.literal(self._section_end)):
            reader.reset(mark)
        else:
            reader.keep()
        yield from reader.one_of(self._form.closers)

    def _sees(self, text: str) -> Steps[bool]:
        mark = self._reader.mark()
        found = yield from self._reader.literal(text)
        self._reader.reset(mark)
        return found

    def _call_begins(self, count: int) -> Steps[bool]:
        """Whether another call comes. Nothing is read."""
        if self._begin:
            return (yield from self._sees(self._begin[0]))
        character = yield from self._reader.peek()
        if self._form.is_object:
            return character == "{"
        return bool(character) and (character.isalpha() or character == "_")

    def _call(self, *, begun: bool, named: bool, known: bool) -> Steps[bool]:
        """Read one call. Returns whether it was one; if not, nothing was read, nor told."""
        reader, form = self._reader, self._form
        mark = reader.mark()
        for piece in self._begin[1 if begun else 0 :] if not named else ():
            yield from reader.space()
            if not (yield from reader.literal(piece)):
                reader.reset(mark)
                return False
        yield from reader.space()
        first = yield from reader.peek()
        if form.is_object or (first in ("{", "[") and form.arguments == "json" and not named):
            many = not form.is_object and (yield from reader.literal("["))
            done = yield from self._object(mark, known)
            while done and many:
                yield from reader.space()
                if (yield from reader.literal("]")):
                    return True
                yield from reader.literal(",")
                yield from reader.space()
                if not (yield from self._object(reader.mark(), known)):
                    return True
        else:
            done = yield from self._named(mark, named, known)
        if done:
            yield from self._read_end()
        return done

    def _read_end(self) -> Steps[None]:
        reader = self._reader
        for piece in self._end:
            mark = reader.mark()
            yield from reader.space()
            if (yield from reader.literal(piece)):
                reader.keep()
            else:
                reader.reset(mark)

    # name, then arguments

    def _named(self, mark: int, named: bool, known: bool) -> Steps[bool]:
        reader, form = self._reader, self._form
        if form.name_begin and not named:
            yield from reader.space()
            yield from reader.literal(form.name_begin.strip())
        said: list[str] = []
        if form.arguments == "python":
            ended = yield from self._python_name(said)
        else:
            ended = yield from reader.until(self._name_ends, said.append)
        name, call_id = "".join(said).strip(), ""
        if form.id_begin and ended == form.id_begin:
            parts: list[str] = []
            ended = yield from reader.until((form.name_end.strip(), "{"), parts.append)
            call_id = "".join(parts).strip()
        if form.numbered:
            call_id = form.name_begin + name
            name = name.rpartition(":")[0] or name
        if not ended or not name or (known and name not in self._tools):
            reader.reset(mark)
            return False
        reader.commit()
        self._sink.open_call(name, call_id)
        if ended == "{" or (form.tags and ended == form.tags.key_begin.strip()) or ended in self._end:
            reader.back(len(ended))
        if form.arguments == "json":
            yield from self._json_arguments()
        elif form.arguments == "braces":
            yield from read_value(reader, self._sink.arguments, (form.quote, '"'), escapes=False)
        elif form.arguments == "python":
            yield from self._python_arguments()
        else:
            yield from read_tagged(reader, form.tags, self._tools.get(name), self._sink.arguments)
        self._sink.close_call(is_whole=bool((yield from reader.peek())))
        return True

    def _python_name(self, said: list[str]) -> Steps[str]:
        reader = self._reader
        while (character := (yield from reader.peek())) and (character.isalnum() or character in "_.-"):
            said.append((yield from reader.take()))
        return "(" if (yield from reader.literal("(")) else ""

    def _json_arguments(self) -> Steps[None]:
        reader = self._reader
        yield from reader.space()
        if (yield from reader.peek()) in ("{", "[") or not self._end or not (yield from self._sees(self._end[0])):
            yield from reader.json(self._sink.arguments)

    def _python_arguments(self) -> Steps[None]:
        reader, emit = self._reader, self._sink.arguments
        emit("{")
        count = 0
        while True:
            yield from reader.space()
            if (yield from reader.literal(")")):
                break
            key = ""
            while (character := (yield from reader.peek())) and (character.isalnum() or character == "_"):
                key += yield from reader.take()
            yield from reader.space()
            if not key or not (yield from reader.literal("=")):
                return
            emit((", " if count else "") + to_json(key) + ": ")
            count += 1
            if not (yield from read_value(reader, emit, ('"', "'"), escapes=True)):
                return
            yield from reader.space()
            if not (yield from reader.literal(",")) and (yield from reader.peek()) != ")":
                return
        emit("}")

    # one JSON object for name and arguments

    def _object(self, mark: int, known: bool) -> Steps[bool]:
        reader = self._reader
        if not (yield from reader.literal("{")):
            reader.reset(mark)
            return False
        name, call_id, early = "", "", ""
        depth, opened = 1, False
        while depth:
            yield from reader.space()
            if (yield from reader.literal("}")):
                depth -= 1
                if depth:
                    yield from reader.space()
                    yield from reader.literal(",")
                continue
            key = yield from self._string()
            yield from reader.space()
            if key is None or not (yield from reader.literal(":")):
                break
            yield from reader.space()
            next_one = yield from reader.peek()
            if key in _NAMES | {self._form.name_key} and next_one == '"' and not name:
                name = (yield from self._string()) or ""
                if not name or (known and name not in self._tools):
                    break
            elif key == "function" and next_one == "{" and not opened:
                yield from reader.take()
                depth += 1
                continue
            elif key in _ARGUMENTS | {self._form.arguments_key} and not opened:
                if name:
                    opened = True
                    reader.commit()
                    self._sink.open_call(name, call_id)
                    if not (yield from self._object_arguments(self._sink.arguments)):
                        break
                else:
                    parts: list[str] = []
                    if not (yield from self._object_arguments(parts.append)):
                        break
                    early = "".join(parts)
            elif known and key not in _OTHERS:
                break
            else:
                other: list[str] = []
                if not (yield from reader.json(other.append)):
                    break
                if key in ("id", "call_id", "tool_call_id", self._form.id_key):
                    call_id = _as_text("".join(other))
            yield from reader.space()
            yield from reader.literal(",")
        if not opened:
            if not name or depth:
                reader.reset(mark)
                return False
            reader.commit()
            self._sink.open_call(name, call_id)
            self._sink.arguments(early or "{}")
        self._sink.close_call(is_whole=not reader.was_short)
        return True

    def _object_arguments(self, emit: Emit) -> Steps[bool]:
        if (yield from self._reader.peek()) != '"':
            return (yield from self._reader.json(emit))
        text = yield from self._string()  # JSON within a JSON string
        emit(text or "")
        return text is not None

    def _string(self) -> Steps[str | None]:
        if (yield from self._reader.peek()) != '"':
            return None
        parts: list[str] = []
        if not (yield from self._reader.json(parts.append)):
            return None
        return _as_text("".join(parts))


def _as_text(written: str) -> str:
    try:
        value = json.loads(written, strict=False)
    except ValueError:
        return written.strip('"')
    return value if isinstance(value, str) else written
