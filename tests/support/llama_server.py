"""The child process of :mod:`support.servers`: llama.cpp's own server. Run as a script; never imported.

It is a process of its own because two builds of llama.cpp can't share one. Settings come as one line of JSON on
standard input, which then stays open as a lifeline: when it closes, whatever became of the parent, this process ends.
The one line on standard output is the address; everything that llama.cpp prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import threading


def end_with_the_parent() -> None:
    os.read(0, 1)
    os._exit(0)


def main() -> None:
    with os.fdopen(os.dup(1), "w") as report:
        os.dup2(2, 1)
        settings = b""
        while not settings.endswith(b"\n"):
            piece = os.read(0, 1)
            if not piece:
                return
            settings += piece
        given = json.loads(settings)
        threading.Thread(target=end_with_the_parent, daemon=True).start()

        import xllamacpp  # type: ignore[import-untyped]

        params = xllamacpp.CommonParams()
        params.model.path = given["model"]
        params.model_alias = {given["alias"]}
        params.hostnames = ["127.0.0.1"]
        params.port = 0  # the system chooses a free one
        params.api_keys = [given["api_key"]]
        params.n_ctx = given["slots"] * given["context"]
        params.n_parallel = given["slots"]
        params.chat_template = given["template"]
        params.use_jinja = True
        # Chosen, so that texts can be compared with a local engine that computes attention in the same way.
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.endpoint_slots = True
        # The contract's order. The server's own applies the temperature last.
        params.sampling.samplers = "penalties;temperature;top_k;top_p;min_p"
        # With parts of a prompt from the cache sums are rounded otherwise, and a greedy answer isn't always the same.
        params.cache_prompt = False
        params.cache_ram_mib = 0
        # One thread: two that wait for each other on a busy machine of two cores are ten times slower.
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = 1
        server = xllamacpp.Server(params)
        report.write(server.listening_address + "\n")
    threading.Event().wait()


if __name__ == "__main__":
    main()
