"""The canonical generation parameters: names, types, ranges, defaults, aliases.

:class:`Parameters` defines what every name means on every backend. The order in which the sampling parameters apply is
part of that meaning: logit_bias, penalties, temperature, top_k, top_p, min_p.
"""

from __future__ import annotations

import contextlib
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta

from .errors import ConflictingParametersError, InvalidParameterError, UnknownParameterError
from .functions import Tool, check_tool_choice, read_tools
from .validation import EXPECTED, convert, plain_value

_STOPS = 16_384


class Parameters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Generation parameters. None means that a parameter is not set."""

    max_tokens: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Maximum length of the answer, in tokens. Not set: until the model or the context ends it.",
            ),
        ]
        | None
    ) = None
    temperature: (
        Annotated[
            float,
            Meta(ge=0, description="Divides the logits: lower is more predictable; 0 is greedy. Default 1."),
        ]
        | None
    ) = None
    top_p: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=1,
                description="Keep the smallest set of tokens whose total probability reaches this. Default 1: all.",
            ),
        ]
        | None
    ) = None
    top_k: Annotated[int, Meta(ge=0, description="Keep the k most probable tokens. Default 0: all.")] | None = None
    min_p: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=1,
                description="Keep tokens with at least this fraction of the best token's probability. Default 0.",
            ),
        ]
        | None
    ) = None
    stop: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1)], ...],
            Meta(
                description=f"Strings that end the answer and are not part of it, {_STOPS:,} characters in all.",
                extra={EXPECTED: "a non-empty string, or a list of them"},
            ),
        ]
        | None
    ) = None
    seed: (
        Annotated[
            int,
            Meta(ge=0, le=2**32 - 1, description="The same seed gives the same answer on the same engine and machine."),
        ]
        | None
    ) = None
    presence_penalty: (
        Annotated[
            float,
            Meta(ge=-2, le=2, description="Subtracted from the logit of each token in the answer so far. Default 0."),
        ]
        | None
    ) = None
    frequency_penalty: (
        Annotated[
            float,
            Meta(ge=-2, le=2, description="Subtracted from a token's logit for each occurrence so far. Default 0."),
        ]
        | None
    ) = None
    repetition_penalty: (
        Annotated[
            float,
            Meta(
                gt=0,
                description="Divides logits of tokens in prompt and answer; multiplies negative ones. Default 1: off.",
            ),
        ]
        | None
    ) = None
    logit_bias: (
        Annotated[
            dict[int, Annotated[float, Meta(ge=-100, le=100)]],
            Meta(description="Maps token ids to numbers from -100 to 100 that are added to their logits."),
        ]
        | None
    ) = None
    logprobs: Annotated[bool, Meta(description="Return the log-probability of each token.")] | None = None
    top_logprobs: (
        Annotated[int, Meta(ge=0, le=20, description="Number of alternatives to return for each token.")] | None
    ) = None
    response_format: (
        Annotated[
            dict[str, Any],
            Meta(
                description="Format of the answer: {'type': 'json_schema', 'json_schema': {'schema': {...}}}, or the "
                "type json_object, regex (with 'regex': '...'), choice (with 'choice': [...]) or text. In Python also "
                "a type: a msgspec Struct, a dataclass, a TypedDict, an enum, list[...], a pydantic model."
            ),
        ]
        | None
    ) = None
    grammar: Annotated[str, Meta(description="A grammar that the answer must follow, in Lark or GBNF.")] | None = None
    tools: (
        Annotated[
            tuple[dict[str, Any], ...],
            Meta(description="Functions that the model may call: Python functions, or mappings."),
        ]
        | None
    ) = None
    tool_choice: (
        Annotated[str | dict[str, Any], Meta(description="'auto', 'none', 'required', or the one function to call.")]
        | None
    ) = None
    parallel_tool_calls: (
        Annotated[bool, Meta(description="Whether an answer may hold several tool calls. Default true.")] | None
    ) = None
    reasoning_effort: (
        Annotated[
            Literal["none", "minimal", "low", "medium", "high"],
            Meta(description="How much the model thinks before it answers; 'none' turns that off."),
        ]
        | None
    ) = None
    max_reasoning_tokens: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="Maximum length of the reasoning, in tokens; after it the answer begins. It counts towards "
                "max_tokens.",
            ),
        ]
        | None
    ) = None
    truncation: (
        Annotated[
            Literal["disabled", "auto"],
            Meta(
                description="What to do with a prompt that is too long: 'disabled' refuses it; 'auto' leaves out the "
                "oldest turns, or the beginning of a raw text, and reports how many tokens. Default: disabled."
            ),
        ]
        | None
    ) = None
    chat_template_kwargs: (
        Annotated[
            dict[str, Any],
            Meta(description="Variables for the model's chat template: {'enable_thinking': False}."),
        ]
        | None
    ) = None
    parse_special: (
        Annotated[
            bool,
            Meta(
                description="Read control tokens spelled in messages, such as <|im_end|>, as control tokens. Default "
                "false: as plain text. In a raw prompt they always are control tokens."
            ),
        ]
        | None
    ) = None
    raw: Annotated[bool, Meta(description="Send the prompt unchanged, without the chat template.")] | None = None
    timeout: Annotated[float, Meta(gt=0, description="Deadline for the whole call, in seconds.")] | None = None
    engine: Annotated[dict[str, Any], Meta(description="Engine-specific options, checked by the backend.")] | None = (
        None
    )
    on_unsupported: (
        Annotated[
            Literal["error", "drop"],
            Meta(description="What to do with a parameter that the backend doesn't support. Default: error."),
        ]
        | None
    ) = None


class GenerationParameters(TypedDict, total=False):
    """The generation parameters by name, for type checkers and editors; :class:`Parameters` has the meaning of each.

    Every call that takes them as keywords is annotated ``**more: Unpack[GenerationParameters]``. None means: not set.
    """

    max_tokens: int | None
    max_new_tokens: int | None
    temperature: float | None
    do_sample: bool | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    repeat_penalty: float | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    response_format: Mapping[str, object] | type[Any] | types.GenericAlias | types.UnionType | None
    grammar: str | None
    tools: Sequence[Mapping[str, object] | Callable[..., object] | Tool] | None
    tool_choice: str | Mapping[str, object] | None
    parallel_tool_calls: bool | None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None
    max_reasoning_tokens: int | None
    truncation: Literal["disabled", "auto"] | None
    raw: bool | None
    parse_special: bool | None
    chat_template_kwargs: Mapping[str, object] | None
    timeout: float | None
    engine: Mapping[str, object] | None
    on_unsupported: Literal["error", "drop"] | None


NAMES: tuple[str, ...] = Parameters.__struct_fields__
"""Every canonical name."""

_NAMES = frozenset(NAMES)

UNIVERSAL = frozenset({"raw", "timeout", "on_unsupported", "engine"})
"""Names that the base class handles on every backend."""

ALIASES = {"max_new_tokens": "max_tokens", "repeat_penalty": "repetition_penalty"}
"""Other names of parameters. ``do_sample`` is also accepted: False means temperature 0."""

DEFAULTS: dict[str, Any] = {
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
"""Core's defaults, on every engine that leaves the choice to us."""


_NO_TEMPLATE_KWARGS = {
    "messages": "LlamaForge sets it itself",
    "tools": "pass the parameter tools instead",
    "add_generation_prompt": "it follows from whose turn is last",
}
"""Variables of chat templates that callers may not set."""


def canonical(parameters: Mapping[str, object] | None) -> dict[str, Any]:
    """Rename aliases, drop None, make values plain, and refuse contradictions. Ranges are not checked yet.

    Raises InvalidParameterError if *parameters* is not a mapping, UnknownParameterError and ConflictingParametersError.
    """
    if not parameters:
        if parameters is None or isinstance(parameters, Mapping):
            return {}
        raise InvalidParameterError("parameters", parameters, "a mapping from names to values")
    if not isinstance(parameters, Mapping):
        raise InvalidParameterError("parameters", parameters, "a mapping from names to values")
    named: dict[str, Any] = {}
    for given, value in parameters.items():
        if value is None or given == "do_sample":
            continue
        if type(given) is not str:
            given = _plain_name(given)
        name = ALIASES.get(given, given)
        if name not in _NAMES:
            raise UnknownParameterError(given, (*NAMES, *ALIASES, "do_sample"))
        if type(value) is not int:
            value = _read_value(name, value)
        if name in named and named[name] != value:
            other = next(each for each in parameters if ALIASES.get(each, each) == name)
            raise ConflictingParametersError(
                [other, given], f"{other} and {given} are the same parameter. Pass one of them."
            )
        named[name] = value
    if "do_sample" in parameters:
        _apply_do_sample(named, plain_value(parameters["do_sample"]))
    return named


def _plain_name(given: object) -> str:
    if not isinstance(given, str):
        raise InvalidParameterError("parameters", given, "a mapping from names to values")
    return str.__str__(given)


def _read_value(name: str, value: Any) -> Any:
    """*value* in the form that the parameter *name* is checked in."""
    if name == "tools" and isinstance(value, list | tuple):
        value = read_tools(value)[0]
    if type(value) is not float:
        value = plain_value(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidParameterError(name, value, "a finite number")
    if name == "stop" and isinstance(value, str) and value:
        return (value,)
    if name == "logit_bias" and isinstance(value, dict):
        # JSON has only strings for keys, so "42" is read as the token 42.
        return {int(key) if isinstance(key, str) and key.isdecimal() else key: bias for key, bias in value.items()}
    return value


def _apply_do_sample(named: dict[str, Any], sample: Any) -> None:
    if sample is None:
        return
    if not isinstance(sample, bool):
        raise InvalidParameterError("do_sample", sample, "true or false")
    temperature = named.get("temperature")
    if sample and temperature == 0:
        raise ConflictingParametersError(
            ["do_sample", "temperature"], "do_sample=True needs a temperature above 0, not temperature=0."
        )
    if not sample:
        if temperature:
            raise ConflictingParametersError(
                ["do_sample", "temperature"],
                f"do_sample=False means temperature 0, but temperature is {temperature}. Pass one of them.",
            )
        named["temperature"] = 0.0


def read_parameters(parameters: Mapping[str, object] | None) -> Parameters:
    """Check *parameters* (names, types, ranges, contradictions) and make them canonical.

    Raises UnknownParameterError, InvalidParameterError and ConflictingParametersError.
    """
    read: Parameters = convert(canonical(parameters), Parameters)
    check_combinations(read)
    return read


def valid_parameters(values: Mapping[str, object]) -> dict[str, Any]:
    """The valid entries of *values*, by canonical name: a wrong recommendation in a model's file is ignored."""
    valid = {}
    for name, value in values.items():
        with contextlib.suppress(InvalidParameterError):
            valid[name] = getattr(convert({name: plain_value(value)}, Parameters), name)
    return valid


def check_combinations(parameters: Parameters) -> None:
    """Raise ConflictingParametersError or InvalidParameterError for parameters that can't be used together."""
    if parameters.top_logprobs and not parameters.logprobs:
        raise ConflictingParametersError(["top_logprobs", "logprobs"], "top_logprobs needs logprobs=True.")
    if parameters.response_format is not None and parameters.grammar is not None:
        raise ConflictingParametersError(["response_format", "grammar"])
    if parameters.stop and sum(map(len, parameters.stop)) > _STOPS:
        raise InvalidParameterError("stop", None, f"strings of at most {_STOPS:,} characters in all", show_value=False)
    if parameters.stop and (constraint := constrained_by(parameters)) is not None:
        reason = f"stop can't be used with {constraint}: a stop string would end the answer before it is complete."
        raise ConflictingParametersError([constraint, "stop"], reason)
    if parameters.chat_template_kwargs:
        for name in _NO_TEMPLATE_KWARGS.keys() & parameters.chat_template_kwargs.keys():
            message = f"chat_template_kwargs can't contain {name!r}: {_NO_TEMPLATE_KWARGS[name]}."
            raise InvalidParameterError("chat_template_kwargs", name, "variables of the chat template", message=message)
    if not parameters.tools:
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(parameters, name) is not None:
                raise ConflictingParametersError([name, "tools"], f"{name} needs tools.")
    if parameters.tool_choice is not None:
        check_tool_choice(parameters.tool_choice, parameters.tools or ())
        constraint = constrained_by(parameters)
        if constraint is not None and parameters.tool_choice not in ("auto", "none"):
            reason = f"An answer can't be a tool call, as tool_choice wants it, and follow {constraint}."
            raise ConflictingParametersError([constraint, "tool_choice"], reason)


def constrained_by(parameters: Parameters) -> Literal["response_format", "grammar"] | None:
    """The parameter that constrains the answer; None where any text will do."""
    if parameters.response_format is not None:
        return None if parameters.response_format.get("type") == "text" else "response_format"
    return None if parameters.grammar is None else "grammar"
