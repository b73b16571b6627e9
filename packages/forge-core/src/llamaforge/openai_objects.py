"""OpenAI's JSON objects (https://platform.openai.com/docs/api-reference/chat/object), as batches and servers write
them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .messages import ToolCall
from .results import GeneratedText, TokenLogprob, Usage

HOUSEKEEPING: Final = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
"""Fields of requests that are about the provider's own housekeeping and change no answer."""
_FINISH_REASONS: Final = {"cancelled": "stop", "unknown": "stop"}


def finish_reason_of(reason: str) -> str:
    """A finish_reason in OpenAI's words."""
    return _FINISH_REASONS.get(reason, reason)


def chat_choice(index: int, answer: GeneratedText) -> dict[str, Any]:
    """The answer number *index* to a conversation."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in answer.tool_calls]
        message["content"] = answer.text or None
    return {
        "index": index,
        "message": message,
        "logprobs": chat_logprobs(answer.logprobs),
        "finish_reason": finish_reason_of(answer.finish_reason),
    }


def completion_choice(index: int, answer: GeneratedText) -> dict[str, Any]:
    """The answer number *index* to a raw prompt."""
    return {
        "index": index,
        "text": answer.text,
        "logprobs": completion_logprobs(answer.logprobs),
        "finish_reason": finish_reason_of(answer.finish_reason),
    }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function}


def logprob_object(each: TokenLogprob) -> dict[str, Any]:
    """A token with its log-probability, as chat completions and responses have it."""
    top = [{"token": one.token, "logprob": one.logprob, "bytes": list(one.token.encode())} for one in each.top]
    return {"token": each.token, "logprob": each.logprob, "bytes": list(each.token.encode()), "top_logprobs": top}


def chat_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """The log-probabilities of a chat completion's tokens; None where there are none."""
    return {"content": [logprob_object(each) for each in logprobs], "refusal": None} if logprobs else None


def completion_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """The log-probabilities of a completion's tokens, in that endpoint's own shape; None where there are none."""
    if not logprobs:
        return None
    offsets, at = [], 0
    for each in logprobs:
        offsets.append(at)
        at += len(each.token)
    return {
        "tokens": [each.token for each in logprobs],
        "token_logprobs": [each.logprob for each in logprobs],
        "top_logprobs": [{one.token: one.logprob for one in each.top} for each in logprobs],
        "text_offset": offsets,
    }


def sum_choices(usages: Sequence[Usage | None]) -> Usage | None:
    """The counts of several answers to one prompt, which counts once; None where none is known."""
    known = [usage for usage in usages if usage is not None]
    if not known:
        return None
    return Usage(
        prompt_tokens=known[0].prompt_tokens,
        completion_tokens=sum(usage.completion_tokens for usage in known),
        cached_tokens=known[0].cached_tokens,
        reasoning_tokens=sum(usage.reasoning_tokens for usage in known),
    )


def sum_prompts(usages: Sequence[Usage | None]) -> Usage | None:
    """The counts of answers to several prompts."""
    known = [usage for usage in usages if usage is not None]
    if not known:
        return None
    names = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    return Usage(**{name: sum(getattr(usage, name) for usage in known) for name in names})


def usage_object(usage: Usage | None) -> dict[str, Any] | None:
    """The counts as chat completions and completions have them."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def response_usage(usage: Usage | None) -> dict[str, Any] | None:
    """The counts as responses have them."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def embedding_usage(usage: Usage | None) -> dict[str, int]:
    """The counts of what has no answer in tokens."""
    tokens = usage.prompt_tokens if usage is not None else 0
    return {"prompt_tokens": tokens, "total_tokens": tokens}
