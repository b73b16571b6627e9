"""What core learns of this backend before it is used. Light: no engine is imported here."""

from __future__ import annotations

from llamaforge import hookimpl
from llamaforge.backends.spec import BackendSpec, Capabilities
from llamaforge.formats.local import is_folder_of, is_gguf


def match(location: str) -> int:
    """How well llama.cpp suits *location*: well for a GGUF file, whatever its name; not at all for other models.

    Last comes a folder of GGUF files, of which it can say how to name one.
    """
    if is_gguf(location):
        return 90
    return 20 if is_folder_of(location, "gguf") else 0


SPEC = BackendSpec(
    name="llama.cpp",
    target="forge_llamacpp.backend:LlamaCppBackend",
    config="forge_llamacpp.config:LlamaCppConfig",
    summary="GGUF models on processors and graphics cards, through llama.cpp",
    capabilities=Capabilities(
        parameters=frozenset(
            {"max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "presence_penalty"}
            | {"frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "truncation"}
            | {"chat_template_kwargs", "parse_special", "response_format", "grammar", "tools", "tool_choice"}
            | {"parallel_tool_calls", "reasoning_effort", "max_reasoning_tokens"}
        ),
        tasks=frozenset({"generate", "embed", "rerank"}),
        embedding=frozenset({"dimensions", "normalize", "prompt_name", "truncation"}),
    ),
    match=match,
    engine="llama_cpp_python",
    probe="forge_llamacpp.probe:probe",
)


@hookimpl
def llamaforge_backend() -> BackendSpec:
    """The backend called ``llama.cpp``."""
    return SPEC
