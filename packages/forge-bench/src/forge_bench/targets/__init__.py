"""What is measured: a server, or a backend."""

from __future__ import annotations

from typing import Any, Protocol

from ..records import Call, Record


class Target(Protocol):
    """Something that answers requests. Used in one event loop, between ``open`` and ``close``."""

    name: str
    """What it is, for people: an address, or a backend and its model."""

    in_process: bool
    """Whether the engine computes in this process, so that its threads compete with the client's."""

    async def open(self) -> None:
        """Get ready, in the loop that sends."""
        ...

    async def send(self, call: Call, record: Record, *, keep_text: bool = False) -> str:
        """Send *call* and read the whole answer into *record*, with times as the clock says them.

        Whatever goes wrong is said in ``record.error``; nothing is raised but a cancellation. Returns the answer's text
        with *keep_text*, else an empty string.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Engine, model and settings, without secrets, for the report."""
        ...

    async def close(self) -> None:
        """Give up what ``open`` took."""
        ...
