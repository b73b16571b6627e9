"""A server with known delays: what a benchmark should find out is given.

It speaks enough of OpenAI's API for any benchmark (``/v1/models``, ``/v1/chat/completions``, ``/v1/completions``). The
first chunk of an answer is due *ttft* seconds after the request, every further one *tokens_per_chunk* times *tpot*
later; due times don't depend on when the chunk before was really sent. Each chunk says when it was sent, in the field
``sent``, by the machine's monotonic clock. A token is `` abcd``; the prompt's tokens are its words and three more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import httptools
import msgspec

from llamaforge.errors import InvalidParameterError, ServerStartError

from ..loop import clock, new_loop

_WORD: Final = " abcd"
_OVERHEAD: Final = 3
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """How a calibration server answers. Raises InvalidParameterError."""

    ttft: float = 0.1
    """Seconds until the first chunk."""
    tpot: float = 0.01
    """Seconds for each token after the first chunk."""
    tokens_per_chunk: int = 1
    """Tokens of each chunk; of the last one perhaps fewer."""
    tokens: int = 64
    """Length of an answer for which nothing else was asked."""
    slots: int = 0
    """Answers that are computed at once, others wait their turn. 0: no limit."""
    stall_after: int = 0
    """With the arrival of this request, counted from 1, the server stands still. 0: never."""
    stall: float = 0.0
    """For so many seconds. What was due meanwhile is sent afterwards."""
    fail_every: int = 0
    """Each such request fails with status 500. 0: none."""
    continuous_usage: bool = False
    """Whether each chunk counts the tokens so far, asked or not."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            least = 1 if name in ("tokens_per_chunk", "tokens") else 0
            if not least <= value < float("inf"):
                raise InvalidParameterError(name, value, f"a number, at least {least}")


class Calibration:
    """The state of a server, for all its connections."""

    def __init__(self, delays: Delays) -> None:
        self.delays = delays
        self.requests = 0
        self.stalled_until = 0.0
        self.busy = 0
        self.waiting: deque[_Answer] = deque()

    def arrived(self) -> int:
        """Count a request; its number."""
        self.requests += 1
        if self.requests == self.delays.stall_after:
            self.stalled_until = clock() + self.delays.stall
        return self.requests

    def admit(self, answer: _Answer) -> None:
        """Begin an answer, or let it wait."""
        if self.delays.slots and self.busy >= self.delays.slots:
            self.waiting.append(answer)
        else:
            self.busy += 1
            answer.begin()

    def leave(self) -> None:
        """An answer has ended: the next one."""
        self.busy -= 1
        if self.waiting:
            self.busy += 1
            self.waiting.popleft().begin()


class _Answer:
    """One answer, sent chunk by chunk."""

    def __init__(self, connection: _Connection, asked: dict[str, Any], *, chat: bool) -> None:
        self._connection = connection
        self._server = connection.server
        self._chat = chat
        delays = self._server.delays
        self._tokens = int(asked.get("max_tokens") or asked.get("max_completion_tokens") or delays.tokens)
        options = asked.get("stream_options") or {}
        self._usage = bool(options.get("include_usage"))
        self._continuous = delays.continuous_usage or bool(options.get("continuous_usage_stats"))
        self._prompt_tokens = _count(asked)
        self._said = 0
        self._due = 0.0

    def begin(self) -> None:
        """It has a slot."""
        self._due = clock() + self._server.delays.ttft
        self._wait()

    def _wait(self) -> None:
        due = max(self._due, self._server.stalled_until)
        asyncio.get_running_loop().call_later(max(0.0, due - clock()), self._send)

    def _send(self) -> None:
        if clock() < self._server.stalled_until:
            self._wait()
            return
        delays, connection = self._server.delays, self._connection
        if connection.gone:
            self._server.leave()
            return
        size = min(delays.tokens_per_chunk, self._tokens - self._said)
        first = not self._said
        self._said += size
        data = (_HEAD if first else b"") + self._chunk(_WORD * size)
        if self._said < self._tokens:
            connection.write(data)
            self._due += delays.tokens_per_chunk * delays.tpot
            self._wait()
            return
        connection.write(data + self._end())
        self._server.leave()

    def _chunk(self, text: str) -> bytes:
        place = f'"delta":{{"content":"{text}"}}' if self._chat else f'"text":"{text}"'
        usage = f',"usage":{self._counts()}' if self._continuous else ""
        body = (
            f'{{"object":"chunk","choices":[{{"index":0,{place},"finish_reason":null}}]{usage},"sent":{clock():.7f}}}'
        )
        return _frame(f"data: {body}\n\n".encode())

    def _counts(self) -> str:
        return (
            f'{{"prompt_tokens":{self._prompt_tokens},"completion_tokens":{self._said},'
            f'"total_tokens":{self._prompt_tokens + self._said}}}'
        )

    def _end(self) -> bytes:
        place = '"delta":{}' if self._chat else '"text":""'
        events = [f'{{"choices":[{{"index":0,{place},"finish_reason":"length"}}]}}']
        if self._usage:
            events.append(f'{{"choices":[],"usage":{self._counts()}}}')
        text = "".join(f"data: {event}\n\n" for event in (*events, "[DONE]"))
        return _frame(text.encode()) + b"0\r\n\r\n"


class _Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Calibration) -> None:
        self.server = server
        self.gone = False
        self._transport: Any = None
        self._parser: Any = None
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True

    def on_message_begin(self) -> None:
        self._url, self._body = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._url.endswith(b"/models"):
            self._whole(200, {"object": "list", "data": [{"id": "calibration", "object": "model"}]})
            return
        if not self._url.endswith(b"/completions"):
            self._whole(404, {"error": {"message": "There is nothing here."}})
            return
        number = self.server.arrived()
        try:
            asked = msgspec.json.decode(b"".join(self._body))
        except msgspec.MsgspecError as error:
            self._whole(400, {"error": {"message": str(error)}})
            return
        fail = self.server.delays.fail_every
        if fail and number % fail == 0:
            self._whole(500, {"error": {"message": "This request fails on purpose."}})
            return
        self.server.admit(_Answer(self, asked, chat=self._url.endswith(b"/chat/completions")))

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self.gone:
            self._transport.write(data)

    def _whole(self, status: int, content: object) -> None:
        body = msgspec.json.encode(content)
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.write(head.encode() + body)


def _frame(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _count(asked: dict[str, Any]) -> int:
    texts = [str(message.get("content", "")) for message in asked.get("messages") or ()]
    texts.append(str(asked.get("prompt") or ""))
    return _OVERHEAD + sum(len(text.split()) for text in texts)


async def start(delays: Delays, port: int = 0) -> asyncio.Server:
    """Start a server on 127.0.0.1 in the running loop."""
    server = Calibration(delays)
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Connection(server), "127.0.0.1", port)


@contextlib.contextmanager
def running(delays: Delays) -> Iterator[str]:
    """A server in a process of its own, so that it shares no interpreter lock with the client; its address.

    Raises ServerStartError.
    """
    given = msgspec.json.encode(delays).decode()
    process = subprocess.Popen(
        [sys.executable, "-m", "forge_bench.calibration.server", given], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        line = process.stdout.readline().strip()
        if not line.isdigit():
            raise ServerStartError("calibration", "it said no port", exit_code=process.poll())
        yield f"http://127.0.0.1:{int(line)}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()


async def _serve(delays: Delays, port: int) -> None:
    server = await start(delays, port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    # Whoever started it holds its standard input, and so it ends with them.
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


def main() -> None:
    """Be such a process."""
    parser = argparse.ArgumentParser(description="A server with known delays.")
    parser.add_argument("delays", help="JSON, as in Delays")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(msgspec.json.decode(options.delays, type=Delays), options.port))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
