"""What core learns of this backend before it is used. Light: nothing is connected here."""

from __future__ import annotations

from llamaforge import hookimpl
from llamaforge.backends.spec import BackendSpec, Capabilities

SPEC = BackendSpec(
    name="vllm",
    target="forge_vllm.backend:VLLMBackend",
    config="forge_vllm.config:VLLMConfig",
    summary="Models behind vLLM, on one machine or many, connected to or started",
    capabilities=Capabilities(
        parameters=frozenset(
            {"max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "presence_penalty"}
            | {"frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs"}
            | {"response_format", "grammar", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"}
            | {"chat_template_kwargs", "max_reasoning_tokens"}
        ),
        tasks=frozenset({"generate", "embed", "rerank"}),
        embedding=frozenset({"dimensions", "normalize"}),
        images=True,
        server_defaults=True,
    ),
)


@hookimpl
def llamaforge_backend() -> BackendSpec:
    """The one backend of this package."""
    return SPEC
