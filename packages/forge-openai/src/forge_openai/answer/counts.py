"""Token counts: the server's, and a guess where an answer was cut before the server told."""

from __future__ import annotations

from typing import Final

import msgspec

from llamaforge.requests import GenerationRequest
from llamaforge.results import Usage

from .chunks import UsageCounts

_BYTES_A_TOKEN: Final = 4
"""What tokenizers in use make of English text, about."""


def read_usage(counts: UsageCounts) -> Usage | None:
    """Token counts; None where the server sends an empty object."""
    if counts.prompt_tokens is None and counts.completion_tokens is None:
        return None
    prompt, completion = counts.prompt_tokens_details, counts.completion_tokens_details
    return Usage(
        prompt_tokens=counts.prompt_tokens or 0,
        completion_tokens=counts.completion_tokens or 0,
        cached_tokens=(prompt.cached_tokens or 0) if prompt is not None else 0,
        reasoning_tokens=(completion.reasoning_tokens or 0) if completion is not None else 0,
    )


def estimate_usage(request: GenerationRequest, tokens: int, known: Usage | None) -> Usage:
    """A guess: *tokens* were seen of the answer; *known* is what the server had told by then."""
    if known is not None:
        return msgspec.structs.replace(known, completion_tokens=max(tokens, known.completion_tokens), estimated=True)
    size = sum(len(message.text.encode("utf-8", "replace")) for message in request.as_messages())
    return Usage(prompt_tokens=-(-size // _BYTES_A_TOKEN), completion_tokens=tokens, estimated=True)
