"""Reasoning in the words of each kind of server: how much of it, and that of earlier turns."""

from __future__ import annotations

from typing import Any, Final

from llamaforge.errors import ConflictingParametersError
from llamaforge.messages import Message
from llamaforge.requests import GenerationRequest

from ..config import ServerKind
from ..endpoint import Endpoint

_SWITCHES: Final = ("enable_thinking", "thinking")
"""Variables that turn reasoning on and off in chat templates: Qwen's and most; DeepSeek's and Granite's."""


def effort_fields(request: GenerationRequest, kind: ServerKind) -> dict[str, Any]:
    """The fields of the body for ``reasoning_effort`` and ``chat_template_kwargs``.

    vLLM passes an effort on to templates that read one. Others have a switch, which it is told as well: a template
    ignores what it doesn't read. Raises ConflictingParametersError where the switch is set to something else.
    """
    fields: dict[str, Any] = {}
    variables = dict(request.chat_template_kwargs or {})
    effort = request.reasoning_effort
    if effort is not None:
        fields["reasoning_effort"] = effort
        if kind == "vllm":
            for name in _SWITCHES:
                if variables.setdefault(name, effort != "none") is not (effort != "none"):
                    names = ["reasoning_effort", f"chat_template_kwargs[{name!r}]"]
                    raise ConflictingParametersError(names, f"{names[0]} and {names[1]} contradict each other.")
    if variables:
        fields["chat_template_kwargs"] = variables
    return fields


def message_fields(message: Message, kind: ServerKind, endpoint: Endpoint) -> dict[str, Any]:
    """*message* as the server takes it. vLLM calls the reasoning of earlier turns otherwise; OpenAI takes none."""
    fields = message.to_dict()
    if message.reasoning_content is None:
        return fields
    if endpoint.is_openai:
        del fields["reasoning_content"]
    elif kind == "vllm":
        fields["reasoning"] = fields["reasoning_content"]
    return fields
