"""What a body can't say is refused: what it is, in whose name, and what to do instead."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest

from forge_openai import OpenAIConfig
from forge_openai.config import ServerKind
from forge_openai.endpoint import Endpoint, find_endpoints
from forge_openai.request.body import build, check_engine_options
from forge_openai.request.constraints import constraint_fields
from forge_openai.request.fields import SET_BY_US, is_taken
from forge_openai.request.reasoning import effort_fields
from llamaforge.errors import ConflictingParametersError, InvalidParameterError, UnsupportedError
from llamaforge.parameters import ALIASES, NAMES
from llamaforge.requests import GenerationRequest, read_request

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object"}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "description": "An x."}}
GBNF = 'root ::= "a"'
ADDRESS = "http://127.0.0.1:1/v1"


def request(messages: Any = None, **given: Any) -> GenerationRequest:
    return read_request(None if messages else "Hi", messages, given)


def settings(**given: Any) -> tuple[Endpoint, OpenAIConfig]:
    config = OpenAIConfig.read({"api_key": "sk-1", "api_base": ADDRESS, **given})
    return find_endpoints(config, "m", {})[0], config


def body(wanted: GenerationRequest, *backend: str, **given: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(build(wanted, "m", *settings(**given), *backend)[1])
    return made


def refusal(wanted: GenerationRequest, **given: Any) -> UnsupportedError:
    """Its words are complete, and it names the backend that refuses."""
    with pytest.raises(UnsupportedError) as caught:
        body(wanted, "proxy", **given)
    error = caught.value
    assert (error.backend, str(error).startswith("The backend 'proxy' does not support ")) == ("proxy", True)
    return error


RAW: list[tuple[str, dict[str, Any]]] = [
    ("tools", {"tools": [TOOL]}),
    ("tools, tool_choice", {"tools": [TOOL], "tool_choice": "auto"}),
    ("tools, parallel_tool_calls", {"tools": [TOOL], "parallel_tool_calls": False}),
    ("reasoning_effort", {"reasoning_effort": "low"}),
    ("chat_template_kwargs", {"chat_template_kwargs": {"a": 1}}),
    ("max_reasoning_tokens", {"max_reasoning_tokens": 5}),
]


@pytest.mark.parametrize(("names", "given"), RAW)
def test_what_the_completions_endpoint_lacks(names: str, given: dict[str, Any]) -> None:
    error = refusal(request(raw=True, **given))
    assert error.feature == f"{names} with raw=True"
    assert str(error).endswith(". The completions endpoint doesn't support it.")


@pytest.mark.parametrize("kind", get_args(ServerKind))
def test_a_format_of_raw_text_where_the_server_has_a_field_for_it(kind: str) -> None:
    wanted = request(raw=True, response_format=FORMAT)
    if kind in ("openai", "tgi"):
        error = refusal(wanted, constraints=kind)
        assert error.feature == "response_format with raw=True"
        assert str(error).endswith(". The completions endpoint has none.")
        assert body(request(raw=True), constraints=kind)["prompt"] == "Hi"
    else:
        fields = body(wanted, constraints=kind)
        assert fields["prompt"] == "Hi"
        assert fields.get("response_format") == (None if kind == "llama-server" else FORMAT)
        assert fields.get("json_schema") == (SCHEMA if kind == "llama-server" else None)


def test_a_last_turn_of_the_assistant() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}]
    error = refusal(request(turns))
    assert error.feature == "a conversation that ends with the assistant"
    assert str(error).endswith(
        " OpenAI's API would start a new answer. If this server can continue one, set the load parameter prefill."
    )
    assert "continue_final_message" not in body(request(turns), prefill="native")
    assert "continue_final_message" not in body(request(), prefill="continue_final_message")


def test_it_is_openai_that_refuses_where_nobody_says_who() -> None:
    with pytest.raises(UnsupportedError) as caught:
        body(request(raw=True, reasoning_effort="low"))
    assert caught.value.backend == "openai"


@pytest.mark.parametrize(("kind", "wanted"), [("openai", "regex"), ("openai", "choice"), ("llama-server", "regex")])
def test_a_format_without_a_name(kind: str, wanted: str) -> None:
    form = {"type": wanted, wanted: "a.c" if wanted == "regex" else ["a"]}
    error = refusal(request(response_format=form), constraints=kind)
    assert error.feature == f"response_format of the type {wanted!r}"
    assert str(error).endswith(". This server has no name for it.")


def fields_of(kind: Any, field: str | None = None, **given: Any) -> dict[str, Any]:
    return constraint_fields(request(**given), kind, field, "proxy")


@pytest.mark.parametrize("kind", get_args(ServerKind))
def test_nothing_to_say(kind: Any) -> None:
    assert fields_of(kind) == fields_of(kind, "field") == fields_of(kind, response_format={"type": "text"}) == {}


def test_formats_in_every_servers_words() -> None:
    whole = {"response_format": FORMAT}
    any_object = {"type": "json_object"}
    assert fields_of("openai", response_format=FORMAT) == fields_of("vllm", response_format=FORMAT) == whole
    for kind in ("openai", "vllm"):
        assert fields_of(kind, response_format=any_object) == {"response_format": any_object}
    assert fields_of("tgi", response_format=any_object) == {"response_format": {"type": "json", "value": SCHEMA}}
    choice = {"type": "choice", "choice": ["é", "b"]}
    for form in (FORMAT, any_object, choice, {"type": "regex", "regex": "a.c"}):
        assert fields_of("llamaforge", response_format=form) == {"response_format": form}
    assert fields_of("llama-server", response_format=choice) == {"grammar": 'root ::= "é" | "b"'}


def test_grammars_in_every_servers_words() -> None:
    assert fields_of("vllm", grammar=GBNF) == {"structured_outputs": {"grammar": GBNF}}
    lark = 'start: "a"'
    for kind in ("openai", "vllm", "tgi"):
        for text in (GBNF, lark):
            assert fields_of(kind, "field", grammar=text) == {"field": text}
    assert fields_of("llama-server", "field", grammar=GBNF) == {"field": GBNF}
    error = refusal(request(grammar=lark), constraints="llama-server", extensions=["grammar"])
    assert error.feature == "a grammar in Lark"
    assert str(error).endswith(". llama.cpp's server reads GBNF: root ::= ...")
    for kind in ("openai", "llama-server", "tgi"):
        error = refusal(request(grammar=GBNF), constraints=kind)
        assert (error.feature, str(error)[-9:]) == ("the parameter grammar", " grammar.")


def test_an_effort_and_a_switch_that_contradict_each_other() -> None:
    for switch in ("enable_thinking", "thinking"):
        for effort, value in (("none", True), ("low", False), ("high", "yes")):
            wanted = request(reasoning_effort=effort, chat_template_kwargs={switch: value})
            with pytest.raises(ConflictingParametersError) as caught:
                effort_fields(wanted, "vllm")
            names = ["reasoning_effort", f"chat_template_kwargs[{switch!r}]"]
            assert caught.value.names == names
            assert str(caught.value) == f"{names[0]} and {names[1]} contradict each other."
            assert effort_fields(wanted, "openai") == {
                "reasoning_effort": effort,
                "chat_template_kwargs": {switch: value},
            }


def test_variables_of_the_template_beside_an_effort() -> None:
    variables = {"thinking": False, "docs": ["a"]}
    assert effort_fields(request(chat_template_kwargs=variables), "vllm") == {"chat_template_kwargs": variables}
    assert effort_fields(request(reasoning_effort="none", chat_template_kwargs=variables), "vllm") == {
        "reasoning_effort": "none",
        "chat_template_kwargs": {**variables, "enable_thinking": False},
    }
    assert effort_fields(request(), "vllm") == {}


def test_fields_that_have_a_meaning_already() -> None:
    assert SET_BY_US.keys() > {"model", "messages", "stream", "stream_options", "n", "functions", "function_call"}
    for name in (*SET_BY_US, *NAMES, *ALIASES):
        assert is_taken(name)
    assert not is_taken("service_tier")


@pytest.mark.parametrize("field", SET_BY_US)
def test_an_engine_option_is_refused_in_these_words(field: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        check_engine_options({"fine": 1, field: 1}, frozenset(), {})
    error = caught.value
    assert (error.name, error.value, error.expected) == (f"engine[{field!r}]", None, "left out")
    assert str(error) == f"engine can't contain {field!r}: {SET_BY_US[field]}."
    assert re.fullmatch("[a-z_() ]+", SET_BY_US[field]), "the end of a sentence"


def test_an_engine_option_that_is_a_parameter() -> None:
    def said(field: str, honoured: frozenset[str] = frozenset(), **extensions: str) -> str:
        with pytest.raises(InvalidParameterError) as caught:
            check_engine_options({field: 1}, honoured, extensions)
        return str(caught.value)

    instead = "pass the parameter repetition_penalty instead"
    load = ", and load the model with extensions=['repetition_penalty']"
    for field in ("repetition_penalty", "repeat_penalty"):
        assert said(field) == f"engine can't contain {field!r}: {instead}{load}."
        assert said(field, frozenset({"repetition_penalty"})) == f"engine can't contain {field!r}: {instead}."
    assert said("rp", repetition_penalty="rp") == f"engine can't contain 'rp': {instead}."
    check_engine_options({"service_tier": "flex"}, frozenset(), {"top_k": "k"})


def test_what_is_no_json_is_named() -> None:
    for value in (object(), float("inf"), "\ud800"):
        with pytest.raises(InvalidParameterError) as caught:
            check_engine_options({"fine": "é", "odd": value}, frozenset(), {})
        assert (caught.value.name, caught.value.value, caught.value.expected) == ("odd", None, "JSON")
        assert str(caught.value).startswith("odd can't be sent as JSON: ")
