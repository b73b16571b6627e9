"""The chunks of a streamed answer, as far as we read them. Unknown fields pass.

https://platform.openai.com/docs/api-reference/chat-streaming and .../completions, with the fields that vLLM, llama.cpp,
OpenRouter and others add to them. A chunk of these types is read at once; any other goes through :mod:`.lenient`.
"""

from __future__ import annotations

import msgspec


class FunctionPart(msgspec.Struct, gc=False):
    """A piece of a called function: its name, and a piece of its arguments (an object, from some servers)."""

    name: str | None = None
    arguments: str | dict[str, object] | None = None


class ToolCallPart(msgspec.Struct, gc=False):
    """A piece of a tool call."""

    index: int | None = None
    id: str | None = None
    function: FunctionPart | None = None


class Delta(msgspec.Struct, gc=False):
    """A piece of a chat answer; or all of it, where the server doesn't stream."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallPart] | None = None
    function_call: FunctionPart | None = None
    """OpenAI's older way of calling one function."""


class LogprobItem(msgspec.Struct, gc=False):
    """A token's log-probability. JSON has no minus infinity: null stands for it."""

    token: str
    logprob: float | None = None
    id: int | None = None
    top_logprobs: list[LogprobItem] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """Log-probabilities in the shape of chat (``content``) or of the older completions (three parallel lists)."""

    content: list[LogprobItem] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class PromptDetails(msgspec.Struct, gc=False):
    """Of the prompt's tokens."""

    cached_tokens: int | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    """Of the answer's tokens."""

    reasoning_tokens: int | None = None


class UsageCounts(msgspec.Struct, gc=False):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Choice(msgspec.Struct, gc=False):
    """One answer's piece."""

    index: int | None = 0
    delta: Delta | None = None
    message: Delta | None = None
    """In place of ``delta``, where the server doesn't stream."""
    text: str | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: object = None
    """vLLM: the stop string or token that was met."""
    error: object = None
    """OpenRouter: why the answer failed."""
    usage: UsageCounts | None = None
    """Moonshot: the token counts."""


class Chunk(msgspec.Struct, gc=False):
    """One event's data."""

    choices: list[Choice] | None = None
    usage: UsageCounts | None = None
    error: object = None
    base_resp: object = None
    """MiniMax: whether the request succeeded."""
