"""What is asked of a model: one prompt or a conversation, and the canonical parameters."""

from __future__ import annotations

import secrets as random_bits
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .errors import ConflictingParametersError, EmptyPromptError, InvalidParameterError
from .messages import Message, read_messages
from .parameters import DEFAULTS, Parameters, read_parameters


class GenerationRequest(Parameters, frozen=True, kw_only=True, omit_defaults=True):
    """A checked request. Exactly one of *prompt* and *messages* is given.

    The canonical parameters are its attributes (``request.max_tokens``); see
    :class:`llamaforge.parameters.Parameters`. Make one with :func:`read_request`.
    """

    prompt: str | None = None
    """Text of one user turn; with ``raw``, the text that the model continues."""
    messages: tuple[Message, ...] = ()
    """A conversation. A last turn of the assistant is continued."""

    def as_messages(self) -> tuple[Message, ...]:
        """The conversation; a prompt is one user turn."""
        return self.messages or (Message(role="user", content=self.prompt),)

    def parameters(self) -> dict[str, Any]:
        """The canonical parameters that are set, by name."""
        every = {name: getattr(self, name) for name in Parameters.__struct_fields__}
        return {name: value for name, value in every.items() if value is not None}

    def without(self, names: Iterable[str]) -> GenerationRequest:
        """The same request with those parameters not set."""
        return msgspec.structs.replace(self, **dict.fromkeys(names))

    def with_values(self, values: Mapping[str, Any]) -> GenerationRequest:
        """The same request with *values*, by name, where it sets none itself."""
        unset = {name: value for name, value in values.items() if getattr(self, name) is None}
        return msgspec.structs.replace(self, **unset) if unset else self

    def with_defaults(self, supported: Iterable[str]) -> GenerationRequest:
        """The same request with core's default in place of each parameter of *supported* that is not set.

        A sampled request without a seed gets a random one, so that the result can say which.
        """
        supported = frozenset(supported)
        unset = {name: value for name, value in DEFAULTS.items() if name in supported and getattr(self, name) is None}
        if "seed" in supported and self.seed is None and (self.temperature is None or self.temperature > 0):
            unset["seed"] = random_bits.randbits(32)
        return msgspec.structs.replace(self, **unset)


def read_request(
    prompt: str | None = None,
    messages: Iterable[Message | Mapping[str, Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> GenerationRequest:
    """Check a prompt or a conversation and its parameters, and make them a request.

    Raises a RequestError of the kind that fits (see :mod:`llamaforge.errors`); nothing was done then.
    """
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InvalidParameterError("parameters", parameters, "a mapping from names to values")
    read = read_parameters(parameters or {})
    given = {name: getattr(read, name) for name in Parameters.__struct_fields__}
    if messages is not None:
        if prompt is not None:
            raise ConflictingParametersError(["prompt", "messages"], "give one of them.")
        if read.raw:
            raise ConflictingParametersError(["raw", "messages"], "raw sends one text; messages need a template.")
        conversation = read_messages(messages)
        if not conversation:
            raise EmptyPromptError("There are no messages: give at least one.")
        return GenerationRequest(messages=conversation, **given)
    if not isinstance(prompt, str):
        raise InvalidParameterError("prompt", prompt, "a string", show_value=not isinstance(prompt, bytes))
    if not prompt if read.raw else not prompt.strip():
        raise EmptyPromptError()
    return GenerationRequest(prompt=str(prompt), **given)


def merge_parameters(parameters: Mapping[str, Any] | None, more: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Parameters given as a mapping and by name, together.

    Raises ConflictingParametersError where both give one name different values.
    """
    if not more:
        return parameters
    merged = dict(parameters or {})
    for name, value in more.items():
        if name in merged and merged[name] != value:
            raise ConflictingParametersError([f"parameters[{name!r}]", name], "give one of them.")
        merged[name] = value
    return merged
