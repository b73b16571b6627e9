"""Time to the first token of one model while another one loads, beside the same without."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .ours import gguf, safetensors
from .served import Served, framed, read_chunk, read_head, serving

CHAT = "/v1/chat/completions"
_TEXT = re.compile(rb'"content":"[^"]')
PAUSE = 0.02
"""Seconds between two requests."""


def while_loading(quick: bool) -> dict[str, float]:
    """Milliseconds, at the 99th percentile, for what echoes and for SmolLM2 on llama.cpp, while SmolLM2 is loaded on
    llama.cpp or transformers, again and again; the first time transformers and torch are imported, too."""
    seconds = 4.0 if quick else 20.0
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = f'[models.echo]\npath = "echo"\nbackend = "echo"\n[models.hf]\npath = "{safetensors()}"\n'
        for each in ("gguf", "other"):
            models += f'[models.{each}]\npath = "{gguf()}"\nparameters = {{ n_ctx = 512, n_threads = 1 }}\n'
        for probed, loaded in (("echo", "other"), ("echo", "hf"), ("gguf", "other"), ("gguf", "hf")):
            with serving(folder, models, "--access-log", "off") as server:
                alone, first, again = asyncio.run(_measure(server, probed, loaded, seconds))
            what = f"{probed} while {loaded} loads"
            found[f"{what}: p99 ms without"] = round(_p99(alone) * 1e3, 1)
            found[f"{what}: first load"] = round(_p99(first) * 1e3, 1)
            found[f"{what}: later loads"] = round(_p99(again) * 1e3, 1)
            found[f"{what}: later loads / without"] = round(_p99(again) / _p99(alone), 2)
    return found


_LOADS = """
import sys
from llamaforge import get_backend
print("begun", flush=True)
while True:
    with get_backend("huggingface")() as backend:
        backend.load_model(sys.argv[1], {"device": "cpu"})
"""
_IMPORTS = 5.0
"""Seconds that the other process has for its imports."""


def beside_loads_elsewhere(quick: bool) -> dict[str, float]:
    """The same while another process loads SmolLM2 on transformers: what the machine itself costs."""
    seconds = 3.0 if quick else 10.0
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = f'[models.echo]\npath = "echo"\nbackend = "echo"\n[models.gguf]\npath = "{gguf()}"\n'
        models += "parameters = { n_ctx = 512, n_threads = 1 }\n"
        for probed in ("echo", "gguf"):
            with serving(folder, models, "--access-log", "off") as server:
                alone, beside = asyncio.run(_elsewhere(server, probed, seconds))
            found[f"{probed}: p99 ms without"] = round(_p99(alone) * 1e3, 1)
            found[f"{probed}: beside loads in another process"] = round(_p99(beside) * 1e3, 1)
    return found


async def _elsewhere(server: Served, probed: str, seconds: float) -> tuple[list[float], list[float]]:
    never = asyncio.get_running_loop().create_future()
    await _probes(server, probed, never, 1.0)
    alone = await _probes(server, probed, never, seconds)
    loading = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _LOADS, str(safetensors())), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert loading.stdout is not None
        await loading.stdout.readline()
        await asyncio.sleep(_IMPORTS)
        return alone, await _probes(server, probed, never, seconds)
    finally:
        loading.kill()
        await loading.wait()


async def _measure(server: Served, probed: str, loaded: str, seconds: float) -> tuple[list[float], ...]:
    """Seconds to the first token: without a load, during the first one, and during those after it."""
    await _probes(server, probed, asyncio.get_running_loop().create_future(), 1.0)
    alone = await _probes(server, probed, asyncio.get_running_loop().create_future(), seconds)
    loading = asyncio.ensure_future(server.ask("/admin/load", {"model": loaded}))
    first = await _probes(server, probed, loading, 600.0)
    assert (await loading)[0] == 200, loading.result()
    again: list[float] = []
    end = time.monotonic() + 3 * seconds
    while len(again) < len(alone) and time.monotonic() < end:
        await server.ask("/admin/unload", {"model": loaded})
        loading = asyncio.ensure_future(server.ask("/admin/load", {"model": loaded}))
        again += await _probes(server, probed, loading, 600.0)
    return alone, first, again


async def _probes(server: Served, model: str, until: asyncio.Future[object], seconds: float) -> list[float]:
    """Ask again and again until that future is done, or the seconds are over."""
    found = []
    end = time.monotonic() + seconds
    while not until.done() and time.monotonic() < end:
        begun = time.perf_counter()
        await _first_token(server, model, f"{begun} Hello")
        found.append(time.perf_counter() - begun)
        await asyncio.sleep(PAUSE)
    return found


async def _first_token(server: Served, model: str, said: str) -> None:
    asked = {"model": model, "messages": [{"role": "user", "content": said}], "max_tokens": 1, "stream": True}
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(framed(CHAT, json.dumps(asked).encode()))
    status, _ = await read_head(reader)
    assert status == 200, status
    while not _TEXT.search(part := await read_chunk(reader)):
        assert part, "the stream has ended"
    writer.close()


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))] if values else float("nan")
