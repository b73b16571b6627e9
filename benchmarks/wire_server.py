"""The server of wire.py, a process of its own: as little Python as possible between two chunks.

It speaks HTTP/1.1 on 127.0.0.1 and streams as vLLM and llama.cpp do, each event in an HTTP chunk of its own. The path
says what: ``/CHUNKS/MICROSECONDS/v1/chat/completions`` streams so many chunks with such a pause between two; without
``"stream": true`` the answer is one JSON object. The words are numbered, so that the order can be checked.
"""

from __future__ import annotations

import asyncio
import json
from functools import cache

MODEL = "m-1"
AT_ONCE = 50
"""Chunks in one write, where there is no pause."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"


def words(count: int) -> list[str]:
    """The pieces of an answer."""
    return [f" {number}" for number in range(count)]


def chunk(choices: list[object], **more: object) -> bytes:
    """An event in an HTTP chunk."""
    body = {
        "id": "chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
        "system_fingerprint": "fp_0123456789",
        "choices": choices,
        **more,
    }
    return frame(b"data: " + json.dumps(body).encode() + b"\n\n")


def frame(data: bytes) -> bytes:
    """An HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def usage(count: int) -> dict[str, int]:
    """Token counts."""
    return {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": count + 9}


@cache
def stream(count: int) -> list[bytes]:
    """All HTTP chunks of an answer of *count* pieces."""

    def choice(delta: dict[str, str], reason: str | None = None) -> list[object]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]

    return [
        chunk(choice({"role": "assistant", "content": ""})),
        *[chunk(choice({"content": word})) for word in words(count)],
        chunk(choice({}, "stop")),
        chunk([], usage=usage(count)),
        frame(b"data: [DONE]\n\n"),
        b"0\r\n\r\n",
    ]


@cache
def whole(count: int) -> bytes:
    """The answer as one JSON object."""
    message = {"role": "assistant", "content": "".join(words(count))}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
    return json.dumps({**body, "usage": usage(count)}).encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            sent = await reader.readexactly(int(lines.get("content-length", 0)))
            _, count, pause, *rest = head.split()[1].split("/")
            if rest[-1] == "models":
                reply = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
            elif json.loads(sent).get("stream"):
                await write_stream(writer, stream(int(count)), int(pause) / 1e6)
                continue
            else:
                reply = whole(int(count))
            writer.write(HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n%s" % (len(reply), reply))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def write_stream(writer: asyncio.StreamWriter, chunks: list[bytes], pause: float) -> None:
    """Send them, *pause* seconds apart."""
    writer.write(HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n")
    if not pause:
        for start in range(0, len(chunks), AT_ONCE):
            writer.write(b"".join(chunks[start : start + AT_ONCE]))
            await writer.drain()
        return
    for each in chunks:
        writer.write(each)
        await asyncio.sleep(pause)


async def main() -> None:
    """Say the port, and serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
