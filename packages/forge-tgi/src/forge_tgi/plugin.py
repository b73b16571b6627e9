"""What core learns of this backend before it is used. Light: nothing is connected here."""

from __future__ import annotations

from llamaforge import hookimpl
from llamaforge.backends.spec import BackendSpec, Capabilities

SPEC = BackendSpec(
    name="tgi",
    target="forge_tgi.backend:TGIBackend",
    config="forge_tgi.config:TGIConfig",
    summary="Models behind Text Generation Inference, connected to or started",
    # Not logit_bias, which TGI reads and ignores, nor presence_penalty, which it makes a repetition penalty of.
    capabilities=Capabilities(
        parameters=frozenset(
            {"max_tokens", "temperature", "top_p", "stop", "seed", "frequency_penalty", "logprobs", "top_logprobs"}
            | {"response_format", "tools", "tool_choice"}
        ),
        images=True,
        server_defaults=True,
    ),
)


@hookimpl
def llamaforge_backend() -> BackendSpec:
    """The one backend of this package."""
    return SPEC
