"""A canary key, put in by every way there is, and looked for in everything that can be seen."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from forge_openai.probe import probe
from llamaforge.errors import LlamaForgeError
from support.scripted import Cut, Reply, ScriptedServer, delta, error_reply, event, json_reply, stream_of

Load = Callable[..., OpenAIBackend]

KEY = "sk-canary-0123456789-KEY"
HEADER = "canary-header-0123456789"
PASSWORD = "canary-password-0123456789"
CANARIES = (KEY, HEADER, PASSWORD, "canary")
ECHO = f"Key {KEY} with {HEADER} and {PASSWORD} is no good."


def cut() -> Iterator[bytes]:
    yield event(delta("Hel"))
    raise Cut


FAULTS: dict[str, Any] = {
    **{str(status): error_reply(status, ECHO) for status in (400, 401, 403, 404, 409, 422, 429, 500)},
    "text": Reply(500, {"Content-Type": "text/plain"}, ECHO.encode()),
    "html": Reply(200, {"Content-Type": "text/html"}, ECHO.encode()),
    "in band": stream_of([event({"error": {"message": ECHO}})]),
    "malformed": stream_of([f"data: {ECHO}\n\n".encode()]),
    "overflow": error_reply(400, ECHO, code="context_length_exceeded"),
    "no model": error_reply(404, ECHO, code="model_not_found"),
    "cut": lambda _: stream_of(cut()),
    "headers": Reply(head=[b"nonsense " + ECHO.encode() + b"\r\n\r\n"]),
}


def everything(error: BaseException) -> str:
    """All that a log, a crash report or a debugger's first look would show of an error."""
    shown = ["".join(traceback.format_exception(error)), repr(error), str(error), str(vars(error))]
    seen: list[BaseException] = []
    todo = [error]
    while todo:
        each = todo.pop()
        if each in seen:
            continue
        seen.append(each)
        shown += [repr(each), str(each), str(getattr(each, "__dict__", "")), str(getattr(each, "request", ""))]
        request = getattr(each, "request", None)
        shown.append(str(list(getattr(request, "headers", {}).items())))
        todo += [chained for chained in (each.__cause__, each.__context__) if chained is not None]
    return "\n".join(shown)


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged at any level; but for httpcore's word-by-word record of what the server itself has sent."""
    return "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpcore2.http11"))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("in_loop", [False, True], ids=["thread", "loop"])
def test_no_error_shows_a_secret(
    in_loop: bool,
    fault: str,
    server: ScriptedServer,
    load: Load,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    server.chat(FAULTS[fault])
    backend = load(api_key=KEY, headers={"X-Team": HEADER, "X-Basic": f"Basic {PASSWORD}"})
    with pytest.raises(LlamaForgeError) as caught:
        _ = asyncio.run(backend.agenerate("Hi")) if in_loop else backend.generate("Hi")
    shown = everything(caught.value) + everything(pickle.loads(pickle.dumps(caught.value)))
    assert server.last.headers["authorization"] == f"Bearer {KEY}"
    shown += logged(caplog) + "".join(capsys.readouterr())
    assert [canary for canary in CANARIES if canary in shown.replace("***", "")] == []


@pytest.mark.parametrize("fault", ["401", "403", "500", "text", "html", "headers", "cut"])
def test_nor_does_one_at_load(fault: str, server: ScriptedServer, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.on("GET", "/models", FAULTS[fault])
    server.chat(FAULTS[fault])
    with pytest.raises(LlamaForgeError) as caught:
        load(api_key=KEY, headers={"X-Team": HEADER, "X-Basic": f"Basic {PASSWORD}"})
    shown = everything(caught.value) + logged(caplog)
    assert [canary for canary in CANARIES if canary in shown] == []


def test_nor_does_one_of_a_url_with_credentials(
    server: ScriptedServer, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    address = server.url.replace("http://", f"http://me:{PASSWORD}@")
    server.chat(error_reply(500, ECHO))
    backend = load(api_key=None, api_base=address)
    with pytest.raises(LlamaForgeError) as caught:
        backend.generate("Hi")
    shown = everything(caught.value) + caplog.text
    assert PASSWORD not in shown
    assert server.url in str(caught.value)
    assert server.last.headers["authorization"].startswith("Basic ")
    assert server.last.headers["authorization"].split()[1] not in shown


def test_an_unreachable_server_shows_none_either(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(LlamaForgeError) as caught:
        load(api_key=KEY, api_base="http://127.0.0.1:9/v1")
    assert "canary" not in everything(caught.value) + caplog.text


def test_all_is_quiet_when_all_goes_well(
    server: ScriptedServer, load: Load, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = load(api_key=KEY, headers={"X-Team": HEADER})
    result = backend.generate("Hi")
    config = backend._config
    session = backend._session
    assert config is not None
    assert session is not None
    shown = [repr(backend), str(backend), repr(config), str(config.public()), repr(session), repr(session.servers)]
    shown += [repr((server, server.endpoint, server.translator)) for server in session.servers]
    shown += [str(result.to_dict()), repr(backend.capabilities), caplog.text]
    shown += capsys.readouterr()
    assert caplog.records, "the libraries do log at this level"
    assert "canary" not in "\n".join(shown)


def test_a_key_cannot_be_copied_out_of_a_config(load: Load) -> None:
    config = load(api_key=KEY)._config
    with pytest.raises(TypeError):
        pickle.dumps(config)
    assert KEY not in repr(copy.copy(config))


def test_doctor_tells_that_there_is_a_key_and_not_which(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("OPENAI_API_KEY is not set" in line for line in probe()["visible"])
    assert probe()["advice"], "the official API without a key can't work"
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://me:{PASSWORD}@host/v1")
    found = probe()
    assert found["compiled"][0].startswith("openai SDK 3.")
    assert found["visible"] == ["OPENAI_API_KEY is set", "base URL https://host/v1"]
    assert found["advice"] == []
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://host/v1?key={PASSWORD}")
    found = probe()
    assert "OPENAI_BASE_URL" in found["advice"][0]
    assert "canary" not in str(found)


def test_json_errors_that_only_repeat_a_short_word_stay_readable(server: ScriptedServer, load: Load) -> None:
    server.chat(json_reply({"error": {"message": "a b c"}}, 400))
    with pytest.raises(LlamaForgeError, match="a b c"):
        load(headers={"X-Letter": "a"}).generate("Hi")
