"""A model behind ``llamaforge serve``, started for a benchmark: what HTTP costs is one command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from llamaforge import LlamaForge
from llamaforge.errors import ConnectionFailedError, MissingDependencyError, ServerStartError
from llamaforge.servers import ServerLog, ServerProcess, claim_port

from .loop import clock
from .targets.http import Client

SERVED: Final = "serve:"
"""What stands before a model's name that is to be measured behind our server."""
_PAUSE, _PATIENCE, _GRACE = 0.05, 600.0, 10.0
_NAME: Final = "llamaforge serve"


@contextlib.asynccontextmanager
async def served(model: str, forge: LlamaForge | None) -> AsyncIterator[str]:
    """``llamaforge serve`` with *model* loaded, in a process of its own, until the block ends; its address.

    Raises MissingDependencyError without forge-serve, or ServerStartError.
    """
    try:
        version("forge-serve")
    except PackageNotFoundError:
        raise MissingDependencyError(f"{SERVED}{model}", "forge-serve", "pip install forge-serve") from None
    claim = claim_port(_NAME, "127.0.0.1", None)
    command = [sys.executable, "-m", "llamaforge", "serve", model, "--port", str(claim.port), "--pin", model]
    environment = dict(os.environ)
    if forge is not None:
        environment["LLAMAFORGE_CONFIG"] = str(forge.config_path)
    log = ServerLog(None)
    process = ServerProcess(command, environment, _GRACE, log)
    try:
        await _until_ready(process, claim.port, log)
        yield f"http://127.0.0.1:{claim.port}"
    finally:
        await asyncio.to_thread(process.stop)
        claim.close()


async def _until_ready(process: ServerProcess, port: int, log: ServerLog) -> None:
    client = Client(f"http://127.0.0.1:{port}")
    end = clock() + _PATIENCE
    try:
        while True:
            if not process.running:
                raise ServerStartError(_NAME, "it has ended", exit_code=process.exit_code, log_tail=log.tail(30))
            with contextlib.suppress(ConnectionFailedError):
                if (await client.ask("GET", "/ready")).status == 200:
                    return
            if clock() > end:
                raise ServerStartError(_NAME, f"it was not ready in {_PATIENCE:g} seconds", log_tail=log.tail(30))
            await asyncio.sleep(_PAUSE)
    finally:
        client.close()
