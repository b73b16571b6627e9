"""Throughput of vLLM that we started beside vLLM started by hand: the same model, flags and callers.

    hatch run vllm:bench [--callers 16] [--rounds 5]

Both servers run all the time, and the benchmark's trials take turns, so that whatever else the machine does hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from forge_bench import Benchmark, Results, compare
from forge_bench.reports.table import show_comparison
from forge_vllm import VLLMBackend
from llamaforge.servers import claim_port
from support.hf_models import make_hf_model
from support.models import fetch_gguf

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
NAME = "smollm2"
TOKENS = 64


@contextlib.contextmanager
def by_hand(model: str) -> Iterator[VLLMBackend]:
    """A server started as its documentation says, and a client of it."""
    claim = claim_port("vllm", "127.0.0.1", None)
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        model,
        "--served-model-name",
        NAME,
    ]
    command += ["--host", claim.host, "--port", str(claim.port), "--dtype", "bfloat16", "--max-model-len", "1024"]
    server = subprocess.Popen(
        [*command, "--max-num-seqs", "16", "--enforce-eager"],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        client = VLLMBackend({"endpoint": f"http://127.0.0.1:{claim.port}", "model": NAME})
        while not client.health():
            if server.poll() is not None:
                raise SystemExit(f"vLLM ended with {server.returncode}")
            time.sleep(0.5)
        with client:
            yield client
    finally:
        server.terminate()
        server.wait(60)
        claim.close()


def measure(hand: VLLMBackend, managed: VLLMBackend, callers: int, rounds: int) -> list[Results]:
    """Both under the same load: *callers* requests at once, in rounds that take turns."""

    def benchmark(backend: VLLMBackend) -> Benchmark:
        return Benchmark(
            backend,
            prompts=[f"Tell me a long story about the number {number}." for number in range(callers)],
            mode="throughput",
            warmup=callers,
            trials=rounds,
            sampling={"max_tokens": TOKENS, "temperature": 0, "engine": {"ignore_eos": True}},
            progress=print,
        )

    return asyncio.run(Benchmark.run_together([benchmark(hand), benchmark(managed)]))


def main() -> None:
    """Start both, measure both in turn, print."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--callers", type=int, default=16)
    flags.add_argument("--rounds", type=int, default=5)
    given = flags.parse_args()
    model = str(make_hf_model(fetch_gguf()))
    config = {"model": model, "served_model_name": NAME, "dtype": "bfloat16", "max_model_len": 1024, "max_num_seqs": 16}
    with (
        by_hand(model) as hand,
        VLLMBackend({**config, "enforce_eager": True, "env": ENVIRONMENT}) as managed,
    ):
        by_hands, ours = measure(hand, managed, given.callers, given.rounds)
    by_hands.print()
    ours.print()
    show_comparison(compare(by_hands, ours))


if __name__ == "__main__":
    main()
