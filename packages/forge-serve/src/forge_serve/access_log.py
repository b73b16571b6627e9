"""A line for each request: what was asked, how it ended, how long it took. Neither prompts nor keys."""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import Any, Final, Literal

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Counted

LOGGER: Final = logging.getLogger("llamaforge.access")


class AccessLog:
    """An ASGI application around another one. Its logger is ``llamaforge.access``.

    Args:
        app: the application.
        form: lines for people, or one JSON object in each line.
    """

    def __init__(self, app: ASGIApp, form: Literal["text", "json"]) -> None:
        self._app = app
        self._write = _text if form == "text" else _json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and write its line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status, size = 0, 0

        async def sending(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            client = scope.get("client")
            told: dict[str, Any] = {
                "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
                "client": client[0] if client else None,
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "seconds": round(time.perf_counter() - begun, 4),
                "bytes": size,
            }
            counted = scope.get("state", {}).get("counted")
            if isinstance(counted, Counted):
                told |= {"model": counted.model or None, "ending": counted.ending}
                told |= {"prompt_tokens": counted.prompt_tokens, "completion_tokens": counted.completion_tokens}
            LOGGER.info(self._write(told))


def _json(told: dict[str, Any]) -> str:
    return msgspec.json.encode(told).decode()


def _text(told: dict[str, Any]) -> str:
    line = f"{told['client'] or '-'} {told['method']} {_plain(told['path'])} {told['status']} {told['seconds']:.3f}s"
    if told.get("model"):
        line += f" {_plain(told['model'])} {told['ending']}"
        line += f" {told['prompt_tokens']}+{told['completion_tokens']} tokens"
    return line


def _plain(text: str) -> str:
    """*text* without line breaks and control characters, which could fake a line."""
    return "".join(character if character.isprintable() else "?" for character in text)
