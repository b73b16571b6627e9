"""The request is not valid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from .base import LlamaForgeError, closest, did_you_mean

_LONGEST: Final = 200
"""Characters of a value that a message shows."""


class RequestError(LlamaForgeError):
    """The request is not valid; no work was done."""


_NAME: Final = re.compile(r"[A-Za-z_]\w*")


def named_parameters(error: LlamaForgeError) -> frozenset[str]:
    """The parameters that *error* is about, by their own names: ``stop`` for ``stop[2]``. Empty if it is about none."""
    if isinstance(error, UnknownParameterError | InvalidParameterError):
        names = [error.name]
    elif isinstance(error, ConflictingParametersError):
        names = error.names
    elif isinstance(error, ConstraintError):
        names = [error.parameter]
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

    def __init__(self, name: str, known: Iterable[str], where: str = "parameter", owner: str = "") -> None:
        self.name = name
        self.known = sorted(known)
        self.suggestions = closest(name, self.known)
        if self.known or not owner:
            has = f"{owner} has no {where} {name!r}." if owner else f"There is no {where} {name!r}."
            message = has + did_you_mean(self.suggestions, self.known, f"{where}s")
        else:
            message = f"{owner} has no {where}s, so it can't take {name!r}."
        super().__init__(message)


class InvalidParameterError(RequestError, ValueError):
    """A parameter has the wrong type or is out of range.

    Attributes: ``name``; ``value`` (None if it may be secret or long); ``expected``.

    What to do: give ``name`` a value as described by ``expected``.
    """

    def __init__(
        self, name: str, value: object, expected: str, *, show_value: bool = True, message: str | None = None
    ) -> None:
        self.name = name
        self.expected = expected
        self.value = value if show_value else None
        got = f", not {_brief(value)}" if show_value else ""
        super().__init__(message or f"{name} must be {expected}{got}.")


def _brief(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST // 2]}..."


class ConflictingParametersError(RequestError, ValueError):
    """Parameters can't be used together, or not with these values.

    Attribute: ``names``.

    What to do: pass one of ``names``, or values that agree.
    """

    def __init__(self, names: Sequence[str], message: str = "") -> None:
        self.names = list(names)
        super().__init__(message or f"{' and '.join(names)} can't be used together. Pass one of them.")


class UnsupportedError(RequestError, NotImplementedError):
    """This backend can't do what the request asks for.

    Attributes: ``feature``; ``backend``.

    What to do: leave it out, use a backend that supports it, or, for a parameter, pass ``on_unsupported="drop"``.
    """

    def __init__(self, feature: str, backend: str, advice: str = "", *, message: str = "") -> None:
        self.feature = feature
        self.backend = backend
        said = f"The backend {backend!r} does not support {feature}." + (f" {advice}" if advice else "")
        super().__init__(message or said)


class ConstraintError(RequestError, ValueError):
    """A constraint on the answer can't be read, or can't be enforced exactly.

    Attributes: ``parameter`` (``response_format``, ``grammar``, ...); ``place`` (a JSON pointer into it, or a line and
    column; empty for all of it); ``reason``.

    What to do: change what ``place`` shows, or leave it out.
    """

    def __init__(self, parameter: str, place: str, reason: str) -> None:
        self.parameter = parameter
        self.place = place
        self.reason = reason
        where = f" at {place}" if place else ""
        super().__init__(f"{parameter}{where}: {reason}")


class EmptyPromptError(RequestError, ValueError):
    """The prompt or the conversation is empty.

    What to do: add some text.
    """

    def __init__(self, message: str = "The prompt is empty.") -> None:
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
            + (advice or "Set the load parameter chat_template, or send plain text with raw=True.")
        )


class ContextOverflowError(RequestError, ValueError):
    """The prompt does not fit into the context.

    Attributes: ``prompt_tokens``; ``context_size`` (both in tokens; None if a server doesn't report it);
    ``input_name`` (which text of an embedding or rerank call it is, such as ``texts[3]``; otherwise None).

    What to do: shorten the prompt, or load the model with a larger ``n_ctx`` if it was trained for that.
    """

    def __init__(
        self, prompt_tokens: int | None, context_size: int | None, advice: str = "", *, input_name: str | None = None
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.context_size = context_size
        self.input_name = input_name
        if input_name is not None:
            what = f"{input_name} has {prompt_tokens} tokens, and the model reads at most {context_size} at once."
            advice = advice or 'Shorten it, or pass truncation="auto" to use its beginning.'
        elif context_size is None:
            has = "is too long" if prompt_tokens is None else f"has {prompt_tokens} tokens, which is too long"
            what = f"The prompt {has} for the context."
        else:
            has = "is too long:" if prompt_tokens is None else f"has {prompt_tokens} tokens, and"
            what = f"The prompt {has} the context holds {context_size}, one of which must stay free for the answer."
        super().__init__(f"{what} {advice or 'Shorten the prompt, or load the model with a larger context.'}")


class BatchFileError(LlamaForgeError, ValueError):
    """A file of a batch can't be read or written, or a row can't stand in it. What was answered is kept.

    Attributes: ``path`` (or empty); ``line`` (or None).

    What to do: correct the file or the line that the message names, and run the batch again; it goes on from there.
    """

    def __init__(self, message: str, path: str = "", line: int | None = None) -> None:
        self.path = path
        self.line = line
        super().__init__(message)
