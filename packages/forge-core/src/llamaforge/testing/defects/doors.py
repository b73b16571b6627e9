"""Defects of what stands before the engine: how a request is checked, made and answered."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from ...backends.spec import Capabilities
from ...parameters import NAMES
from ...requests import ResolvedRequest
from ..fakes import SPEC, ToyBackend
from .entry import Defect
from .planting import plant
from .specs import respecified

_SEEDS: Final = itertools.count(1)
_FEWER: Final = Capabilities(parameters=SPEC.capabilities.parameters - {"top_k", "tools", "tool_choice"})


class _Door(ToyBackend):
    """Changes a request before the base class sees it."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        """What the base class gets instead."""
        raise NotImplementedError

    def _resolve(self, prompt: Any, messages: Any, parameters: Any) -> ResolvedRequest:
        return super()._resolve(*self.door(prompt, messages, dict(parameters or {})))


class AnswersNothing(_Door):
    """Answers an empty prompt."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """With another one."""
        return "Hello" if prompt == "" else prompt, messages, given


class AnswersNumbers(_Door):
    """Takes anything for text."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """Its text."""
        return prompt if prompt is None else str(prompt), messages, given


@respecified(capabilities=_FEWER)
class DropsTopK(_Door):
    """Leaves top_k out, which it doesn't declare."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """Without it."""
        given.pop("top_k", None)
        return prompt, messages, given


@respecified(capabilities=_FEWER)
class ReportsOneThatItDropped(ToyBackend):
    """Reports the first dropped parameter alone."""

    def _resolve(self, *given: Any) -> ResolvedRequest:
        resolved = super()._resolve(*given)
        return resolved._replace(dropped=resolved.dropped[:1])


class PretendsToEmbed(ToyBackend):
    """Makes vectors of whatever model is loaded."""

    def embed(self, texts: Any, **options: Any) -> Any:
        """As many as there are texts."""
        return [[0.0] for _ in texts]


class RefusesRankingsLate(ToyBackend):
    """Reads all documents before it says that it ranks nothing."""

    def rerank(self, query: Any, documents: Any, **options: Any) -> Any:
        """Refused, but late."""
        return super().rerank(query, list(documents), **options)


class _Turns(_Door):
    """Takes away what it can't do."""

    def turns(self, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is left."""
        raise NotImplementedError

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """Other turns."""
        plain = [m if isinstance(m, dict) else {"role": m.role, "content": m.content} for m in messages or ()]
        return prompt, messages if prompt is not None else self.turns(plain), given


class DropsImages(_Turns):
    """Leaves images out."""

    def turns(self, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Text parts alone."""
        for turn in turns:
            if not isinstance(turn.get("content"), str):
                turn["content"] = " ".join(getattr(part, "text", "") for part in turn.get("content") or ())
        return turns


@respecified(capabilities=_FEWER)
class DropsToolTurns(_Turns):
    """Leaves tool turns out."""

    def turns(self, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those without tools."""
        return [turn for turn in turns if turn.get("role") != "tool" and not turn.get("tool_calls")]


class DropsEngineOptions(_Door):
    """Ignores engine options."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """Without them."""
        given.pop("engine", None)
        return prompt, messages, given


class StumblesOverEngineOptions(ToyBackend):
    """Raises a KeyError for engine options that it doesn't know."""

    def check_engine_options(self, options: Mapping[str, object]) -> None:
        """Not typed."""
        raise KeyError(next(iter(options)))


class PrefersNewTokens(_Door):
    """Takes max_new_tokens where both names are given."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """One of them."""
        if "max_new_tokens" in given:
            given.pop("max_tokens", None)
        return prompt, messages, given


class TakesOneTurnForAList(_Door):
    """Takes a single message for a conversation."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """A list of it."""
        return prompt, [messages] if isinstance(messages, dict) else messages, given


class IgnoresAliases(_Door):
    """Ignores names that are aliases."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """Without them."""
        return prompt, messages, {name: value for name, value in given.items() if name in NAMES or "_p" in name}


class IgnoresDoSample(_Door):
    """Ignores do_sample."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """Without it."""
        given.pop("do_sample", None)
        return prompt, messages, given


class Clamps(_Door):
    """Brings temperatures into their range."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """At least 0."""
        if isinstance(given.get("temperature"), float) and given["temperature"] < 0:
            given["temperature"] = 0.0
        return prompt, messages, given


class TakesNoneForHot(_Door):
    """Takes top_p=None for a value of its own."""

    def door(self, prompt: Any, messages: Any, given: dict[str, Any]) -> Any:
        """With a penalty."""
        return prompt, messages, {**given, "logit_bias": {300: 50.0}} if "top_p" in given else given


class ChecksLate(ToyBackend):
    """Checks a stream's parameters when it is read."""

    def generate_stream(self, *given: Any, **more: Any) -> Any:
        """Later."""
        return (piece for stream in (0,) for piece in super(ChecksLate, self).generate_stream(*given, **more))


class ChecksLoopsLate(ToyBackend):
    """Checks an asynchronous stream's parameters when it is read."""

    def agenerate_stream(self, *given: Any, **more: Any) -> Any:
        """Later."""

        async def read() -> AsyncIterator[str]:
            async for piece in super(ChecksLoopsLate, self).agenerate_stream(*given, **more):
                yield piece

        return read()


def _door(target: str, name: str, *checks: str, **more: Any) -> Defect:
    return Defect(name=name, target=target, checks=tuple(f"test_{check}" for check in checks), **more)


_BASIC: Final[dict[str, Any]] = {"sound": "llamaforge.testing.fakes:BasicToyBackend"}
_LOOP: Final[dict[str, Any]] = {"sound": "llamaforge.testing.fakes:AsyncToyBackend", "parameters": {"delay": 0.01}}

DEFECTS: Final[tuple[Defect, ...]] = (
    _door("answering:RefusesDefaults", "has no defaults", "it_works_through_the_front_door"),
    Defect(
        name="strips what LlamaForge returns",
        target="text:StripsTheWhole",
        checks=("test_it_works_through_the_front_door",),
    ),
    _door("doors:IgnoresDoSample", "lets the temperature win", "contradictions_are_refused"),
    _door("doors:AnswersNothing", "answers an empty prompt", "an_empty_prompt_is_refused"),
    _door("doors:AnswersNumbers", "answers a number", "a_prompt_that_is_no_text_is_refused"),
    _door("doors:ChecksLate", "checks streams late", "an_unknown_parameter_is_refused_by_every_call"),
    _door("doors:ChecksLoopsLate", "checks asynchronous streams late", "asynchronous_calls_raise_the_same_errors"),
    _door("doors:DropsTopK", "drops top_k", "what_is_not_declared_is_refused"),
    _door(
        "doors:ReportsOneThatItDropped", "reports one dropped parameter", "what_is_not_declared_is_dropped_on_request"
    ),
    _door("doors:DropsImages", "drops images", "images_are_seen_or_refused"),
    _door("doors:DropsToolTurns", "drops tool turns", "tool_turns_need_tools"),
    _door("doors:DropsEngineOptions", "drops engine options", "engine_options_are_checked"),
    _door("doors:StumblesOverEngineOptions", "raises KeyErrors", "engine_options_are_checked"),
    _door("doors:PrefersNewTokens", "prefers max_new_tokens", "contradictions_are_refused"),
    _door("doors:TakesOneTurnForAList", "takes one turn for a list", "malformed_messages_are_refused"),
    plant(
        "reports another limit",
        "test_effective_parameters_are_reported",
        end=lambda end, _: replace(end, parameters={"max_tokens": 99}),
    ),
    _door("answering:ReturnsOtherText", "returns a str", "the_result_knows_how_it_came_about"),
    _door("answering:CountsWords", "counts words", "tokens_are_counted_and_not_pieces"),
    _door("answering:ReplacesCharacters", "replaces characters", "utf8_is_never_split"),
    _door("answering:RaisesItsOwnTimeout", "raises its own timeout", "a_deadline_that_has_passed_is_an_error"),
    _door(
        "answering:SwallowsCancellation", "is spoilt by a cancelled task", "a_cancelled_task_frees_the_backend", **_LOOP
    ),
    _door(
        "answering:CallsItStopWhenLeft",
        "keeps places of left streams",
        "leaving_an_asynchronous_stream_ends_it",
        **_LOOP,
    ),
    _door("answering:TakesAHundred", "takes a hundred prompts ahead", "a_batch_takes_prompts_as_it_needs_them"),
    _door("answering:LosesItemErrors", "leaves failed items out", "an_item_that_fails_spoils_no_other"),
    _door("answering:NeverLoaded", "is never loaded", "a_loaded_model_is_reported"),
    _door("answering:SaysNothingInChats", "says nothing in chats", "a_conversation_is_answered"),
    _door("answering:BasicWithChat", "basic: has a chat", "a_conversation_is_answered", **_BASIC),
    _door("answering:BasicWithChatStream", "basic: streams chats", "a_conversation_is_answered", **_BASIC),
    _door("answering:AddsASystemTurn", "adds a system turn to prompts", "a_prompt_is_one_user_turn"),
    _door("answering:BeginsAnew", "begins anew", "a_begun_answer_is_continued_or_refused"),
    _door("answering:GoesOnTalking", "goes on with the last conversation", "conversations_do_not_mix"),
    _door("answering:UnloadsOnErrors", "unloads on errors", "refused_load_parameters_lose_nothing"),
    _door("answering:DeclaresAnAlias", "declares an alias", "declared_parameters_are_canonical"),
    _door("answering:MatchesTooWell", "matches with 250", "matching_is_a_number_for_any_location"),
    _door("answering:AnswersTheDoctorWithAList", "answers the doctor with a list", "the_doctor_gets_an_answer"),
    _door("doors:Clamps", "clamps temperatures", "a_value_out_of_range_is_refused"),
    _door("doors:TakesNoneForHot", "takes None for a bias", "none_is_as_good_as_not_given"),
    plant(
        "allows other words",
        "test_a_grammar_is_followed",
        change=lambda r: replace(
            r, grammar=r.grammar and r.grammar.replace('"yes"', '"yes!"').replace('"no"', '"no!"')
        ),
    ),
    plant("loses tools", "test_a_required_tool_is_called", tools=None, tool_choice=None),
    _door("answering:RendersAnyVariable", "ignores unknown variables", "template_variables_reach_the_template"),
    _door("answering:RendersVariablesInChats", "renders unknown variables", "template_variables_reach_the_template"),
    plant("always reads control tokens", "test_spelled_control_tokens_are_text", parse_special=True),
    plant(
        "reads control tokens the wrong way round",
        "test_spelled_control_tokens_are_text",
        change=lambda r: replace(r, parse_special=not r.parse_special),
    ),
    _door("doors:PretendsToEmbed", "pretends to embed", "other_tasks_are_refused"),
    _door("doors:RefusesRankingsLate", "reads documents that it never ranks", "other_tasks_are_refused"),
    _door("doors:IgnoresAliases", "ignores aliases", "aliases_mean_the_same"),
    _door("doors:IgnoresDoSample", "ignores do_sample", "aliases_mean_the_same"),
    _door("answering:ClampsUnknownTokens", "clamps unknown tokens", "a_token_that_there_is_not_is_refused"),
    _door("answering:WrapsUnknownTokens", "wraps unknown tokens", "a_token_that_there_is_not_is_refused"),
    plant(
        "draws its seeds anew",
        "test_the_reported_seed_repeats_the_answer",
        change=lambda r: replace(r, seed=next(_SEEDS)),
    ),
)
