"""One grammar for a whole answer: reasoning, then tool calls or what else was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..constraints import Grammar
from ..functions import chosen_tool
from ..requests import GenerationRequest
from .argument_grammar import ANY_OBJECT, ArgumentGrammar
from .lark_parts import LarkParts
from .output_format import CallFormat, OutputFormat
from .values import to_json

Choice = Literal["auto", "required", "none"]

_ANALYSIS: Final = "<|channel|>analysis<|message|>"
_NEXT_MESSAGE: Final = "<|end|><|start|>assistant"
_NO_CALL: Final = r"/(?s:[^{\[\s].*)?/"
"""Text that can't be taken for a call where a call has no marker."""
_SPACE: Final = r"/[ \t\r\n]{0,4}/"
"""White space around reasoning: bounded, or a model may write nothing else until it is cut."""
_FINAL: Final = "<|channel|>final<|message|>"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants of tools."""

    tools: Sequence[Mapping[str, Any]]
    """Those that may be called."""
    choice: Choice
    parallel: bool
    """Whether there may be several calls."""
    first: int = 0
    """The place of the first of the tools in the request: of a single one that was chosen. Errors name it."""


def wanted_tools(request: GenerationRequest) -> Wanted | None:
    """What *request* wants of tools; None without any."""
    if not request.tools:
        return None
    name = chosen_tool(request.tool_choice)
    parallel = request.parallel_tool_calls is not False
    if name is not None:
        places = [place for place, tool in enumerate(request.tools) if tool["function"]["name"] == name]
        named = [request.tools[place] for place in places]
        return Wanted(named, "required", parallel=False, first=places[0] if places else 0)
    choice: Choice = "auto"
    if request.tool_choice == "required" or request.tool_choice == "none":
        choice = request.tool_choice  # type: ignore[assignment]
    return Wanted(request.tools, choice, parallel)


def answer_grammar(
    form: OutputFormat,
    special: Mapping[str, int],
    *,
    wanted: Wanted | None,
    is_reasoning: bool,
    may_reason: bool,
    inner: Grammar | None,
) -> Grammar | None:
    """The grammar of an answer; None where any text will do.

    Args:
        form: how the model writes.
        special: the vocabulary's special tokens, ids by spellings.
        wanted: the tools; None without any.
        is_reasoning: whether the prompt opened the reasoning.
        may_reason: whether the answer may begin with reasoning.
        inner: the grammar of the text after the reasoning, where the request has one.

    Raises ConstraintError for a schema that can't be enforced.
    """
    if wanted is not None and not _constrains(wanted):
        wanted = None
    if form.calls is None and not form.is_harmony:
        wanted = None
    if wanted is None and (inner is None or not (is_reasoning or may_reason or form.is_harmony)):
        return inner
    parts = LarkParts(special)
    writer = _Writer(form, parts)
    rest = "@answer" if inner is not None else ""
    if form.is_harmony:
        start = writer.harmony(wanted, rest)
    else:
        before = writer.reasoning(is_reasoning=is_reasoning, may_reason=may_reason, calls=wanted is not None)
        start = f"{before} {writer.calls(wanted, rest) if wanted is not None else rest}"
    lark = parts.grammar(start)
    if inner is None:
        return Grammar(lark, parameter="tools")
    return Grammar(lark, (("answer", inner.lark), *inner.parts), inner.parameter, inner.notes)


def _constrains(wanted: Wanted) -> bool:
    """Whether anything of the calls is to be enforced."""
    return wanted.choice != "auto" or not wanted.parallel or any(map(is_strict, wanted.tools))


def is_strict(tool: Mapping[str, Any]) -> bool:
    """Whether a tool's arguments are held to its schema."""
    return tool["function"].get("strict") is not False


class _Writer:
    def __init__(self, form: OutputFormat, parts: LarkParts) -> None:
        self._form = form
        self._parts = parts

    def reasoning(self, *, is_reasoning: bool, may_reason: bool, calls: bool) -> str:
        """The reasoning before an answer. Where there may be *calls*, none begins in it."""
        reasoning, parts = self._form.reasoning, self._parts
        if reasoning is None:
            return ""
        form = self._form.calls
        triggers = _triggers(form) if calls and form is not None and not form.is_bare else ()
        kind = parts.without(triggers) if triggers else ""
        end = parts.rule(f"{parts.until(reasoning.end.strip(), kind)} {_SPACE}")
        if is_reasoning:
            return end
        if not may_reason:
            return ""
        return f"({_SPACE} {parts.text(reasoning.begin.strip())} {end})?"

    def calls(self, wanted: Wanted, rest: str) -> str:
        """Calls, and the text before them; or *rest*, where the text has a grammar of its own."""
        form, parts = self._form.calls, self._parts
        if form is None:
            return rest or "TEXT"
        triggers = _triggers(form)
        if wanted.choice == "none":
            return rest or (parts.without(triggers) if triggers else "TEXT")
        section = self._section(form, wanted)
        if wanted.choice == "required":
            return section
        if rest:
            return f"({section} | {rest})"
        if not (form.begin + form.section).strip("[ \n"):  # nothing but its first character tells a call
            return f"({section} | {parts.terminal(_NO_CALL)})"
        opening = (form.section or form.begin + _before_name(form)).lstrip()
        head = _head(opening, triggers)
        others = tuple(trigger for trigger in triggers if trigger not in head and head.strip() not in trigger)
        before = parts.until(head, parts.without(others) if others else "")
        once = parts.rule(f"{before} {self._section(form, wanted, begun=head)}")
        tail = parts.without(triggers)
        return f"({once} | {tail})" if form.single or not wanted.parallel else f"({once}* {tail})"

    def _section(self, form: CallFormat, wanted: Wanted, begun: str = "") -> str:
        """All calls together; *begun* of them is written already."""
        parts = self._parts
        any_call = parts.rule(
            " | ".join(self._call(form, tool, number) for number, tool in enumerate(wanted.tools, wanted.first))
        )
        begin = form.begin + _before_name(form)
        opening = (form.section + begin).lstrip()[len(begun) :]
        pieces = [parts.text(opening)] if opening else []
        pieces.append(any_call)
        repeated = form.separator + begin
        if wanted.parallel and not form.single and repeated:
            pieces.append(f"({parts.text(repeated)} {any_call})*")
        if form.section_end:
            pieces.append(parts.text(form.section_end))
        return parts.rule(" ".join(pieces))

    def _call(self, form: CallFormat, tool: Mapping[str, Any], number: int) -> str:
        """One call, after its beginning."""
        parts = self._parts
        function = tool["function"]
        name = function["name"]
        schema = function.get("parameters") if is_strict(tool) else ANY_OBJECT
        place = f"/{number}/function/parameters"
        arguments = self._arguments(form, schema, place, strict=is_strict(tool))
        end = f" {parts.text(form.end)}" if form.end else ""
        if form.is_object:
            before = f"{{{to_json(form.name_key)}: {to_json(name)}, {to_json(form.arguments_key)}: "
            return parts.rule(f'{parts.text(before)} {arguments} "}}"{end}')
        said = parts.text(name) + (' ":" /[0-9]{1,3}/' if form.numbered else "")
        between = f" {parts.text(form.name_end)}" if form.name_end else ""
        return parts.rule(f"{said}{between} {arguments}{end}")

    def _arguments(self, form: CallFormat, schema: Any, place: str, *, strict: bool) -> str:
        parts = self._parts
        if strict or form.arguments == "json":
            return ArgumentGrammar(form, parts, schema, place).rule()
        end = (form.end or form.section_end).strip()
        return parts.without((end,)) if end else "TEXT"

    def harmony(self, wanted: Wanted | None, rest: str) -> str:
        """gpt-oss's messages: analysis, then calls or the final one."""
        parts = self._parts
        analysis = f"({parts.text(_ANALYSIS)} {parts.until('<|end|>')} {parts.text(_NEXT_MESSAGE[len('<|end|>') :])})?"
        if wanted is None:
            return f"{analysis} {parts.text(_FINAL)} {rest}"
        final = parts.rule(f"{parts.text(_FINAL)} {rest or 'TEXT'}")
        if wanted.choice == "none":
            return f"{analysis} {final}"
        calls = []
        for number, tool in enumerate(wanted.tools, wanted.first):
            function = tool["function"]
            schema = function.get("parameters") if is_strict(tool) else ANY_OBJECT
            form = CallFormat(arguments="json")
            arguments = ArgumentGrammar(form, parts, schema, f"/{number}/function/parameters").rule()
            header = f"<|channel|>commentary to=functions.{function['name']} <|constrain|>json<|message|>"
            calls.append(parts.rule(f"{parts.text(header)} {arguments}"))
        called = f"({' | '.join(calls)})"
        return f"{analysis} {called}" if wanted.choice == "required" else f"{analysis} ({called} | {final})"


def _before_name(form: CallFormat) -> str:
    return "" if form.is_object else form.name_begin


def _triggers(form: CallFormat) -> tuple[str, ...]:
    """What begins calls wherever it stands, as :class:`.call_parser.CallParser` has it."""
    begin = form.begin.split()
    first = (form.section.rstrip("[ \n").strip(), begin[0] if begin else "", *form.triggers)
    return tuple(dict.fromkeys(each for each in first if each))


def _head(opening: str, triggers: tuple[str, ...]) -> str:
    """The part of *opening* up to where a trigger in it ends."""
    ends = [opening.find(trigger) + len(trigger) for trigger in triggers if trigger in opening]
    return opening[: min(ends)] if ends else opening
