"""What is asked of every backend, and what a boundary must be able to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from llamaforge import BaseBackend, GeneratedText
from llamaforge.errors import ContextOverflowError
from llamaforge.parameters import DEFAULTS

TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}},
}

ASK: dict[str, dict[str, Any]] = {
    "max_tokens": {"max_tokens": 3},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.4},
    "top_k": {"top_k": 3},
    "min_p": {"min_p": 0.3},
    "stop": {"stop": ["STOP"]},
    "seed": {"seed": 7},
    "presence_penalty": {"presence_penalty": 1.5},
    "frequency_penalty": {"frequency_penalty": 0.75},
    "repetition_penalty": {"repetition_penalty": 1.25},
    "logit_bias": {"logit_bias": {42: 2.5}},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "response_format": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    },
    "grammar": {"grammar": 'root ::= "yes" | "no"'},
    "tools": {"tools": [TOOL]},
    "tool_choice": {"tools": [TOOL], "tool_choice": "auto"},
    "parallel_tool_calls": {"tools": [TOOL], "parallel_tool_calls": False},
    "reasoning_effort": {"reasoning_effort": "none"},
    "max_reasoning_tokens": {"max_reasoning_tokens": 0},
    "truncation": {"truncation": "auto"},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": False}},
    "parse_special": {"parse_special": True},
}
"""Each parameter that a backend declares or not, asked for in a way that shows."""

PICTURE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "See"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ],
    }
]


class NoProbeError(Exception):
    """A backend does something that no test here shows."""


class Boundary:
    """A loaded backend, and a view of what it hands to its engine. Each method raises AssertionError."""

    options: ClassVar[Mapping[str, Any] | None] = None
    """What ``engine={...}`` may hold; None: nothing."""

    def __init__(self, backend: BaseBackend) -> None:
        self.backend = backend

    def answer(self, **parameters: Any) -> GeneratedText:
        """A short answer to the same prompt as ever."""
        return self.backend.generate("one two three", {"max_tokens": 8, **parameters})

    def work(self) -> int:
        """How often the engine was asked for something so far."""
        raise NotImplementedError

    def honours(self, name: str) -> None:
        """The engine is asked for just that: ASK[name]. Raises NoProbeError where no test shows it."""
        probe = getattr(self, f"honours_{name}", None)
        if probe is None:
            raise NoProbeError(
                f"{self.backend.name} says that it honours {name}; no test shows it at its engine: add "
                f"honours_{name} to {type(self).__module__}.{type(self).__name__}"
            )
        probe()

    def condition(self, name: str) -> str | None:
        """What must be said at load for *name* to be honoured, once that was seen; None: nothing helps."""
        return None

    def lacks(self, name: str, result: GeneratedText) -> None:
        """What was dropped did not reach the engine. *result* is the last answer."""
        assert name not in result.parameters

    def honours_truncation(self) -> None:
        """A prompt that is refused as too long is cut, and counted as what is left of it."""
        prompt, parameters = "one two three " * 2000, {"raw": True, "max_tokens": 1}
        with pytest.raises(ContextOverflowError) as caught:
            self.backend.generate(prompt, parameters)
        result = self.backend.generate(prompt, parameters, truncation="auto")
        assert result.usage is not None
        assert caught.value.context_size is not None
        assert 0 < result.usage.prompt_tokens < caught.value.context_size

    def honours_engine(self) -> None:
        """``engine=options`` reaches the engine."""
        raise NoProbeError(f"{self.backend.name} takes engine options; no test shows that they arrive")

    def takes_images(self) -> None:
        """PICTURE reaches the engine."""
        raise NoProbeError(f"{self.backend.name} takes images; no test shows that they arrive")

    def unset(self) -> str:
        """Whose choice it is where a request says nothing, as the engine sees it."""
        result = self.answer()
        expected = {name: DEFAULTS[name] for name in DEFAULTS.keys() & self.backend.capabilities.parameters}
        assert {name: result.parameters.get(name) for name in expected} == expected
        return "core's default"
