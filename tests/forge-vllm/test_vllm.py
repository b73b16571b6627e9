"""The backend vllm: its config and its launch. vLLM itself runs in test_live.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forge_openai.server import OpenAIServerConfig
from forge_vllm import VLLMBackend, VLLMConfig
from forge_vllm.backend import FLAGS
from llamaforge import get_backend, list_backends
from llamaforge.errors import ConflictingParametersError, InvalidParameterError, ServerProgramNotFoundError
from support.scripted import ScriptedServer, delta, models_reply, stream_reply, usage

VALUES: dict[str, Any] = {
    "served_model_name": "small",
    "tensor_parallel": 4,
    "pipeline_parallel": 2,
    "data_parallel": 3,
    "distributed_executor_backend": "ray",
    "gpu_memory_utilization": 0.8,
    "max_model_len": 4096,
    "max_num_seqs": 32,
    "dtype": "bfloat16",
    "quantization": "fp8",
    "kv_cache_dtype": "fp8",
    "revision": "main",
    "tokenizer": "a/b",
    "chat_template": "{{ x }}",
    "tool_call_parser": "hermes",
    "reasoning_parser": "qwen3",
    "seed": 7,
}


def command(**parameters: Any) -> list[str]:
    given = {"model": "org/model", "port": 5000, "executable": sys.executable, **parameters}
    return VLLMBackend(given).build_launch_command()


def test_every_parameter_has_its_flag() -> None:
    shared = {field.name for field in msgspec.structs.fields(OpenAIServerConfig)} - {"served_model_name"}
    own = {field.name for field in msgspec.structs.fields(VLLMConfig)} - shared - {"type"}
    assert own == {*FLAGS, "enable_prefix_caching", "enforce_eager", "trust_remote_code"}
    assert set(FLAGS) == set(VALUES)
    made = command(**VALUES)
    for name, value in VALUES.items():
        assert made[made.index(FLAGS[name]) + 1] == str(value)
    assert "--enable-auto-tool-choice" in made
    assert "--enable-prefix-caching" in command(enable_prefix_caching=True)
    assert "--no-enable-prefix-caching" in command(enable_prefix_caching=False)
    assert {"--enforce-eager", "--trust-remote-code"} <= set(command(enforce_eager=True, trust_remote_code=True))


def test_what_is_not_set_is_left_to_vllm() -> None:
    module = "vllm.entrypoints.openai.api_server"
    assert command() == [sys.executable, "-m", module, "--model", "org/model", "--host", "127.0.0.1", "--port", "5000"]


def test_the_script_takes_the_model_as_serve_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "vllm"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert command(executable=str(script))[:3] == [str(script), "serve", "org/model"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command(executable=None)[:3] == [str(script), "serve", "org/model"]


def test_a_script_without_its_metadata_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vllm", "python"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert command(executable=None)[:2] == [str(tmp_path / "python"), "-m"]
    assert command(executable=str(tmp_path / "vllm"))[:2] == [str(tmp_path / "vllm"), "serve"], "what is named is taken"


def test_no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    if "vllm" not in sys.modules:
        monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ServerProgramNotFoundError, match="LLAMAFORGE_VLLM_EXECUTABLE"):
        VLLMBackend({"model": "m"}).start()


def test_the_key_is_not_in_the_command() -> None:
    backend = VLLMBackend({"model": "m", "port": 1, "executable": sys.executable, "api_key": "sk-very-secret"})
    assert backend.launch_environment() == {"VLLM_API_KEY": "sk-very-secret"}
    assert not [each for each in backend.build_launch_command() if "secret" in each]


def test_the_config_is_checked() -> None:
    with pytest.raises(ConflictingParametersError, match="uni"):
        VLLMConfig.read({"distributed_executor_backend": "uni", "tensor_parallel": 2})
    for wrong in ({"tensor_parallel": 0}, {"dtype": "int4"}, {"gpu_memory_utilization": 1.5}, {"type": "tgi"}):
        with pytest.raises(InvalidParameterError):
            VLLMConfig.read(wrong)


def test_what_it_sends_is_what_vllm_reads() -> None:
    with ScriptedServer() as server, get_backend("vllm")() as backend:
        server.on("GET", "/models", models_reply("m-1"))
        server.chat(stream_reply(delta("Hello"), delta(finish_reason="stop"), usage(3, 2)))
        backend.load_model("m-1", {"endpoint": server.url.removesuffix("/v1")})
        backend.generate("Hi", top_k=3, min_p=0.1, repetition_penalty=1.1)
        assert {name: server.last.body[name] for name in ("top_k", "min_p", "repetition_penalty")} == {
            "top_k": 3,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
        }
        backend.chat([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}])
        assert server.last.body["continue_final_message"] is True
        assert server.last.body["add_generation_prompt"] is False


def test_it_is_listed_and_light() -> None:
    assert "vllm" in list_backends()
    heavy = "('openai', 'httpx', 'httpx2', 'pydantic', 'torch')"
    code = f"import sys, forge_vllm.backend; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
