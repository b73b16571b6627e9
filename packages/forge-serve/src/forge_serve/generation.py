"""Answering a request: from its body to the last byte, while the client is watched and the stream kept alive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from llamaforge import AsyncTextStream, BaseBackend, GeneratedText
from llamaforge.results import Event

from .asked import Asked, Dialect, Writer, seconds_of
from .dialects.ollama import OllamaWriter
from .endpoint import Endpoint, deadline, ignored_header
from .errors import ending, invalid, problem
from .exchange import Exchange
from .metrics import Counted
from .service import Service

_SEED_LIMIT: Final = 2**32
_STREAMED: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Generation(Endpoint):
    """An endpoint that generates, in one dialect."""

    def __init__(self, dialect: Dialect, service: Service) -> None:
        super().__init__(dialect, service, dialect.operation)
        self._dialect = dialect

    async def respond(self, exchange: Exchange, body: dict[str, Any], counted: Counted) -> None:
        """Answer, in one piece or as a stream."""
        asked = self._dialect.read(body)
        timeout = deadline(exchange)
        if timeout is not None:
            asked.parameters["timeout"] = timeout
        counted.asks_for(asked.model)
        counted.model = self.service.residency.entry(asked.model).name
        writer = self._dialect.writer(asked)
        beside = [self._keep_alive(exchange, writer)] if asked.stream else []
        try:
            await self.watched(exchange, self._answer(exchange, asked, writer), counted, *beside)
        except asyncio.CancelledError:
            if asked.stream and exchange.started and self.service.ending.is_set():
                await exchange.write(writer.failure(ending()))
                await exchange.end()
            raise

    async def _keep_alive(self, exchange: Exchange, writer: Writer) -> None:
        """Send a sign of life where nothing was sent for a while: while a model loads, or a prompt is computed."""
        loop = asyncio.get_running_loop()
        exchange.last_sent = loop.time()
        while True:
            silent = loop.time() - exchange.last_sent
            if silent < self.service.config.ping:
                await asyncio.sleep(self.service.config.ping - silent)
                continue
            exchange.last_sent = loop.time()
            sign = writer.ping()
            if sign:
                if not exchange.started:
                    await exchange.start(200, writer.content_type, _STREAMED)
                    sign = writer.start() + sign
                await exchange.write(sign)

    async def _answer(self, exchange: Exchange, asked: Asked, writer: Writer) -> None:
        try:
            await self._generate(exchange, asked, writer)
        except Exception as error:
            if asked.stream and exchange.started:  # perhaps by a sign of life alone, while the model was waited for
                await exchange.write(writer.failure(problem(error)))
                await exchange.end()
            raise

    async def _generate(self, exchange: Exchange, asked: Asked, writer: Writer) -> None:
        keep = seconds_of(asked.keep_alive)
        async with self.service.residency.lease(asked.model, keep) as backend, contextlib.AsyncExitStack() as stack:
            length = backend.context_length
            if asked.context_length is not None and length is not None and asked.context_length > length:
                raise invalid(
                    f"A context of {asked.context_length:,} tokens is asked for; the model {asked.model!r} is loaded "
                    f"with {length:,}. Only who runs the server can change that.",
                    "context_length",
                )
            if asked.loads_only and isinstance(writer, OllamaWriter):
                await exchange.answer(writer.loaded(), headers=ignored_header(asked.ignored))
                return
            streams = [await stack.enter_async_context(each) for each in _streams(backend, asked)]
            if asked.stream:
                await self._stream(exchange, asked, writer, streams, backend.concurrency)
            else:
                answers = await _read_all(streams, backend.concurrency)
                await exchange.answer(writer.whole(answers), headers=ignored_header(asked.ignored))

    async def _stream(
        self, exchange: Exchange, asked: Asked, writer: Writer, streams: list[AsyncTextStream], at_once: int
    ) -> None:
        async for choice, event in _events(streams, at_once):
            if not exchange.started:
                await exchange.start(200, writer.content_type, _STREAMED | ignored_header(asked.ignored))
                await exchange.write(writer.start() + writer.event(choice, event))
            else:
                content = writer.event(choice, event)
                if content:
                    await exchange.write(content)
        last = writer.end()
        if last:
            await exchange.write(last)
        await exchange.end()


def _streams(backend: BaseBackend, asked: Asked) -> list[AsyncTextStream]:
    """One stream for each answer. With a seed each of one prompt has its own, or all would be the same."""
    streams = []
    for prompt in (asked.prompt, *asked.more_prompts):
        for number in range(asked.choices):
            parameters = dict(asked.parameters)
            if number and isinstance(parameters.get("seed"), int):
                parameters["seed"] = (parameters["seed"] + number) % _SEED_LIMIT
            if asked.messages is not None:
                streams.append(backend.achat_stream(asked.messages, parameters))
            else:
                streams.append(backend.agenerate_stream(prompt or "", parameters))
    return streams


async def read_answers(backend: BaseBackend, asked: Asked) -> list[GeneratedText]:
    """The answers to a request without a stream."""
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(each) for each in _streams(backend, asked)]
        return await _read_all(streams, backend.concurrency)


async def _read_all(streams: list[AsyncTextStream], at_once: int) -> list[GeneratedText]:
    """The texts of all. No more than *at_once* of them are read together, as a model's queue has an end."""
    if len(streams) == 1:
        return [await streams[0].read()]
    room = asyncio.Semaphore(at_once)

    async def read(stream: AsyncTextStream) -> GeneratedText:
        async with room:
            return await stream.read()

    try:
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(read(stream)) for stream in streams]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the others were cancelled, or failed alike
    return [task.result() for task in reading]


async def _events(streams: list[AsyncTextStream], at_once: int) -> AsyncIterator[tuple[int, Event]]:
    """The events of all streams as they come, each with its stream's number; *at_once* as for whole answers."""
    if len(streams) == 1:
        async for event in streams[0].events():
            yield 0, event
        return
    arrived: asyncio.Queue[tuple[int, Event] | BaseException | None] = asyncio.Queue(64)
    room = asyncio.Semaphore(at_once)

    async def read(number: int, stream: AsyncTextStream) -> None:
        try:
            async with room:
                async for event in stream.events():
                    await arrived.put((number, event))
        except Exception as error:  # noqa: BLE001 - it is the reader's
            await arrived.put(error)
        else:
            await arrived.put(None)

    reading = [asyncio.ensure_future(read(number, stream)) for number, stream in enumerate(streams)]
    try:
        left = len(streams)
        while left:
            come = await arrived.get()
            if isinstance(come, BaseException):
                raise come
            if come is None:
                left -= 1
            else:
                yield come
    finally:
        for task in reading:
            task.cancel()
