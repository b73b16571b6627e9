"""Requests: names, types, ranges, aliases, contradictions; each refused before any work."""

from __future__ import annotations

import numbers
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.errors import (
    ConflictingParametersError,
    EmptyPromptError,
    InvalidParameterError,
    RequestError,
    UnknownParameterError,
)
from llamaforge.messages import Message, read_messages
from llamaforge.parameters import ALIASES, DEFAULTS, NAMES
from llamaforge.requests import Defaults, merge_parameters, read_request, resolve_request


def test_aliases_mean_the_canonical_name() -> None:
    request = read_request("hi", None, {"max_new_tokens": 5, "repeat_penalty": 1.1, "stop": "x"})
    assert (request.max_tokens, request.repetition_penalty, request.stop) == (5, 1.1, ("x",))


def test_do_sample_false_is_greedy() -> None:
    assert read_request("hi", None, {"do_sample": False}).temperature == 0
    assert read_request("hi", None, {"do_sample": True, "temperature": 0.7}).temperature == 0.7
    assert read_request("hi", None, {"do_sample": False, "temperature": 0}).temperature == 0


def test_two_names_of_one_value_are_fine() -> None:
    assert read_request("hi", None, {"max_tokens": 5, "max_new_tokens": 5}).max_tokens == 5


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_tokens": 4, "max_new_tokens": 5},
        {"do_sample": False, "temperature": 1.0},
        {"do_sample": True, "temperature": 0},
        {"top_logprobs": 3},
        {"response_format": {"type": "json_object"}, "grammar": "root ::= 'a'"},
        {"response_format": {"type": "json_object"}, "stop": ["x"]},
        {"grammar": 'start: "a"', "stop": ["x"]},
        {"tool_choice": "auto"},
    ],
)
def test_contradictions_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ConflictingParametersError) as caught:
        read_request("hi", None, parameters)
    assert len(caught.value.names) == 2


def test_an_unknown_name_is_refused_with_the_closest() -> None:
    with pytest.raises(UnknownParameterError) as caught:
        read_request("hi", None, {"temprature": 1})
    assert caught.value.suggestions[0] == "temperature"
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"temperature": "warm"}, "a number of at least 0"),
        ({"temperature": -0.1}, "a number of at least 0"),
        ({"temperature": float("nan")}, "a finite number"),
        ({"temperature": float("inf")}, "a finite number"),
        ({"top_p": 0}, "a number above 0 and at most 1"),
        ({"top_p": 1.01}, "a number above 0 and at most 1"),
        ({"min_p": 2}, "a number from 0 to 1"),
        ({"top_k": 1.5}, "a whole number of at least 0"),
        ({"max_tokens": True}, "a whole number of at least 1"),
        ({"max_tokens": 0}, "a whole number of at least 1"),
        ({"seed": 2**32}, "a whole number from 0 to 4294967295"),
        ({"stop": [""]}, "a non-empty string, or a list of them"),
        ({"stop": ""}, "a non-empty string, or a list of them"),
        ({"stop": 3}, "a non-empty string, or a list of them"),
        ({"logit_bias": {"x": 1}}, "a mapping from whole numbers to numbers from -100 to 100"),
        ({"repetition_penalty": 0}, "a number above 0"),
        ({"on_unsupported": "ignore"}, "one of 'drop', 'error'"),
        ({"do_sample": "yes"}, "true or false"),
    ],
)
def test_wrong_values_are_refused_with_what_they_must_be(parameters: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        read_request("hi", None, parameters)
    assert caught.value.expected == expected
    assert caught.value.name == next(iter(parameters))


@given(st.dictionaries(st.sampled_from([*NAMES, *ALIASES, "do_sample", "x"]), st.none() | st.integers() | st.text()))
def test_any_parameters_are_read_or_refused_with_a_typed_error(parameters: dict[str, Any]) -> None:
    try:
        request = read_request("hi", None, parameters)
    except RequestError:
        return
    assert read_request("hi", None, request.parameters()).parameters() == request.parameters()


def test_json_keys_of_logit_bias_are_token_ids() -> None:
    assert read_request("hi", None, {"logit_bias": {"42": -100}}).logit_bias == {42: -100.0}


@pytest.mark.parametrize("prompt", ["", "  \n", None, 3, b"bytes"])
def test_a_prompt_that_is_none_is_refused(prompt: Any) -> None:
    with pytest.raises((EmptyPromptError, InvalidParameterError)):
        read_request(prompt)


def test_raw_takes_white_space_but_not_nothing() -> None:
    assert read_request(" ", None, {"raw": True}).prompt == " "
    with pytest.raises(EmptyPromptError):
        read_request("", None, {"raw": True})


@pytest.mark.parametrize(
    "messages",
    [
        "hello",
        {"role": "user", "content": "hello"},
        [{"role": "nobody", "content": "hello"}],
        [{"role": "user", "contents": "hello"}],
        [{"content": "hello"}],
        ["hello"],
    ],
)
def test_malformed_messages_are_refused(messages: Any) -> None:
    with pytest.raises(InvalidParameterError, match="messages"):
        read_request(None, messages)


CALL = "{'id': '1', 'type': 'function', 'function': {'name': 'f', 'arguments': '{}'}}"
PARTS = "{'type': 'text', 'text': ...} nor {'type': 'image_url', 'image_url': {'url': ...}}"
ROLES = "the roles are system, developer, user, assistant and tool"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"role": "usr", "content": "x"}, f"has the role 'usr'; {ROLES}."),
        ({"role": ["user"], "content": "x"}, f"has the role ['user']; {ROLES}."),
        ({"content": "x"}, f"has no role; {ROLES}."),
        ("hello", "must be a mapping such as {'role': 'user', 'content': 'Hello'}, not str."),
        ({"role": "user", "contents": "x"}, "has the unknown field 'contents'; did you mean 'content'?"),
        (
            {"role": "user", "content": "x", "mood": "good"},
            (
                "has the unknown field 'mood'; "
                "the fields are role, content, reasoning_content, name, tool_calls and tool_call_id."
            ),
        ),
        ({"role": "user", "content": 3}, "has content that is neither a string nor a list of parts, but int."),
        (
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "audio"}]},
            f"has content whose part 1 (type 'audio') is neither {PARTS}.",
        ),
        ({"role": "user", "content": ["x"]}, f"has content whose part 0 is neither {PARTS}."),
        ({"role": "user", "content": "x", "name": 3}, "has a name that is not a string."),
        (
            {"role": "assistant", "tool_calls": [{"id": 1}]},
            f"has tool_calls that are not a list of calls such as {CALL}.",
        ),
    ],
)
def test_what_is_wrong_with_a_message_is_said_in_words(message: Any, says: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        read_request(None, [{"role": "user", "content": "x"}, message])
    assert str(caught.value) == f"messages[1] {says}"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"prompt": b"x"}, "prompt must be a string, not bytes."),
        ({"prompt": [{"role": "user"}]}, "prompt must be a string, not list. Pass a conversation to chat()."),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "prompt and messages can't be used together"),
        ({"messages": 3}, "messages must be a list of messages such as .*, not int."),
        ({"prompt": "x", "parameters": {"top_logprobs": 2}}, "^top_logprobs needs logprobs=True.$"),
        ({"prompt": "x", "parameters": {"tool_choice": "auto"}}, "^tool_choice needs tools.$"),
        (
            {"prompt": "x", "parameters": {"chat_template_kwargs": {"messages": []}}},
            "^chat_template_kwargs can't contain 'messages': LlamaForge sets it itself.$",
        ),
        (
            {"prompt": "x", "parameters": {"chat_template_kwargs": {"add_generation_prompt": True}}},
            "^chat_template_kwargs can't contain 'add_generation_prompt': it follows from whose turn is last.$",
        ),
        ({"prompt": "x", "parameters": {"top_k": "x" * 1000}}, "^top_k must be a whole number .{,150}$"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_words(request_: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        read_request(**request_)


def test_messages_survive_a_round_trip() -> None:
    plain = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    messages = read_messages(plain)
    assert messages[1].text == "ab"
    assert read_messages([message.to_dict() for message in messages]) == messages
    assert messages[2].tool_calls[0].function.name == "f"
    assert messages[2].to_dict()["tool_calls"][0]["type"] == "function"


def test_a_message_as_an_api_gave_it_out_can_be_sent_again() -> None:
    """With every field of an answer, null or empty where it says nothing."""
    nothing = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
    (said,) = read_messages([{"role": "assistant", "content": "Two a day.", **nothing}])
    assert said == Message(role="assistant", content="Two a day.")
    (refused,) = read_messages([{"role": "assistant", "content": None, **nothing, "refusal": "I can't."}])
    assert refused.text == "I can't."
    (parts,) = read_messages([{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}])
    assert parts.text == "No."
    for odd in ({"annotations": [1]}, {"audio": {"id": "a"}}, {"content": "x", "refusal": "y"}):
        with pytest.raises(InvalidParameterError, match="messages"):
            read_messages([{"role": "assistant", **odd}])
    with pytest.raises(InvalidParameterError, match="messages"):
        read_messages([{"role": "user", "refusal": "No."}])


def test_prompt_and_messages_together_are_refused() -> None:
    with pytest.raises(ConflictingParametersError):
        read_request("hi", [Message(role="user", content="hi")])
    with pytest.raises(ConflictingParametersError):
        read_request(None, [Message(role="user", content="hi")], {"raw": True})
    with pytest.raises(EmptyPromptError):
        read_request(None, [])


def test_defaults_fill_only_what_is_not_set() -> None:
    supported = frozenset({*DEFAULTS, "seed"})
    request = resolve_request("hi", None, {"temperature": 0.5}, backend="b", supported=supported).request
    assert request.temperature == 0.5
    assert request.top_p == 1.0
    assert request.seed is not None
    greedy = resolve_request("hi", None, {"temperature": 0}, backend="b", supported=supported).request
    assert greedy.seed is None


def test_the_caller_goes_before_the_named_model_and_that_before_the_model_s_own_and_core() -> None:
    request, dropped, _ = resolve_request(
        "hi",
        None,
        {"temperature": 0.1, "min_p": 0.5},
        backend="b",
        supported=frozenset({*DEFAULTS, "seed"}) - {"min_p"},
        named=Defaults.read({"temperature": 0.2, "top_p": 0.2, "on_unsupported": "drop"}, "here"),
        model={"temperature": 0.3, "top_p": 0.3, "top_k": 3, "seed": 3},
    )
    assert (request.temperature, request.top_p, request.top_k, request.seed) == (0.1, 0.2, 3, 3)
    assert request.repetition_penalty == 1.0
    assert dropped == ("min_p",)
    assert request.min_p is None


@pytest.mark.parametrize("wrong", [{"min_p": 2.0}, {"min_p": "x"}])
def test_a_wrong_value_is_an_error_even_where_it_would_be_dropped(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="min_p"):
        resolve_request(
            "hi", None, {**wrong, "on_unsupported": "drop"}, backend="b", supported=frozenset({"temperature"})
        )


class _Text(str):
    """A subclass, as an answer that was returned is one."""


class _Half(numbers.Real):
    """A number that is no float, as numpy's float32 is none."""

    def __float__(self) -> float:
        return 0.5


for _name in _Half.__abstractmethods__ - {"__float__"}:
    setattr(_Half, _name, None)
_Half.__abstractmethods__ = frozenset()


def test_what_behaves_like_text_or_a_number_is_taken_for_one() -> None:
    request = read_request(_Text("hi"), None, {"temperature": _Half(), "stop": _Text("x"), "logprobs": True})
    assert (type(request.prompt), type((request.stop or ("",))[0])) == (str, str)
    assert request.temperature == 0.5
    turns = read_request(
        None, [{"role": _Text("user"), "content": _Text("hi")}, Message(role="user", content=_Text("a"))]
    )
    assert {type(turn.content) for turn in turns.messages} == {str}


def test_merging_refuses_two_values_of_one_name() -> None:
    assert merge_parameters({"seed": 1}, {"top_p": 0.5}) == {"seed": 1, "top_p": 0.5}
    with pytest.raises(ConflictingParametersError):
        merge_parameters({"seed": 1}, {"seed": 2})
