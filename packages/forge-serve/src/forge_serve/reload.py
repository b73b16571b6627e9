"""Settings that are read anew while the server runs: on SIGHUP, and when a file has changed."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path

from llamaforge.errors import LlamaForgeError

_log = logging.getLogger(__name__)

_LOOK = 1.0
"""Seconds between two looks at the files."""


class Reloading:
    """Watches files.

    Args:
        files: says which, with the settings in force.
        reload: reads them and puts them in force; a LlamaForgeError or OSError leaves everything as it was.
    """

    def __init__(self, files: Callable[[], list[Path]], reload: Callable[[], None]) -> None:
        self._files = files
        self._reload = reload
        self._asked = asyncio.Event()

    async def run(self) -> None:
        """Watch until it is cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        try:
            seen = self._stamps()
            while True:
                try:
                    await asyncio.wait_for(self._asked.wait(), _LOOK)
                except TimeoutError:
                    if self._stamps() == seen:
                        continue
                self._asked.clear()
                seen = self._stamps()
                try:
                    self._reload()
                except (LlamaForgeError, OSError) as error:
                    _log.error("The settings stay as they were: %s", error)
                else:
                    _log.info("The settings were read anew.")
                    seen = self._stamps()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    def _stamps(self) -> list[tuple[int, int] | None]:
        return [_stamp(path) for path in self._files()]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
