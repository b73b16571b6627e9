"""Chunks from JSON of any shape: what clients in use understand is read, all else is left out and reported.

It is slower than decoding into the types of :mod:`.chunks`, and done only where that fails.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any, Final

from ..side_fields import Report
from .chunks import (
    Choice,
    Chunk,
    CompletionDetails,
    Delta,
    FunctionPart,
    LogprobItem,
    Logprobs,
    PromptDetails,
    ToolCallPart,
    UsageCounts,
)

_REASONING: Final = ("thinking", "reasoning", "reasoning_content", "reasoning_text", "summary_text")
"""Types of content parts that are reasoning: Mistral's, and those of OpenAI's Responses."""
_TEXT_KEYS: Final = ("text", "output_text", "refusal", "content", "value", "parts")
_REASONING_KEYS: Final = ("thinking", "reasoning", "reasoning_content", "summary", *_TEXT_KEYS)


class LenientReader:
    """Reads plain JSON values as chunks. Each field that can't be read is given to *report*."""

    __slots__ = ("_report",)

    def __init__(self, report: Report) -> None:
        self._report = report

    def chunk(self, found: Mapping[str, object]) -> Chunk:
        """The chunk that *found* is."""
        choices = found.get("choices")
        if isinstance(choices, dict):
            choices = [choices]
        if choices is not None and not isinstance(choices, list):
            self._report("choices", choices)
            choices = None
        return Chunk(
            choices=[choice for each in choices or () if (choice := self._choice(each)) is not None],
            usage=self._usage(found.get("usage")),
            error=found.get("error"),
            base_resp=found.get("base_resp"),
        )

    def _choice(self, found: object) -> Choice | None:
        if not isinstance(found, dict):
            if found is not None:
                self._report("choices[]", found)
            return None
        reason = found.get("finish_reason")
        if reason is not None and not isinstance(reason, str):
            self._report("finish_reason", reason)
            reason = "unknown" if reason else None  # something ended the answer
        text, reasoning = self._text(found.get("text"), "text")
        delta, message = self._delta(found.get("delta"), "delta"), self._delta(found.get("message"), "message")
        if reasoning:
            delta = delta if delta is not None else Delta()
            delta.reasoning_content = (delta.reasoning_content or "") + reasoning
        return Choice(
            index=self._whole(found.get("index", 0), "index"),
            delta=delta,
            message=message,
            text=text,
            logprobs=self._logprobs(found.get("logprobs")),
            finish_reason=reason,
            stop_reason=found.get("stop_reason"),
            error=found.get("error"),
            usage=self._usage(found.get("usage")),
        )

    def _delta(self, found: object, place: str) -> Delta | None:
        if isinstance(found, str):
            return Delta(content=found)
        if not isinstance(found, dict):
            if found is not None:
                self._report(place, found)
            return None
        content, thought = self._text(found.get("content"), f"{place}.content")
        refusal, _ = self._text(found.get("refusal"), f"{place}.refusal")
        reasoning = ""
        for name in ("reasoning_content", "reasoning"):
            # Two names for one thing: a server that sends both sends the same text twice.
            reasoning = reasoning or "".join(self._text(found.get(name), f"{place}.{name}"))
        return Delta(
            content=content,
            refusal=refusal,
            reasoning_content=thought + reasoning,
            tool_calls=self._tool_calls(found.get("tool_calls"), f"{place}.tool_calls"),
            function_call=self._function(found.get("function_call"), f"{place}.function_call"),
        )

    def _text(self, found: object, place: str) -> tuple[str, str]:
        """The text that *found* holds, and the reasoning."""
        if found is None:
            return "", ""
        if isinstance(found, str):
            return found, ""
        if isinstance(found, dict):
            return self._part(found, place)
        if isinstance(found, list):
            parts = [self._text(part, f"{place}[]") for part in found]
            return "".join(text for text, _ in parts), "".join(reasoning for _, reasoning in parts)
        if isinstance(found, int | float) and not isinstance(found, bool):
            return json.dumps(found), ""  # a gateway took the model's digits for a number
        self._report(place, found)
        return "", ""

    def _part(self, part: dict[str, Any], place: str) -> tuple[str, str]:
        """A part of a content list: OpenAI's ``{"type": "text"}``, and https://docs.mistral.ai/capabilities/reasoning."""
        kind = part.get("type")
        thinks = kind in _REASONING if isinstance(kind, str) else "thinking" in part
        for key in _REASONING_KEYS if thinks else _TEXT_KEYS:
            if part.get(key) is not None:
                text, reasoning = self._text(part[key], f"{place}.{key}")
                return ("", text + reasoning) if thinks else (text, reasoning)
        self._report(f"{place} ({kind})" if isinstance(kind, str) else place, part)
        return "", ""

    def _tool_calls(self, found: object, place: str) -> list[ToolCallPart]:
        if isinstance(found, dict):
            found = [found]
        if not isinstance(found, list):
            if found is not None:
                self._report(place, found)
            return []
        calls = []
        for part in found:
            if not isinstance(part, dict):
                self._report(f"{place}[]", part)
                continue
            ident = part.get("id")
            if isinstance(ident, int) and not isinstance(ident, bool):
                ident = str(ident)
            if ident is not None and not isinstance(ident, str):
                self._report(f"{place}[].id", ident)
                ident = None
            # Without "function", a few servers put name and arguments into the call itself.
            function = part.get("function", part if "name" in part else None)
            index = self._whole(part.get("index"), f"{place}[].index")
            calls.append(ToolCallPart(index, ident, self._function(function, f"{place}[].function")))
        return calls

    def _function(self, found: object, place: str) -> FunctionPart | None:
        if not isinstance(found, dict):
            if found is not None:
                self._report(place, found)
            return None
        name, arguments = found.get("name"), found.get("arguments")
        if name is not None and not isinstance(name, str):
            self._report(f"{place}.name", name)
            name = None
        if arguments is not None and not isinstance(arguments, str | dict):
            if not isinstance(arguments, list):
                self._report(f"{place}.arguments", arguments)
            arguments = json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, list) else None
        return FunctionPart(name, arguments)

    def _usage(self, found: object) -> UsageCounts | None:
        if not isinstance(found, dict):
            if found is not None:
                self._report("usage", found)
            return None

        def count(holder: object, name: str, place: str) -> int | None:
            if not isinstance(holder, dict):
                if holder is not None:
                    self._report(place, holder)
                return None
            number = self._whole(holder.get(name), f"{place}.{name}")
            if number is not None and number < 0:
                self._report(f"{place}.{name}", number)
                return None
            return number

        details = "prompt_tokens_details", "completion_tokens_details"
        prompt, completion = (found.get(name) for name in details)
        return UsageCounts(
            prompt_tokens=count(found, "prompt_tokens", "usage"),
            completion_tokens=count(found, "completion_tokens", "usage"),
            prompt_tokens_details=PromptDetails(count(prompt, "cached_tokens", f"usage.{details[0]}")),
            completion_tokens_details=CompletionDetails(count(completion, "reasoning_tokens", f"usage.{details[1]}")),
        )

    def _logprobs(self, found: object) -> Logprobs | None:
        if not isinstance(found, dict):
            if found is not None:
                self._report("logprobs", found)
            return None
        if found.get("content") is not None:
            items = self._items(found["content"], "logprobs.content")
            return None if items is None else Logprobs(content=items)
        tokens, values, tops = (found.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
        if tokens is None:
            return None
        sound = (
            isinstance(tokens, list)
            and isinstance(values, list)
            and all(isinstance(token, str) for token in tokens)
            and all(value is None or _is_number(value) for value in values)
        )
        if not sound:
            self._report("logprobs.tokens", tokens)
            return None
        if tops is not None and not (isinstance(tops, list) and all(map(_is_alternatives, tops))):
            self._report("logprobs.top_logprobs", tops)
            tops = None
        return Logprobs(tokens=tokens, token_logprobs=values, top_logprobs=tops)

    def _items(self, found: object, place: str) -> list[LogprobItem] | None:
        """The tokens; None where one of them can't be read, because each has its place in the text."""
        items = []
        for each in found if isinstance(found, list) else [None]:
            item: dict[str, Any] = each if isinstance(each, dict) else {}
            token, value = item.get("token"), item.get("logprob")
            if not isinstance(token, str) or not (value is None or _is_number(value)):
                self._report(place, found)
                return None
            tops = item.get("top_logprobs")
            items.append(
                LogprobItem(
                    token=token,
                    logprob=value,
                    id=self._whole(item.get("id"), f"{place}[].id"),
                    top_logprobs=None if tops is None else self._items(tops, f"{place}[].top_logprobs"),
                )
            )
        return items

    def _whole(self, found: object, place: str) -> int | None:
        """A whole number, also as ``3.0`` or ``"3"``."""
        number = whole(found)
        if number is None and found is not None:
            self._report(place, found)
        return number


def whole(found: object) -> int | None:
    """The whole number that *found* says, also as ``3.0`` or ``"3"``; None where it says none."""
    if isinstance(found, bool):
        return None
    if isinstance(found, int):
        return found
    if isinstance(found, float) and math.isfinite(found) and found == int(found):
        return int(found)
    if isinstance(found, str):
        try:
            return int(found)
        except ValueError:
            return None
    return None


def _is_number(value: object) -> bool:
    """Whether *value* is a number that a ``float`` can hold."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < sys.float_info.max
    return isinstance(value, float)


def _is_alternatives(found: object) -> bool:
    return found is None or (
        isinstance(found, dict) and all(value is None or _is_number(value) for value in found.values())
    )
