"""Requests in which everything that a backend declares has a part: what plain requests don't reach, these do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .subject import Subject

Given = Mapping[str, Any]


def mixtures(subject: Subject, number: int = 0) -> dict[str, Given]:
    """Parameters of a few requests, by what they are: together all that *subject* declares, but ``raw``.

    Another *number* gives others of the same kinds: no two have the same stop string, format, grammar or tool. An
    engine may refuse one of them, by a typed error.
    """
    name = f"mark_{number}"
    property_of_it = {"type": "object", "properties": {name: {"type": "boolean"}}, "required": [name]}
    tool = {"type": "function", "function": {"name": name, "parameters": property_of_it}}
    able = subject.backend.capabilities.parameters if subject.full else frozenset()
    many: dict[str, Any] = {
        "temperature": 0.7,
        "seed": 4 + number,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.01,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.1,
        "repetition_penalty": 1.1,
        "logit_bias": {number % 64: 0.5},
        "stop": [f"the end of number {number}"],
        "truncation": "auto",
        "logprobs": True,
        "top_logprobs": 2,
    }
    made: dict[str, Given] = {
        "many parameters and a deadline": {"timeout": 60.0, **{one: many[one] for one in many if one in able}},
        "a schema": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": name, "strict": True, "schema": property_of_it},
            }
        },
        "a grammar": {"grammar": f'root ::= "yes" | "{name}"'},
        "a tool": {"tools": [tool], "tool_choice": "required"},
        "thoughts": {"reasoning_effort": "low", "max_reasoning_tokens": 2},
    }
    return {what: given for what, given in made.items() if able >= given.keys() - {"timeout"}}
