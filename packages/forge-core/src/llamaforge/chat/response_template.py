"""A tokenizer's ``response_template``: what its makers say of how the model writes reasoning and calls.

transformers reads it from ``tokenizer_config.json``; it names the markers around each part of an answer. It takes
precedence over what a chat template shows. https://huggingface.co/docs/transformers/chat_response_parsing
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from .families import FAMILIES
from .output_format import CallFormat, OutputFormat, ReasoningFormat
from .plugin_formats import plugin_formats

_REASONING: Final = ("thinking", "reasoning", "reasoning_content")
_CALLS: Final = ("tool_calls", "tool_call")


def with_response_template(found: OutputFormat, spec: Mapping[str, Any]) -> OutputFormat:
    """*found*, which the chat template shows, as *spec* would have it. What *spec* leaves open stays.

    A notation of calls is known by its markers: the found one where it has them, else the first known format that
    does, else JSON objects between them.
    """
    fields = spec.get("fields")
    if not isinstance(fields, Mapping) or found.is_harmony:
        return found
    reasoning, calls = found.reasoning, found.calls
    for name in _REASONING:
        begin, end = _markers(fields.get(name))
        if end and (begin or reasoning is not None):
            reasoning = ReasoningFormat(begin or (reasoning.begin if reasoning is not None else ""), end)
            break
    name = found.name
    for field in (fields.get(each) for each in _CALLS):
        begin, end = _markers(field)
        if begin and not (calls is not None and not found.is_generic and _has(calls, begin, end)):
            known = [form for form in (*plugin_formats(), *FAMILIES) if form.calls and _has(form.calls, begin, end)]
            if known:
                name, calls = known[0].name, known[0].calls
            elif isinstance(field, Mapping) and field.get("content") == "json":
                name, calls = "response-template", CallFormat(begin, end, separator="\n", is_object=True)
            break
    same = calls is found.calls
    return dataclasses.replace(found, name=name, calls=calls, reasoning=reasoning, is_generic=found.is_generic and same)


def _markers(field: Any) -> tuple[str, str]:
    """The texts that open and close a part; empty where they are patterns, or where there are none."""
    if not isinstance(field, Mapping):
        return "", ""
    return _literal(field.get("open")), _literal(field.get("close"))


def _literal(anchor: Any) -> str:
    if isinstance(anchor, list) and anchor:
        anchor = anchor[0]
    return anchor if isinstance(anchor, str) else ""


def _has(calls: CallFormat, begin: str, end: str) -> bool:
    """Whether calls stand between these markers: each by itself, or all together."""
    begin, end = begin.strip(), end.strip()
    for opened, closed in ((calls.section, calls.section_end), (calls.begin, calls.end)):
        if begin and opened.strip().startswith(begin) and closed.strip().endswith(end):
            return True
    return False
