"""What core learns of this backend before it is used. Light: nothing of the server is imported here."""

from __future__ import annotations

from llamaforge import hookimpl
from llamaforge.backends.spec import BackendSpec, Capabilities

SPEC = BackendSpec(
    name="llama-server",
    target="forge_llamacpp.server.entry:LlamaServerBackend",
    config="forge_llamacpp.server.entry:LlamaServerConfig",
    summary="GGUF models behind llama.cpp's own server, which is started and ended with the model",
    capabilities=Capabilities(
        parameters=frozenset(
            {"max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "presence_penalty"}
            | {"frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs"}
            | {"response_format", "grammar", "tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs"}
            | {"reasoning_effort", "max_reasoning_tokens"}
        ),
        tasks=frozenset({"generate", "embed", "rerank"}),
        embedding=frozenset({"normalize"}),
        server_defaults=True,
    ),
    engine="xllamacpp",
)


@hookimpl
def llamaforge_backend() -> BackendSpec:
    """The backend called ``llama-server``. It must be named: for a GGUF file ``llama.cpp`` is chosen."""
    return SPEC
