"""The request is not valid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from .base import LlamaForgeError, closest, did_you_mean


class RequestError(LlamaForgeError):
    """The request is not valid; no work was done."""


_NAME: Final = re.compile(r"[A-Za-z_]\w*")


def named_parameters(error: LlamaForgeError) -> frozenset[str]:
    """The parameters that *error* is about, by their own names: ``stop`` for ``stop[2]``. Empty if it is about none."""
    if isinstance(error, UnknownParameterError | InvalidParameterError):
        names = [error.name]
    elif isinstance(error, ConflictingParametersError):
        names = error.names
    elif isinstance(error, UnsupportedError) and error.feature.startswith("the parameter"):
        names = error.feature.partition(" ")[2].partition(" ")[2].split(", ")
    else:
        names = []
    return frozenset(found[0] for found in map(_NAME.match, names) if found is not None)


class UnknownParameterError(RequestError, ValueError):
    """No parameter has that name.

    Attributes: ``name``; ``known``; ``suggestions``.

    What to do: use one of ``suggestions``. Engine-specific options go into ``engine={...}``.
    """

    def __init__(self, name: str, known: Iterable[str], where: str = "parameter") -> None:
        self.name = name
        self.known = sorted(known)
        self.suggestions = closest(name, self.known)
        super().__init__(f"There is no {where} {name!r}." + did_you_mean(self.suggestions, self.known, f"{where}s"))


class InvalidParameterError(RequestError, ValueError):
    """A parameter has the wrong type or is out of range.

    Attributes: ``name``; ``value``; ``expected``.

    What to do: give ``name`` a value as described by ``expected``.
    """

    def __init__(self, name: str, value: object, expected: str, *, show_value: bool = True) -> None:
        self.name = name
        self.expected = expected
        self.value = value if show_value else None
        got = f", not {value!r}" if show_value else ""
        super().__init__(f"{name} must be {expected}{got}.")


class ConflictingParametersError(RequestError, ValueError):
    """Two parameters contradict each other.

    Attribute: ``names``.

    What to do: give one of ``names``, or values that agree.
    """

    def __init__(self, names: Sequence[str], reason: str) -> None:
        self.names = list(names)
        super().__init__(f"{' and '.join(names)} contradict each other: {reason}")


class UnsupportedError(RequestError, NotImplementedError):
    """This backend can't do what the request asks for.

    Attributes: ``feature``; ``backend``.

    What to do: leave it out, use a backend that supports it, or, for a parameter, pass ``on_unsupported="drop"``.
    """

    def __init__(self, feature: str, backend: str, advice: str = "") -> None:
        self.feature = feature
        self.backend = backend
        super().__init__(f"The backend {backend!r} does not support {feature}." + (f" {advice}" if advice else ""))


class EmptyPromptError(RequestError, ValueError):
    """The prompt or the conversation is empty.

    What to do: add some text.
    """

    def __init__(self, message: str = "The prompt is empty: give it some text.") -> None:
        super().__init__(message)


class NoChatTemplateError(RequestError, ValueError):
    """The model has no chat template, and LlamaForge never guesses one.

    Attribute: ``model``.

    What to do: load the model with ``chat_template=...``, use the instruct variant of the model, or send text with
    ``raw=True``.
    """

    def __init__(self, model: str, advice: str = "") -> None:
        self.model = model
        super().__init__(
            f"{model} has no chat template, so it can't answer messages. "
            + (advice or "Pass one with the load parameter chat_template, or send plain text with raw=True.")
        )


class ContextOverflowError(RequestError, ValueError):
    """The prompt does not fit into the context.

    Attributes: ``prompt_tokens``; ``context_size`` (both in tokens; None if a server doesn't report it).

    What to do: shorten the prompt, or load the model with a larger ``n_ctx`` if it was trained for that.
    """

    def __init__(self, prompt_tokens: int | None, context_size: int | None, advice: str = "") -> None:
        self.prompt_tokens = prompt_tokens
        self.context_size = context_size
        has = f"{prompt_tokens} tokens" if prompt_tokens is not None else "too many tokens"
        holds = f"holds {context_size}" if context_size is not None else "can't hold them"
        super().__init__(
            f"The prompt has {has}, the context {holds}, and at least one must stay free for the answer. "
            + (advice or "Shorten the prompt, or load the model with a larger context.")
        )
