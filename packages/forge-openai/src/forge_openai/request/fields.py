"""Fields of a request's body that the backend sets, and what callers pass instead."""

from __future__ import annotations

from typing import Final

from llamaforge.parameters import ALIASES, NAMES

SET_BY_US: Final = {
    "model": "the backend sends the loaded model",
    "messages": "pass the conversation to chat()",
    "stream": "the backend always streams",
    "stream_options": "the load parameter include_usage decides it",
    "n": "a request has one answer",
    "max_completion_tokens": "pass the parameter max_tokens instead",
    "functions": "pass the parameter tools instead",
    "function_call": "pass the parameter tool_choice instead",
    "prompt": "pass the prompt to generate()",
}
"""Fields of the body that ``engine={...}`` may not contain, and why."""


def is_taken(name: str) -> bool:
    """Whether a field of that name already has a meaning: ours, or a canonical parameter's."""
    return name in SET_BY_US or name in NAMES or name in ALIASES
