"""What this distribution contributes: the backend ``huggingface``. No engine is imported here."""

from __future__ import annotations

from llamaforge import hookimpl
from llamaforge.backends.spec import BackendSpec, Capabilities
from llamaforge.formats.local import describe_file, is_folder_of, is_gguf, is_model_folder, local_path

from .model_source import is_hub_id


def match(location: str) -> int:
    """How well this backend suits *location*: a folder with config.json best, then a hub id, then a folder that is yet
    to be fetched, then a GGUF file.

    Last come folders and files that it can't load, but of which it can say what they are.
    """
    if is_model_folder(location):
        return 90
    if is_gguf(location):
        return 50
    if is_hub_id(location):
        return 80
    if location.startswith("./") and location.endswith("/") and not local_path(location).exists():
        return 60
    return 5 if is_folder_of(location, "transformers") or describe_file(local_path(location), "transformers") else 0


SPEC = BackendSpec(
    name="huggingface",
    target="forge_hf.backend:HuggingFaceBackend",
    config="forge_hf.config:HuggingFaceConfig",
    summary="Models of the Hugging Face hub and local ones, on transformers and torch",
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
    engine="transformers",
    probe="forge_hf.probe:probe",
)


@hookimpl
def llamaforge_backend() -> BackendSpec:
    """The backend ``huggingface``."""
    return SPEC
