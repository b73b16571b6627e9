"""OpenAI's Responses, by OpenAI's own client."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import openai
import pytest

from forge_serve.store import Kept, Store
from llamaforge.batch_files.bodies import answer_body
from support.serving import Running, Scripted, Serve, body, get, post, until

TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "Of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
SHAPE: Any = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def turns() -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in Scripted.asked[-1].messages]


def test_a_text(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model="one", input="Hi", instructions="Be brief.", max_output_tokens=9, temperature=0.5, metadata={"a": "b"}
    )
    assert answer.output_text == "Hello wörld one"
    assert (answer.status, answer.instructions, answer.temperature) == ("completed", "Be brief.", 0.5)
    assert answer.metadata == {"a": "b"}
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert answer.usage.input_tokens_details.cached_tokens == 2
    assert turns() == [("system", "Be brief."), ("user", "Hi")]
    assert Scripted.asked[-1].max_tokens == 9


def test_items_of_all_kinds(client: openai.OpenAI) -> None:
    items: Any = [
        {"role": "developer", "content": "Rules."},
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "sun"}]},
    ]  # fmt: skip
    raw = client.responses.with_raw_response.create(
        model="one",
        input=items,
        tools=[TOOL],
        top_logprobs=2,
        text={"verbosity": "low"},
        extra_body={"reasoning": {"summary": "auto", "mood": "calm"}},
    )
    named = "input[2], text.verbosity, reasoning.mood, top_logprobs"
    assert raw.headers["llamaforge-ignored"] == named
    assert turns() == [
        ("developer", "Rules."),
        ("user", "Weather?"),
        ("assistant", "I look."),
        ("tool", "rain"),
        ("tool", "sun"),
    ]
    assert Scripted.asked[-1].messages[2].reasoning_content == "hm"
    calls = Scripted.asked[-1].messages[2].tool_calls
    assert [(call.id, call.function.arguments) for call in calls] == [
        ("c1", '{"city":"Oslo"}'),
        ("c2", '{"city":"Rome"}'),
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"input": "Hi", "instructions": "Be brief.", "max_output_tokens": 9, "top_k": 3, "metadata": {"a": "b"}},
        {"input": "Hi", "instructions": "", "text": {"format": {"type": "json_object"}}},
        {"input": "Hi", "prompt_cache_retention": "24h", "safety_identifier": "me"},
        {"input": "reason", "reasoning": {"effort": "low", "summary": "auto"}},
        {"input": "reason", "include": ["message.output_text.logprobs"], "top_logprobs": 2, "user": "me"},
        {
            "input": [
                {"role": "user", "content": "Weather?"},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
                {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "sun"}]},
                {"role": "user", "content": [{"type": "input_text", "text": "And?"}]},
            ],
            "tools": [{**TOOL, "description": None}, {**TOOL, "name": "other"}],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"name": "weather"}]},
            "parallel_tool_calls": False,
        },
        {"input": "call", "tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}},
        {"input": "Hi", "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "background": None},
        {"input": [{"role": "user", "content": "Hi", "name": "x"}], "text": {"format": {**SHAPE, "description": None}}},
    ],
)
def test_a_request_means_the_same_in_a_batch(server: Running, asked: dict[str, Any]) -> None:
    asked = {"seed": 1, **asked}
    status, _, told = post(server, "/v1/responses", {"model": "one", **asked})
    assert status == 200, told
    served, backend = Scripted.asked[-1], Scripted()
    backend.load_model("one")
    in_batch = answer_body(backend, "/v1/responses", asked, "one", {}, lambda stream: stream.read())
    assert Scripted.asked[-1] == served
    assert _without_ids(in_batch) == _without_ids({**json.loads(told), "store": False})


def _without_ids(response: Any) -> Any:
    if isinstance(response, list):
        return [_without_ids(each) for each in response]
    if isinstance(response, dict):
        own = ("id", "created_at", "completed_at")
        return {name: _without_ids(value) for name, value in response.items() if name not in own}
    return response


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"max_output_tokens": 5, "max_tokens": 6}, "max_output_tokens"),
        ({"text": {"format": SHAPE}, "response_format": {"type": "text"}}, "text.format"),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning.effort"),
    ],
)
def test_what_is_said_twice_must_agree(server: Running, asked: dict[str, Any], named: str) -> None:
    status, _, told = post(server, "/v1/responses", {"model": "one", "input": "Hi", **asked})
    assert status == 400, told
    assert named in json.loads(told)["error"]["message"]


def test_an_error_names_its_own_item(client: openai.OpenAI) -> None:
    first = client.responses.create(model="one", input="Hi")
    wrong: Any = [{"role": "user", "content": "And?"}, {"type": "web_search_call"}]
    with pytest.raises(openai.BadRequestError, match=r"input\[1\]"):
        client.responses.create(model="one", input=wrong, previous_response_id=first.id)


def test_calls_and_the_conversation_that_goes_on(client: openai.OpenAI) -> None:
    first = client.responses.create(model="one", input="call", tools=[TOOL], tool_choice="required")
    call: Any = next(item for item in first.output if item.type == "function_call")
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Oslo"})
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = client.responses.create(model="one", input=output, tools=[TOOL], previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert turns() == [("user", "call"), ("assistant", "Hello wörld one"), ("tool", "sunny")]
    third = client.responses.create(model="one", input="And?", previous_response_id=second.id)
    assert turns()[2:] == [("tool", "sunny"), ("assistant", "Hello wörld one"), ("user", "And?")]
    listed = client.responses.input_items.list(third.id, order="asc")
    assert [item.type for item in listed] == ["message"]


def test_schemas_tools_and_reasoning_reach_the_model(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}
    answer = client.responses.create(model="one", input="Hi", text={"format": form}, reasoning={"effort": "low"})
    asked = Scripted.asked[-1]
    assert asked.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True},
    }
    assert asked.reasoning_effort == "low"
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert json.loads(answer.output_text) == {"a": 1}
    named: Any = {"type": "function", "name": "weather"}
    client.responses.create(model="one", input="call", tools=[TOOL], tool_choice=named, parallel_tool_calls=False)
    assert Scripted.asked[-1].tool_choice == {"type": "function", "function": {"name": "weather"}}
    assert Scripted.asked[-1].parallel_tool_calls is False
    allowed: Any = {"type": "allowed_tools", "mode": "required", "tools": [named]}
    other = {**TOOL, "name": "other"}
    client.responses.create(model="one", input="call", tools=[TOOL, other], tool_choice=allowed)
    asked = Scripted.asked[-1]
    assert asked.tools is not None
    assert ([tool["function"]["name"] for tool in asked.tools], asked.tool_choice) == (["weather"], "required")
    client.responses.create(
        model="one", input="Hi", include=["message.output_text.logprobs"], top_logprobs=2, extra_body={"top_k": 3}
    )
    asked = Scripted.asked[-1]
    assert (asked.logprobs, asked.top_logprobs, asked.top_k) == (True, 2, 3)


def test_a_provider_s_own_tools_are_left_out_and_told(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "web_search"}, TOOL, {"type": "namespace", "name": "n", "tools": []}]
    raw = client.responses.with_raw_response.create(model="one", input="Hi", tools=tools)
    assert raw.headers["llamaforge-ignored"] == "tools[0], tools[2]"
    assert [tool.name for tool in raw.parse().tools] == ["weather"]  # type: ignore[union-attr]


@pytest.mark.parametrize("summary", [None, "auto"])
def test_events_in_order(client: openai.OpenAI, summary: Any) -> None:
    kinds, numbers, text, thought, arguments = [], [], "", "", ""
    reasoning: Any = {"effort": "low", "summary": summary}
    stream = client.responses.create(model="one", input="call", tools=[TOOL], reasoning=reasoning, stream=True)
    final: Any = None
    for event in stream:
        kinds.append(event.type)
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            text += event.delta
        elif event.type in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
            thought += event.delta
        elif event.type == "response.function_call_arguments.delta":
            arguments += event.delta
        elif event.type == "response.completed":
            final = event.response
    assert numbers == list(range(len(kinds)))
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    for kind in ("output_item", "content_part"):
        assert kinds.count(f"response.{kind}.added") == kinds.count(f"response.{kind}.done")
    assert (text, thought, arguments) == ("Hello wörld one", "Let me see. ", '{"city":"Oslo"}')
    assert [item.type for item in final.output] == ["reasoning", "function_call", "message"]
    assert final.output_text == text
    whole = client.responses.create(model="one", input="call", tools=[TOOL], reasoning=reasoning)
    assert sorted(item.type for item in whole.output) == sorted(item.type for item in final.output)
    assert client.responses.retrieve(final.id).output_text == text


def test_a_failure_amid_a_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="The engine has failed"):
        for _ in client.responses.create(model="one", input="fail", stream=True):
            pass


def test_retrieve_delete(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="one", input="Hi")
    assert client.responses.retrieve(answer.id).output_text == answer.output_text
    client.responses.delete(answer.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    with pytest.raises(openai.NotFoundError, match="never stored"):
        client.responses.create(model="one", input="And?", previous_response_id=answer.id)
    forgotten = client.responses.create(model="one", input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(forgotten.id)
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(client.responses.create(model="one", input="Hi").id)


def test_input_items_come_in_pages(client: openai.OpenAI) -> None:
    items: Any = [{"role": "user", "content": f"{number}"} for number in range(5)]
    answer = client.responses.create(model="one", input=items)
    pages = client.responses.input_items.list(answer.id, limit=2, order="asc")
    assert [item.content[0].text for item in pages] == ["0", "1", "2", "3", "4"]  # type: ignore[union-attr]
    newest: Any = next(iter(client.responses.input_items.list(answer.id)))
    assert newest.content[0].text == "4"


def test_in_the_background(client: openai.OpenAI) -> None:
    begun = client.responses.create(model="one", input="Hi", background=True)
    assert begun.status == "in_progress"
    until(lambda: client.responses.retrieve(begun.id).status == "completed")
    assert client.responses.retrieve(begun.id).output_text == "Hello wörld one"
    endless = client.responses.create(model="one", input="wait", background=True)
    assert Scripted.begun.wait(20)
    assert client.responses.cancel(endless.id).status == "cancelled"
    assert Scripted.cancelled.wait(20)
    failing = client.responses.create(model="one", input="fail", background=True)
    until(lambda: client.responses.retrieve(failing.id).status == "failed")
    assert client.responses.retrieve(failing.id).error.message == "The engine has failed."  # type: ignore[union-attr]


def test_the_store_is_bounded(serve: Serve) -> None:
    with serve(store_size=20_000) as server:
        ask = {"model": "one", "input": "x" * 1000}
        names = [json.loads(post(server, "/v1/responses", ask)[2])["id"] for _ in range(30)]
        kept = [get(server, f"/v1/responses/{name}")[0] for name in names]
        assert 0 < kept.count(200) < 20
        assert kept == sorted(kept, reverse=True)  # the oldest went first


def test_the_store_takes_what_it_counts() -> None:
    """Log-probabilities as objects take ten times what they do as JSON."""
    tokens = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []} for _ in range(2000)]
    content = msgspec.json.encode([{"type": "message", "content": [{"text": "a" * 2000, "logprobs": tokens}]}])
    store = Store(len(content) * 50)
    tracemalloc.start()
    try:
        for number in range(100):
            store.put(Kept({"id": f"resp_{number}", "output": msgspec.json.decode(content)}, [], []))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 40 < len(store) < 50
    assert taken < store.limit * 1.2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"input": None}, "input must be"),
        ({"input": []}, "input must be"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"type": "web_search_call"}]}, "web_search_call"),
        ({"input": [{"role": "tool", "content": "x"}]}, "role"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True, "stream": True}, "background"),
        ({"text": {"format": {"type": "xml"}}}, "xml"),
        ({"tool_choice": {"type": "web_search"}}, "web_search"),
        ({"tool_choice": {"type": "allowed_tools", "tools": 5}}, "tools must be a list"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"max_output_tokens": 0}, "max_tokens"),
    ],
)
def test_mistakes(server: Running, wrong: dict[str, Any], said: str) -> None:
    status, _, told = post(server, "/v1/responses", {"model": "one", "input": "Hi", **wrong})
    assert status == 400, told
    assert said in json.loads(told)["error"]["message"]


def test_paths_that_are_not_there(server: Running) -> None:
    assert post(server, "/v1/responses/compact", body())[0] == 404
    assert get(server, "/v1/responses/resp_0")[0] == 404
