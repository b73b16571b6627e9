"""Against a real server: llama.cpp's own, with the real model."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from llamaforge.backends import get_backend
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    ContextOverflowError,
    GenerationTimeoutError,
    ModelNotFoundError,
    ServerError,
)
from llamaforge.results import Finished, ReasoningDelta, TextDelta, ToolCallDelta
from support.servers import LiveServer

QUESTION = "What is the capital of France? Answer in one word."
GREEDY = {"temperature": 0, "max_tokens": 24}
STORY = "Write a long story about a dog."


def parameters(server: LiveServer, **more: Any) -> dict[str, Any]:
    return {"api_key": server.api_key, "api_base": server.base_url, **more}


@pytest.fixture(scope="module")
def live(openai_server: LiveServer) -> Iterator[OpenAIBackend]:
    with get_backend("openai")() as backend:
        backend.load_model(openai_server.model, parameters(openai_server))
        yield backend


def served(server: LiveServer) -> dict[str, Any]:
    """The sampling settings of the request that a slot is at work on, as the server itself states them."""
    for _ in range(1000):
        busy = [slot for slot in server.call("/slots") if slot["is_processing"]]
        if busy:
            settings: dict[str, Any] = busy[0]["params"]
            return settings
        time.sleep(0.01)
    raise AssertionError("no slot is at work")


def test_generate(live: OpenAIBackend) -> None:
    result = live.generate("What is the capital of France?", max_tokens=24, temperature=0.0)
    assert result.strip()
    assert result.usage is not None
    assert result.usage.prompt_tokens > 20, "the chat template is part of the prompt"
    assert 1 <= result.usage.completion_tokens <= 24
    assert result.timings.first_token is not None
    assert result.timings.total is not None
    assert 0 < result.timings.first_token <= result.timings.total


def test_what_the_readme_says_of_control_tokens_holds(live: OpenAIBackend) -> None:
    """The server reads them in a message, as one token each; the one that ends the answer is not in the text."""

    def prompt_tokens(text: str) -> int:
        usage = live.chat([{"role": "user", "content": text}], max_tokens=1).usage
        assert usage is not None
        return usage.prompt_tokens

    assert prompt_tokens("Hi" + "<|im_end|>" * 20) - prompt_tokens("Hi") == 20
    answer = live.generate(QUESTION, max_tokens=64, temperature=0, stop=["<|im_end|>"])
    assert (answer.finish_reason, answer.stop) == ("stop", None)
    assert "<|im_end|>" not in answer


def test_a_developer_is_who_the_template_says(live: OpenAIBackend) -> None:
    conversation = [{"role": "developer", "content": "Answer in one word."}, {"role": "user", "content": QUESTION}]
    assert live.chat(conversation, GREEDY).strip()


def test_a_stream_joined_is_the_whole(live: OpenAIBackend) -> None:
    whole = live.generate(QUESTION, GREEDY)
    stream = live.generate_stream(QUESTION, GREEDY)
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == whole
    assert stream.result.finish_reason == whole.finish_reason
    assert stream.result.usage is not None
    assert whole.usage is not None
    assert stream.result.usage.completion_tokens == whole.usage.completion_tokens


def test_length_and_stop(live: OpenAIBackend) -> None:
    cut = live.generate(STORY, temperature=0, max_tokens=5)
    assert cut.finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 5
    whole = live.generate(STORY, temperature=0, max_tokens=40)
    word = whole.split()[8]
    stopped = live.generate(STORY, temperature=0, max_tokens=40, stop=[word])
    assert stopped.finish_reason == "stop"
    assert stopped == whole[: whole.index(word)]


def test_chat(live: OpenAIBackend, openai_server: LiveServer) -> None:
    messages = [
        {"role": "system", "content": "You answer with one word."},
        {"role": "user", "content": "My name is Ann."},
        {"role": "assistant", "content": "Hello Ann!"},
        {"role": "user", "content": "What is my name?"},
    ]
    rendered = openai_server.call("/apply-template", {"messages": messages})["prompt"]
    assert live.chat(messages, GREEDY) == live.generate(rendered, GREEDY, raw=True), "every turn has arrived, in order"
    prompt = live.generate(QUESTION, GREEDY)
    assert prompt == live.chat([{"role": "user", "content": QUESTION}], GREEDY), "a prompt is one user turn"


def test_raw_is_untouched(live: OpenAIBackend) -> None:
    result = live.generate("The capital of France is", temperature=0, max_tokens=4, raw=True)
    assert result.startswith(" Paris")
    assert result.usage is not None
    assert result.usage.prompt_tokens == 5


def test_prefill(openai_server: LiveServer) -> None:
    with OpenAIBackend() as backend:
        backend.load_model(openai_server.model, parameters(openai_server, prefill="native"))
        messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "The capital of France is"}]
        result = backend.chat(messages, GREEDY)
        assert result.startswith(" Paris"), "the continuation alone"


def test_a_seed_repeats(live: OpenAIBackend) -> None:
    fixed = {"temperature": 1.0, "max_tokens": 10}
    first, second, other = (live.generate(STORY, fixed, seed=seed) for seed in (7, 7, 8))
    assert first == second
    assert first != other


def test_logprobs(live: OpenAIBackend) -> None:
    for raw in (False, True):
        result = live.generate("Paris", raw=raw, temperature=0, max_tokens=4, logprobs=True, top_logprobs=3)
        assert len(result.logprobs) == 4
        assert "".join(token.token for token in result.logprobs) == result
        for token in result.logprobs:
            assert len(token.top) == 3
            assert token.top[0].token == token.token, "greedy takes the best"
            assert token.logprob == pytest.approx(token.top[0].logprob)
            assert token.top[0].logprob >= token.top[1].logprob >= token.top[2].logprob
            assert token.token_id is not None
        for more in ({}, {"top_logprobs": 0}):
            few = live.generate("Paris", more, raw=raw, temperature=0, max_tokens=4, logprobs=True).logprobs
            assert [(token.token, token.top) for token in few] == [(token.token, ()) for token in result.logprobs]


def test_logit_bias(live: OpenAIBackend, openai_server: LiveServer) -> None:
    (token,) = openai_server.call("/tokenize", {"content": " banana"})["tokens"]
    assert live.generate(QUESTION, temperature=0, max_tokens=3, logit_bias={token: 100}) == " banana banana banana"


def test_response_format(live: OpenAIBackend) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "enum": [3]}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    assert json.loads(live.generate("Hi", temperature=0, max_tokens=40, response_format=form)) == {"n": 3}


CITIES = ["Paris", "Rome", "Oslo"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": CITIES}},
            "required": ["city"],
        },
    },
}


def test_tools(live: OpenAIBackend) -> None:
    messages: list[dict[str, Any]] = []
    for number, city in enumerate(CITIES[1:]):
        call = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        messages += [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": "sunny"},
        ]
    messages.append({"role": "user", "content": "What is the weather in Paris?"})
    stream = live.chat_stream(messages, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=60)
    events = list(stream.events())
    pieces = [event for event in events if isinstance(event, ToolCallDelta)]
    assert len(pieces) > 1
    (called,) = stream.result.tool_calls
    assert called.function.name == "get_weather"
    assert json.loads(called.function.arguments) == {"city": "Paris"}
    assert called.id
    assert stream.result.finish_reason == "tool_calls"
    assert "".join(piece.arguments for piece in pieces) == called.function.arguments
    assert isinstance(events[-1], Finished)


def test_what_the_sampler_gets(openai_server: LiveServer) -> None:
    """Every number arrives where it counts: in the settings of the slot that computes."""
    given = {
        "temperature": 0.75,
        "top_p": 0.5,
        "seed": 1234,
        "presence_penalty": 0.25,
        "frequency_penalty": -0.5,
        "max_tokens": 300,
        "top_k": 17,
        "min_p": 0.125,
        "repetition_penalty": 1.25,
    }
    extensions = {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"}
    with OpenAIBackend() as backend:
        backend.load_model(openai_server.model, parameters(openai_server, extensions=extensions))
        with backend.generate_stream(STORY, given) as stream:
            next(stream)
            settings = served(openai_server)
    named = {"repetition_penalty": "repeat_penalty"}
    assert {name: settings[named.get(name, name)] for name in given} == given


def test_extensions_that_change_the_answer(openai_server: LiveServer) -> None:
    with OpenAIBackend() as backend:
        names = {"top_k": "top_k", "min_p": "min_p", "grammar": "grammar"}
        backend.load_model(openai_server.model, parameters(openai_server, extensions=names))
        greedy = backend.generate(STORY, temperature=0, max_tokens=8)
        hot = {"temperature": 2.0, "max_tokens": 8, "seed": 1}
        assert backend.generate(STORY, hot, top_k=1) == greedy
        assert backend.generate(STORY, hot, min_p=1.0) == greedy
        assert backend.generate(STORY, hot) != greedy
        assert backend.generate(QUESTION, max_tokens=8, grammar='root ::= "yes" | "no"') in ("yes", "no")


def test_leaving_a_stream_stops_the_servers_work(live: OpenAIBackend, openai_server: LiveServer) -> None:
    with live.generate_stream(STORY, temperature=0, max_tokens=900, engine={"ignore_eos": True}) as stream:
        for _ in range(3):
            next(stream)
    assert stream.result.finish_reason == "cancelled"
    assert at_rest(openai_server) < 600, "it has stopped long before its 900 tokens"


def test_another_thread_stops_the_servers_work(live: OpenAIBackend, openai_server: LiveServer) -> None:
    stream = live.generate_stream(STORY, temperature=0, max_tokens=900, engine={"ignore_eos": True})
    reader = threading.Thread(target=stream.read)
    reader.start()
    served(openai_server)
    stream.close()
    reader.join(30)
    assert not reader.is_alive()
    assert at_rest(openai_server) < 600


def test_a_deadline_stops_the_servers_work(live: OpenAIBackend, openai_server: LiveServer) -> None:
    with pytest.raises(GenerationTimeoutError) as caught:
        live.generate(STORY, temperature=0, max_tokens=900, timeout=1.5, engine={"ignore_eos": True})
    assert caught.value.text
    assert at_rest(openai_server) < 600


def at_rest(server: LiveServer) -> int:
    """Wait until no slot is at work; the most tokens that one had made when last looked at."""
    made = 0
    for _ in range(3000):
        busy = [slot for slot in server.call("/slots") if slot["is_processing"]]
        if not busy:
            return made
        made = max(made, *(slot["next_token"][0]["n_decoded"] for slot in busy))
        time.sleep(0.01)
    raise AssertionError("the server goes on computing")


def test_eight_threads_at_once(openai_server: LiveServer) -> None:
    def ask(number: int) -> tuple[str, str]:
        stream = backend.generate_stream("Hi", raw=True, max_tokens=12, grammar=f'root ::= "It is {number}."')
        return "".join(stream), stream.result

    with OpenAIBackend() as backend, ThreadPoolExecutor(8) as pool:
        backend.load_model(openai_server.model, parameters(openai_server, extensions=["grammar"]))
        answers = list(pool.map(ask, range(100, 116)))
    assert answers == [(f"It is {number}.",) * 2 for number in range(100, 116)]


def test_the_wrong_key_the_wrong_address_and_the_wrong_model(openai_server: LiveServer) -> None:
    backend = OpenAIBackend()
    sound = parameters(openai_server, max_retries=0)
    with pytest.raises(AuthenticationError) as key:
        backend.load_model(openai_server.model, {**sound, "api_key": "sk-wrong"})
    assert key.value.status == 401
    with pytest.raises(ConnectionFailedError, match="looks wrong"):
        backend.load_model(openai_server.model, {**sound, "api_base": openai_server.base_url + "/nothing"})
    with pytest.raises(ConnectionFailedError):
        backend.load_model(openai_server.model, {**sound, "api_base": "http://127.0.0.1:9/v1"})
    with pytest.raises(ModelNotFoundError) as model:
        backend.load_model("smolm2", sound)
    assert model.value.known == [openai_server.model]
    assert not backend.is_model_loaded()


def test_a_key_that_is_taken_back(openai_server: LiveServer) -> None:
    with OpenAIBackend() as backend:
        wrong = parameters(openai_server, api_key="sk-wrong", check_model=False)
        backend.load_model(openai_server.model, wrong)
        with pytest.raises(AuthenticationError):
            backend.generate("Hi")


@pytest.mark.parametrize("raw", [False, True])
def test_context_overflow_with_both_counts(raw: bool, live: OpenAIBackend, openai_server: LiveServer) -> None:
    with pytest.raises(ContextOverflowError) as caught:
        live.generate("word " * 2000, raw=raw)
    assert caught.value.prompt_tokens is not None
    assert caught.value.prompt_tokens > 2000
    assert caught.value.context_size == openai_server.context
    assert live.generate(QUESTION, GREEDY).strip(), "the next request is answered"


def test_an_image_is_sent_and_refused_by_a_model_that_sees_nothing(live: OpenAIBackend) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    with pytest.raises(ServerError, match="image"):
        live.chat([{"role": "user", "content": parts}])


def test_the_reference_calls(openai_server: LiveServer) -> None:
    from llamaforge.backends.openai_api import OpenAIBackend as Backend

    backend = Backend()
    backend.load_model(
        model_path=openai_server.model,
        parameters={
            "api_key": openai_server.api_key,
            "api_base": openai_server.base_url,
            "organization": "your-org-id",
        },
    )
    response = backend.generate(
        prompt="Explain quantum computing in simple terms",
        parameters={"temperature": 0.7, "max_tokens": 12, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    )
    assert isinstance(response, str)
    assert response.strip()
    chunks = backend.generate_stream(prompt="Explain it", parameters={"temperature": 0.7, "max_tokens": 9})
    assert all(isinstance(chunk, str) for chunk in chunks)
    backend.close()


def test_events_are_of_the_kinds_there_are(live: OpenAIBackend) -> None:
    events = list(live.generate_stream(QUESTION, GREEDY).events())
    assert all(isinstance(event, TextDelta | ReasoningDelta) for event in events[:-1])
    assert isinstance(events[-1], Finished)


async def test_async(live: OpenAIBackend) -> None:
    assert await live.agenerate(QUESTION, GREEDY) == live.generate(QUESTION, GREEDY)


async def test_many_at_once_in_an_event_loop(live: OpenAIBackend) -> None:
    questions = [f"Say the number {number}." for number in range(8)]
    alone = [live.generate(question, GREEDY) for question in questions[:2]]
    together = await asyncio.gather(*[live.agenerate(question, GREEDY) for question in questions])
    assert together[:2] == alone
    assert [answer.usage for answer in together[:2]] == [answer.usage for answer in alone]
    async with live.agenerate_stream(STORY, max_tokens=400) as stream:
        await anext(stream)
    assert stream.result.finish_reason == "cancelled"


def test_stop_strings_of_ours_lose_nothing(openai_server: LiveServer, live: OpenAIBackend) -> None:
    whole = live.generate(STORY, GREEDY, logprobs=True)
    stop = whole[20:26]
    with OpenAIBackend() as backend:
        backend.load_model(openai_server.model, parameters(openai_server, stop_strings="client"))
        cut = backend.generate(STORY, GREEDY, logprobs=True, stop=[stop])
        assert (cut, cut.stop, cut.finish_reason) == (whole[: whole.index(stop)], stop, "stop")
        assert cut.logprobs == whole.logprobs[: len(cut.logprobs)]
        assert cut.usage is not None
        assert cut.usage.estimated
        assert cut.usage.completion_tokens == len(cut.logprobs)
        missed = backend.generate(STORY, GREEDY, logprobs=True, stop=[whole[20:] + "never"])
        assert (missed, missed.logprobs, missed.usage) == (whole, whole.logprobs, whole.usage)
