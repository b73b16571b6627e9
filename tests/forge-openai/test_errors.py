"""Every exception of the SDK and of the HTTP library is mapped by type, every status and error object by its fields."""

from __future__ import annotations

import datetime as dt
import email.utils
import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from forge_openai import OpenAIBackend
from forge_openai.errors import Translator, exception_table, retry_after
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    ContextOverflowError,
    GenerationError,
    LlamaForgeError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
)
from support.scripted import (
    Reply,
    ScriptedServer,
    delta,
    error_reply,
    event,
    json_reply,
    models_reply,
    stream_of,
    stream_reply,
)

Load = Callable[..., OpenAIBackend]

TRANSLATOR = Translator(address="http://host/v1", model="m-1", secrets=("sk-canary",), context_size=99)


def exceptions_of(*modules: Any) -> set[type[BaseException]]:
    found = set()
    for module in modules:
        for name, value in list(vars(module).items()):
            # By type(), because isinstance would wake the SDK's lazy proxies.
            if issubclass(type(value), type) and issubclass(value, Exception) and not name.startswith("_"):
                found.add(value)
    return found


def test_every_exception_of_the_sdk_and_of_the_http_library_is_mapped() -> None:
    there_are = exceptions_of(openai, httpx2)
    assert len(there_are) > 40, "the walk itself must not break"
    missing = there_are - set(exception_table())
    assert not missing, f"map these in forge_openai/errors.py: {sorted(each.__name__ for each in missing)}"


def http_error(kind: type[Exception]) -> Exception:
    request = httpx2.Request("POST", "http://host/v1/chat/completions", headers={"Authorization": "Bearer sk-canary"})
    response = httpx2.Response(500, request=request)
    if kind is openai.LengthFinishReasonError:
        return kind(completion=openai.types.chat.ChatCompletion.model_construct(usage=None))  # type: ignore[call-arg]
    if issubclass(kind, openai.APIStatusError):
        status = getattr(kind, "status_code", 500)
        response = httpx2.Response(status, request=request)
        given = {"response": response, "body": {"error": "sk-canary"}}
        return kind(**given) if kind is openai.OAuthError else kind("sk-canary", **given)  # type: ignore[call-arg,arg-type]
    if kind is openai.APIResponseValidationError:
        return kind(response, None)  # type: ignore[call-arg]
    if kind is openai.APITimeoutError:
        return kind(request)
    if issubclass(kind, openai.APIConnectionError):
        return kind(request=request)  # type: ignore[call-arg]
    if kind is openai.APIError:
        return kind("sk-canary", request, body=None)  # type: ignore[call-arg]
    if kind is httpx2.HTTPStatusError:
        return kind("sk-canary", request=request, response=response)  # type: ignore[call-arg]
    if kind in (httpx2.StreamConsumed, httpx2.StreamClosed, httpx2.ResponseNotRead, httpx2.RequestNotRead):
        return kind()
    if kind is openai.ContentFilterFinishReasonError:
        return kind()
    if kind is openai.WebSocketConnectionClosedError:
        return kind("sk-canary", unsent_messages=[])  # type: ignore[call-arg]
    return kind("sk-canary")


@pytest.mark.parametrize(
    "kind", sorted(exception_table(), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__
)
def test_each_becomes_an_error_of_ours_without_our_key(kind: type[Exception]) -> None:
    made = TRANSLATOR.translate(http_error(kind))
    assert isinstance(made, LlamaForgeError)
    assert "sk-canary" not in str(made) + repr(made) + str(made.__dict__)


def test_a_subclass_that_is_new_takes_the_way_of_its_base() -> None:
    class Newer(openai.APIConnectionError):
        pass

    assert isinstance(TRANSLATOR.translate(Newer(request=httpx2.Request("GET", "http://host"))), ConnectionFailedError)
    assert isinstance(TRANSLATOR.translate(ZeroDivisionError("x")), GenerationError)


BY_STATUS = [
    (400, ServerError),
    (401, AuthenticationError),
    (402, ServerError),
    (403, AuthenticationError),
    (404, ServerError),
    (408, ServerError),
    (409, ServerError),
    (413, ServerError),
    (422, ServerError),
    (429, RateLimitError),
    (500, ServerError),
    (503, ServerError),
    (529, ServerError),
]


@pytest.mark.parametrize(("status", "expected"), BY_STATUS)
def test_statuses(status: int, expected: type[Any], server: ScriptedServer, load: Load) -> None:
    server.chat(error_reply(status, "No such luck."))
    with pytest.raises(LlamaForgeError, match=r"No such luck\.") as caught:
        load().generate("Hi")
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.endpoint) == (status, server.url)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Reason."}},
        {"error": "Reason."},
        {"message": "Reason.", "object": "error"},
        {"detail": "Reason."},
        {"detail": [{"msg": "Reason."}]},
        ["Reason."],
        "Reason.",
    ],
)
def test_what_the_server_says_is_found_wherever_it_is(body: object, server: ScriptedServer, load: Load) -> None:
    server.chat(json_reply(body, 400))
    with pytest.raises(ServerError, match=r"Reason\."):
        load().generate("Hi")


def test_the_title_of_a_gateways_page_is_the_reason(server: ScriptedServer, load: Load) -> None:
    page = b"<html>\n<head><title>502 Bad\nGateway</title></head><body><center>nginx</center></body></html>"
    server.chat(Reply(502, {"Content-Type": "text/html"}, page))
    with pytest.raises(ServerError, match=r"\(HTTP 502\): 502 Bad Gateway$"):
        load().generate("Hi")


def test_a_body_that_is_not_compressed_as_it_says(server: ScriptedServer, load: Load) -> None:
    reply = stream_reply(delta("Hi", "stop"))
    reply.headers["Content-Encoding"] = "gzip"
    server.chat(reply)
    with pytest.raises(ConnectionFailedError, match="Content-Encoding"):
        load().generate("Hi")


def test_an_answer_without_words(server: ScriptedServer, load: Load) -> None:
    server.chat(json_reply({}, 500))
    with pytest.raises(ServerError, match="HTTP 500"):
        load().generate("Hi")


OVERFLOWS = [
    ({"type": "exceed_context_size_error", "n_prompt_tokens": 3031, "n_ctx": 1024}, 3031, 1024),  # llama.cpp
    ({"code": "context_length_exceeded", "type": "invalid_request_error", "param": "messages"}, None, 4096),  # OpenAI
    ({"type": "BadRequestError", "param": "input_tokens", "code": 400}, None, 4096),  # vLLM
]


@pytest.mark.parametrize(("fields", "prompt", "context"), OVERFLOWS)
@pytest.mark.parametrize("in_band", [False, True])
def test_context_overflow_by_its_fields(
    fields: dict[str, Any], prompt: int | None, context: int, in_band: bool, server: ScriptedServer, load: Load
) -> None:
    server.on("GET", "/models", json_reply({"data": [{"id": "m-1", "max_model_len": 4096}]}))
    error = {"message": "It is too long.", **fields}
    server.chat(stream_reply(delta("x"), {"error": error}) if in_band else json_reply({"error": error}, 400))
    with pytest.raises(ContextOverflowError, match="too long") as caught:
        load().generate("Hi")
    assert (caught.value.prompt_tokens, caught.value.context_size) == (prompt, context)


def test_words_alone_are_no_context_overflow(server: ScriptedServer, load: Load) -> None:
    server.chat(error_reply(400, "context_length_exceeded: maximum context length is 5 tokens"))
    with pytest.raises(ServerError):
        load().generate("Hi")


GONE = [(404, {"code": "model_not_found"}), (403, {"code": "model_not_found"}), (404, {"param": "model", "code": 404})]


@pytest.mark.parametrize(("status", "fields"), GONE)
def test_a_model_that_is_gone(status: int, fields: dict[str, Any], server: ScriptedServer, load: Load) -> None:
    backend = load()
    server.chat(error_reply(status, "Gone.", **fields))
    with pytest.raises(ModelNotFoundError, match="m-1") as caught:
        backend.generate("Hi")
    assert caught.value.model == "m-1"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None, server: ScriptedServer, load: Load) -> None:
    server.chat(json_reply({"error": {"message": "Slowly."}}, 429, **headers))
    with pytest.raises(RateLimitError) as caught:
        load().generate("Hi")
    assert caught.value.retry_after == seconds


def test_retry_after_as_a_date() -> None:
    moment = dt.datetime.fromtimestamp(time.time() + 60, dt.UTC)
    found = retry_after({"retry-after": email.utils.format_datetime(moment, usegmt=True)})
    assert found is not None
    assert 50 < found <= 60
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


IN_BAND = [
    (event({"error": {"message": "Broke.", "code": 500, "type": "server_error"}}), ServerError),
    (event({"error": "Broke."}), ServerError),
    (event({"object": "error", "message": "Broke.", "code": 400}), ServerError),
    (b'event: error\ndata: {"message": "Broke."}\n\n', ServerError),
    (event({"error": {"message": "Broke.", "code": 429}}), RateLimitError),
    (event({"error": {"message": "Broke.", "code": "rate_limit_exceeded"}}), RateLimitError),
    (event({"error": {"message": "Broke.", "code": 401}}), AuthenticationError),
]


@pytest.mark.parametrize(("sent", "expected"), IN_BAND)
@pytest.mark.parametrize("first", [b"", event(delta("Hel"))])
def test_an_error_inside_a_stream(
    sent: bytes, expected: type[Any], first: bytes, server: ScriptedServer, load: Load
) -> None:
    server.chat(stream_of([first, sent, event(delta("lo", "stop")), event("[DONE]")]))
    with pytest.raises(expected, match=r"Broke\."):
        load(max_retries=3).generate("Hi")
    assert len(server.posted()) == 1, "never again after the stream has begun"


@pytest.mark.parametrize("sent", [b"data: {oops\n\n", b"data: Gone fishing\n\n", b"data: \xff\n\n"])
def test_a_malformed_event_is_shown(sent: bytes, server: ScriptedServer, load: Load) -> None:
    server.chat(stream_of([event(delta("Hel")), sent, event(delta("lo", "stop"))]))
    with pytest.raises(ServerError, match="not part of an answer") as caught:
        load().generate("Hi")
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("kind", "body", "match"),
    [
        ("text/html; charset=utf-8", b"<html>Welcome</html>", "text/html.*address.*Welcome"),
        ("application/json", b'{"id": "x", "choices": []}', '"id": "x"'),
        ("application/json", b'{"error": {"message": "Broke."}}', "Broke"),
        ("text/plain", b"Hello there", "Hello there"),
    ],
)
def test_an_answer_that_is_no_stream(kind: str, body: bytes, match: str, server: ScriptedServer, load: Load) -> None:
    reply = stream_of([body])
    reply.headers["Content-Type"] = kind
    server.chat(reply)
    with pytest.raises((ServerError, ConnectionFailedError), match=match):
        load().generate("Hi")


def test_other_content_types_may_be_a_stream(server: ScriptedServer, load: Load) -> None:
    reply = stream_reply(delta("Hi", "stop"))
    reply.headers["Content-Type"] = "text/plain"
    server.chat(reply)
    assert load().generate("Hi") == "Hi"


def test_long_reasons_are_cut(server: ScriptedServer, load: Load) -> None:
    server.chat(error_reply(500, "x" * 100_000))
    with pytest.raises(ServerError) as caught:
        load().generate("Hi")
    assert len(str(caught.value)) < 1000


def test_the_next_request_works(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", models_reply("m-1"))
    server.chat(error_reply(500), stream_of([event(delta("x"))]), stream_reply(delta("Hi", "stop")))
    backend = load()
    for _ in range(2):
        with pytest.raises(LlamaForgeError):
            backend.generate("Hi")
    assert backend.generate("Hi") == "Hi"
