"""What the server gets: every honoured parameter is in the body exactly, and nothing that was not asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from forge_openai import OpenAIBackend, OpenAIConfig
from forge_openai.endpoint import find_endpoints
from forge_openai.plugin import SPEC
from forge_openai.request.body import build
from llamaforge.errors import (
    EmptyPromptError,
    InvalidAnswerError,
    InvalidParameterError,
    UnknownParameterError,
    UnsupportedError,
)
from llamaforge.parameters import NAMES, UNIVERSAL
from llamaforge.requests import read_request
from llamaforge.secrets import Secret
from support.scripted import ScriptedServer, stream_reply

Load = Callable[..., OpenAIBackend]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
ALWAYS = {
    "model": "m-1",
    "messages": [{"role": "user", "content": "Hi"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
RAW_REPLY = stream_reply({"choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}]})

HONOURED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({"max_tokens": 7}, {"max_tokens": 7}),
    "temperature": ({"temperature": 0}, {"temperature": 0.0}),
    "top_p": ({"top_p": 0.25}, {"top_p": 0.25}),
    "stop": ({"stop": "x"}, {"stop": ["x"]}),
    "seed": ({"seed": 0}, {"seed": 0}),
    "presence_penalty": ({"presence_penalty": -1}, {"presence_penalty": -1.0}),
    "frequency_penalty": ({"frequency_penalty": 0.0}, {"frequency_penalty": 0.0}),
    "logit_bias": ({"logit_bias": {42: -100}}, {"logit_bias": {"42": -100.0}}),
    "logprobs": ({"logprobs": True}, {"logprobs": True}),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    "response_format": ({"response_format": SCHEMA}, {"response_format": SCHEMA}),
    "tools": ({"tools": [TOOL]}, {"tools": [TOOL]}),
    "tool_choice": ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL], "tool_choice": "auto"}),
    "parallel_tool_calls": (
        {"tools": [TOOL], "parallel_tool_calls": False},
        {"tools": [TOOL], "parallel_tool_calls": False},
    ),
    "reasoning_effort": ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
}
EXTENSIONS: dict[str, Any] = {
    "top_k": 0,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "grammar": 'root ::= "a"',
    "max_reasoning_tokens": 5,
}


def test_the_tables_cover_every_canonical_name() -> None:
    assert set(HONOURED) == SPEC.capabilities.parameters
    refused = {
        "truncation",
        "chat_template_kwargs",
        "parse_special",
    }  # whoever has the template knows
    assert set(HONOURED) | set(EXTENSIONS) | UNIVERSAL | refused == set(NAMES)


@pytest.mark.parametrize("name", sorted(HONOURED))
def test_an_honoured_parameter_is_in_the_body(name: str, server: ScriptedServer, load: Load) -> None:
    given, expected = HONOURED[name]
    with suppress(InvalidAnswerError):  # the server says the same, whatever was asked for
        load().generate("Hi", given)
    assert server.last.path == "/v1/chat/completions"
    assert server.last.body == {**ALWAYS, **expected}
    assert json.loads(server.last.raw) == server.last.body
    assert type(server.last.body.get(name)) is type(expected[name])


def test_what_is_not_asked_for_is_the_servers_to_choose(server: ScriptedServer, load: Load) -> None:
    result = load().generate("Hi")
    assert server.last.body == ALWAYS
    assert result.parameters == {}


@pytest.mark.parametrize("name", sorted(EXTENSIONS))
def test_other_parameters_are_refused_until_they_are_declared(name: str, server: ScriptedServer, load: Load) -> None:
    with pytest.raises(UnsupportedError, match=name):
        load().generate("Hi", {name: EXTENSIONS[name]})
    assert not server.posted()
    dropped = load().generate("Hi", {name: EXTENSIONS[name], "on_unsupported": "drop"})
    assert dropped.dropped == (name,)
    assert server.last.body == ALWAYS
    backend = load(extensions=[name])
    assert name in backend.capabilities.parameters
    backend.generate("Hi", {name: EXTENSIONS[name]})
    assert server.last.body == {**ALWAYS, name: EXTENSIONS[name]}


def test_an_extension_under_the_servers_own_name(server: ScriptedServer, load: Load) -> None:
    load(extensions={"repetition_penalty": "repeat_penalty"}).generate("Hi", repeat_penalty=1.5)
    assert server.last.body == {**ALWAYS, "repeat_penalty": 1.5}


def test_unloading_forgets_extensions(load: Load) -> None:
    backend = load(extensions=["top_k"])
    backend.unload_model()
    assert "top_k" not in backend.capabilities.parameters


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_field_of_max_tokens(field: Any, server: ScriptedServer, load: Load) -> None:
    load(max_tokens_field=field).generate("Hi", max_tokens=5)
    assert server.last.body == {**ALWAYS, field: 5}


def test_usage_can_be_left_unasked_for(server: ScriptedServer, load: Load) -> None:
    load(include_usage=False).generate("Hi")
    assert "stream_options" not in server.last.body


def test_top_logprobs_0_is_not_sent(server: ScriptedServer, load: Load) -> None:
    load().generate("Hi", logprobs=True, top_logprobs=0)
    assert server.last.body == {**ALWAYS, "logprobs": True}


def test_raw_goes_to_completions_as_it_stands(server: ScriptedServer, load: Load) -> None:
    server.on("POST", "/completions", RAW_REPLY)
    backend = load(max_tokens_field="max_completion_tokens", extensions=["top_k"])
    assert (
        backend.generate(" <|im_start|> \n", raw=True, max_tokens=3, logprobs=True, top_k=4, stop=["a", "b"]) == "Hello"
    )
    assert server.last.path == "/v1/completions"
    assert server.last.body == {
        "model": "m-1",
        "prompt": " <|im_start|> \n",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 3,
        "logprobs": 1,
        "top_k": 4,
        "stop": ["a", "b"],
    }
    backend.generate("x", raw=True, logprobs=True, top_logprobs=5)
    assert server.last.body["logprobs"] == 5
    backend.generate("x", raw=True, logprobs=False)
    assert "logprobs" not in server.last.body


@pytest.mark.parametrize("given", [{"tools": [TOOL]}, {"response_format": SCHEMA}])
def test_raw_has_no_chat_parameters(given: dict[str, Any], server: ScriptedServer, load: Load) -> None:
    with pytest.raises(UnsupportedError, match="raw=True"):
        load().generate("x", given, raw=True)
    assert not server.posted()


def test_messages_arrive_whole(server: ScriptedServer, load: Load) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind. 😀"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "See"}, image("https://host/cat.png")]},
        {"role": "assistant", "content": None, "tool_calls": [call("c1")]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    ]
    load().chat(messages, tools=[TOOL])
    assert server.last.body["messages"] == messages
    assert "😀".encode() in server.last.raw, "text is sent as UTF-8, not as escapes of three times its length"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def call(ident: str) -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": "f", "arguments": "{}"}}


PREFILL = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}]


def test_a_last_turn_of_the_assistant_is_refused_unless_the_server_continues_it(
    server: ScriptedServer, load: Load
) -> None:
    with pytest.raises(UnsupportedError, match="prefill"):
        load().chat(PREFILL)
    assert not server.posted()
    load(prefill="native").chat(PREFILL)
    assert server.last.body == {**ALWAYS, "messages": PREFILL}
    load(prefill="continue_final_message").chat(PREFILL)
    flags = {"add_generation_prompt": False, "continue_final_message": True}
    assert server.last.body == {**ALWAYS, "messages": PREFILL, **flags}


def test_engine_options_are_fields_of_the_body(server: ScriptedServer, load: Load) -> None:
    options = {"service_tier": "flex", "metadata": {"a": [1, None]}, "cache_prompt": False}
    load().generate("Hi", engine=options)
    assert server.last.body == {**ALWAYS, **options}


@pytest.mark.parametrize(
    ("field", "advice"),
    [
        ("model", "sends the loaded model"),
        ("messages", "chat"),
        ("stream", "always streams"),
        ("stream_options", "include_usage"),
        ("n", "one answer"),
        ("prompt", "generate"),
        ("max_completion_tokens", "the parameter max_tokens"),
        ("functions", "the parameter tools"),
        ("temperature", "the parameter temperature"),
        ("max_new_tokens", "the parameter max_tokens"),
        ("top_k", r"extensions=\['top_k'\]"),
        ("repeat_penalty", r"repetition_penalty.*extensions"),
    ],
)
def test_an_engine_option_that_has_a_meaning_already(
    field: str, advice: str, server: ScriptedServer, load: Load
) -> None:
    with pytest.raises(InvalidParameterError, match=advice) as caught:
        load().generate("Hi", engine={field: 1})
    assert caught.value.name == f"engine[{field!r}]"
    assert not server.posted()


def test_the_field_of_an_extension_is_taken_too(load: Load) -> None:
    with pytest.raises(InvalidParameterError, match="the parameter grammar"):
        load(extensions={"grammar": "guided_grammar"}).generate("Hi", engine={"guided_grammar": "x"})


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, "\ud800"])
def test_what_json_cannot_hold_is_refused(value: object, server: ScriptedServer, load: Load) -> None:
    with pytest.raises(InvalidParameterError, match="JSON") as caught:
        load().generate("Hi", engine={"fine": 1, "odd": value})
    assert caught.value.name == "odd"
    assert not server.posted()


def test_half_a_surrogate_pair_in_the_prompt(server: ScriptedServer, load: Load) -> None:
    with pytest.raises(InvalidParameterError, match="messages"):
        load().generate("\ud800")
    assert not server.posted()


def test_errors_come_before_the_first_piece_is_asked_for(load: Load) -> None:
    with pytest.raises(UnknownParameterError):
        load().generate_stream("Hi", {"temprature": 1})
    with pytest.raises(UnsupportedError):
        load().chat_stream(PREFILL)


def test_an_empty_prompt(server: ScriptedServer, load: Load) -> None:
    with pytest.raises(EmptyPromptError):
        load().generate("  ")
    assert not server.posted()


def test_render_says_why_not(load: Load) -> None:
    with pytest.raises(UnsupportedError, match="server"):
        load().render("Hi")
    assert load().render("Hi", parameters={"raw": True}) == "Hi"


def test_headers(server: ScriptedServer, load: Load) -> None:
    load(organization="org-1", project="proj-1", headers={"X-Team": "blue"}).generate("Hi")
    sent = server.last.headers
    assert sent["authorization"] == "Bearer sk-scripted"
    assert (sent["openai-organization"], sent["openai-project"], sent["x-team"]) == ("org-1", "proj-1", "blue")
    assert sent["content-type"] == "application/json"


def test_the_credentials_of_a_url_are_sent_as_basic_authorization(server: ScriptedServer, load: Load) -> None:
    base = server.url.replace("http://", "http://me:pass@")
    load(api_key=None, api_base=base).generate("Hi")
    assert server.last.headers["authorization"] == "Basic bWU6cGFzcw=="


def test_without_a_key_a_placeholder_is_sent(server: ScriptedServer, load: Load) -> None:
    load(api_key=None).generate("Hi")
    assert server.last.headers["authorization"] == "Bearer not-needed"


def test_the_sdks_message_can_be_sent_again(server: ScriptedServer, load: Load) -> None:
    from openai.types.chat import ChatCompletionMessage

    said = ChatCompletionMessage(role="assistant", content="Two a day.").model_dump()
    load().chat([{"role": "user", "content": "Tides?"}, said, {"role": "user", "content": "When?"}])
    assert server.last.body["messages"][1] == {"role": "assistant", "content": "Two a day."}


SWITCHED = {"enable_thinking": False, "thinking": False}


def test_the_effort_of_reasoning_in_vllms_words(server: ScriptedServer, load: Load) -> None:
    """Its templates have a switch, or read an effort; they ignore what they don't read."""
    backend = load(constraints="vllm")
    backend.generate("Hi", reasoning_effort="none")
    assert server.last.body == {**ALWAYS, "reasoning_effort": "none", "chat_template_kwargs": SWITCHED}
    backend.generate("Hi", reasoning_effort="low")
    on = {"enable_thinking": True, "thinking": True}
    assert server.last.body == {**ALWAYS, "reasoning_effort": "low", "chat_template_kwargs": on}


THOUGHT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello", "reasoning": "hm"},
    {"role": "user", "content": "So?"},
]


@pytest.mark.parametrize(
    ("kind", "names"),
    [("openai", {"reasoning_content"}), ("vllm", {"reasoning_content", "reasoning"})],
)
def test_the_reasoning_of_earlier_turns(kind: Any, names: set[str], server: ScriptedServer, load: Load) -> None:
    load(constraints=kind).chat(THOUGHT)
    assert server.last.body["messages"][1] == {
        "role": "assistant",
        "content": "Hello",
        **dict.fromkeys(names, "hm"),
    }


def test_openai_itself_takes_no_reasoning() -> None:
    config = OpenAIConfig(api_key=Secret("sk"))
    (endpoint,) = find_endpoints(config, "m", {})
    _, body = build(read_request(None, THOUGHT), "m", endpoint, config)
    assert json.loads(body)["messages"][1] == {"role": "assistant", "content": "Hello"}
