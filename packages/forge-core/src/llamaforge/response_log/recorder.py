"""The observer that writes the log: requests only put into a queue; a thread writes them together."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from ..errors import LogFileError
from ..observation import ObservedRequest, Observer, RequestEnd
from .scrubbing import Scrubber
from .store import Entry, ResponseLog

_logger = logging.getLogger("llamaforge")

_MOST: Final = 500
"""Entries that are written in one transaction."""
_DATA: Final = "data:"


class LogObserver(Observer):
    """Writes each request into a :class:`~.store.ResponseLog`, with its content and without secrets.

    A file that can't be written is told of once, in Python's log; requests go on.

    Args:
        path: the log's file. None: the user's.
        content: whether prompts and answers are written, too.
    """

    def __init__(self, path: Path | None = None, *, content: bool = True) -> None:
        self.content = content
        self._path = path
        self._scrub = Scrubber()
        self._queue: queue.SimpleQueue[tuple[ObservedRequest, RequestEnd] | Callable[[], object]] = queue.SimpleQueue()
        self._owner: int | None = None

    def on_start(self, request: ObservedRequest) -> None:
        """Have a thread that writes. Not in :meth:`on_end`, which may come in the middle of starting a thread."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._queue = queue.SimpleQueue()  # in a forked child, the parent's entries are the parent's
            threading.Thread(target=self._write, args=(self._queue,), name="llamaforge-log", daemon=True).start()

    def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
        """Have it written."""
        self._queue.put((request, end))

    def flush(self) -> None:
        """Wait until all that was put in is in the file."""
        if self._owner != os.getpid():
            return
        done = threading.Event()
        self._queue.put(done.set)
        done.wait()

    def close(self) -> None:
        """Write what is left."""
        self.flush()

    def _write(self, entries: queue.SimpleQueue[Any]) -> None:
        log: ResponseLog | None = None
        told = False
        while True:
            items = [entries.get()]
            while len(items) < _MOST:
                try:
                    items.append(entries.get_nowait())
                except queue.Empty:
                    break
            try:
                rows = [self._entry(*item) for item in items if isinstance(item, tuple)]
                if rows:
                    log = log or ResponseLog(self._path)
                    log.add(rows)
            except LogFileError as error:
                if not told:
                    _logger.warning("%s Nothing is logged.", error)
                told = True
            except Exception:  # one entry must not end the log
                _logger.exception("Entries of the response log were lost.")
            for item in items:
                if not isinstance(item, tuple):
                    item()

    def _entry(self, request: ObservedRequest, end: RequestEnd) -> Entry:
        scrub, usage = self._scrub, end.usage
        messages = [_message(message) for message in request.messages]
        return {
            "id": request.id,
            "started": request.started,
            "operation": request.operation,
            "backend": request.backend,
            "model": scrub.text(request.model),
            "server": scrub.text(request.server),
            "outcome": end.outcome,
            "finish_reason": end.finish_reason,
            "error_type": type(end.error).__name__ if end.error is not None else None,
            "error": scrub.text(str(end.error)) if end.error is not None else None,
            "prompt": scrub.text(request.prompt),
            "messages": _json(scrub.plain(messages)) if messages else None,
            "texts": _json(scrub.plain(request.texts)) if request.texts else None,
            "answer": scrub.text(end.text),
            "reasoning": scrub.text(end.reasoning) or None,
            "tool_calls": _json(scrub.plain(msgspec.to_builtins(end.tool_calls))) if end.tool_calls else None,
            "parameters": _json(scrub.parameters(end.parameters)),
            "prompt_tokens": usage.prompt_tokens if usage is not None else None,
            "completion_tokens": usage.completion_tokens if usage is not None else None,
            "cached_tokens": usage.cached_tokens if usage is not None else None,
            "reasoning_tokens": usage.reasoning_tokens if usage is not None else None,
            "first_token": end.timings.first_token,
            "total": end.timings.total,
        }


def _message(message: Any) -> Any:
    """A message as plain data; images that it carries are left out."""
    plain = msgspec.to_builtins(message)
    if isinstance(plain.get("content"), list):
        for part in plain["content"]:
            place = part.get("image_url")
            if isinstance(place, dict) and str(place.get("url", "")).startswith(_DATA):
                place["url"] = f"{_DATA}..."
    return plain


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=repr).decode()
