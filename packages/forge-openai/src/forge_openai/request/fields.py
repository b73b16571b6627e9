"""The names of a request's body: which are ours to set, and what a caller uses instead of them."""

from __future__ import annotations

from typing import Final

from llamaforge.parameters import ALIASES, NAMES

SET_BY_US: Final = {
    "model": "left out: it is the model that was loaded",
    "messages": "left out: the conversation is given to chat()",
    "stream": "left out: the backend always streams",
    "stream_options": "left out: the load parameter include_usage decides it",
    "n": "left out: a request has one answer",
    "max_completion_tokens": "given as the parameter max_tokens",
    "functions": "given as the parameter tools",
    "function_call": "given as the parameter tool_choice",
    "prompt": "left out: the prompt is given to generate()",
}
"""Fields of the body that ``engine={...}`` may not hold, and what they must be instead."""


def is_taken(name: str) -> bool:
    """Whether a field of that name already has a meaning: ours, or a canonical parameter's."""
    return name in SET_BY_US or name in NAMES or name in ALIASES
