"""The end of ``llamaforge serve``: answers end or are cut off, and what the process holds is given back."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from socket import socket
from typing import Any, Final

import uvicorn

from llamaforge import LlamaForge

from .service import Service

_log = logging.getLogger(__name__)

DRAIN: Final = 30.0
"""Seconds that running answers have to end once the server is told to."""
_LAST: Final = 1.0
"""Seconds to tell clients that their answers are cut off."""
_CLOSE: Final = 8.0
"""Seconds to unload the models: one that is still loading can't be unloaded."""
_LOOK: Final = 0.05
"""Seconds between two looks at whether a second signal has come."""


class Server(uvicorn.Server):
    """Lets answers end at the first signal, and cuts them off at the second one, also if that is SIGTERM.

    Args:
        config: of uvicorn, without a ``timeout_graceful_shutdown``: the limit here is :data:`DRAIN`.
        service: is told that the server ends, so that clients are told it, too.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A signal has come."""
        if self.should_exit and sig == signal.SIGTERM:
            self.force_exit = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Take no new requests, and let those under way end."""
        self._service.ending.set()
        loop = asyncio.get_running_loop()
        end = loop.time() + DRAIN
        stopping = asyncio.ensure_future(super().shutdown(sockets))
        await asyncio.wait({stopping}, timeout=_LOOK)
        if self.server_state.tasks and not self.force_exit:
            running = len(self.server_state.tasks)
            _log.info("Requests under way: %d. They have %g seconds; a second signal ends them.", running, DRAIN)
        while not stopping.done() and not self.force_exit and loop.time() < end:
            await asyncio.wait({stopping}, timeout=_LOOK)
        if self.force_exit or not stopping.done():
            self.force_exit = True
            await self._cut_off()
        await stopping
        if self.force_exit:  # then uvicorn has skipped it
            await self.lifespan.shutdown()

    async def _cut_off(self) -> None:
        running = tuple(self.server_state.tasks)
        for task in running:
            task.cancel()
        if running:
            _log.warning("Requests that are cut off: %d.", len(running))
            await asyncio.wait(running, timeout=_LAST)
        for connection in tuple(self.server_state.connections):  # since Python 3.12, closing waits for all of them
            connection.transport.abort()


@contextlib.contextmanager
def ends_by_signal(give_back: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM end the process as they end any other, so that whoever started it sees why; but first all is
    given back. uvicorn sends the signal again once answers have ended. A further one ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        give_back()
        atexit._run_exitfuncs()  # observers and logs write what they hold
        sys.stdout.flush()
        signal.raise_signal(number)

    before = {each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def unload_all(forge: LlamaForge) -> None:
    """Unload the models of *forge*. One that goes on loading isn't waited for: its server ends with this process."""

    def close() -> None:
        try:
            forge.close()
        except Exception as error:  # noqa: BLE001 - a backend's failure; the process ends anyway
            _log.warning("A model could not be unloaded: %s", error)

    closing = threading.Thread(target=close, name="unload-all", daemon=True)
    closing.start()
    closing.join(_CLOSE)
    if closing.is_alive():
        names = ", ".join(repr(model.name) for model in forge.loaded_models())
        _log.warning("Not unloaded within %g seconds: %s.", _CLOSE, names)
