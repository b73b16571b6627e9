"""A server that speaks OpenAI's API."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import msgspec

from llamaforge.errors import ConnectionFailedError, InvalidParameterError, LlamaForgeError, ServerError
from llamaforge.secrets import MASK

from ..loop import clock
from ..records import Call, Record
from .counters import read_counters
from .http import Client
from .sse import AnswerReader

_SHORTEST_SECRET: Final = 6
_OURS: Final = frozenset({"raw", "timeout", "on_unsupported"})
"""Generation parameters that are not fields of a request."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is asked. It travels to worker processes."""

    url: str
    """The base address, with ``/v1`` or whatever stands before ``/chat/completions``."""
    model: str | None = None
    """The model's name there. None: the server's only one."""
    headers: dict[str, str] = {}
    """Additional headers, a key included."""
    body: dict[str, Any] = {}
    """Additional fields of every request."""
    timeout: float = 600.0
    """Seconds that an answer may take."""
    ignore_eos: bool = True
    """Whether the server takes the field ``ignore_eos`` (vLLM, SGLang, llama.cpp)."""
    continuous_usage: bool = False
    """Whether each chunk says how many tokens there are so far (vLLM, SGLang: ``continuous_usage_stats``)."""


def with_version(url: str) -> str:
    """The base address: ``/v1`` is added where there is no path."""
    scheme, separator, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return url.rstrip("/") if path.strip("/") else f"{scheme}{separator}{host}/v1"


class ServerTarget:
    """A server, asked over HTTP by our own client."""

    in_process = False

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.name = settings.url if settings.model is None else f"{settings.url} ({settings.model})"
        self._client = Client(settings.url, settings.headers)

    async def open(self) -> None:
        """Find the model's name, if none was given.

        Raises ConnectionFailedError, ServerError, or InvalidParameterError where the server has several models.
        """
        settings = self.settings
        if settings.model is not None:
            return
        names = await self._models()
        if len(names) != 1:
            has = f"It has {', '.join(names[:10])}" if names else "Its /models lists none"
            message = f"Name the model of the server at {settings.url} with model=. {has}."
            raise InvalidParameterError("model", None, "the name of the server's model", message=message)
        self.settings = msgspec.structs.replace(settings, model=names[0])
        self.name = f"{settings.url} ({names[0]})"

    async def _models(self) -> list[str]:
        try:
            response = await asyncio.wait_for(self._client.ask("GET", "/models"), 30)
            if response.status != 200:
                raise ServerError(self.settings.url, response.status, _reason(response.body))
            listed = msgspec.json.decode(response.body)["data"]
            return [str(each["id"]) for each in listed]
        except TimeoutError:
            raise ConnectionFailedError(self.settings.url, "its list of models did not come in 30 seconds") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(self.settings.url, None, f"its list of models can't be read: {error}") from None

    async def counters(self) -> dict[str, float]:
        """What the server has counted so far; empty if it doesn't say."""
        with contextlib.suppress(TimeoutError, LlamaForgeError, ValueError):
            response = await asyncio.wait_for(self._client.ask("GET", "/metrics", from_root=True), 5)
            if response.status == 200:
                return read_counters(response.body.decode("utf-8", "replace"))
        return {}

    async def send(self, call: Call, record: Record, *, keep_text: bool = False) -> str:
        """Send *call*; see :class:`~forge_bench.targets.Target`."""
        path, body = self._request(call)
        reader = AnswerReader(record, keep_text=keep_text)
        record.sent = clock()
        try:
            async with asyncio.timeout(self.settings.timeout):
                response = await self._client.ask("POST", path, body, reader.feed)
            if response.status == 200:
                reader.finish(response.ended)
            else:
                record.error = f"HTTP {response.status}: {_reason(response.body)}"
        except TimeoutError:
            record.error = f"timeout: no complete answer in {self.settings.timeout:g} seconds"
        except (LlamaForgeError, ValueError, OSError) as error:
            record.error = str(error) or type(error).__name__
        if record.error is not None:
            record.end = clock()
            record.error = self._masked(record.error)
        return reader.text

    def _masked(self, text: str) -> str:
        """*text* without the values of our headers: a server may repeat a key in its complaint about it."""
        for value in self.settings.headers.values():
            secret = value.rpartition(" ")[2]
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, MASK)
        return text

    def _request(self, call: Call) -> tuple[str, bytes]:
        settings = self.settings
        options: dict[str, Any] = {"include_usage": True}
        if settings.continuous_usage:
            options["continuous_usage_stats"] = True
        body: dict[str, Any] = {"model": settings.model, "stream": True, "stream_options": options}
        if call.raw:
            path = "/completions"
            body["prompt"] = call.prompt
        else:
            path = "/chat/completions"
            body["messages"] = call.messages or [{"role": "user", "content": call.prompt}]
        if call.max_tokens is not None:
            body["max_tokens"] = call.max_tokens
            if call.exact_length and settings.ignore_eos:
                body["ignore_eos"] = True
        for name, value in call.parameters.items():
            if name == "engine":
                body |= value
            elif name not in _OURS:
                body[name] = value
        body |= settings.body
        return path, msgspec.json.encode(body)

    def describe(self) -> dict[str, Any]:
        """Address and model; headers may hold a key and are left out."""
        return {"kind": "server", "url": self.settings.url, "model": self.settings.model, "body": self.settings.body}

    async def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _reason(body: bytes) -> str:
    """What the server says, in brief."""
    text = body.decode("utf-8", "replace").strip()
    try:
        found = msgspec.json.decode(body)
        for name in ("error", "message", "detail"):
            if isinstance(found, dict) and name in found:
                found = found[name]
        text = found if isinstance(found, str) else str(found)
    except ValueError:
        pass
    return text[:500] or "no reason given"
