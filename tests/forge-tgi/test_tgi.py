"""The backend tgi: its launch, with a stand-in for the launcher; and its requests, with a server that is no TGI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forge_tgi import TGIBackend, TGIConfig
from forge_tgi.backend import LISTS, SWITCHES, VALUES
from llamaforge import get_backend, list_backends
from llamaforge.errors import (
    AuthenticationError,
    ConflictingParametersError,
    InvalidParameterError,
    ServerProgramNotFoundError,
    ServerStartError,
    UnsupportedError,
)
from support import tgi_launcher
from support.processes import survivors, tree

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
EVERYTHING: dict[str, Any] = {
    "revision": "main",
    "sharded": True,
    "num_shard": 2,
    "quantize": "bitsandbytes-nf4",
    "kv_cache_dtype": "fp8_e5m2",
    "speculate": 2,
    "trust_remote_code": True,
    "max_concurrent_requests": 64,
    "max_input_tokens": 512,
    "max_total_tokens": 1024,
    "max_batch_prefill_tokens": 2048,
    "max_batch_total_tokens": 4096,
    "max_waiting_tokens": 10,
    "waiting_served_ratio": 0.5,
    "max_batch_size": 8,
    "max_stop_sequences": 6,
    "max_top_n_tokens": 3,
    "cuda_graphs": [1, 2, 4],
    "cuda_memory_fraction": 0.5,
    "disable_custom_kernels": True,
    "rope_scaling": "linear",
    "rope_factor": 2.0,
    "lora_adapters": ["a/b", "c/d"],
    "tokenizer_config_path": "tokenizer_config.json",
    "disable_grammar_support": True,
    "huggingface_hub_cache": "cache",
    "master_port": 29501,
    "shard_uds_path": "shards",
    "validation_workers": 3,
    "payload_limit": 1000,
    "usage_stats": "off",
}


@pytest.fixture
def launcher(tmp_path: Path, gguf_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "text-generation-launcher"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {tgi_launcher.__file__} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("TGI_STANDIN_GGUF", str(gguf_model))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def read_by_the_launcher(config: dict[str, Any]) -> dict[str, Any]:
    program, *flags = TGIBackend({"model": MODEL, "port": 5000, **config}).build_launch_command()
    assert program == "text-generation-launcher"
    return {name: value for name, value in vars(tgi_launcher.parser().parse_args(flags)).items() if value is not None}


def test_every_parameter_reaches_the_launcher() -> None:
    fields = {field.name for field in msgspec.structs.fields(TGIConfig)}
    from forge_openai.server import OpenAIServerConfig

    own = fields - {field.name for field in msgspec.structs.fields(OpenAIServerConfig)} - {"type"}
    assert own == set(EVERYTHING) | {"dtype"}
    assert own == {*VALUES, *SWITCHES, *LISTS, "sharded", "shard_uds_path"}
    written = {**EVERYTHING, "sharded": "true", "cuda_graphs": "1,2,4", "lora_adapters": "a/b,c/d"}
    assert read_by_the_launcher(EVERYTHING) == {
        "model_id": MODEL,
        "hostname": "127.0.0.1",
        "port": 5000,
        **written,
    }
    assert read_by_the_launcher({"dtype": "bfloat16", "sharded": False})["sharded"] == "false"


def test_what_is_not_set_is_left_to_the_launcher() -> None:
    read = read_by_the_launcher({})
    assert set(read) == {"model_id", "hostname", "port", "shard_uds_path"}
    assert "5000" in read["shard_uds_path"], "two servers of one machine don't meet at one socket"


def test_it_starts_a_server_and_ends_it(launcher: None) -> None:
    with get_backend("tgi")() as backend:
        assert isinstance(backend, TGIBackend)
        backend.load_model(MODEL, {"max_total_tokens": 512, "api_key": "sk-tgi-secret"})
        given = json.loads(backend.log_tail(1000).splitlines()[0])
        assert given["model_id"] == MODEL
        assert given["max_total_tokens"] == 512
        assert "api_key" not in given
        assert "sk-tgi-secret" not in backend.log_tail(1000)
        answer = backend.generate("What is the capital of France?", max_tokens=4, temperature=0)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 4
        assert backend.health()
        with TGIBackend({"endpoint": backend.endpoint, "api_key": "sk-tgi-secret"}) as other:
            assert other.model_path == MODEL
        with pytest.raises(AuthenticationError):
            TGIBackend().load_model(MODEL, {"endpoint": backend.endpoint, "api_key": "sk-wrong"})
        assert backend.server_pid is not None
        family = tree(backend.server_pid)
    assert not survivors(family, 0)


async def test_async(launcher: None) -> None:
    async with TGIBackend(TGIConfig(model=MODEL)) as backend:
        assert await backend.health()
        assert await backend.agenerate("Hi", max_tokens=2)


def test_flags_that_the_launcher_does_not_know_fail_the_start(launcher: None) -> None:
    with pytest.raises(ServerStartError, match="unrecognized arguments: --max-new-things") as failed:
        TGIBackend().load_model(MODEL, {"extra_args": ["--max-new-things", "3"]})
    assert failed.value.exit_code == 2


def test_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerProgramNotFoundError, match="container"):
        TGIBackend().load_model(MODEL)


def test_what_tgi_ignores_or_means_otherwise_is_refused(launcher: None) -> None:
    with TGIBackend(TGIConfig(model=MODEL)) as backend:
        for parameter in ({"logit_bias": {1: 1.0}}, {"presence_penalty": 0.5}, {"top_k": 3}):
            with pytest.raises(UnsupportedError):
                backend.generate("Hi", parameter)


def test_the_config_is_checked() -> None:
    with pytest.raises(ConflictingParametersError, match="dtype"):
        TGIConfig.read({"quantize": "awq", "dtype": "float16"})
    with pytest.raises(ConflictingParametersError, match="num_shard"):
        TGIConfig.read({"sharded": False, "num_shard": 2})
    for wrong in ({"quantize": "magic"}, {"cuda_memory_fraction": 2}, {"max_total_tokens": 0}, {"type": "vllm"}):
        with pytest.raises(InvalidParameterError):
            TGIConfig.read(wrong)


def test_it_is_listed_and_light() -> None:
    assert "tgi" in list_backends()
    heavy = "('openai', 'httpx', 'httpx2', 'pydantic')"
    code = f"import sys, forge_tgi.backend; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
