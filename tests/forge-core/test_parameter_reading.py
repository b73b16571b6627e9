"""What reading parameters gives and refuses, to the letter: found with the mutants of llamaforge.parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llamaforge.errors import ConflictingParametersError, InvalidParameterError, RequestError, UnknownParameterError
from llamaforge.parameters import ALIASES, DEFAULTS, NAMES, UNIVERSAL, canonical, read_parameters, valid_parameters
from llamaforge.requests import Defaults, merge_parameters, read_request, resolve_request
from support.forking import in_child

ALL = frozenset(NAMES)


def resolved(parameters: dict[str, Any] | None = None, **more: Any) -> Any:
    return resolve_request("Hi", None, parameters, **{"backend": "some", "supported": ALL, **more})


def test_cores_defaults_are_the_documented_ones() -> None:
    assert DEFAULTS == {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "stop": (),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "truncation": "disabled",
    }
    assert ALIASES == {"max_new_tokens": "max_tokens", "repeat_penalty": "repetition_penalty"}
    assert {"raw", "timeout", "on_unsupported", "engine"} == UNIVERSAL


@pytest.mark.parametrize("wrong", [5, [], [("top_k", 1)], "top_k", 0, ""])
def test_what_is_no_mapping_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        canonical(wrong)
    error = caught.value
    assert (error.name, error.value, error.expected) == ("parameters", wrong, "a mapping from names to values")


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        canonical({7: 1})  # type: ignore[dict-item]
    assert (caught.value.name, caught.value.value) == ("parameters", 7)
    assert caught.value.expected == "a mapping from names to values"


@pytest.mark.parametrize("nothing", [None, {}])
def test_nothing_is_read_as_nothing(nothing: Any) -> None:
    assert canonical(nothing) == {}


def test_none_hides_no_name_after_it() -> None:
    assert canonical({"top_k": None, "seed": 3}) == {"seed": 3}
    assert canonical({"do_sample": True, "seed": 3}) == {"seed": 3}
    assert canonical({"do_sample": None, "temperature": 0.5}) == {"temperature": 0.5}


@pytest.mark.parametrize(("value", "name"), [("yes", "do_sample"), (1, "do_sample")])
def test_do_sample_is_a_truth_value(value: Any, name: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        canonical({"do_sample": value})
    error = caught.value
    assert (error.name, error.value, error.expected) == (name, value, "true or false")


def test_do_sample_and_temperature() -> None:
    assert canonical({"do_sample": False}) == {"temperature": 0.0}
    assert canonical({"do_sample": True}) == {}
    for given in ({"do_sample": True, "temperature": 0}, {"do_sample": False, "temperature": 0.5}):
        with pytest.raises(ConflictingParametersError) as caught:
            canonical(given)
        assert caught.value.names == ["do_sample", "temperature"]
    assert "temperature is 0.5" in str(caught.value)


@pytest.mark.parametrize("pair", [("max_tokens", "max_new_tokens"), ("repeat_penalty", "repetition_penalty")])
def test_two_names_are_both_named(pair: tuple[str, str]) -> None:
    with pytest.raises(ConflictingParametersError) as caught:
        canonical({"seed": 1, pair[0]: 2, pair[1]: 3})
    assert caught.value.names == list(pair)
    assert canonical({pair[0]: 2, pair[1]: 2}) == {ALIASES.get(pair[0], pair[0]): 2}


@pytest.mark.parametrize("name", ["temperature", "top_p", "timeout", "presence_penalty"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(name: str, value: float) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        canonical({name: value})
    assert (caught.value.name, caught.value.expected) == (name, "a finite number")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"stop": "x"}, {"stop": ("x",)}),
        ({"stop": ["x", "y"]}, {"stop": ("x", "y")}),
        ({"logit_bias": {"42": 1.0}}, {"logit_bias": {42: 1.0}}),
        ({"logit_bias": {42: -1}}, {"logit_bias": {42: -1}}),
        ({"seed": 0}, {"seed": 0}),
    ],
)
def test_values_in_other_forms(given: dict[str, Any], read: dict[str, Any]) -> None:
    parameters = read_parameters(given)
    assert {name: getattr(parameters, name) for name in read} == read


@pytest.mark.parametrize("key", ["x42", "4.2", "-1", ""])
def test_a_bias_is_for_a_number(key: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        read_parameters({"logit_bias": {key: 1.0}})
    assert caught.value.name.startswith("logit_bias")


def test_an_unknown_name_has_every_name_to_be_near() -> None:
    for near, meant in (("do_samples", "do_sample"), ("max_new_token", "max_new_tokens"), ("top_kk", "top_k")):
        with pytest.raises(UnknownParameterError) as caught:
            canonical({near: 1})
        assert caught.value.name == near
        assert meant in caught.value.suggestions


def test_a_recommendation_out_of_range_is_ignored_alone() -> None:
    assert valid_parameters({"temperature": -1, "top_k": 20, "top_p": 0.9}) == {"top_k": 20, "top_p": 0.9}


def test_parameters_by_name_and_as_a_mapping() -> None:
    given = {"top_k": 1}
    assert merge_parameters(given, {}) is given
    assert merge_parameters(None, given) is given
    assert merge_parameters({"seed": 1}, {"seed": 1, "top_k": 2}) == {"seed": 1, "top_k": 2}
    assert merge_parameters(given, {"seed": 3}) == {"top_k": 1, "seed": 3}
    assert given == {"top_k": 1}
    with pytest.raises(ConflictingParametersError) as caught:
        merge_parameters(given, {"top_k": 2})
    assert caught.value.names == ["parameters['top_k']", "top_k"]


def test_a_request_has_cores_defaults_and_a_seed() -> None:
    request = resolved().request
    assert {name: value for name, value in request.parameters().items() if name != "seed"} == DEFAULTS
    assert 0 <= request.seed < 2**32
    assert len({resolved().request.seed for _ in range(20)}) == 20
    assert max(resolved().request.seed for _ in range(64)) >= 2**31


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({"temperature": 0}, {}),
        ({"do_sample": False}, {}),
        ({}, {"server_defaults": True}),
        ({}, {"supported": ALL - {"seed"}}),
        ({}, {"model": {"temperature": 0}}),
    ],
)
def test_where_nothing_is_drawn_there_is_no_seed(given: dict[str, Any], more: dict[str, Any]) -> None:
    assert resolved(given, **more).request.seed is None


def test_a_given_seed_stays() -> None:
    assert resolved({"seed": 7}).request.seed == 7
    assert resolved(model={"seed": 8}).request.seed == 8


def test_a_server_chooses_what_is_not_set() -> None:
    assert resolved({"top_k": 3}, server_defaults=True).request.parameters() == {"top_k": 3}


def test_only_what_is_supported_gets_a_default() -> None:
    request = resolved(supported=frozenset({"top_k", "seed"})).request
    assert set(request.parameters()) == {"top_k", "seed"}


def test_the_caller_wins_over_the_model_and_the_model_over_core() -> None:
    model = {"temperature": 0.6, "top_k": 20}
    outcome = resolved({"top_k": 5}, model=model)
    assert (outcome.request.temperature, outcome.request.top_k) == (0.6, 5)
    assert outcome.own == {"top_k": 5}


def test_sampling_that_is_asked_for_wins_over_a_models_greedy_default() -> None:
    assert resolved({"do_sample": True}, model={"temperature": 0}).request.temperature == 1.0
    assert resolved({"do_sample": True}, model={"temperature": 0.3}).request.temperature == 0.3
    assert resolved({}, model={"temperature": 0}).request.temperature == 0
    assert resolved({"do_sample": False}, model={"temperature": 0.3}).request.temperature == 0


def refused(call: Callable[[], object]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value


def test_what_is_not_supported_is_refused_or_dropped() -> None:
    few = frozenset({"max_tokens"})
    one: Any = refused(lambda: resolved({"top_k": 1, "max_tokens": 2}, supported=few))
    assert (one.feature, one.backend) == ("the parameter top_k", "some")
    assert 'Leave it out, or pass on_unsupported="drop" to ignore it.' in str(one)
    two: Any = refused(lambda: resolved({"top_k": 1, "seed": 2}, supported=few))
    assert two.feature == "the parameters top_k, seed"
    outcome = resolved({"top_k": 1, "max_tokens": 2, "on_unsupported": "drop"}, supported=few)
    assert outcome.dropped == ("top_k",)
    assert outcome.request.parameters() == {"max_tokens": 2, "on_unsupported": "drop"}
    assert resolved({"max_tokens": 2}, supported=few).dropped == ()
    # What is wrong is wrong, even where it would be dropped.
    wrong: Any = refused(lambda: resolved({"top_k": -1, "on_unsupported": "drop"}, supported=few))
    assert wrong.name == "top_k"


def test_universal_parameters_need_no_support() -> None:
    given = {"raw": True, "timeout": 5, "engine": {"a": 1}, "on_unsupported": "error"}
    assert resolved(given, supported=frozenset()).request.parameters() == given


def test_a_models_recommendation_that_contradicts_is_left_out() -> None:
    request = resolved({"grammar": 'root ::= "a"'}, model={"response_format": {"type": "json_object"}}).request
    assert request.response_format is None
    assert request.grammar == 'root ::= "a"'


def test_prompts_and_messages() -> None:
    turn = [{"role": "user", "content": "Hi"}]
    both: Any = refused(lambda: read_request("Hi", turn))
    assert both.names == ["prompt", "messages"]
    raw: Any = refused(lambda: read_request(None, turn, {"raw": True}))
    assert raw.names == ["raw", "messages"]
    for wrong in (None, 5, b"Hi", ["Hi"]):
        error: Any = refused(lambda wrong=wrong: read_request(wrong))
        assert (error.name, error.expected) == ("prompt", "a string")
        assert ("chat()" in str(error)) == isinstance(wrong, list)
        assert type(wrong).__name__ in str(error)
    assert read_request("  ", None, {"raw": True}).prompt == "  "
    assert read_request("Hi").as_messages()[0].role == "user"
    assert read_request(None, turn).as_messages() == read_request(None, turn).messages
    for empty in ("", " \n"):
        assert type(refused(lambda empty=empty: read_request(empty))).__name__ == "EmptyPromptError"
    assert "empty" in str(refused(lambda: read_request(None, [])))
    assert type(refused(lambda: read_request("", None, {"raw": True}))).__name__ == "EmptyPromptError"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"response_format": {"type": "json_object"}, "stop": "x"}, {"response_format", "stop"}),
        ({"grammar": 'start: "a"', "stop": "x"}, {"grammar", "stop"}),
        ({"top_logprobs": 2}, {"top_logprobs", "logprobs"}),
    ],
)
def test_contradictions_are_named(given: dict[str, Any], names: set[str]) -> None:
    error: Any = refused(lambda: read_parameters(given))
    assert set(error.names) == names
    assert "None" not in str(error)


def test_stop_strings_are_bounded() -> None:
    assert len(read_parameters({"stop": ["x" * 8192, "y" * 8192]}).stop or ()) == 2
    error: Any = refused(lambda: read_parameters({"stop": ["x" * 8192, "y" * 8193]}))
    assert str(error) == "stop must be strings of at most 16,384 characters in all."


def test_a_format_of_any_text_leaves_stop_strings_alone() -> None:
    assert read_parameters({"response_format": {"type": "text"}, "stop": "x"}).stop == ("x",)


def named(**values: Any) -> Defaults:
    return Defaults.read(values, "The table [models.some]")


def test_a_named_models_parameters_stand_between_the_caller_and_the_model() -> None:
    request = resolved({"top_k": 5}, named=named(top_k=6, min_p=0.5), model={"min_p": 0.1, "top_p": 0.5}).request
    assert (request.top_k, request.min_p, request.top_p) == (5, 0.5, 0.5)


def test_sampling_that_is_asked_for_wins_over_a_named_models_greedy_default() -> None:
    assert resolved({"do_sample": True}, named=named(temperature=0)).request.temperature == 1.0
    assert resolved({"do_sample": True, "temperature": 0.2}, named=named(temperature=0)).request.temperature == 0.2
    assert resolved({}, named=named(temperature=0)).request.temperature == 0
    assert resolved({}, named=named(do_sample=True), model={"temperature": 0}).request.temperature == 1.0
    assert resolved({}, named=named(top_k=1), model={"temperature": 0}).request.temperature == 0


def test_whose_parameter_is_not_supported_is_said() -> None:
    few = frozenset({"max_tokens"})
    theirs: Any = refused(lambda: resolved({}, supported=few, named=named(top_k=1)))
    assert theirs.feature == "the parameter top_k"
    assert "The table [models.some]" in str(theirs)
    both: Any = refused(lambda: resolved({"seed": 2}, supported=few, named=named(top_k=1)))
    assert both.feature == "the parameter seed"
    assert "The table [models.some]" not in str(both)


OBJECT = {"type": "json_object"}
GRAMMAR = 'start: "a"'
TURN = [{"role": "user", "content": "Hi"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    ("own", "theirs", "models", "left"),
    [
        ({}, {"response_format": OBJECT}, {"grammar": GRAMMAR}, {"response_format": OBJECT}),
        ({}, {"grammar": GRAMMAR}, {"response_format": OBJECT}, {"grammar": GRAMMAR}),
        ({"grammar": GRAMMAR}, {"response_format": OBJECT}, {}, {"grammar": GRAMMAR}),
        ({"response_format": OBJECT}, {"grammar": GRAMMAR}, {"stop": ("x",)}, {"response_format": OBJECT}),
        ({"stop": "x"}, {"grammar": GRAMMAR}, {}, {"stop": ("x",)}),
        ({}, {"stop": "x"}, {"grammar": GRAMMAR}, {"stop": ("x",)}),
        ({}, {}, {"stop": ("x",), "grammar": GRAMMAR}, {}),
    ],
)
def test_of_what_contradicts_the_last_source_yields(
    own: dict[str, Any], theirs: dict[str, Any], models: dict[str, Any], left: dict[str, Any]
) -> None:
    request = resolved(own, named=named(**theirs), model=models, server_defaults=True).request
    assert request.parameters() == left


def test_what_the_caller_contradicts_is_an_error() -> None:
    given = {"grammar": GRAMMAR, "response_format": OBJECT}
    for more in ({}, {"named": named(top_k=3), "model": {"min_p": 0.5}}, {"supported": frozenset({"grammar"})}):
        error: Any = refused(lambda more=more: resolved({**given, "seed": 1}, **more))
        assert error.names == ["response_format", "grammar"]


def test_a_default_that_contradicts_hides_nothing_that_is_not_supported() -> None:
    own = {"response_format": OBJECT, "top_k": 1}
    few = frozenset({"response_format", "grammar"})
    error: Any = refused(lambda: resolved(own, supported=few, named=named(grammar=GRAMMAR)))
    assert error.feature == "the parameter top_k"


def test_turns_that_can_be_read_once_are_read_once() -> None:
    one = resolve_request(None, iter(TURN), None, backend="some", supported=ALL, model={"raw": True})
    assert [message.text for message in one.request.messages] == ["Hi"]
    assert one.request.raw is None


def test_what_a_conversation_asks_for_in_vain_is_said() -> None:
    error: Any = refused(
        lambda: resolve_request(None, TURN, {"top_k": 1}, backend="some", supported=frozenset({"seed"}))
    )
    assert error.feature == "the parameter top_k"


def test_children_of_a_fork_draw_seeds_of_their_own() -> None:
    drawn = {in_child(lambda: resolved().request.seed) for _ in range(2)}
    assert len(drawn) == 2


def test_what_is_dropped_leaves_the_rest() -> None:
    few = frozenset({"max_tokens", "seed", "temperature"})
    theirs = named(top_k=3, min_p=0.5, seed=8)
    outcome = resolved({"top_p": 0.5, "max_tokens": 2, "on_unsupported": "drop"}, supported=few, named=theirs)
    assert set(outcome.dropped) == {"top_k", "min_p", "top_p"}
    expected = {"max_tokens": 2, "seed": 8, "temperature": 1.0, "on_unsupported": "drop"}
    assert outcome.request.parameters() == expected


def test_defaults_are_read_once() -> None:
    defaults = named(max_new_tokens=5, do_sample=True)
    assert (defaults.values, defaults.samples) == ({"max_tokens": 5}, True)
    assert named(top_k=1).samples is False
    assert named(do_sample=False) == Defaults({"temperature": 0.0}, "The table [models.some]", False)
    wrong: Any = refused(lambda: named(top_k=-1))
    assert wrong.name == "top_k"
    assert "The table [models.some]" in str(wrong)
    mapping: Any = refused(lambda: Defaults.read([1], "The table"))  # type: ignore[arg-type]
    assert (mapping.name, "The table" in str(mapping)) == ("parameters", True)


def test_whose_value_is_wrong_is_said() -> None:
    defaults = named(top_k=1)
    for name, own, told in (("top_k", {}, True), ("top_k", {"top_k": 2}, False), ("min_p", {}, False)):
        error = InvalidParameterError(name, 1, "another number")
        defaults.say_where(own, error)
        assert ("The table [models.some]" in str(error)) is told


class Text(str):
    """As an answer is one."""


def test_names_and_values_are_plain_whatever_they_were() -> None:
    given = canonical({Text("top_k"): 3, "grammar": Text("a"), "engine": {Text("x"): Text("y")}, "seed": True})
    assert given == {"top_k": 3, "grammar": "a", "engine": {"x": "y"}, "seed": True}
    assert {type(each) for each in (*given, given["grammar"], *given["engine"], given["engine"]["x"])} == {str}


def test_tools_may_be_functions() -> None:
    def look(place: str) -> str:
        """Look there."""
        return place

    (made,) = canonical({"tools": [look]})["tools"]
    assert (made["type"], made["function"]["name"]) == ("function", "look")
    assert canonical({"tools": TOOLS})["tools"] == tuple(TOOLS) or canonical({"tools": TOOLS})["tools"] == TOOLS


def test_a_wrong_text_or_mapping_is_refused_as_it_is() -> None:
    for name, value in (("stop", ""), ("stop", 5), ("tools", "look"), ("logit_bias", [1]), ("logit_bias", "x")):
        error: Any = refused(lambda name=name, value=value: read_parameters({name: value}))
        assert error.name == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("messages", "LlamaForge sets it itself"),
        ("tools", "pass the parameter tools instead"),
        ("add_generation_prompt", "it follows from whose turn is last"),
    ],
)
def test_variables_that_are_not_the_callers(name: str, why: str) -> None:
    error: Any = refused(lambda: read_parameters({"chat_template_kwargs": {name: 1, "mood": "good"}}))
    assert (error.name, error.value, error.expected) == ("chat_template_kwargs", name, "variables of the chat template")
    assert str(error) == f"chat_template_kwargs can't contain {name!r}: {why}."
    assert read_parameters({"chat_template_kwargs": {"mood": "good"}}).chat_template_kwargs == {"mood": "good"}


@pytest.mark.parametrize(("name", "value"), [("tool_choice", "auto"), ("parallel_tool_calls", False)])
def test_what_needs_tools_says_so(name: str, value: Any) -> None:
    for tools in ({}, {"tools": []}):
        error: Any = refused(lambda tools=tools: read_parameters({name: value, **tools}))
        assert error.names == [name, "tools"]
        assert str(error) == f"{name} needs tools."
    assert getattr(read_parameters({name: value, "tools": TOOLS}), name) == value


@pytest.mark.parametrize(("constraint", "value"), [("response_format", OBJECT), ("grammar", GRAMMAR)])
def test_an_answer_is_a_call_or_has_a_form(constraint: str, value: Any) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        error: Any = refused(
            lambda choice=choice: read_parameters({"tools": TOOLS, "tool_choice": choice, constraint: value})
        )
        assert error.names == [constraint, "tool_choice"]
        assert constraint in str(error)
    for choice in ("auto", "none"):
        assert read_parameters({"tools": TOOLS, "tool_choice": choice, constraint: value}).tool_choice == choice
    free = {"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "text"}}
    assert read_parameters(free).tool_choice == "required"


def test_a_tool_choice_is_checked_with_its_tools() -> None:
    error: Any = refused(lambda: read_parameters({"tools": TOOLS, "tool_choice": "g"}))
    assert error.name == "tool_choice"


def test_a_contradiction_names_what_contradicts() -> None:
    error: Any = refused(lambda: read_parameters({"grammar": GRAMMAR, "stop": "x"}))
    assert error.names == ["grammar", "stop"]
    assert str(error) == "stop can't be used with grammar: a stop string would end the answer before it is complete."
    other: Any = refused(lambda: read_parameters({"response_format": OBJECT, "stop": "x"}))
    assert other.names == ["response_format", "stop"]
    both: Any = refused(lambda: read_parameters({"response_format": {"type": "text"}, "grammar": GRAMMAR}))
    assert both.names == ["response_format", "grammar"]
    logprobs: Any = refused(lambda: read_parameters({"top_logprobs": 2, "logprobs": False}))
    assert (logprobs.names, str(logprobs)) == (["top_logprobs", "logprobs"], "top_logprobs needs logprobs=True.")
    assert read_parameters({"top_logprobs": 0}).top_logprobs == 0


def test_a_checked_request_stays_as_it_is() -> None:
    request = read_request("Hi")
    for checked in (request, read_parameters({})):
        with pytest.raises(AttributeError):
            checked.seed = 1  # type: ignore[misc]
    assert (request.prompt, request.messages, request.parameters()) == ("Hi", (), {})
    assert request.as_messages()[0].content == "Hi"
    assert read_request(None, TURN).prompt is None


def test_parameters_that_are_passed_twice_and_alike_are_fine() -> None:
    assert merge_parameters({"stop": ["x"], "seed": 1}, {"stop": ["x"]}) == {"stop": ["x"], "seed": 1}
    bias = np.float32(0.5)
    assert merge_parameters({"top_p": 0.5}, {"top_p": bias}) == {"top_p": bias}
    numbers = np.array([1, 2])
    assert merge_parameters({"engine": numbers}, {"engine": [1, 2]}) == {"engine": [1, 2]}
    wrong: Any = refused(lambda: merge_parameters([1], {"seed": 1}))  # type: ignore[arg-type]
    assert wrong.name == "parameters"
    other: Any = refused(lambda: merge_parameters({"seed": 1, "top_k": 1}, {"seed": 2}))
    assert other.names == ["parameters['seed']", "seed"]
    assert "seed is passed twice, as parameters['seed'] and as a keyword" in str(other)
    assert merge_parameters({}, {"seed": 1}) == {"seed": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [("strict", "no"), ("strict", 0), ("description", 5), ("parameters", "{}"), ("parameters", False)],
)
def test_a_field_of_a_tool_of_the_wrong_kind_is_refused_by_its_place(field: str, value: Any) -> None:
    tools = [*TOOLS, {"type": "function", "function": {"name": "g", field: value}}]
    error: Any = refused(lambda: read_parameters({"tools": tools}))
    assert error.name == f"tools[1].function.{field}"
