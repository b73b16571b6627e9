"""A request's tokens. A prompt that is too long is an error, unless the caller asked for it to be cut."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import ContextOverflowError, EmptyPromptError, InvalidParameterError
from ..requests import GenerationRequest
from .interface import Engine

_ADVICE = 'Shorten the prompt, load the model with a larger n_ctx, or pass truncation="auto".'


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
    """Leave out the oldest turns, but no system turn and not the last one; of a text without turns its beginning."""
    most = _most(engine, request)
    if request.prompt is not None and engine.render(request).endswith(request.prompt):
        # What the tokenizer puts before every text stays.
        first = engine.tokenize(msgspec.structs.replace(request, prompt="", raw=True)).token_ids
        opening = first if tokens[: len(first)] == first else []
        kept = opening + tokens[len(tokens) - most + len(opening) :]
        return kept, len(tokens) - len(kept)
    messages = request.messages
    turns = [index for index, message in enumerate(messages) if message.role != "system"]
    left_out: set[int] = set()
    while len(turns) > 1:
        left_out.add(turns.pop(0))
        while len(turns) > 1 and messages[turns[0]].role != "user":  # an answer without its question makes no sense
            left_out.add(turns.pop(0))
        kept_turns = tuple(message for index, message in enumerate(messages) if index not in left_out)
        shorter = _tokenize(engine, msgspec.structs.replace(request, messages=kept_turns))
        if len(shorter) <= most:
            return shorter, len(tokens) - len(shorter)
    raise ContextOverflowError(len(tokens), engine.n_ctx, "Even the last turn alone is too long: shorten it.")
