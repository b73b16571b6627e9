"""What the plugin says of itself. It imports nothing heavy."""

from __future__ import annotations

from llamaforge import hookimpl
from llamaforge.backends.spec import BackendSpec, Capabilities

SPEC = BackendSpec(
    name="openai",
    target="forge_openai.backend:OpenAIBackend",
    config="forge_openai.config:OpenAIConfig",
    summary="OpenAI's API and every server compatible with it",
    capabilities=Capabilities(
        parameters=frozenset(
            {"max_tokens", "temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty"}
            | {"logit_bias", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice"}
            | {"parallel_tool_calls", "reasoning_effort"}
        ),
        tasks=frozenset({"generate", "embed", "rerank"}),
        embedding=frozenset({"dimensions", "normalize"}),
        images=True,
        server_defaults=True,
    ),
    engine="openai",
    probe="forge_openai.probe:probe",
)


@hookimpl
def llamaforge_backend() -> BackendSpec:
    """The one backend of this package."""
    return SPEC
