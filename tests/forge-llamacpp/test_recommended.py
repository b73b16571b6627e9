"""The sampling that a GGUF file recommends applies before core's defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forge_llamacpp import LlamaCppBackend
from llamaforge import LlamaForge
from support.gguf_files import make_tiny_gguf

RECOMMENDED = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1}
METADATA: dict[str, Any] = {
    "general__sampling__temp": np.float32(0.6),
    "general__sampling__top_k": np.int32(20),
    "general__sampling__top_p": np.float32(0.95),
    "general__sampling__min_p": np.float32(0.05),
    "general__sampling__penalty_repeat": np.float32(1.1),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gguf(tmp_path_factory.mktemp("recommended") / "tiny.gguf", **METADATA)


def used(backend: LlamaCppBackend, **given: Any) -> dict[str, Any]:
    parameters = backend.generate("x", {"raw": True, "max_tokens": 1, **given}).parameters
    return {name: parameters[name] for name in RECOMMENDED}


def test_what_the_file_says_applies_unless_the_caller_says_more(model: Path, empty: LlamaCppBackend) -> None:
    empty.load_model(model, {"n_threads": 1})
    assert empty.default_parameters() == RECOMMENDED
    assert used(empty) == RECOMMENDED
    assert used(empty, temperature=0.3, top_k=0) == {**RECOMMENDED, "temperature": 0.3, "top_k": 0}
    assert empty.generate_stream("x", {"max_tokens": 1}).read().parameters["top_p"] == 0.95


def test_core_s_defaults_may_be_asked_for(model: Path, empty: LlamaCppBackend) -> None:
    empty.load_model(model, {"n_threads": 1, "generation_defaults": "core", "seed": 7})
    assert empty.default_parameters() == {"seed": 7}
    assert used(empty) == {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1}


def test_an_override_counts_as_the_file(model: Path, empty: LlamaCppBackend) -> None:
    empty.load_model(model, {"n_threads": 1, "kv_overrides": {"general.sampling.temp": 0.25}})
    assert used(empty) == {**RECOMMENDED, "temperature": 0.25}


def test_a_named_model_goes_before_the_file(model: Path, tmp_path: Path) -> None:
    with LlamaForge(config_path=tmp_path / "models.toml") as forge:
        own = {"temperature": 0.9, "max_tokens": 1}
        forge.add_model(
            "tiny",
            model,
            backend="llama.cpp",
            parameters={"n_threads": 1},
            generation=own,
        )
        forge.load_model("tiny")
        parameters = forge.generate("x", raw=True).parameters
    assert (parameters["temperature"], parameters["top_k"]) == (0.9, 20)
