"""All that LlamaForge imports of this package before it is used: what it contributes, and nothing heavy."""

from __future__ import annotations

import click
from llamaforge import BackendSpec, Capabilities, hookimpl


def match(location: str) -> int:
    """How well this backend suits the model at *location*: an ARPA file is for nobody else."""
    return 90 if location.lower().endswith((".arpa", ".arpa.gz")) else 0


SPEC = BackendSpec(
    name="ngram",
    target="forge_ngram.backend:NgramBackend",
    config="forge_ngram.config:NgramConfig",
    summary="N-gram language models in ARPA files",
    capabilities=Capabilities(
        parameters=frozenset(
            {"max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "presence_penalty"}
            | {"frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs"}
        )
    ),
    match=match,
    probe="forge_ngram.probe:probe",
)


@hookimpl
def llamaforge_backend() -> BackendSpec:
    """The backend ``ngram``."""
    return SPEC


@hookimpl
def llamaforge_command() -> click.Command:
    """The command ``llamaforge train-ngram``."""
    from .command import train

    return train
