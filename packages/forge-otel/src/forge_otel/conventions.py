"""The GenAI semantic conventions that are emitted: every name, in one table. Their status is Development.

https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "1.44.0"
"""The version of the conventions that the names are from."""
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{VERSION}"

OPERATIONS: Final = {"generate": "text_completion", "chat": "chat", "embed": "embeddings", "rerank": "rerank"}
"""Operations of LlamaForge and what the conventions call them. They have no name for reranking."""

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
OUTPUT_TYPE: Final = "gen_ai.output.type"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - input or output
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

PARAMETERS: Final = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
"""Parameters that have an attribute."""

USAGE: Final = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
"""Token counts that have an attribute."""

NO_BACKEND: Final = "llamaforge"
"""The provider of a request that reached no backend."""
OUTCOME: Final = "llamaforge.outcome"
"""Ours: how the request ended; see :data:`llamaforge.observers.Outcome`."""
DROPPED: Final = "llamaforge.dropped"
"""Ours: what of the request had no effect."""

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS: Final = tuple(4**power for power in range(14))

METRICS: Final = {
    "duration": ("gen_ai.client.operation.duration", "s", "GenAI operation duration.", _SECONDS),
    "tokens": ("gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", _TOKENS),
    "first_chunk": (
        "gen_ai.client.operation.time_to_first_chunk",
        "s",
        "Time to receive the first chunk of a response.",
        _FIRST,
    ),
    "server_duration": ("gen_ai.server.request.duration", "s", "Generative AI server request duration.", _SECONDS),
    "server_first_token": (
        "gen_ai.server.time_to_first_token",
        "s",
        "Time to generate the first token of a response.",
        _FIRST,
    ),
    "server_per_token": (
        "gen_ai.server.time_per_output_token",
        "s",
        "Time per output token after the first one.",
        _PER_TOKEN,
    ),
}
"""Histograms: name, unit, description, bounds of the buckets.

Those of servers are recorded for engines in this process, which are the model server here.
``gen_ai.client.operation.time_per_output_chunk`` isn't recorded: it needs a measurement for each chunk."""
