"""The same benchmark of real engines, and of backends in front of a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from forge_bench import Benchmark, Results, Synthetic
from forge_bench.calibration.server import Delays, running
from forge_llamacpp import LlamaCppConfig
from forge_vllm import VLLMConfig
from llamaforge.errors import ConnectionFailedError, InvalidParameterError, UnsupportedError


def measure(*arguments: Any, **settings: Any) -> Results:
    return asyncio.run(Benchmark(*arguments, trials=1, warmup=1, **settings).run())


@pytest.mark.engine
def test_a_model_in_this_process(gguf_model: Any) -> None:
    load = Synthetic(prompt_tokens=48, output_tokens=8)
    results = measure(LlamaCppConfig(n_ctx=512), model=str(gguf_model), dataset=load, concurrency=2, runs=4)
    records = results.levels[0].trials[0].records
    assert all(record.succeeded for record in records)
    assert all(abs(record.prompt_tokens - 48) <= 3 for record in records), records  # as this engine counts words
    assert all(0 < record.completion_tokens <= 8 for record in records)
    assert results.engine["parameters"]["n_ctx"] == 512


@pytest.mark.parametrize("via", ["backend", "http"])
@pytest.mark.parametrize("model", [None, "calibration"])
def test_a_server_behind_a_backend(via: str, model: str | None) -> None:
    with running(Delays(ttft=0.01, tpot=0.001, tokens_per_chunk=2)) as url:
        results = measure(
            VLLMConfig(endpoint=url), model=model, via=via, prompts=["a b", "c d"], sampling={"max_tokens": 6}
        )
    records = results.levels[0].trials[0].records
    assert [record.completion_tokens for record in records] == [6, 6]
    assert [len(record.chunk_times) for record in records] == [3, 3]
    assert results.target.startswith("http://" if via == "http" else "vllm")


def test_a_backend_without_a_server_has_no_http() -> None:
    with pytest.raises(UnsupportedError, match="It has no server"):
        measure({"type": "echo"}, via="http", prompts=["a"])


def test_what_needs_a_model_says_so() -> None:
    with pytest.raises(InvalidParameterError, match="Name the model"):
        measure(LlamaCppConfig(), prompts=["a"])
    with pytest.raises(ConnectionFailedError):
        measure(VLLMConfig(endpoint="http://127.0.0.1:9"), prompts=["a"])
