"""The server that benchmarks/serve.py asks, in a process of its own: LlamaForge's over a backend that computes nothing
or over a GGUF file, or plain Starlette that refuses everything."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil

from llamaforge import BackendSpec, BaseBackend, CancellationToken, Capabilities, Event, Finished, LlamaForge, TextDelta
from llamaforge.backends.memory import MemoryUsage
from llamaforge.backends.registry import register_backend
from llamaforge.parameters import NAMES, UNIVERSAL
from llamaforge.requests import GenerationRequest
from llamaforge.results import Usage

CHAT = "/v1/chat/completions"
SIZE = 10


class Burst(BaseBackend):
    """Says as many words as the last message asks for, with a pause after each if it names one too; ``wait`` waits
    until it is cancelled, and notes when that was."""

    spec = BackendSpec(
        name="burst",
        target=f"{__name__}:Burst",
        config="llamaforge:BackendConfig",
        summary="For benchmarks.",
        capabilities=Capabilities(parameters=frozenset(NAMES) - UNIVERSAL),
    )
    told: ClassVar[list[float]] = []
    waiting: ClassVar[int] = 0

    def load(self, model_path: str, config: Any) -> None:
        """There is nothing to load."""

    def memory(self) -> MemoryUsage:
        """The same for each."""
        return MemoryUsage(host=SIZE, measured=True)

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """The words."""
        said = request.as_messages()[-1].text
        if said.startswith("wait"):
            left = asyncio.Event()
            if said == "wait streaming":
                yield TextDelta("begun")
            Burst.waiting += 1
            try:
                await left.wait()
            finally:
                Burst.waiting -= 1
                Burst.told.append(time.perf_counter())
        words, _, pause = said.partition(" ")
        for number in range(int(words)):
            yield TextDelta(f" word{number}")
            await asyncio.sleep(float(pause or 0))  # a chunk at a time, as an engine gives them
        yield TextDelta(f" {Path(str(self.model_path)).name}")
        yield Finished(finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=1))


def serve(kind: str) -> None:
    """Serves until it is told to end, and prints its port. ``kind`` is ours, plain, or THREADS:GGUF."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from forge_serve import ServeConfig, create_app
    from forge_serve.app import voice_of
    from forge_serve.connections import Connections

    async def refuse(request: Request) -> JSONResponse:
        body = await request.json()
        return JSONResponse({"error": {"message": "model is missing.", "seen": len(body)}}, 400)

    register_backend("burst", Burst, replace=True)
    threads, _, gguf = kind.partition(":")
    budget = None if gguf else 25
    with (
        tempfile.TemporaryDirectory() as folder,
        LlamaForge(Path(folder) / "models.toml", memory_budget=budget) as forge,
    ):
        for name in ("a", "b", "c"):
            (Path(folder) / name).write_bytes(bytes(SIZE))
            forge.add_model(name, Path(folder) / name, backend="burst")
        if gguf:
            forge.add_model("m", gguf, backend="llama.cpp", parameters={"n_parallel": 8, "n_threads": int(threads)})
        app: Any = Starlette(routes=[Route(CHAT, refuse, methods=["POST"])])
        http: Any = "httptools"
        if kind != "plain":
            app = create_app(forge, ServeConfig(max_queue=20_000, max_wait=300, turn=0.2))
            http = Connections(app.state.service, voice_of).protocol
        config = uvicorn.Config(app, port=0, log_level="error", http=http, access_log=False, lifespan="on")
        server = uvicorn.Server(config)

        async def run() -> None:
            serving = asyncio.ensure_future(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            print(server.servers[0].sockets[0].getsockname()[1], flush=True)
            await serving

        asyncio.run(run())


@contextlib.contextmanager
def server(kind: str = "ours") -> Iterator[tuple[int, psutil.Process]]:
    """A server in a process of its own: its port and its process."""
    command = [sys.executable, __file__, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            process.terminate()


if __name__ == "__main__":
    serve(sys.argv[1])
