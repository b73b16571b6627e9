"""Which format a template has: found by rendering conversations with calls and reasoning, and looking at the outcome.

A written format is taken where the template writes two calls exactly as it does; otherwise where its parser reads the
calls out of what the template writes. Otherwise the format is derived from the differences between one call and two.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from .answer_reader import AnswerReader, Collector
from .families import FAMILIES, GENERIC, REASONING
from .output_format import CallFormat, OutputFormat, ReasoningFormat, Tags
from .plugin_formats import plugin_formats
from .probes import Run, TemplateProbes, Turn
from .writing import write_calls

_NAME: Final = "qzname"
_CONTENT: Final = "qzcontent"
_REASON: Final = "qzreason"
_USER: Final = "qzuser"
_IDS: Final = ("qzcall000", "qzcall001")
_ARGUMENTS: Final[tuple[dict[str, Any], ...]] = (
    {"qzkey": "qzvalue", "qznumber": 7},
    {"qzkey": "qzother", "qznumber": 8},
)
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "qzkey": {"type": "string", "description": "qz"},
        "qznumber": {"type": "integer", "description": "qz"},
    },
    "required": ["qzkey"],
}
TOOLS: Final[list[dict[str, Any]]] = [
    {"type": "function", "function": {"name": _NAME, "description": "qztool", "parameters": _SCHEMA}}
]
_NO_CONTENT: Final[tuple[Turn, ...]] = ({}, {"content": None}, {"content": ""})
"""How a turn of calls alone may look."""
_MARKER: Final = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]{3,}\]")
_TOKEN: Final = re.compile(r"<[^<>]*>?|\[/?[A-Z_]+\]|[\w.]+|.", re.DOTALL)
_MARKER_BEFORE: Final = re.compile(r"(<[^<>\s]+>|\[[A-Z_]+\])\s*$")
_MARKER_AFTER: Final = re.compile(r"\s*(<[^<>\s]+>|\[/[A-Z_]+\])")
_QUOTED_NAME: Final = re.compile(r'\{\s*(?:"\w+":\s*"[^"]*",\s*)*"(\w+)":\s*"$')
_QUOTED_ARGUMENTS: Final = re.compile(r'^",\s*"(\w+)":\s*$')


class Recognition:
    """Looks at one template.

    Args:
        run: renders turns with it, and raises whatever it raises.
        probes: what is known of it.
        source: its text, for what it can't render.
    """

    def __init__(self, run: Run, probes: TemplateProbes, source: str = "") -> None:
        self._run = run
        self._source = source
        self._probes = probes

    def output_format(self) -> OutputFormat:
        """The format of the model's answers."""
        found = self._calls()
        if found is not None and found.is_harmony:
            return found
        reasoning = self.reasoning()
        if found is None:
            return dataclasses.replace(GENERIC, reasoning=reasoning)
        return dataclasses.replace(found, reasoning=reasoning or found.reasoning)

    @functools.cached_property
    def _families(self) -> tuple[OutputFormat, ...]:
        return (*plugin_formats(), *FAMILIES)

    @functools.cached_property
    def _reasoning_formats(self) -> tuple[ReasoningFormat, ...]:
        return (*(form.reasoning for form in plugin_formats() if form.reasoning is not None), *REASONING)

    # tool calls

    def written_calls(self, count: int) -> list[str]:
        """Conversations that end with *count* calls, as the template writes them: with a text beside them, and without.

        Empty where it doesn't show them.
        """
        texts = [
            text
            for content in ({"content": _CONTENT}, *_NO_CONTENT)
            if (text := self._try([self._user(), {**self._call_turn(count), **content}], tools=TOOLS)) is not None
        ]
        answers = [self._answer_of(text) for text in dict.fromkeys(texts)]
        return [text for text in answers if _NAME in text and all(each["qzkey"] in text for each in _ARGUMENTS[:count])]

    def _calls(self) -> OutputFormat | None:
        one, two = self.written_calls(1), self.written_calls(2)
        if not one:
            return self._by_markers()
        texts = [*((text, 2) for text in two), *((text, 1) for text in one)]
        families = self._families
        for form in families:
            for text, count in texts:
                if self._writes(form, text, count):
                    return _with_single(form, single=not two)
        for first, second in zip(one, two, strict=False):
            derived = _derive(first, second)
            if derived is not None and _reads(derived, second, 2):
                return derived
        for form in families:
            if form.calls is None or not form.calls.is_bare:
                for text, count in texts:
                    if _reads(form, text, count):
                        return form
        return None

    def _by_markers(self) -> OutputFormat | None:
        """Where the template can't show calls here: the format all of whose markers its text has."""
        for form in self._families:
            if form.calls is not None and not form.calls.is_bare:
                calls = form.calls
                texts = (calls.section, calls.begin, calls.name_begin, calls.name_end, calls.section_end)
                markers = [marker for text in texts for marker in _MARKER.findall(text)]
                if markers and all(marker in self._source for marker in markers):
                    return form
        return None

    def _writes(self, form: OutputFormat, text: str, count: int) -> bool:
        if form.calls is None:
            return _reads(form, text, count)
        calls = [(_NAME, arguments) for arguments in _ARGUMENTS[:count]]
        written = any(write_calls(form.calls, calls, ids) in text for ids in (_IDS, ()))
        return written and _reads(form, text, count)

    def _call_turn(self, count: int) -> Turn:
        calls = [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": _NAME, "arguments": self._probes.arguments(arguments)},
            }
            for call_id, arguments in itertools.islice(zip(_IDS, _ARGUMENTS, strict=True), count)
        ]
        return {"role": "assistant", "tool_calls": calls}

    # reasoning

    def reasoning(self) -> ReasoningFormat | None:
        """The markers of reasoning, if the template or the prompts that it makes show any."""
        turn = {"role": "assistant", "content": self._probes.content("assistant", _CONTENT)}
        thoughts = {"reasoning_content": _REASON, "reasoning": _REASON, "thinking": _REASON}
        for follow_up in ([], [self._user()]):
            text = self._try([self._user(), {**turn, **thoughts}, *follow_up], enable_thinking=True)
            if text is not None and _REASON in text:
                before, _, after = text.partition(_REASON)
                return _around(before, after, self._reasoning_formats)
        for nothing in _NO_CONTENT:  # Kimi K2 Thinking shows it with calls alone
            text = self._try([self._user(), {**self._call_turn(1), **nothing, **thoughts}]) or ""
            before, found, after = text.partition(_REASON)
            form = _around(before, after, self._reasoning_formats) if found else None
            if form is not None:
                return form
        for form in self._reasoning_formats:
            begin, end = form.begin.strip(), form.end.strip()
            for variables in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
                opening = self.opening(**variables)
                if begin in opening or end in opening:
                    return form
            content = f"{form.begin}{_REASON}{form.end}{_CONTENT}"
            turn = {"role": "assistant", "content": self._probes.content("assistant", content)}
            text = self._try([self._user(), turn, self._user()])
            if text is not None and _CONTENT in text and _REASON not in text:
                return form
            prompt = self._try([self._user()]) or ""
            if begin in prompt and end in prompt:
                return form
        return None

    def opening(self, tools: bool = False, **variables: Any) -> str:
        """What the template writes where an answer begins."""
        given = {"tools": TOOLS, **variables} if tools else variables
        bare = self._try([self._user()], **given) or ""
        open_ = self._try([self._user()], generation=True, **given) or ""
        pairs = zip(bare, open_, strict=False)
        return open_[len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))) :]

    def _answer_of(self, text: str) -> str:
        """What of a conversation comes after the user's turn."""
        return text.rpartition(_USER)[2]

    def _user(self) -> Turn:
        return {"role": "user", "content": self._probes.content("user", _USER)}

    def _try(self, turns: list[Turn], *, generation: bool = False, **variables: Any) -> str | None:
        try:
            return self._run(turns, add_generation_prompt=generation, **variables)
        except Exception:  # noqa: BLE001 - a template may refuse any conversation
            return None


def read_with(form: OutputFormat, text: str, tools: Mapping[str, Any]) -> Collector:
    """What the parser of *form* reads out of *text*."""
    parser, collector = AnswerReader(form, tools=tools, id_seed=b""), Collector()
    collector.add(parser.feed(text))
    collector.add(parser.finish())
    return collector


def _reads(form: OutputFormat, text: str, count: int) -> bool:
    if form.is_harmony and "<|channel|>" not in text:
        return False
    if form.is_harmony:
        text = text[text.find("<|start|>assistant") + len("<|start|>assistant") :]
        count = 1
    calls = read_with(form, text, {_NAME: _SCHEMA}).answer.tool_calls
    try:
        read = [(call.function.name, json.loads(call.function.arguments)) for call in calls]
    except ValueError:
        return False
    return read == [(_NAME, arguments) for arguments in _ARGUMENTS[:count]]


def _with_single(form: OutputFormat, *, single: bool) -> OutputFormat:
    if form.calls is None or not single:
        return form
    return dataclasses.replace(form, calls=dataclasses.replace(form.calls, single=True))


def _around(before: str, after: str, known: Iterable[ReasoningFormat]) -> ReasoningFormat | None:
    for form in known:
        if before.rstrip().endswith(form.begin.strip()) and after.lstrip().startswith(form.end.strip()):
            return form
    opened, closed = _MARKER_BEFORE.search(before), _MARKER_AFTER.match(after)
    if opened is None or closed is None or opened[1] == closed[1]:
        return None
    return ReasoningFormat(opened[1], closed[1])


def _derive(one: str, two: str) -> OutputFormat | None:
    for form in (*_derived_with_json(one, two), *_derived_with_tags(one, two)):
        texts = (form.section, form.begin, form.end, form.separator, form.section_end, form.name_end)
        if not any("qz" in text for text in texts) and (form.section.strip("[ \n") or form.begin.strip("[ \n")):
            return OutputFormat("derived", form)
    return None


def _spans(text: str, pieces: Iterable[str]) -> list[tuple[int, int]] | None:
    """Where *pieces* stand in *text*, one after another."""
    at, found = 0, []
    for piece in pieces:
        at = text.find(piece, at)
        if at < 0:
            return None
        found.append((at, at + len(piece)))
        at += len(piece)
    return found


def _common_begin(one: str, two: str) -> str:
    """What both begin with, in whole markers and words."""
    pairs = zip(_TOKEN.findall(one), _TOKEN.findall(two), strict=False)
    return "".join(first for first, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _common_end(one: str, two: str) -> str:
    """What both end with, in whole markers and words."""
    pairs = zip(reversed(_TOKEN.findall(one)), reversed(_TOKEN.findall(two)), strict=False)
    shared = [first for first, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return "".join(reversed(shared))


def _parts(one: str, two: str, name_last: int, ends: tuple[int, int, int]) -> tuple[str, str, str, str, str]:
    """Section, begin, end, separator, section end; from where the calls stand: *ends* are the end of the only call, and
    the end of the first of two and the beginning of the second."""
    before, after = one[:name_last], one[ends[0] :]
    between = two[ends[1] : ends[2]]
    begin = _common_end(before, between)
    rest = between[: len(between) - len(begin)]
    end = _common_begin(after, rest)
    separator = rest[len(end) :]
    return before[: len(before) - len(begin)], begin, end, separator, after[len(end) :]


def _derived_with_json(one: str, two: str) -> Iterator[CallFormat]:
    texts = [json.dumps(arguments) for arguments in _ARGUMENTS]
    if texts[0] not in one:
        texts = [json.dumps(arguments, separators=(",", ":")) for arguments in _ARGUMENTS]
    first = _spans(one, (_NAME, texts[0]))
    both = _spans(two, (_NAME, texts[0], _NAME, texts[1]))
    if first is None or both is None:
        return
    name_end = one[first[0][1] : first[1][0]]
    section, begin, end, separator, rest = _parts(one, two, first[0][0], (first[1][1], both[1][1], both[2][0]))
    section = _outside_content(section, begin)
    keyed = _QUOTED_ARGUMENTS.match(name_end)
    named = _QUOTED_NAME.search(begin) or _QUOTED_NAME.search(section + begin)
    if keyed and named:
        whole = section + begin
        if not begin.endswith(named[0]):
            begin, section = "", whole[: named.start()]
        else:
            begin = begin[: -len(named[0])]
        closing = re.match(r"[^}]*\}", end)
        if closing is not None:
            end = end[closing.end() :]
        else:
            rest = re.sub(r"^[^}]*\}", "", rest, count=1)
        is_list = section.rstrip().endswith("[") or begin.rstrip().endswith("[")
        yield CallFormat(
            begin=begin,
            end=end,
            section=section,
            section_end=_closing(section, begin, rest),
            separator=separator,
            is_object=True,
            is_list=is_list,
            name_key=named[1],
            arguments_key=keyed[1],
        )
    elif name_end:
        yield CallFormat(
            begin=begin,
            end=end,
            section=section,
            section_end=_closing(section, begin, rest),
            separator=separator,
            name_end=name_end,
            arguments="json",
        )


def _derived_with_tags(one: str, two: str) -> Iterator[CallFormat]:
    first = _spans(one, (_NAME, "qzkey", "qzvalue", "qznumber", "7"))
    both = _spans(two, (_NAME, "qzkey", "qzvalue", "qznumber", "7", _NAME))
    if first is None or both is None:
        return
    to_key = one[first[0][1] : first[1][0]]
    to_value = one[first[1][1] : first[2][0]]
    to_next = one[first[2][1] : first[3][0]]
    key_begin = _common_end(to_key, to_next)
    if not key_begin.strip() or not to_value.strip():
        return
    name_end = to_key[: len(to_key) - len(key_begin)]
    value_end = to_next[: len(to_next) - len(key_begin)]
    space = key_begin[: len(key_begin) - len(key_begin.lstrip())]
    key_begin = key_begin[len(space) :]
    stop = first[4][1]
    if not one.startswith(value_end.rstrip(), stop):
        return
    value_end, after = value_end.rstrip("\n "), value_end[len(value_end.rstrip("\n ")) :]
    stop += len(value_end) + (len(after) if one.startswith(after, stop + len(value_end)) else 0)
    offset = stop - first[4][1]
    section, begin, end, separator, rest = _parts(one, two, first[0][0], (stop, both[4][1] + offset, both[5][0]))
    section = _outside_content(section, begin)
    yield CallFormat(
        begin=begin,
        end=end.removeprefix(space),
        section=section,
        section_end=_closing(section, begin, rest),
        separator=separator,
        name_end=name_end + space,
        arguments="tags",
        tags=Tags(key_begin, to_value, "", value_end, after + space),
    )


def _outside_content(section: str, begin: str) -> str:
    """*section* without what the template writes before calls in any case: the turn's head, and its text."""
    has_content = _CONTENT in section
    section = section.rpartition(_CONTENT)[2]
    marks = list(_MARKER.finditer(section))
    if marks and (has_content or not begin.strip() or begin.strip().startswith(("{", '"'))):
        return section[marks[-1].start() :]
    return "[" if section.rstrip().endswith("[") and not begin.strip() else ""


def _closing(section: str, begin: str, rest: str) -> str:
    """The end of the section of calls: as much of *rest* as answers to its beginning."""
    opened = section.strip()
    if not opened:
        return ""
    closing = ""
    if opened.endswith("["):
        head, bracket, tail = rest.partition("]")
        if bracket and not head.strip():
            closing, rest = head + bracket, tail
    if opened.rstrip("[ \n"):
        marker = re.match(r"\s*(</?[^<>]+>|\[/[A-Z_]+\])", rest)
        if marker:
            closing += marker[0]
    return closing
