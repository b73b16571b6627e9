"""A LlamaForge backend: an engine in this process, or a server behind the backend's own client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from llamaforge import BaseBackend, Finished, ReasoningDelta, TextDelta
from llamaforge.backends.connectable import ConnectableBackend
from llamaforge.errors import LlamaForgeError
from llamaforge.secrets import MASK, Secret

from ..loop import clock
from ..records import Call, Record


class BackendTarget:
    """A loaded backend, asked through its asynchronous calls."""

    def __init__(self, backend: BaseBackend, *, timeout: float) -> None:
        self._backend = backend
        self._timeout = timeout
        self._ignores_end = "ignore_eos" in backend.capabilities.engine_options
        self.in_process = not isinstance(backend, ConnectableBackend) and not backend.capabilities.server_defaults
        path = backend.model_path or ""
        self.name = f"{backend.name} ({Path(path).name if Path(path).is_absolute() else path})"

    async def open(self) -> None:
        """The model is loaded already."""

    async def send(self, call: Call, record: Record, *, keep_text: bool = False) -> str:
        """Send *call*; see :class:`~forge_bench.targets.Target`."""
        parameters = self._parameters(call)
        pieces: list[str] = []
        record.sent = clock()
        try:
            if call.messages is not None:
                stream = self._backend.achat_stream(call.messages, parameters)
            else:
                stream = self._backend.agenerate_stream(call.prompt or "", parameters)
            async with asyncio.timeout(self._timeout), stream:
                async for event in stream.events():
                    now = clock()
                    if isinstance(event, Finished):
                        _finish(record, event, now)
                        continue
                    if isinstance(event, TextDelta | ReasoningDelta):
                        length = len(event.text)
                        if keep_text and isinstance(event, TextDelta):
                            pieces.append(event.text)
                    else:
                        length = len(event.name) + len(event.arguments)
                    if length:
                        if not record.chunk_times:
                            record.first_characters = length
                        record.characters += length
                        record.chunk_times.append(now)
        except TimeoutError:
            record.error = f"timeout: no complete answer in {self._timeout:g} seconds"
        except LlamaForgeError as error:
            record.error = str(error)
        if record.error is None and record.end is None:
            record.error = "the stream ended without a terminal event"
        if record.error is not None:
            record.end = clock()
        return "".join(pieces)

    def _parameters(self, call: Call) -> dict[str, Any]:
        parameters = dict(call.parameters)
        if call.raw:
            parameters["raw"] = True
        if call.max_tokens is not None:
            parameters["max_tokens"] = call.max_tokens
            if call.exact_length and self._ignores_end:
                parameters["engine"] = {"ignore_eos": True} | parameters.get("engine", {})
        return parameters

    def describe(self) -> dict[str, Any]:
        """Backend, model and load parameters, secrets masked."""
        config: Any = getattr(self._backend, "_config", None)
        shown = config.public() if config is not None else {}
        return {
            "kind": "backend",
            "backend": self._backend.name,
            "model": self._backend.model_path,
            "parameters": msgspec.to_builtins(shown, enc_hook=_plain, str_keys=True),
        }

    async def close(self) -> None:
        """Nothing was opened."""


def _plain(value: Any) -> Any:
    return MASK if isinstance(value, Secret) else repr(value)


def _finish(record: Record, event: Finished, now: float) -> None:
    record.finish_reason, record.end = event.finish_reason, now
    usage = event.usage
    if usage is not None and not usage.estimated:
        record.prompt_tokens, record.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        record.cached_tokens = usage.cached_tokens
    if event.timings is not None:
        record.queued = event.timings.queued
    if event.finish_reason == "cancelled":
        record.error = "the request was cancelled"
