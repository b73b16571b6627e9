"""Generation parameters: checked before any work, honoured or refused, and nobody's but the request's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ...backends.base import BaseBackend
from ...errors import (
    ConflictingParametersError,
    InvalidParameterError,
    LlamaForgeError,
    UnknownParameterError,
    UnsupportedError,
)
from ...parameters import DEFAULTS, NAMES
from ..expect import NotAsExpected, expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject

OUT_OF_RANGE: Final[Mapping[str, tuple[Any, ...]]] = {
    "max_tokens": (0, -1),
    "temperature": (-0.1, float("nan"), float("inf")),
    "top_p": (0, 1.1, -1),
    "top_k": (-1,),
    "min_p": (-0.1, 1.1),
    "stop": ([""], ""),
    "seed": (-1, 2**32),
    "presence_penalty": (-2.1, 2.1),
    "frequency_penalty": (-2.1, 2.1),
    "repetition_penalty": (0, -1),
    "logit_bias": ({1: 101}, {1: -101}),
    "top_logprobs": (-1, 21),
    "timeout": (0, -1),
}
WRONG_TYPE: Final[Mapping[str, Any]] = {
    "max_tokens": "many",
    "temperature": "warm",
    "top_p": [0.5],
    "top_k": 1.5,
    "min_p": "a bit",
    "stop": 3,
    "seed": "lucky",
    "presence_penalty": "some",
    "frequency_penalty": {},
    "repetition_penalty": "some",
    "logit_bias": [1],
    "logprobs": 3,
    "top_logprobs": "all",
    "response_format": "json",
    "grammar": 3,
    "tools": "hammer",
    "raw": "yes",
    "timeout": "soon",
    "engine": "fast",
    "on_unsupported": "ignore",
}
SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "max_tokens": {"max_tokens": 4},
    "temperature": {"temperature": 0.7},
    "top_p": {"top_p": 0.9},
    "top_k": {"top_k": 40},
    "min_p": {"min_p": 0.1},
    "stop": {"stop": ["\u2603"]},
    "seed": {"seed": 7},
    "presence_penalty": {"presence_penalty": 0.5},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "repetition_penalty": {"repetition_penalty": 1.1},
    "logit_bias": {"logit_bias": {65: -1}},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "response_format": {"response_format": {"type": "json_object"}},
    "grammar": {"grammar": 'root ::= "yes" | "no"'},
    "tools": {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]},
    "parse_special": {"parse_special": True},
}
"""A valid use of each parameter."""
SEEDS: Final = (1, 2, 3, 4)


class ParameterChecks(Kit):
    """What is asked is checked, and what is not declared is refused."""

    def test_an_unknown_parameter_is_refused(self, subject: Subject) -> None:
        """A name that means nothing raises UnknownParameterError, with the names that are close.

        Why: a typing error that changes nothing is found weeks later. Look at: overrides of ``generate`` and its
        helpers.
        """
        if not subject.full:
            subject.refuses_the_full_contract(temprature=0.5)
            return
        for asked in ({"temprature": 0.5}, {"max_token": 3}, {"no_such_parameter": 1}):
            error = expect_refusal(
                UnknownParameterError,
                partial(subject.generate, None, asked),
                f"the parameters {asked}",
            )
            expect_equal(error.name, next(iter(asked)), "error.name")
        suggested = expect_refusal(
            UnknownParameterError, lambda: subject.generate(None, {"temprature": 1}), "temprature"
        ).suggestions
        expect("temperature" in suggested, "the suggestion temperature", suggested)

    def test_an_unknown_parameter_is_refused_by_every_call(self, subject: Subject) -> None:
        """``generate_stream``, ``chat`` and the asynchronous calls refuse it as well, when they are called.

        Why: a stream that fails at its first piece has shown the user an empty answer already. Look at: overrides.
        """
        if not subject.full:
            subject.refuses_the_full_contract(no_such_parameter=1)
            return
        backend, turns, wrong = subject.backend, [{"role": "user", "content": "Hello"}], {"no_such_parameter": 1}
        for name, call in {
            "generate_stream": lambda: backend.generate_stream("Hello", wrong),
            "chat": lambda: backend.chat(turns, wrong),
            "chat_stream": lambda: backend.chat_stream(turns, wrong),
            "agenerate_stream": lambda: backend.agenerate_stream("Hello", wrong),
            "achat_stream": lambda: backend.achat_stream(turns, wrong),
        }.items():
            expect_refusal(UnknownParameterError, call, f"{name}() with {wrong}")

    def test_a_value_out_of_range_is_refused(self, subject: Subject) -> None:
        """Values outside a parameter's range raise InvalidParameterError that names it, declared or not.

        Why: engines clamp, wrap around or crash, each in its own way. Look at: overrides that skip the base's checks.
        """
        self._refuses(subject, OUT_OF_RANGE)

    def test_a_value_of_the_wrong_type_is_refused(self, subject: Subject) -> None:
        """Values of another type raise InvalidParameterError that names the parameter.

        Why: ``temperature="0"`` must not be true. Look at: overrides that skip the base's checks.
        """
        self._refuses(subject, {name: (value,) for name, value in WRONG_TYPE.items()})

    def test_contradictions_are_refused(self, subject: Subject) -> None:
        """Parameters that contradict each other raise ConflictingParametersError with their names.

        Why: whichever wins, somebody is surprised. Look at: overrides that skip the base's checks.
        """
        for asked in (
            {"max_tokens": 3, "max_new_tokens": 4},
            {"do_sample": False, "temperature": 1.0},
            {"do_sample": True, "temperature": 0},
            {"repetition_penalty": 1.1, "repeat_penalty": 1.2},
            {"top_logprobs": 2},
            {"tool_choice": "auto"},
        ):
            if not subject.full:
                subject.refuses_the_full_contract(**asked)
                continue
            error = expect_refusal(
                ConflictingParametersError,
                partial(subject.generate, None, asked),
                f"{asked}",
            )
            expect(len(error.names) == 2, "error.names to have both names", error.names)

    def test_none_is_as_good_as_not_given(self, subject: Subject) -> None:
        """A parameter that is None counts as not given, also one that isn't declared.

        Why: callers pass their own optional arguments through. Look at: how your code tells set from not set.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        answer = subject.say(8, **{name: None for name in NAMES if name not in {*subject.greedy, "max_tokens"}})
        subject.agrees(answer, subject.known(8), "the answer with parameters that are None")
        expect_equal(answer.dropped, (), "result.dropped")

    def test_aliases_mean_the_same(self, subject: Subject) -> None:
        """max_new_tokens, repeat_penalty and do_sample=False mean max_tokens, repetition_penalty and temperature 0.

        Why: the reference uses them. Look at: code of yours that reads the raw parameters instead of the request.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=3)
            return
        short = subject.ask(**subject.greedy, max_new_tokens=3)
        subject.agrees(short, subject.say(3), "the answer with max_new_tokens")
        expect_equal(short.parameters.get("max_tokens"), 3, "result.parameters['max_tokens']")
        if subject.declares("repetition_penalty"):
            given = subject.ask(**subject.limit(1), repeat_penalty=1.2).parameters
            expect(given.get("repetition_penalty") == 1.2, "repeat_penalty to be reported as repetition_penalty", given)
        if subject.declares("temperature"):
            wanted = subject.ask(**subject.limit(8), temperature=0)
            for seed in SEEDS if subject.declares("seed") else (None,):
                greedy = subject.ask(**subject.limit(8), do_sample=False, seed=seed)
                subject.agrees(greedy, wanted, "the answer with do_sample=False")
                heat = greedy.parameters.get("temperature")
                expect_equal(heat, 0, "result.parameters['temperature'] with do_sample=False")

    def test_the_callers_parameters_are_left_alone(self, subject: Subject) -> None:
        """Generating doesn't change the caller's mapping, nor what is in it.

        Why: callers use it again. Look at: ``pop`` and item assignment on ``parameters``; a basic backend's, above all.
        """
        given: dict[str, Any] = {**subject.greedy, **subject.limit(4)}
        if subject.declares("stop"):
            given["stop"] = ["\u2603"]
        kept = copy.deepcopy(given)
        calls: list[Any] = [lambda: subject.backend.generate(subject.prompt, given)]
        calls.append(lambda: "".join(subject.backend.generate_stream(subject.prompt, given)))
        for call in calls:
            Subject.answered(call, f"an answer with {kept}")
            expect_equal(given, kept, "the caller's parameters afterwards")

    def test_parameters_may_be_given_by_name(self, subject: Subject) -> None:
        """``generate(prompt, max_tokens=4)`` is ``generate(prompt, {"max_tokens": 4})``; a contradiction is refused.

        Why: both are in use. Look at: the signatures of overrides.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=4)
            return
        backend = subject.backend
        named = Subject.answered(
            lambda: backend.generate(subject.prompt, **subject.greedy, max_tokens=4), "parameters by name"
        )
        subject.agrees(named, subject.say(4), "the answer with parameters by name")
        expect_refusal(
            ConflictingParametersError,
            lambda: backend.generate(subject.prompt, {"max_tokens": 3}, max_tokens=4),
            "max_tokens given twice, differently",
        )

    def test_what_is_not_declared_is_refused(self, subject: Subject) -> None:
        """Each canonical parameter that isn't declared raises UnsupportedError that names it.

        Why: a parameter that is silently ignored is the complaint that users of every such library have. Look at:
        overrides that let it through; or declare it in the spec's capabilities, and honour it.
        """
        if not subject.full:
            subject.refuses(**SAMPLES["seed"])
            return
        for name, sample in SAMPLES.items():
            if not subject.declares(name):
                error = expect_refusal(
                    UnsupportedError,
                    partial(subject.generate, None, sample),
                    f"{name}, not declared",
                )
                expect(name in str(error), f"the error to name {name}", error)

    def test_what_is_not_declared_is_dropped_on_request(self, subject: Subject) -> None:
        """With ``on_unsupported="drop"`` it is left out, and the result says so; what is declared is never dropped.

        Why: programs that run on many engines need a way that is not silent. Look at: overrides of ``generate``.
        """
        if not subject.full:
            subject.refuses(**SAMPLES["seed"], on_unsupported="drop")
            return
        for conflicting in (("response_format", "grammar"), ("stop", "grammar")):
            unable: dict[str, Any] = {}
            for name, sample in SAMPLES.items():
                if not subject.declares(name) and name not in conflicting:
                    unable.update({key: value for key, value in sample.items() if not subject.declares(key)})
            if "top_logprobs" in unable and "logprobs" not in unable:
                unable["logprobs"] = True
            answer = subject.say(4, **unable, on_unsupported="drop")
            dropped = {name for name in unable if not subject.declares(name)}
            expect_equal(set(answer.dropped), dropped, "result.dropped")
            kept = dropped & set(answer.parameters)
            expect(not kept, "no dropped parameter among result.parameters", answer.parameters)
            if subject.declares("max_tokens", "temperature"):
                subject.agrees(answer, subject.known(4), "the answer, all that isn't declared being dropped")

    def test_nothing_is_dropped_unasked(self, subject: Subject) -> None:
        """A request of declared parameters drops nothing.

        Why: ``dropped`` is what programs look at. Look at: who writes ``Finished.dropped``; the base class does.
        """
        expect_equal(subject.known(8).dropped, (), "result.dropped")

    def test_engine_options_are_checked(self, subject: Subject) -> None:
        """An engine option that nobody knows raises UnknownParameterError. A server that gets any option, by rules of
        the backend's own, answers or refuses with a typed error.

        Why: options of one engine deserve the same care. Look at: ``check_engine_options`` and ``engine_options``.
        """
        options = {"no_such_option_at_all": 1}
        if not subject.full:
            subject.refuses_the_full_contract(engine=options)
            return
        has_rules = type(subject.backend).check_engine_options is not BaseBackend.check_engine_options
        if not has_rules or not subject.backend.capabilities.server_defaults:
            error = expect_refusal(
                UnknownParameterError, lambda: subject.generate(None, {"engine": options}), f"engine={options}"
            )
            expect_equal(error.name, next(iter(options)), "error.name")
            return
        try:
            subject.generate(None, {**subject.limit(1), "engine": options})
        except LlamaForgeError:
            return
        except Exception as error:
            raise NotAsExpected("an answer or a typed error for an engine option that nobody knows", error) from error

    def test_effective_parameters_are_reported(self, subject: Subject) -> None:
        """``result.parameters`` has each parameter that was given, by its canonical name, with its value.

        Why: answers are reproduced from it. Look at: ``Finished.parameters``; leave it to the base class.
        """
        given = {**subject.greedy, **subject.limit(4)}
        if subject.declares("seed"):
            given["seed"] = 11
        parameters = subject.ask(**given).parameters
        for name, value in given.items():
            expect(parameters.get(name) == value, f"result.parameters[{name!r}] to be {value!r}", parameters)

    def test_defaults_are_reported(self, subject: Subject) -> None:
        """Unless its server chooses, the backend reports a value for each declared parameter that has a default.

        Why: "not set" must mean the same everywhere, and be seen. Look at: ``server_defaults`` in the capabilities.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        parameters = subject.ask(**subject.limit(1)).parameters
        if subject.backend.capabilities.server_defaults:
            invented = [name for name in DEFAULTS if name in parameters]
            known = subject.backend.default_parameters()
            expect(set(invented) <= set(known), "no default of core's where the server chooses", parameters)
            return
        for name in DEFAULTS:
            if subject.declares(name):
                expect(name in parameters, f"result.parameters to say what {name} was", parameters)

    def test_neutral_values_change_nothing(self, subject: Subject) -> None:
        """Parameters at the value that means "off" leave the greedy answer as it is.

        Why: callers pass complete sets of parameters. Look at: 0 and 1 taken for "not set", or for something else.
        """
        if not subject.full:
            subject.refuses(**SAMPLES["top_p"])
            return
        off = {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "min_p": 0.0}
        neutral: dict[str, Any] = {name: value for name, value in off.items() if subject.declares(name)}
        if not subject.backend.capabilities.server_defaults:  # servers differ in what they take for nothing
            empty: dict[str, Any] = {"top_k": 0, "logit_bias": {}, "stop": []}
            neutral |= {name: value for name, value in empty.items() if subject.declares(name)}
        subject.agrees(subject.say(16, **neutral), subject.known(16), f"the greedy answer with {neutral}")

    def test_a_request_leaves_no_trace_in_the_next(self, subject: Subject) -> None:
        """A request with unusual parameters and another prompt changes nothing for the next one.

        Why: one user's request must not be seen in another's. Look at: engine settings that are never set back, caches
        whose key lacks something, penalties that count an earlier answer.
        """
        before = subject.known(16)
        if subject.full:
            unusual = {
                "temperature": 1.9,
                "top_p": 0.5,
                "top_k": 3,
                "min_p": 0.4,
                "stop": ["e", "a"],
                "seed": 3,
                "presence_penalty": 1.5,
                "frequency_penalty": 1.5,
                "repetition_penalty": 1.7,
                "logit_bias": {65: 50},
            }
            given = {name: value for name, value in unusual.items() if subject.declares(name)}
            subject.ask("Something else entirely.", **subject.limit(6), **given)
        subject.ask("And something else again.", **subject.limit(6))
        subject.agrees(subject.say(16), before, "the greedy answer after other requests")

    def _refuses(self, subject: Subject, wrong: Mapping[str, tuple[Any, ...]]) -> None:
        __tracebackhide__ = True
        for name, values in wrong.items():
            for value in values:
                asked = {name: value} if name != "top_logprobs" else {"logprobs": True, name: value}
                if not subject.full:
                    subject.refuses_the_full_contract(**asked)
                    continue
                error = expect_refusal(
                    InvalidParameterError,
                    partial(subject.generate, None, asked),
                    f"{asked}",
                )
                expect(error.name == name, f"error.name to be {name!r}", error.name)
