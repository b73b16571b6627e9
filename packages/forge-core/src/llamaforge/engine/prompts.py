"""A request's tokens. A prompt that is too long is an error, unless the caller asked for it to be cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..errors import ContextOverflowError, EmptyPromptError, InvalidParameterError
from ..messages import Message
from ..requests import GenerationRequest
from .interface import Engine

_ADVICE = 'Shorten the prompt, load the model with a larger n_ctx, or pass truncation="auto".'
_INSTRUCTIONS: Final = frozenset({"system", "developer"})
_SLACK: Final = 64
"""Tokens by which a cut may come out longer than the one before it."""


def prompt_tokens(engine: Engine[Any], request: GenerationRequest) -> tuple[list[int], int]:
    """The tokens of the prompt, and how many were left out.

    Raises EmptyPromptError where there are none, ContextOverflowError where no room would be left for the answer, and
    InvalidParameterError for a text that has no UTF-8.
    """
    tokens = _tokenize(engine, request)
    if not tokens:
        raise EmptyPromptError("The prompt has no tokens, so there is nothing to continue.")
    if request.truncation == "auto" and len(tokens) > _most(engine, request):
        return _truncate(engine, request, tokens)
    if len(tokens) >= engine.n_ctx:
        raise ContextOverflowError(len(tokens), engine.n_ctx, _ADVICE)
    return tokens, 0


def _tokenize(engine: Engine[Any], request: GenerationRequest) -> list[int]:
    try:
        return engine.tokenize(request).token_ids
    except UnicodeEncodeError as error:
        name = "messages" if request.messages else "prompt"
        message = (
            f"{name} contains {error.object[error.start : error.end]!r}, half of a surrogate pair, not a character."
        )
        raise InvalidParameterError(name, None, "valid Unicode", show_value=False, message=message) from None


def _most(engine: Engine[Any], request: GenerationRequest) -> int:
    """Tokens that a prompt which may be cut can have: room is left for max_tokens, or a quarter of the context, and
    never more than half of it."""
    room = min(request.max_tokens or engine.n_ctx // 4, engine.n_ctx // 2)
    return engine.n_ctx - max(room, 1)


def _truncate(engine: Engine[Any], request: GenerationRequest, tokens: list[int]) -> tuple[list[int], int]:
    """Leave out the oldest turns, but no instructions and not the last one; of a text without turns its beginning."""
    most = _most(engine, request)
    if request.prompt is not None and engine.render(request).endswith(request.prompt):
        # What the tokenizer puts before every text stays.
        first = engine.tokenize(msgspec.structs.replace(request, prompt="", raw=True)).token_ids
        opening = first if tokens[: len(first)] == first else []
        kept = opening + tokens[len(tokens) - most + len(opening) :]
        return kept, len(tokens) - len(kept)
    starts = _starts(request.messages)

    def cut(number: int) -> list[int]:
        kept = (m for i, m in enumerate(request.messages) if i >= starts[number] or m.role in _INSTRUCTIONS)
        return _tokenize(engine, msgspec.structs.replace(request, messages=tuple(kept)))

    # A later start leaves a shorter text, so the first one that fits is found by bisection ...
    found: tuple[int, list[int]] | None = None
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        shorter = cut(middle)
        if len(shorter) <= most:
            found, high = (middle, shorter), middle
        else:
            low = middle + 1
    if found is None:
        raise ContextOverflowError(len(tokens), engine.n_ctx, "Even the last turn alone is too long: shorten it.")
    # ... but for a few tokens: characters at the start of a text may be split into other tokens than amid it.
    for earlier in range(found[0] - 1, max(-1, found[0] - 1 - _SLACK), -1):
        shorter = cut(earlier)
        if len(shorter) > most + _SLACK:
            break
        if len(shorter) <= most:
            found = earlier, shorter
    return found[1], len(tokens) - len(found[1])


def _starts(messages: Sequence[Message]) -> list[int]:
    """Where the conversation may begin once its oldest turns are left out: at a question, since an answer without one
    makes no sense, or at the last turn. Instructions stay in any case."""
    turns = [index for index, message in enumerate(messages) if message.role not in _INSTRUCTIONS]
    return [index for index in turns[1:] if messages[index].role == "user" or index == turns[-1]]
