"""OpenAI's own client against the server."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from llamaforge import LlamaForge
from support.serving import Running, Scripted, Serve

ASK = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def say(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"one", "two", "toy"} <= set(names)
    assert client.models.retrieve("one").id == "one"
    with pytest.raises(openai.NotFoundError, match="There is no model 'three'"):
        client.models.retrieve("three")


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="one", messages=say("Hi"))
    assert answer.choices[0].message.content == "Hello wörld one"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 2


def test_stream(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="one", messages=say("Hi"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello wörld one"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_every_parameter_arrives(client: openai.OpenAI) -> None:
    client.chat.completions.create(
        model="one",
        messages=say("Hi"),
        max_completion_tokens=5,
        temperature=0.5,
        top_p=0.9,
        stop=["a", "b"],
        seed=3,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logit_bias={"3": 1},
        logprobs=True,
        top_logprobs=2,
        user="somebody",
        extra_body={"top_k": 7, "min_p": 0.1, "repetition_penalty": 1.2},
    )
    asked = Scripted.asked[-1]
    assert (asked.max_tokens, asked.temperature, asked.top_p, asked.stop, asked.seed) == (5, 0.5, 0.9, ("a", "b"), 3)
    assert (asked.presence_penalty, asked.frequency_penalty, asked.logit_bias) == (0.1, 0.2, {3: 1.0})
    assert (asked.logprobs, asked.top_logprobs) == (True, 2)
    assert (asked.top_k, asked.min_p, asked.repetition_penalty) == (7, 0.1, 1.2)
    client.chat.completions.create(model="one", messages=say("Hi"), response_format={"type": "json_object"})
    assert Scripted.asked[-1].response_format == {"type": "json_object"}


def test_what_means_nothing_is_told(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="one",
        messages=say("Hi"),
        extra_body={"flavour": "mint", "stream_options": {"include_usage": True, "include_smell": True}},
    )
    assert raw.headers["llamaforge-ignored"] == "stream_options.include_smell, flavour"


def test_several_answers(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="one", messages=say("Hi"), n=3, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert sorted(asked.seed or 0 for asked in Scripted.asked) == [5, 6, 7]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 9)
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(model="one", messages=say("Hi"), n=3, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == ["Hello wörld one"] * 3


def test_tool_calls(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    answer = client.chat.completions.create(model="one", messages=say("call"), tools=[tool])
    assert answer.choices[0].finish_reason == "tool_calls"
    call: Any = (answer.choices[0].message.tool_calls or [])[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Oslo"})
    after: Any = [
        *say("call"),
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    client.chat.completions.create(model="one", messages=after, tools=[tool], tool_choice="required")
    turns = Scripted.asked[-1].messages
    assert [turn.role for turn in turns] == ["user", "assistant", "tool"]
    assert turns[1].tool_calls[0].id == turns[2].tool_call_id == call.id
    streamed = list(client.chat.completions.create(model="one", messages=say("call"), tools=[tool], stream=True))
    calls = [one for chunk in streamed for one in chunk.choices[0].delta.tool_calls or []]
    assert [(one.index, one.id) for one in calls] == [(0, "call_1"), (0, None)]
    assert "".join((one.function and one.function.arguments) or "" for one in calls) == '{"city":"Oslo"}'


def test_reasoning(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="one", messages=say("reason"))
    assert answer.choices[0].message.model_extra == {"reasoning_content": "Let me see. "}
    assert answer.choices[0].message.content == "Hello wörld one"


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="one", prompt="Once", max_tokens=9)
    assert answer.choices[0].text == "Hello wörld one"
    assert (Scripted.asked[-1].prompt, Scripted.asked[-1].raw, Scripted.asked[-1].max_tokens) == ("Once", True, 9)
    pieces = client.completions.create(model="one", prompt="Once", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == "Hello wörld one"


def test_several_prompts(client: openai.OpenAI) -> None:
    """Each prompt has its answers in a row, and counts once."""
    one, other = "Once upon a time", "Twice"
    alone = [client.completions.create(model="toy", prompt=each, max_tokens=4, n=2, seed=3) for each in (one, other)]
    asked: dict[str, Any] = {"model": "toy", "prompt": [one, other], "max_tokens": 4, "n": 2, "seed": 3}
    answer = client.completions.create(**asked)
    texts = [choice.text for each in alone for choice in each.choices]
    assert [choice.text for choice in answer.choices] == texts
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    read = [each.usage.prompt_tokens for each in alone if each.usage]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(read)
    pieces: dict[int, str] = {}
    for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            pieces[choice.index] = pieces.get(choice.index, "") + choice.text
        usage = chunk.usage
    assert [pieces[index] for index in range(4)] == texts
    assert usage is not None
    assert usage.prompt_tokens == sum(read)
    for wrong in ([], [[1, 2]], ["a"] * 200, [1]):
        with pytest.raises(openai.BadRequestError, match="prompt must be a text, or a list of 1 to 128 texts"):
            client.completions.create(model="toy", prompt=wrong)


def test_one_request_never_fills_the_queue(forge: LlamaForge, serve: Serve) -> None:
    """However many answers it wants, it has no more under way than the model takes."""
    forge.add_model("narrow", "echo", "echo", {"n_parallel": 1, "max_queue": 0, "delay": 0.01})
    with serve() as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        asked: dict[str, Any] = {"model": "narrow", "prompt": ["one", "two", "three"], "n": 2}
        texts = [text for text in ("one", "two", "three") for _ in range(2)]
        assert [choice.text for choice in client.completions.create(**asked).choices] == texts
        pieces: dict[int, str] = {}
        for chunk in client.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                pieces[choice.index] = pieces.get(choice.index, "") + choice.text
        assert [pieces[index] for index in range(6)] == texts


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"temperature": -1}, openai.BadRequestError, "temperature must be a number of at least 0"),
        ({"n": 0}, openai.BadRequestError, "n must be from 1 to 16"),
        ({"model": "three"}, openai.NotFoundError, "There is no model 'three'"),
        ({"model": "hf:some/model"}, openai.NotFoundError, "There is no model"),
        ({"messages": "Hi"}, openai.BadRequestError, "messages must be a list"),
        ({"messages": [{"role": "nobody", "content": "Hi"}]}, openai.BadRequestError, "role"),
        ({"model": "broken"}, openai.InternalServerError, "no such weights"),
        ({"messages": [{"role": "user", "content": "long " * 200}], "model": "toy"}, openai.BadRequestError, "context"),
    ],
)
def test_errors(client: openai.OpenAI, wrong: dict[str, Any], kind: type[Exception], message: str) -> None:
    asked: dict[str, Any] = {"model": "one", "messages": say("Hi"), **wrong}
    for stream in (False, True):
        with pytest.raises(kind, match=message) as caught:
            list(client.chat.completions.create(**asked, stream=stream))
        assert caught.value.status_code in (400, 404, 503)  # type: ignore[attr-defined]


def test_a_failure_amid_a_stream_is_no_success(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="The engine has failed"):
        list(client.chat.completions.create(model="one", messages=say("fail"), stream=True))
    with pytest.raises(openai.InternalServerError, match="The engine has failed"):
        client.chat.completions.create(model="one", messages=say("fail"))


def test_a_real_distribution(client: openai.OpenAI) -> None:
    """The toy honours all that it is asked for, so seeds and log-probabilities can be compared."""
    ask: dict[str, Any] = {"model": "toy", "messages": say("fog"), "max_tokens": 8, "seed": 1}
    first, again = (client.chat.completions.create(**ask, logprobs=True, top_logprobs=3) for _ in range(2))
    assert first.choices[0].message.content == again.choices[0].message.content
    logprobs = first.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 8
    assert all(len(token.top_logprobs) == 3 for token in logprobs.content)
    other = client.chat.completions.create(**ask | {"seed": 2})
    assert other.choices[0].message.content != first.choices[0].message.content


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_the_reasoning_of_earlier_turns(name: str, client: openai.OpenAI) -> None:
    turn: Any = {"role": "assistant", "content": "Hello", name: "hm"}
    said: Any = [{"role": "user", "content": "Hi"}, turn, {"role": "user", "content": "So?"}]
    client.chat.completions.create(model="one", messages=said)
    assert Scripted.asked[-1].messages[1].reasoning_content == "hm"
