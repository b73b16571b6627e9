"""Does the steps of an exchange: in a thread, or in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Final, TypeVar, cast

from llamaforge.results import Event

from .cancel_scope import CancelScope
from .exchange import Do, Exchange, Pause, Post, Step
from .framing import ChunkedDecoder, is_plain_chunked
from .network import ScopedStream
from .sdk import sdk
from .server_client import ServerClient

T = TypeVar("T")

_DRAIN: Final = 0.2
"""Seconds to wait for the end of the body after the last event."""
_SOON: Final = 0.001


def run(steps: Exchange, scope: CancelScope) -> Generator[Event, None, None]:
    """The events, in a thread. Closing the generator closes the answer."""
    io = _ThreadIO(scope)
    value: Any = None
    failure: Exception | None = None
    try:
        while True:
            step = steps.send(value) if failure is None else steps.throw(failure)
            value = failure = None
            if type(step) is list:
                yield from step
                continue
            try:
                value = io.do(step)  # type: ignore[arg-type]
            except Exception as error:  # noqa: BLE001 - whatever it is, the exchange knows what it means
                failure = error
    except StopIteration:
        return
    finally:
        failure = None  # it holds our headers, and tracebacks hold this frame
        steps.close()
        io.close()


async def arun(steps: Exchange, scope: CancelScope) -> AsyncGenerator[Event, None]:
    """The events, in an event loop. Closing the generator closes the answer."""
    io = _LoopIO(scope)
    value: Any = None
    failure: Exception | None = None
    try:
        while True:
            step = steps.send(value) if failure is None else steps.throw(failure)
            value = failure = None
            if type(step) is list:
                for event in step:
                    yield event
                continue
            try:
                value = await io.do(step)  # type: ignore[arg-type]
            except Exception as error:  # noqa: BLE001 - whatever it is, the exchange knows what it means
                failure = error
    except StopIteration:
        return
    finally:
        failure = None
        steps.close()
        await io.close()


class _IO:
    """What both kinds of input and output keep of an answer."""

    def __init__(self, scope: CancelScope) -> None:
        self.scope = scope
        self.server: ServerClient | None = None
        self.response: Any = None
        self.pieces: Any = None
        """Of a body that the HTTP library reads."""
        self.tap: Any = None
        """The connection, where we read the body."""
        self.body = ChunkedDecoder()
        self.silence: float | None = None
        """Seconds to wait for the next byte."""

    def begin(self, server: ServerClient) -> None:
        server.count(1)
        self.server = server

    def end(self) -> Any:
        """The response, if it is not closed yet. The request is over."""
        if self.server is not None:
            self.server.count(-1)
            self.server = None
        response, self.response = self.response, None
        return response

    def answered(self, response: Any, stream: type[Any]) -> Any:
        self.response = response
        network = response.extensions.get("network_stream")
        if isinstance(network, stream) and is_plain_chunked(response.status_code, response.headers):
            self.tap = network
            self.silence = response.request.extensions.get("timeout", {}).get("read")
        return response

    def content(self, data: bytes) -> bytes:
        """What of the body is in *data*, the latest bytes of the connection."""
        if not data:
            raise _broken("the connection was closed in the middle of the answer")
        return self.body.feed(data)

    @property
    def in_body(self) -> bool:
        """Whether there is more of the body to come. Raises httpx2.RemoteProtocolError if it is malformed."""
        if self.body.failure is not None:
            raise _broken(f"it sent {self.body.failure}")
        return not self.body.ended


class _ThreadIO(_IO):
    def do(self, step: Step) -> Any:
        if step is Do.READ:
            with self.scope:
                return self.read()
        if isinstance(step, Post):
            return self.post(step)
        if isinstance(step, Pause):
            return self.scope.sleep(step.seconds)
        if step is Do.DRAIN:
            self.drain()
        return self.close()

    def post(self, step: Post) -> Any:
        import httpx2

        client: Any = step.server.client
        options: dict[str, Any] = {}
        if self.scope.bounded:
            options["timeout"] = _shorter(client.timeout, max(self.scope.left(), _SOON))
        if self.scope.headers:
            options["headers"] = self.scope.headers
        self.begin(step.server)
        try:
            with self.scope:
                response = client.post(
                    step.path, content=step.body, cast_to=httpx2.Response, options=options, stream=True
                )
        except BaseException:
            self.end()
            raise
        return self.answered(response, ScopedStream)

    def read(self) -> bytes | None:
        if self.tap is None:
            if self.pieces is None:
                self.pieces = self.response.iter_bytes()
            piece: bytes | None = next(self.pieces, None)
            return piece
        while self.in_body:
            if content := self.content(self.tap.receive(self.silence)):
                return content
        self.tap.body_was_read(self.body.rest)
        for _ in self.response.iter_raw():
            pass
        return None

    def drain(self) -> None:
        if self.server is not None and self.server.bounded:
            with _unread(), CancelScope(min(_DRAIN, self.scope.left())):
                while self.read() is not None:
                    pass

    def close(self) -> None:
        response = self.end()
        if response is not None:
            response.close()


class _LoopIO(_IO):
    async def do(self, step: Step) -> Any:
        if step is Do.READ:
            return await _within(self.scope, self.read)
        if isinstance(step, Post):
            return await _within(self.scope, self.post, step)
        if isinstance(step, Pause):
            return await _within(self.scope, asyncio.sleep, step.seconds)
        if step is Do.DRAIN:
            await self.drain()
        return await self.close()

    async def post(self, step: Post) -> Any:
        import httpx2

        from .aio import LoopStream

        client: Any = await step.server.loop_client()
        options: dict[str, Any] = {"headers": self.scope.headers} if self.scope.headers else {}
        self.begin(step.server)
        try:
            response = await client.post(
                step.path, content=step.body, cast_to=httpx2.Response, options=options, stream=True
            )
        except BaseException:
            self.end()
            raise
        return self.answered(response, LoopStream)

    async def read(self) -> bytes | None:
        if self.tap is None:
            if self.pieces is None:
                self.pieces = self.response.aiter_bytes()
            piece: bytes | None = await anext(self.pieces, None)
            return piece
        while self.in_body:
            if content := self.content(await self.tap.receive(self.silence)):
                return content
        self.tap.body_was_read(self.body.rest)
        async for _ in self.response.aiter_raw():
            pass
        return None

    async def drain(self) -> None:
        with _unread():
            async with asyncio.timeout(max(0.0, min(_DRAIN, self.scope.left()))):
                while await self.read() is not None:
                    pass

    async def close(self) -> None:
        response = self.end()
        if response is not None:
            await response.aclose()


async def _within(scope: CancelScope, work: Callable[..., Awaitable[T]], *given: Any) -> T:
    """What *work* returns, unless *scope* ends before. Raises TimeoutError or ConnectionAbortedError then."""
    wait = _Wait(cast("asyncio.Task[Any]", asyncio.current_task()))
    scope.waiting(wait.interrupt)
    try:
        if not scope.bounded:
            return await work(*given)
        async with asyncio.timeout(scope.left()):
            return await work(*given)
    except asyncio.CancelledError:
        if wait.interrupted and wait.task.uncancel() <= wait.cancelling:
            raise ConnectionAbortedError("The request was cancelled.") from None
        raise
    finally:
        wait.over = True
        scope.waiting(None)


class _Wait:
    """A task's wait for the server, which any thread may end."""

    __slots__ = ("cancelling", "interrupted", "loop", "over", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.loop = task.get_loop()
        self.cancelling = task.cancelling()
        self.interrupted = self.over = False

    def interrupt(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if not self.over:
            self.interrupted = True
            self.task.cancel()


def _broken(reason: str) -> Exception:
    """What the HTTP library raises for such a body."""
    import httpx2

    return httpx2.RemoteProtocolError(reason)


def _unread() -> contextlib.AbstractContextManager[None]:
    """Whatever comes of reading what nobody needs."""
    import httpcore2
    import httpx2

    errors = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)
    return contextlib.suppress(httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, OSError, *errors)


def _shorter(timeout: Any, seconds: float) -> Any:
    """A client's *timeout*, each of its parts at most *seconds*."""
    if not isinstance(timeout, sdk.Timeout):
        return seconds if timeout is None else min(timeout, seconds)
    parts = {name: seconds if part is None else min(part, seconds) for name, part in timeout.as_dict().items()}
    return sdk.Timeout(**parts)
