"""A stand-in for ``text-generation-launcher``, run as a script.

It reads its arguments as strictly as the launcher does, by the flags that TGI documents, and then serves the GGUF file
that TGI_STANDIN_GGUF names under the model's id: llama.cpp's server speaks OpenAI's API, too. Of TGI itself nothing
runs. It prints what it was given as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

QUANTIZE = ["awq", "compressed-tensors", "eetq", "exl2", "gptq", "marlin", "fp8"]
QUANTIZE += ["bitsandbytes", "bitsandbytes-nf4", "bitsandbytes-fp4"]
VALUES: dict[str, type] = {
    "revision": str,
    "validation-workers": int,
    "num-shard": int,
    "speculate": int,
    "max-concurrent-requests": int,
    "max-best-of": int,
    "max-stop-sequences": int,
    "max-top-n-tokens": int,
    "max-input-tokens": int,
    "max-input-length": int,
    "max-total-tokens": int,
    "waiting-served-ratio": float,
    "max-batch-prefill-tokens": int,
    "max-batch-total-tokens": int,
    "max-waiting-tokens": int,
    "max-batch-size": int,
    "cuda-graphs": str,
    "hostname": str,
    "shard-uds-path": str,
    "master-addr": str,
    "master-port": int,
    "huggingface-hub-cache": str,
    "weights-cache-override": str,
    "cuda-memory-fraction": float,
    "rope-factor": float,
    "otlp-endpoint": str,
    "otlp-service-name": str,
    "cors-allow-origin": str,
    "api-key": str,
    "watermark-gamma": float,
    "watermark-delta": float,
    "tokenizer-config-path": str,
    "max-client-batch-size": int,
    "lora-adapters": str,
    "payload-limit": int,
}
CHOICES = {
    "sharded": ["true", "false"],
    "quantize": QUANTIZE,
    "dtype": ["float16", "bfloat16"],
    "kv-cache-dtype": ["fp8_e4m3fn", "fp8_e5m2"],
    "rope-scaling": ["linear", "dynamic"],
    "usage-stats": ["on", "off", "no-stack"],
}
SWITCHES = [
    "trust-remote-code",
    "disable-custom-kernels",
    "json-output",
    "ngrok",
    "disable-grammar-support",
    "enable-prefill-logprobs",
]


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog="text-generation-launcher", allow_abbrev=False)
    flags.add_argument("--model-id", required=True)
    flags.add_argument("-p", "--port", type=int, required=True)
    for name, kind in VALUES.items():
        flags.add_argument(f"--{name}", type=kind)
    for name, choices in CHOICES.items():
        flags.add_argument(f"--{name}", choices=choices)
    for name in SWITCHES:
        flags.add_argument(f"--{name}", action="store_true", default=None)
    return flags


if __name__ == "__main__":
    given = parser().parse_args()
    print(json.dumps({name: value for name, value in vars(given).items() if value is not None}), flush=True)
    command = [sys.executable, "-m", "forge_llamacpp.server", "--model", os.environ["TGI_STANDIN_GGUF"]]
    command += ["--alias", given.model_id, "--host", given.hostname, "--port", str(given.port)]
    command += ["--ctx-size", str(given.max_total_tokens or 1024), "--threads", "1"]
    environment = {**os.environ, "LLAMA_API_KEY": os.environ.get("API_KEY", "")}
    os.execve(command[0], command, environment)
