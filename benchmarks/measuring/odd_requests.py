"""Made-up requests to a server: sound ones, changed at random in their bodies, their headers, or all of their bytes."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass
from typing import Any

from forge_serve.schemas import BODIES
from llamaforge.parameters import NAMES

from .served import framed

TURNS = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Say hello."}]
CALLS = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c", "content": "rain"},
]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
THINKING = {"type": "enabled", "budget_tokens": 2000}
BLOCKS = [
    {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "weather", "input": {"a": 1}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "rain"}]},
]
ITEMS = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "rain"},
    {"type": "reasoning", "summary": []},
]
OPTIONS = {"temperature": 0.5, "num_predict": 5, "num_ctx": 64, "seed": 1, "stop": ["x"]}

SOUND: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"messages": TURNS, "max_tokens": 5},
        {"messages": CALLS, "tools": [TOOL], "tool_choice": "auto", "max_tokens": 5},
        {"messages": PARTS, "response_format": FORMAT, "logprobs": True, "top_logprobs": 2, "n": 2, "max_tokens": 9},
    ],
    "/v1/completions": [{"prompt": "Hello", "max_tokens": 5, "logprobs": 2}, {"prompt": ["Hello"], "echo": True}],
    "/v1/responses": [
        {"input": "Hello", "max_output_tokens": 5, "store": False},
        {"input": ITEMS, "instructions": "Be short.", "max_output_tokens": 5, "reasoning": {"effort": "low"}},
        {"input": "Hello", "background": True, "text": {"format": {"type": "text"}}, "max_output_tokens": 5},
    ],
    "/v1/messages": [
        {"messages": TURNS[1:], "max_tokens": 5, "system": [{"type": "text", "text": "Be short."}]},
        {
            "messages": BLOCKS,
            "max_tokens": 5,
            "tools": [{"name": "weather", "input_schema": SCHEMA}],
            "thinking": THINKING,
        },
    ],
    "/v1/messages/count_tokens": [{"messages": BLOCKS, "system": "Be short."}],
    "/v1/embeddings": [{"input": "Hello"}, {"input": ["Hello", "there"], "encoding_format": "base64", "dimensions": 4}],
    "/v1/rerank": [{"query": "a b", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True}],
    "/v2/rerank": [{"query": "a b", "documents": ["a", "b"], "top_n": 1}],
    "/tokenize": [{"prompt": "Hello"}, {"content": "Hello", "add_special": True}, {"messages": TURNS}],
    "/detokenize": [{"tokens": [72, 101]}],
    "/apply-template": [{"messages": TURNS, "chat_template_kwargs": {"enable_thinking": False}}],
    "/api/chat": [
        {"messages": TURNS, "options": OPTIONS, "keep_alive": "5m", "think": False},
        {"messages": TURNS, "format": SCHEMA, "tools": [TOOL], "stream": False},
    ],
    "/api/generate": [{"prompt": "Hello", "options": OPTIONS, "raw": True}, {"prompt": "Hello", "format": "json"}],
    "/api/embed": [{"input": ["Hello"], "truncate": True, "dimensions": 4}],
    "/api/embeddings": [{"prompt": "Hello"}],
    "/api/show": [{}],
    "/api/pull": [{"stream": False}],
    "/admin/load": [{"wait": True}, {"wait": False}],
    "/admin/unload": [{}, {"force": True}],
    "/admin/pin": [{}],
    "/admin/unpin": [{}],
    "/admin/schema": [{}],
}
"""By path: bodies that are served, but for the model."""
GETS = (
    *("/", "/health", "/ready", "/metrics", "/openapi.json", "/v1/models", "/v1/models/echo", "/v1/parameters/tiny"),
    *("/v1/responses/resp_00", "/v1/responses/resp_00/input_items", "/api/tags", "/api/ps", "/api/version"),
    *("/admin/models", "/favicon.svg", "/assets/none.js", "/nothing"),
)
FIELDS = tuple({*NAMES, *(name for _, fields, _ in BODIES.values() for name in fields), "keep_alive", "logit_bias"})
TEXTS = (
    *(
        "",
        "a",
        "\0",
        "é\u202e👍",
        "auto",
        "none",
        "required",
        "json",
        "text",
        "5m",
        "-1",
        "NaN",
        "user",
        "tool",
        "echo",
    ),
    *(
        "../../etc/passwd",
        "http://127.0.0.1:1/",
        "pypi:pip",
        "<|end|>",
        "(a+)+$",
        "start: start",
        "{{ 1 }}",
        "x" * 3000,
    ),
)
NUMBERS = (0, -1, 1, 2, 7, 2**31, -(2**31), 2**53, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 1e308, 5e-324, 1.0, 16.5)
NUMBERS_THAT_ARE_NONE = (float("nan"), float("inf"), float("-inf"))

HEADERS: dict[str, tuple[str, ...]] = {
    "Host": ("localhost", "evil.example", "", "127.0.0.1:0", "[::1", "a" * 300, "localhost:99999999"),
    "Content-Length": ("0", "5", "-1", "99999999999999999999", "1e3", "+7", "0x10", " 3", "abc", ""),
    "Transfer-Encoding": ("chunked", "gzip, chunked", "identity", "CHUNKED", "chunked, chunked", "x"),
    "Content-Type": (
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=x",
        "",
        "a/b" * 99,
    ),
    "Content-Encoding": ("gzip", "identity", "br", ""),
    "Accept-Encoding": ("gzip;q=0", "*;q=x", "gzip, " * 200),
    "Authorization": ("Bearer x", "Bearer", "Basic !!!", "bearer  \t ", "Digest " + "x" * 999),
    "X-Api-Key": ("x", "é"),
    "X-Request-Timeout": ("0.001", "5", "0", "-1", "nan", "inf", "1e999", "soon", ""),
    "Origin": ("null", "http://localhost", "https://evil.example", "//", "http://[", "a b"),
    "Expect": ("100-continue", "200-ok"),
    "Connection": ("close", "Upgrade", "keep-alive, Upgrade", "Host", ""),
    "Upgrade": ("h2c", "websocket", "TLS/1.0"),
    "If-None-Match": ("*", '"x"', "W/", "," * 500),
    "Range": ("bytes=0-1", "bytes=-", "x"),
    "Cookie": ("a=b; " * 300,),
    "X-Forwarded-For": ("1.2.3.4", "unknown, " * 50),
    "Access-Control-Request-Method": ("POST", "X"),
    "Traceparent": ("00-0-0-0", "x"),
}
METHODS = (
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "HEAD",
    "TRACE",
    "CONNECT",
    "PRI",
    "get",
    "BREW",
    "",
    "*",
)
SIGNS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"%", b"%00", b"%2e%2e", b"%ff", b"\xff\xfe", b"HTTP/1.1"),
    *(
        b"\r\n\r\n",
        b"chunked",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"{",
        b'"',
        b"[" * 70,
        b"\\ud800",
        b"\xed\xa0\x80",
    ),
    *(b"HTTP/2.0", b"HTTP/0.9", b"//", b"?", b"#", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"a" * 70_000),
)


@dataclass(frozen=True)
class Sent:
    """What a client sends on a connection."""

    content: bytes
    whole: bool
    """Whether it is one sound request as far as HTTP goes, whose answer leaves the connection to the next one."""
    head_only: bool = False
    """Whether its answer has no body."""


def request(number: int, seed: int) -> Sent:
    """The request with that number."""
    dice = random.Random(f"{seed} {number}")
    roll = dice.random()
    if roll < 0.7:
        path = dice.choice(list(SOUND))
        return Sent(framed(path, body(dice, path)), True)
    if roll < 0.85:
        return _odd_headers(dice)
    return _garbage(dice)


def body(dice: random.Random, path: str) -> bytes:
    """A body for that path: one that is served, changed at some places, of its content or of its text."""
    made: dict[str, Any] = {"model": _model(dice, path), **copy.deepcopy(dice.choice(SOUND[path]))}
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        _change(dice, made)
    for _ in range(dice.choice((0, 0, 0, 1))):
        made[dice.choice(FIELDS)] = value(dice)
    if dice.random() < 0.3 and "stream" not in made:
        made["stream"] = True
    if path in ("/v1/chat/completions", "/v1/completions") and "max_tokens" not in made:
        made["max_tokens"] = 5
    if dice.random() < 0.02:
        return _odd_text(dice)
    text = json.dumps(made, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    return changed(dice, text) if dice.random() < 0.1 else text


def value(dice: random.Random, depth: int = 0) -> Any:
    """Something that JSON can hold, and now and then something that it can't."""
    roll = dice.random()
    if roll < 0.1:
        return dice.choice((None, True, False))
    if roll < 0.4:
        return dice.choice(NUMBERS) if dice.random() < 0.97 else dice.choice(NUMBERS_THAT_ARE_NONE)
    if roll < 0.7 or depth > 3:
        return dice.choice(TEXTS)
    if roll < 0.75:
        return copy.deepcopy(dice.choice((SCHEMA, TOOL, FORMAT, THINKING, OPTIONS, TURNS, BLOCKS, ITEMS)))
    if roll < 0.87:
        return [value(dice, depth + 1) for _ in range(dice.randint(0, 3))]
    names = (
        *TEXTS[:6],
        "type",
        "role",
        "content",
        "text",
        "function",
        "name",
        "schema",
        "json_schema",
        "include_usage",
    )
    return {dice.choice(names): value(dice, depth + 1) for _ in range(dice.randint(0, 3))}


def changed(dice: random.Random, content: bytes) -> bytes:
    """*content* with some of it gone, doubled or replaced."""
    for _ in range(dice.randint(1, 4)):
        place, length = dice.randint(0, len(content)), dice.randint(0, 9)
        put = content[place : place + length] * 2 if dice.random() < 0.3 else dice.choice(SIGNS)
        if dice.random() < 0.3:
            put = dice.randbytes(dice.randint(0, 5))
        content = content[:place] + put + content[place + length :]
    return content


def _model(dice: random.Random, path: str) -> Any:
    if dice.random() < 0.04:
        return value(dice)
    if path.startswith(("/admin", "/api/show", "/api/pull")):
        return dice.choice(("echo", "embed", "rerank", "tiny"))
    if "embed" in path:
        return "embed"
    return "rerank" if "rerank" in path else dice.choice(("echo", "tiny", "tiny:latest"))


def _change(dice: random.Random, made: Any) -> None:
    """Replace, remove or double something in *made*, at any depth."""
    while True:
        keys = list(made) if isinstance(made, dict) else list(range(len(made)))
        if not keys:
            return
        key = dice.choice(keys)
        if isinstance(made[key], (dict, list)) and made[key] and dice.random() < 0.6:
            made = made[key]
            continue
        roll = dice.random()
        if roll < 0.7:
            made[key] = value(dice)
        elif roll < 0.85:
            del made[key]
        elif isinstance(made, list):
            made.append(made[key])
        else:
            made[dice.choice(TEXTS)] = made[key]
        return


def _odd_text(dice: random.Random) -> bytes:
    deep = dice.choice((65, 1000, 50_000))
    return dice.choice(
        (
            *(
                b"",
                b"null",
                b"[]",
                b'"a"',
                b"1",
                b"{}",
                b"\xef\xbb\xbf{}",
                b"\xff",
                b"{" * deep,
                b"[" * deep + b"]" * deep,
            ),
            *(
                b'{"a":' * deep + b"1" + b"}" * deep,
                b'{"model": "echo", "model": "tiny"}',
                b" " * 100_000,
                b"x" * 300_000,
            ),
            json.dumps({"model": "echo", "messages": TURNS}).encode("utf-16"),
        )
    )


def _odd_headers(dice: random.Random) -> Sent:
    headers = [
        (name, dice.choice(HEADERS[name]))
        for name in dice.sample(list(HEADERS), dice.choice((1, 1, 2, 3)))
        if name not in ("Content-Length", "Transfer-Encoding", "Connection") or dice.random() < 0.3
    ]
    if dice.random() < 0.1:
        headers += [(f"X-{number}", "a" * dice.randint(0, 99)) for number in range(dice.choice((50, 400, 2000)))]
    breaking = {"Content-Length", "Transfer-Encoding", "Connection", "Expect", "Upgrade", "Host"}
    whole = not breaking & {name for name, _ in headers} and len(headers) < 100
    if dice.random() < 0.5:
        path = dice.choice(list(SOUND))
        return Sent(framed(path, body(dice, path), "POST", *headers), whole)
    method = dice.choice(METHODS[:7])
    path = dice.choice((*GETS, *SOUND)) + dice.choice(
        ("", "", "?stream=true", "?limit=x&after=%ff", "/", "?" + "a" * 500)
    )
    return Sent(framed(path, b"", method, *headers), whole, head_only=method == "HEAD")


def _garbage(dice: random.Random) -> Sent:
    roll = dice.random()
    if roll < 0.1:
        return Sent(dice.randbytes(dice.randint(1, 400)), False)
    path = dice.choice((*GETS, *SOUND))
    if roll < 0.3:
        line = f"{dice.choice(METHODS)} {path}{dice.choice(('', '%', '%zz', '%00', ' ', '#a', '//..', 'é'))}"
        version = dice.choice(("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "http/1.1", "", "HTTP/1.1 x"))
        return Sent(f"{line} {version}\r\nHost: localhost\r\n\r\n".encode(), False)
    if roll < 0.45:
        chunks = b"".join(
            dice.choice((b"%x\r\n%b\r\n", b"%X;a=b\r\n%b\r\n", b"-%x\r\n%b\r\n", b"%x\n%b\n")) % (len(part), part)
            for part in (body(dice, "/v1/chat/completions")[:200], b"{}")
        )
        head = framed("/v1/chat/completions", b"", "POST", ("Transfer-Encoding", "chunked"))
        return Sent(head + chunks + dice.choice((b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"", b"0\r\n")), False)
    sound = framed(path, body(dice, path), "POST") if path in SOUND else framed(path, b"", "GET")
    if roll < 0.55:
        return Sent(sound * dice.randint(2, 9), False)
    return Sent(changed(dice, sound), False)
