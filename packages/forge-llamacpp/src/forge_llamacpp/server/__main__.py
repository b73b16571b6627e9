"""llama.cpp's own server, from the wheel of xllamacpp: ``python -m forge_llamacpp.server --model FILE --port 8080``.

Its flags have the names and the meaning of ``llama-server``'s. The API key is read from LLAMA_API_KEY.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    given = parser().parse_args(arguments)
    try:
        import xllamacpp
    except ImportError as error:
        from llamaforge.installing import install_command

        say(f"{error}. Install it with: {install_command('forge-llamacpp[server]')}")
        return 1
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = xllamacpp.Server(parameters(xllamacpp, given))
    except Exception as error:  # noqa: BLE001 - the library's own, in C++
        say(f"The server did not start: {error}")
        return 1
    say(f"listening on {server.listening_address}")
    ended.wait()
    os._exit(0)  # its threads are C++'s, and have nothing to put away


def say(text: str) -> None:
    """Write a line to the log, which is standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(prog="python -m forge_llamacpp.server", description=__doc__, allow_abbrev=False)
    made.add_argument("-m", "--model", required=True, help="the GGUF file")
    made.add_argument("-a", "--alias", help="the model's name in the API")
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, default=8080)
    made.add_argument("-c", "--ctx-size", type=int, default=0, help="tokens of all requests at once; 0: the model's")
    made.add_argument("-np", "--parallel", type=int, default=1, help="requests at once")
    made.add_argument("-ngl", "--n-gpu-layers", "--gpu-layers", type=int, default=-1)
    made.add_argument("-b", "--batch-size", type=int)
    made.add_argument("-ub", "--ubatch-size", type=int)
    made.add_argument("-t", "--threads", type=int)
    made.add_argument("-tb", "--threads-batch", type=int)
    made.add_argument("-fa", "--flash-attn", choices=["on", "off", "auto"], default="auto")
    made.add_argument("--chat-template", help="a Jinja template")
    made.add_argument("--embeddings", "--embedding", action="store_true", help="make vectors, and no text")
    made.add_argument("--reranking", "--rerank", action="store_true", help="score documents, and write no text")
    made.add_argument("--pooling", choices=["mean", "cls", "last"], help="how vectors are made of tokens")
    made.add_argument("--samplers", help="which samplers there are, in their order, with semicolons between them")
    made.add_argument("--no-cache-prompt", action="store_true", help="compute every prompt anew")
    made.add_argument("-cram", "--cache-ram", type=int, help="MiB of prompts that are kept; 0: none")
    made.add_argument("--slots", action="store_true", help="answer GET /slots")
    made.add_argument("--jinja", action="store_true", help="always so")
    made.add_argument("--no-webui", action="store_true", help="always so")
    return made


def parameters(library: Any, given: argparse.Namespace) -> Any:
    """The library's parameters, as *given* says."""
    params = library.CommonParams()
    params.model.path = given.model
    if given.alias:
        params.model_alias = {given.alias}
    params.hostnames = [given.host]
    params.port = given.port
    key = os.environ.get("LLAMA_API_KEY")
    params.api_keys = [key] if key else []
    params.n_ctx, params.n_parallel, params.n_gpu_layers = given.ctx_size, given.parallel, given.n_gpu_layers
    params.use_jinja, params.ui, params.endpoint_slots = True, False, given.slots
    attention = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}[given.flash_attn]
    params.flash_attn_type = getattr(library.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{attention}")
    params.cache_prompt = not given.no_cache_prompt
    if given.chat_template:
        params.chat_template = given.chat_template
    if given.samplers:
        params.sampling.samplers = given.samplers
    if given.embeddings or given.reranking:
        params.embedding = True
        params.kv_unified = True
    pooling = "rank" if given.reranking else given.pooling
    if pooling is not None:
        params.pooling_type = getattr(library.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    for name, value in (
        ("n_batch", given.batch_size),
        ("n_ubatch", given.ubatch_size),
        ("cache_ram_mib", given.cache_ram),
    ):
        if value is not None:
            setattr(params, name, value)
    for value, threads in (
        (given.threads, params.cpuparams),
        (given.threads_batch or given.threads, params.cpuparams_batch),
    ):
        if value is not None:
            threads.n_threads = value
    return params


if __name__ == "__main__":
    sys.exit(main())
