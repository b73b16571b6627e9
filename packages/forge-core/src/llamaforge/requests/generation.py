"""A request for text: one prompt or a conversation, and the canonical parameters."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import ConflictingParametersError, EmptyPromptError, InvalidParameterError
from ..messages import Message, read_messages
from ..parameters import Parameters, canonical, check_combinations
from ..validation import convert


class GenerationRequest(Parameters, frozen=True, kw_only=True, omit_defaults=True):
    """A checked request. It has either *prompt* or *messages*.

    The canonical parameters are its attributes (``request.max_tokens``); see
    :class:`llamaforge.parameters.Parameters`. Create one with :func:`read_request`.
    """

    prompt: str | None = None
    """The text of one user turn; with ``raw``, the text that the model continues."""
    messages: tuple[Message, ...] = ()
    """A conversation. If the last turn is the assistant's, the model continues it."""

    def as_messages(self) -> tuple[Message, ...]:
        """The conversation; a prompt is one user turn."""
        return self.messages or (Message(role="user", content=self.prompt),)

    def parameters(self) -> dict[str, Any]:
        """The canonical parameters that are set, by name."""
        values = _values_of(self)
        return {name: value for name, value in zip(_NAMES, values, strict=True) if value is not None}


_NAMES: Final = Parameters.__struct_fields__
_values_of: Final = operator.attrgetter(*_NAMES)


def read_request(
    prompt: str | None = None,
    messages: Iterable[Message | Mapping[str, object]] | None = None,
    parameters: Mapping[str, object] | None = None,
) -> GenerationRequest:
    """Check a prompt or a conversation with its parameters, and make a request of them. No defaults are filled in.

    Raises a RequestError (see :mod:`llamaforge.errors`) before any work is done.
    """
    return build_request(prompt, messages, canonical(parameters))


def build_request(
    prompt: str | None,
    messages: Iterable[Message | Mapping[str, object]] | None,
    parameters: Mapping[str, object],
) -> GenerationRequest:
    """:func:`read_request` with *parameters* that have been through :func:`~llamaforge.parameters.canonical`."""
    fields = dict(parameters)
    if messages is not None:
        if prompt is not None:
            raise ConflictingParametersError(["prompt", "messages"])
        fields["messages"] = read_messages(messages)
        if not fields["messages"]:
            raise EmptyPromptError("The list of messages is empty.")
    elif not isinstance(prompt, str):
        advice = " Pass a conversation to chat()." if isinstance(prompt, list | tuple) else ""
        message = f"prompt must be a string, not {type(prompt).__name__}.{advice}"
        raise InvalidParameterError("prompt", prompt, "a string", show_value=False, message=message)
    else:
        fields["prompt"] = prompt if type(prompt) is str else str.__str__(prompt)
    request: GenerationRequest = convert(fields, GenerationRequest)
    check_combinations(request)
    if messages is not None:
        if request.raw:
            raise ConflictingParametersError(
                ["raw", "messages"], "raw=True takes a prompt, not messages: a conversation needs a chat template."
            )
    elif not (prompt if request.raw else prompt and prompt.strip()):
        raise EmptyPromptError()
    return request
