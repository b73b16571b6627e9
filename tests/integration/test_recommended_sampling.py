"""The sampling that a model's files recommend applies before core's defaults, on both engines, unless turned off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamaforge import LlamaForge
from llamaforge.formats.gguf import recommended_sampling
from support.gguf_files import SPECIAL, byte_texts, make_tiny_gguf
from support.hf_models import make_tiny_model
from support.small_tokenizers import byte_level

KEYS = {
    "general__sampling__temp": np.float32(0.5),
    "general__sampling__top_k": np.int32(7),
    "general__sampling__penalty_repeat": np.float32(1.25),
}
TOKENS = {
    # transformers insists that what a merge gives is a token.
    "tokenizer__ggml__tokens": [*byte_texts(), *SPECIAL, "Āā"],
    "tokenizer__ggml__token_type": [1] * 256 + [3] * len(SPECIAL) + [1],
}
RECOMMENDED = {"temperature": 0.5, "top_k": 7, "repetition_penalty": 1.25}
CORE = {"temperature": 1.0, "top_k": 0, "repetition_penalty": 1.0}


def used(forge: LlamaForge, **parameters: Any) -> dict[str, Any]:
    """The parameters in effect for a request."""
    answer = forge.generate("Hello", max_tokens=1, raw=True, **parameters)
    return {name: answer.parameters[name] for name in RECOMMENDED}


@pytest.mark.engine
@pytest.mark.parametrize("backend", ["llama.cpp", "huggingface"])
def test_a_gguf_files_recommendation_applies(backend: str, tmp_path: Path) -> None:
    path = make_tiny_gguf(tmp_path / "tiny.gguf", **TOKENS, **KEYS)
    with LlamaForge(tmp_path / "models.toml") as forge:
        forge.add_model("plain", path, backend)
        forge.add_model("named", path, backend, generation={"top_k": 3})
        forge.load_model("plain")
        assert used(forge) == RECOMMENDED
        assert used(forge, temperature=0.9) == {**RECOMMENDED, "temperature": 0.9}
        forge.load_model("plain", {"generation_defaults": "core", "seed": 5})
        assert used(forge) == CORE
        assert forge.generate("Hello", max_tokens=1).parameters["seed"] == 5
        forge.load_model("named")
        assert used(forge) == {**RECOMMENDED, "top_k": 3}


@pytest.mark.engine
def test_metadata_that_is_overridden_at_load(tmp_path: Path) -> None:
    path = make_tiny_gguf(tmp_path / "tiny.gguf", **TOKENS, **KEYS)
    with LlamaForge(tmp_path / "models.toml") as forge:
        forge.load_model(str(path), {"kv_overrides": {"general.sampling.top_k": 2, "general.sampling.temp": "hot"}})
        assert used(forge) == {**RECOMMENDED, "top_k": 2, "temperature": 1.0}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, {}),
        ({"general.sampling.temp": -1.0, "general.sampling.top_k": -1}, {"temperature": 0, "top_k": 0}),
        ({"general.sampling.penalty_repeat": 1.5, "general.sampling.penalty_last_n": 0}, {}),
        ({"general.sampling.top_p": 0.5, "general.sampling.min_p": 0.1}, {"top_p": 0.5, "min_p": 0.1}),
        ({"general.sampling.temp": 0.6000000238418579}, {"temperature": 0.6}),  # as 32 bits hold it
        ({"general.sampling.mirostat": 2, "general.sampling.sequence": "top_k"}, {}),
    ],
)
def test_what_the_metadata_recommends(metadata: dict[str, Any], expected: dict[str, Any]) -> None:
    """As llama.cpp reads it: a temperature and a top_k below 0 switch sampling and the limit off."""
    assert recommended_sampling(metadata) == expected


@pytest.mark.engine
def test_a_checkpoints_recommendation_is_turned_off(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model", byte_level())
    settings = {**RECOMMENDED, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    with LlamaForge(tmp_path / "models.toml") as forge:
        forge.load_model(str(folder), {"device": "cpu"})
        assert used(forge) == RECOMMENDED
        forge.load_model(str(folder), {"device": "cpu", "generation_defaults": "core"})
        assert used(forge) == CORE
