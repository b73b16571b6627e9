"""Ollama's own client against the server."""

from __future__ import annotations

import math
from typing import Any

import ollama
import pytest

from forge_serve.asked import seconds_of
from forge_serve.errors import Problem
from support.serving import Running, Scripted, until


@pytest.fixture
def client(server: Running) -> ollama.Client:
    return ollama.Client(server.url)


def say(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_chat(client: ollama.Client) -> None:
    options = {"temperature": 0.5, "num_predict": 7, "repeat_penalty": 1.2, "stop": ["x"], "seed": -1, "mirostat": 1}
    answer = client.chat("one", say("Hi"), options=options)
    assert (answer.message.content, answer.done_reason) == ("Hello wörld one", "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (7, 3)
    assert (answer.total_duration or 0) > 0
    asked = Scripted.asked[-1]
    assert (asked.temperature, asked.max_tokens, asked.repetition_penalty, asked.stop) == (0.5, 7, 1.2, ("x",))
    pieces = [piece.message.content for piece in client.chat("one", say("Hi"), stream=True)]
    assert "".join(piece or "" for piece in pieces) == "Hello wörld one"


def test_generate(client: ollama.Client) -> None:
    assert client.generate("one", "Hi", system="Be brief.").response == "Hello wörld one"
    assert [turn.role for turn in Scripted.asked[-1].messages] == ["system", "user"]
    assert client.generate("one", "Hi", raw=True).response == "Hello wörld one"
    assert Scripted.asked[-1].raw
    assert client.generate("one", "Hi", format={"type": "object"}).response
    assert (Scripted.asked[-1].response_format or {})["type"] == "json_schema"


def test_tools_and_thinking(client: ollama.Client) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    answer = client.chat("one", say("call"), tools=[tool])
    assert answer.message.tool_calls is not None
    assert answer.message.tool_calls[0].function.arguments == {"city": "Oslo"}
    streamed = [
        call for piece in client.chat("one", say("call"), stream=True) for call in piece.message.tool_calls or ()
    ]
    assert [call.function.arguments for call in streamed] == [{"city": "Oslo"}]
    assert client.chat("one", say("reason")).message.thinking == "Let me see. "


def test_lists(client: ollama.Client) -> None:
    assert {"one", "two"} <= {model.model for model in client.list().models}
    client.chat("one", say("Hi"))
    assert [model.model for model in client.ps().models] == ["one"]
    assert client.show("one").capabilities
    assert client.chat("one:latest", say("Hi")).message.content


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"model": "three"}, "There is no model"),
        ({"model": "echo", "options": {"num_ctx": 4096}}, "loaded with 64"),
        ({"options": {"top_p": 5}}, "top_p must be"),
        ({"options": {"num_ctx": "much"}}, "num_ctx must be"),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": 5}]}, "tool_calls"),
        ({"messages": [{"role": "user", "content": "Hi", "images": ["aGk="]}]}, "images"),
    ],
)
def test_errors(client: ollama.Client, ask: dict[str, Any], message: str) -> None:
    with pytest.raises((ollama.ResponseError, ValueError), match=message):
        client.chat(**{"model": "one", "messages": say("Hi"), **ask})


def test_a_failure_amid_a_stream(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="The engine has failed"):
        list(client.chat("one", say("fail"), stream=True))


def test_what_is_asked_of_memory(client: ollama.Client, server: Running) -> None:
    client.chat("echo", messages=[{"role": "user", "content": "Hi"}], options={"num_ctx": 64})
    assert "echo" in [model.model for model in client.ps().models]
    client.chat("echo", messages=[{"role": "user", "content": "Hi"}], keep_alive="5m")
    expires = next(model.expires_at for model in client.ps().models if model.model == "echo")
    assert expires is not None
    assert expires.year < 9999
    client.chat("echo", messages=[{"role": "user", "content": "Hi"}], keep_alive=0)
    until(lambda: not client.ps().models)
    with pytest.raises(ollama.ResponseError, match="keep_alive"):
        client.chat("echo", messages=[{"role": "user", "content": "Hi"}], keep_alive="soon")


def test_a_time_beyond_all_dates(client: ollama.Client) -> None:
    client.chat("echo", messages=say("Hi"), keep_alive=10.0**30)
    (running,) = client.ps().models
    assert running.expires_at is not None
    assert running.expires_at.year == 9999


def test_thinking_and_logprobs(client: ollama.Client) -> None:
    answer = client.chat(
        "one", messages=[{"role": "user", "content": "Hi"}], think="low", logprobs=True, top_logprobs=2
    )
    assert answer.message.thinking == "Let me see. "
    asked = Scripted.asked[-1]
    assert (asked.reasoning_effort, asked.logprobs, asked.top_logprobs) == ("low", True, 2)
    client.generate("one", "Hi", think=False)
    assert Scripted.asked[-1].reasoning_effort == "none"


def test_thinking_of_earlier_turns(client: ollama.Client) -> None:
    turn = ollama.Message(role="assistant", content="Hello", thinking="hm")
    client.chat("one", [ollama.Message(role="user", content="Hi"), turn, ollama.Message(role="user", content="So?")])
    assert Scripted.asked[-1].messages[1].reasoning_content == "hm"


def test_without_a_prompt_a_model_is_loaded_or_let_go(client: ollama.Client) -> None:
    assert client.generate("one").done_reason == "load"
    assert [model.model for model in client.ps().models] == ["one"]
    assert client.generate("one", keep_alive=0).done_reason == "unload"  # as `ollama stop` does it
    until(lambda: not client.ps().models)
    assert client.chat("one", []).done_reason == "load"


@pytest.mark.parametrize(("said", "seconds"), [(None, None), (0, 0.0), ("5m", 300.0), (" 1.5 h", 5400.0), (2.5, 2.5)])
def test_how_long_a_model_is_kept(said: object, seconds: float | None) -> None:
    assert seconds_of(said) == seconds


def test_for_ever_is_below_zero_or_beyond_all_numbers() -> None:
    assert [seconds_of(said) for said in (-1, "-1s", 10**400, -(10**400), "9" * 400)] == [math.inf] * 5


@pytest.mark.parametrize("said", ["soon", "5 weeks", True, [], float("nan")])
def test_what_is_no_time_to_keep_a_model(said: object) -> None:
    with pytest.raises(Problem, match="keep_alive must be"):
        seconds_of(said)
