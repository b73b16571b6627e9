"""The backend: forge-openai's, and how TGI is launched."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from forge_openai.server import OpenAIServerBackend

from .config import TGIConfig
from .plugin import SPEC

VALUES: Final = (
    "revision",
    "num_shard",
    "quantize",
    "dtype",
    "kv_cache_dtype",
    "speculate",
    "max_concurrent_requests",
    "max_input_tokens",
    "max_total_tokens",
    "max_batch_prefill_tokens",
    "max_batch_total_tokens",
    "max_waiting_tokens",
    "waiting_served_ratio",
    "max_batch_size",
    "max_stop_sequences",
    "max_top_n_tokens",
    "cuda_memory_fraction",
    "rope_scaling",
    "rope_factor",
    "tokenizer_config_path",
    "huggingface_hub_cache",
    "master_port",
    "validation_workers",
    "payload_limit",
    "usage_stats",
)
"""Load parameters whose flags take a value, as it is."""
SWITCHES: Final = ("trust_remote_code", "disable_custom_kernels", "disable_grammar_support")
LISTS: Final = ("cuda_graphs", "lora_adapters")


class TGIBackend(OpenAIServerBackend[TGIConfig]):
    """A model behind Text Generation Inference: a server that runs, or one that is started for it."""

    spec = SPEC
    program_advice = "Install TGI from source, or run its container and pass the load parameter endpoint."

    def health_endpoint(self) -> str:
        """It is answered once the model generates."""
        return "/health"

    def build_launch_command(self) -> list[str]:
        """``text-generation-launcher`` with the flags that the config sets."""
        config = self.config
        command = ["text-generation-launcher", "--model-id", str(config.model)]
        command += ["--hostname", config.host, "--port", str(config.port)]
        # The launcher's default is one path for all servers of a machine, and then they would meet there.
        own = Path(tempfile.gettempdir(), f"text-generation-server-{config.port}")
        command += ["--shard-uds-path", config.shard_uds_path or str(own)]
        if config.sharded is not None:
            command += ["--sharded", "true" if config.sharded else "false"]
        for name in VALUES:
            value = getattr(config, name)
            if value is not None:
                command += [_flag(name), str(value)]
        command += [_flag(name) for name in SWITCHES if getattr(config, name)]
        for name in LISTS:
            if values := getattr(config, name):
                command += [_flag(name), ",".join(map(str, values))]
        return command

    def launch_environment(self) -> dict[str, str]:
        """The key, which is not for a command line."""
        key = self.config.api_key
        return {} if key is None else {"API_KEY": key.reveal()}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
