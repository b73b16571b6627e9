"""A server behind ours ignores tool_choice or a format: every dialect tells an error, and no success beside it."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import ollama
import openai
import pytest

from support.serving import Running, body, get, post, until

PARAMETERS: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
PLAIN: Any = {"name": "weather", "parameters": PARAMETERS}
SCHEMA: Any = {"type": "object", "required": ["b"]}
"""The model says ``{"a":1}``, whatever the schema is."""
SAYS = {
    "none": "calls 'weather', and tool_choice allows no call",
    "weather": "calls no function, and tool_choice wants a call of 'weather'",
    "door": "calls 'weather', and tool_choice wants a call of 'door'",
    "format": "'b' is a required property",
}
"""What is broken, and what a client reads of it."""


def said(broken: str) -> str:
    """What the user says, so that the model breaks it."""
    return "Hi" if broken in ("weather", "format") else "call"


def chat(broken: str) -> dict[str, Any]:
    """OpenAI's chat completions."""
    if broken == "format":
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}}
    chosen = "none" if broken == "none" else {"type": "function", "function": {"name": broken}}
    tools = [{"type": "function", "function": {**PLAIN, "name": name}} for name in ("weather", "door")]
    return {"tools": tools, "tool_choice": chosen}


def responses(broken: str) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": "one", "input": said(broken)}
    if broken == "format":
        return {**asked, "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}}
    chosen = "none" if broken == "none" else {"type": "function", "name": broken}
    tools = [{"type": "function", "strict": True, **PLAIN, "name": name} for name in ("weather", "door")]
    return {**asked, "tools": tools, "tool_choice": chosen}


def messages(broken: str) -> dict[str, Any]:
    """Anthropic's."""
    if broken == "format":
        return {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    chosen = {"type": "none"} if broken == "none" else {"type": "tool", "name": broken}
    return {
        "tools": [{"name": name, "input_schema": PARAMETERS} for name in ("weather", "door")],
        "tool_choice": chosen,
    }


def bodies(broken: str) -> dict[str, tuple[dict[str, Any], bytes, bytes]]:
    """For each path: what is sent, how a stream tells the failure, and what stands only in a success."""
    words = said(broken)
    found: dict[str, tuple[dict[str, Any], bytes, bytes]] = {
        "/v1/chat/completions": (body(words, **chat(broken)), b'data: {"error":{', b"[DONE]"),
        "/v1/messages": (body(words, **messages(broken)), b"event: error\ndata: ", b"message_stop"),
        "/v1/responses": (responses(broken), b"event: error\ndata: ", b"response.completed"),
    }
    if broken == "format":  # Ollama's requests have no tool_choice
        found["/api/chat"] = body(words, format=SCHEMA), b'{"error":"', b'"done":true'
        found["/api/generate"] = {"model": "one", "prompt": words, "format": SCHEMA}, b'{"error":"', b'"done":true'
    return found


@pytest.mark.parametrize("broken", SAYS)
def test_what_is_sent(server: Running, broken: str) -> None:
    for path, (sent, failure, success) in bodies(broken).items():
        status, _, content = post(server, path, {**sent, "stream": False})
        assert (status, SAYS[broken] in str(json.loads(content)["error"])) == (502, True), (path, content)
        status, _, content = post(server, path, {**sent, "stream": True})
        assert status == 200, path
        before, told, after = content.partition(failure)
        assert told, (path, content)
        assert SAYS[broken].encode() in after
        assert success not in before + after, (path, content)
        ended = b'"finish_reason":"', b'"stop_reason":"', b'"status":"completed","background"'
        assert not any(each in before + after for each in ended), (path, content)


@pytest.mark.parametrize("broken", SAYS)
def test_what_openais_client_sees(server: Running, broken: str) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    ask: dict[str, Any] = {"model": "one", "messages": [{"role": "user", "content": said(broken)}], **chat(broken)}
    with pytest.raises(openai.InternalServerError, match=SAYS[broken]):
        client.chat.completions.create(**ask)
    with pytest.raises(openai.APIError, match=SAYS[broken]):
        list(client.chat.completions.create(**ask, stream=True))
    asked = responses(broken)
    with pytest.raises(openai.InternalServerError, match=SAYS[broken]):
        client.responses.create(**asked)
    with pytest.raises(openai.APIError, match=SAYS[broken]):
        list(client.responses.create(**asked, stream=True))


def test_a_response_in_the_background_and_one_that_is_kept(server: Running) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    begun = client.responses.create(**responses("door"), background=True)
    until(lambda: client.responses.retrieve(begun.id).status not in ("queued", "in_progress"))
    ended = client.responses.retrieve(begun.id)
    assert (ended.status, ended.error is not None) == ("failed", True)
    assert SAYS["door"] in str(ended.error)
    _, _, content = post(server, "/v1/responses", {**responses("door"), "stream": True})
    name = json.loads(content.split(b"data: ")[1].split(b"\n")[0])["response"]["id"]
    status, kept = get(server, f"/v1/responses/{name}")
    assert (status, json.loads(kept)["status"]) == (200, "failed")
    with pytest.raises(openai.BadRequestError, match="is failed"):
        client.responses.create(model="one", input="Go on.", previous_response_id=name)


@pytest.mark.parametrize("broken", SAYS)
def test_what_anthropics_client_sees(server: Running, broken: str) -> None:
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    turns: Any = [{"role": "user", "content": said(broken)}]
    ask: dict[str, Any] = {"model": "one", "max_tokens": 9, "messages": turns, **messages(broken)}
    with pytest.raises(anthropic.InternalServerError, match=SAYS[broken]):
        client.messages.create(**ask)
    with pytest.raises(anthropic.APIStatusError, match=SAYS[broken]), client.messages.stream(**ask) as stream:
        stream.get_final_message()


def test_what_ollamas_client_sees(server: Running) -> None:
    client = ollama.Client(server.url)
    turns = [{"role": "user", "content": "Hi"}]
    asked: Any = {"format": SCHEMA}
    with pytest.raises(ollama.ResponseError, match=SAYS["format"]):
        client.chat("one", turns, **asked)
    with pytest.raises(ollama.ResponseError, match=SAYS["format"]):
        list(client.chat("one", turns, stream=True, **asked))
    with pytest.raises(ollama.ResponseError, match=SAYS["format"]):
        client.generate("one", "Hi", **asked)
    with pytest.raises(ollama.ResponseError, match=SAYS["format"]):
        list(client.generate("one", "Hi", stream=True, **asked))


def test_one_of_several_answers(server: Running) -> None:
    sent = body("call", n=2, **chat("none"))
    assert post(server, "/v1/chat/completions", sent)[0] == 502
    _, _, content = post(server, "/v1/chat/completions", {**sent, "stream": True})
    assert b'data: {"error":{' in content
    assert b"[DONE]" not in content
