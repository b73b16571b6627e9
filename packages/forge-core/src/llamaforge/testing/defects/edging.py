"""Defects at the context's edge, of truncation, tools and guesses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta
from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...errors import ContextOverflowError
from ...requests import GenerationRequest
from ...results import Event, Finished, TextDelta, ToolCallDelta
from ..fakes import ToyBackend
from ..fakes.backends import INSTRUCTIONS, ToyConfig
from .entry import Defect
from .planting import Moment, in_chats, in_chats_in_loops, in_loops, in_raw_prompts, plant, usage, when_sampled

EDGE: Final = "test_the_context_ends_alike_on_every_path"
UNASKED: Final = "test_nothing_is_cut_on_any_path_unasked"
SAME: Final = "test_truncation_is_the_same_on_every_path"
KEEPS: Final = "test_truncation_keeps_what_it_must"
TEXT: Final = "test_a_text_loses_its_beginning_on_request"
NAMED: Final = "test_the_named_tool_is_called"
ANY: Final = "test_a_tool_that_is_not_strict_has_any_arguments"
NONE: Final = "test_no_tool_is_called_where_none_may_be"
CALLS: Final = "test_calls_are_the_same_on_every_path"
FORMATS: Final = "test_formats_are_followed_on_every_path"
BESIDE: Final = "test_a_format_holds_beside_tools"
NO_FORMAT: Final = "test_the_format_text_changes_nothing"
GUESSES: Final = "test_guesses_change_no_text"


class _Truncates(ToyBackend):
    """Truncates in another way."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """Cut otherwise, where something has to be cut."""
        tokens, truncated = super().prompt(request)
        return self.cut(request, tokens, truncated) if truncated else (tokens, truncated)

    def cut(self, request: GenerationRequest, tokens: list[int], truncated: int) -> tuple[list[int], int]:
        """What is left in place of *tokens*."""
        raise NotImplementedError


class CutsTurnsInTheMiddle(_Truncates):
    """Keeps the last tokens of a conversation, whatever they are."""

    def cut(self, request: GenerationRequest, tokens: list[int], truncated: int) -> tuple[list[int], int]:
        """As many tokens as before."""
        whole = self.tokenize(self.render_request(request))
        return whole[-len(tokens) :], truncated


class LeavesNoRoom(_Truncates):
    """Leaves room for one token."""

    def cut(self, request: GenerationRequest, tokens: list[int], truncated: int) -> tuple[list[int], int]:
        """As for max_tokens=1."""
        return super().prompt(replace(request, max_tokens=1))


class DropsTheLastTurn(_Truncates):
    """Drops the newest turns."""

    def cut(self, request: GenerationRequest, tokens: list[int], truncated: int) -> tuple[list[int], int]:
        """The first turns alone."""
        turns = request.as_messages()
        system = tuple(turn for turn in turns if turn.role == "system")
        kept = self.tokenize(self.render_request(replace(request, prompt=None, messages=(*system, turns[len(system)]))))
        return kept, len(tokens) + truncated - len(kept)


class DropsTurnByTurn(_Truncates):
    """Keeps an answer whose question has gone."""

    def cut(self, request: GenerationRequest, tokens: list[int], truncated: int) -> tuple[list[int], int]:
        """The first beginning that fits."""
        whole, turns = len(tokens) + truncated, list(request.messages)
        kept = tokens
        while request.messages and sum(turn.role not in INSTRUCTIONS for turn in turns) > 1:
            del turns[next(place for place, turn in enumerate(turns) if turn.role not in INSTRUCTIONS)]
            kept = self.tokenize(self.render_request(replace(request, messages=tuple(turns))))
            if len(kept) <= self.settings.n_ctx - (request.max_tokens or 1):
                break
        return kept, whole - len(kept)


class DropsTheDeveloper(_Truncates):
    """Takes the developer's instructions for any turn."""

    def cut(self, request: GenerationRequest, tokens: list[int], truncated: int) -> tuple[list[int], int]:
        """Without them."""
        others = tuple(turn for turn in request.messages if turn.role != "developer")
        if not others:
            return tokens, truncated
        kept, _ = super().prompt(replace(request, messages=others))
        return kept, len(tokens) + truncated - len(kept)


class LeavesRoomForAnyAnswer(_Truncates):
    """Leaves hardly anything of a text where max_tokens is large."""

    def cut(self, request: GenerationRequest, tokens: list[int], truncated: int) -> tuple[list[int], int]:
        """What max_tokens leaves."""
        most = max(1, self.settings.n_ctx - (request.max_tokens or 1))
        return tokens[-most:], truncated + max(0, len(tokens) - most)


class CutsItsLastTurn(ToyBackend):
    """Cuts the last turn where it doesn't fit."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """Its last tokens, if nothing else fits."""
        try:
            return super().prompt(request)
        except ContextOverflowError:
            whole = self.tokenize(self.render_request(request))
            most = max(1, self.settings.n_ctx - 4)
            return whole[-most:], len(whole) - most


class OverflowsWithTheWrongCount(ToyBackend):
    """Counts the answer's tokens as the prompt's, in conversations."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """One more."""
        tokens, truncated = super().prompt(request)
        if request.messages and len(tokens) >= self.settings.n_ctx:
            raise ContextOverflowError(len(tokens) + 1, self.settings.n_ctx)
        return tokens, truncated


class _Calls(ToyBackend):
    """Calls otherwise."""

    change: ClassVar[Any]

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With other calls."""
        for event in super().stream(request, cancellation):
            yield type(self).change(event) if isinstance(event, ToolCallDelta) else event


class CallsWithoutAnId(_Calls):
    """Gives calls no id."""

    change = staticmethod(lambda call: replace(call, id=""))


class CallsWithOtherArguments(_Calls):
    """Adds an argument."""

    change = staticmethod(lambda call: replace(call, arguments=json.dumps({**json.loads(call.arguments), "why": 1})))


class SaysTheCallToo(ToyBackend):
    """Shows the arguments as text, too."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Before the call."""
        for event in super().stream(request, cancellation):
            if isinstance(event, ToolCallDelta):
                yield TextDelta(event.arguments or "")
            yield event


class SaysStopAfterCalls(ToyBackend):
    """Ends a call with the reason "stop"."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The reason of a text."""
        for event in super().stream(request, cancellation):
            called = isinstance(event, Finished) and event.finish_reason == "tool_calls"
            yield replace(event, finish_reason="stop") if called else event


class GuessConfig(ToyConfig, frozen=True, kw_only=True):
    """The toy's, with guesses."""

    prompt_lookup: Annotated[bool, Meta(description="Whether to guess.")] = False


class GuessingToyBackend(ToyBackend):
    """Sound: its guesses are all refused."""

    config_class: ClassVar[Any] = GuessConfig

    @property
    def guesses(self) -> bool:
        """Whether it was loaded with them."""
        return bool(getattr(self.settings, "prompt_lookup", False))


class _Guesses(GuessingToyBackend):
    """Answers another request where it guesses."""

    def guessed(self, request: GenerationRequest) -> GenerationRequest:
        """The request that guesses answer."""
        raise NotImplementedError

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The answer to it."""
        return super().stream(self.guessed(request) if self.guesses else request, cancellation)


class GuessesAreGreedy(_Guesses):
    """Takes the best token where it guesses."""

    def guessed(self, request: GenerationRequest) -> GenerationRequest:
        """At temperature 0."""
        return replace(request, temperature=0.0)


class GuessesForgetPenalties(_Guesses):
    """Doesn't penalise guesses."""

    def guessed(self, request: GenerationRequest) -> GenerationRequest:
        """Without penalties."""
        return replace(request, presence_penalty=0.0, frequency_penalty=0.0, repetition_penalty=1.0)


class GuessesGoTooFar(_Guesses):
    """Goes a token beyond max_tokens where it guesses."""

    def guessed(self, request: GenerationRequest) -> GenerationRequest:
        """With one token more."""
        return replace(request, max_tokens=request.max_tokens and request.max_tokens + 1)


class GuessesHaveNoLogprobs(_Guesses):
    """Tells no log-probabilities of guesses."""

    def guessed(self, request: GenerationRequest) -> GenerationRequest:
        """Without."""
        return replace(request, logprobs=None, top_logprobs=None)


class GuessesPassStops(_Guesses):
    """Looks for the first stop string alone where it guesses."""

    def guessed(self, request: GenerationRequest) -> GenerationRequest:
        """Without the others."""
        return replace(request, stop=tuple(request.stop or ())[1:])


def _cut_unasked(request: GenerationRequest) -> GenerationRequest:
    return replace(request, truncation="auto")


def _first_tool(request: GenerationRequest) -> GenerationRequest:
    return replace(request, tool_choice="required") if isinstance(request.tool_choice, dict) else request


def _required(request: GenerationRequest) -> GenerationRequest:
    return replace(request, tool_choice="required") if request.tools else request


def _free(request: GenerationRequest) -> GenerationRequest:
    tools = [{**tool, "function": {**tool["function"], "strict": False}} for tool in request.tools or ()]
    return replace(request, tools=tools or None)


def _strict(request: GenerationRequest) -> GenerationRequest:
    tools = [{**tool, "function": {**tool["function"], "strict": True}} for tool in request.tools or ()]
    return replace(request, tools=tools or None)


def _without_loose_tools(request: GenerationRequest) -> GenerationRequest:
    tools = [tool for tool in request.tools or () if tool["function"].get("strict") is not False]
    return replace(request, tools=tools or None)


def _is_text(moment: Moment) -> bool:
    return (moment.request.response_format or {}).get("type") == "text"


def _has_tools(moment: Moment) -> bool:
    return bool(moment.request.tools)


def _offers_a_choice(moment: Moment) -> bool:
    return _has_tools(moment) and (moment.request.response_format or {}).get("type") == "choice"


def _guess(target: str, name: str) -> Defect:
    return Defect(name=name, target=f"edging:{target}", checks=(GUESSES,), sound=f"{__name__}:GuessingToyBackend")


DEFECTS: Final[tuple[Defect, ...]] = (
    plant(
        "caps max_tokens in chats",
        EDGE,
        where=in_chats,
        change=lambda r: replace(r, max_tokens=min(r.max_tokens or 1, 1)),
    ),
    plant(
        "says stop in full contexts in loops",
        EDGE,
        where=in_loops,
        end=lambda end, request: replace(end, finish_reason="stop") if request.max_tokens != 2 else end,
    ),
    plant(
        "counts a token more at the edge",
        EDGE,
        end=usage(completion_tokens=lambda n, told: n + 1 if told.prompt_tokens > 60 else n),
    ),
    Defect(name="counts an overflow wrongly in chats", target="edging:OverflowsWithTheWrongCount", checks=(EDGE,)),
    plant("cuts chats unasked", UNASKED, where=in_chats, change=_cut_unasked),
    plant("cuts raw prompts unasked", UNASKED, where=in_raw_prompts, change=_cut_unasked),
    plant("cuts unasked in loops", UNASKED, where=in_loops, change=_cut_unasked),
    plant(
        'takes "disabled" for set', UNASKED, change=lambda r: replace(r, truncation="auto" if r.truncation else None)
    ),
    plant("never cuts asynchronous chats", SAME, where=in_chats_in_loops, truncation="disabled"),
    plant("counts nothing cut in loops", SAME, where=in_loops, end=usage(truncated_tokens=0)),
    plant(
        "counts one cut too few",
        "test_a_conversation_loses_its_oldest_turns_on_request",
        end=usage(truncated_tokens=lambda n, _: max(0, n - 1)),
    ),
    Defect(name="leaves no room for the answer", target="edging:LeavesNoRoom", checks=(SAME,)),
    Defect(name="cuts turns in the middle", target="edging:CutsTurnsInTheMiddle", checks=(KEEPS,)),
    Defect(name="drops the newest turns", target="edging:DropsTheLastTurn", checks=(KEEPS,)),
    Defect(name="cuts the last turn", target="edging:CutsItsLastTurn", checks=(KEEPS, TEXT)),
    Defect(name="keeps answers without questions", target="edging:DropsTurnByTurn", checks=(KEEPS,)),
    Defect(name="drops the developer's turns", target="edging:DropsTheDeveloper", checks=(KEEPS,)),
    Defect(name="leaves room for any answer", target="edging:LeavesRoomForAnyAnswer", checks=(TEXT,)),
    plant("calls the first tool", NAMED, change=_first_tool),
    plant(
        "takes the first tool for the named one",
        NAMED,
        change=lambda r: replace(r, tools=r.tools[:1], tool_choice="required") if r.tools else r,
    ),
    Defect(name="calls without an id", target="edging:CallsWithoutAnId", checks=(NAMED, CALLS)),
    Defect(name="calls with other arguments", target="edging:CallsWithOtherArguments", checks=(NAMED,)),
    plant("leaves arguments free of their schema", NAMED, change=_free),
    plant("takes all tools for strict", ANY, change=_strict),
    plant("loses tools that are not strict", ANY, change=_without_loose_tools),
    Defect(name="says the call, too", target="edging:SaysTheCallToo", checks=(CALLS,)),
    Defect(name="says stop after calls", target="edging:SaysStopAfterCalls", checks=(NAMED, CALLS)),
    plant("calls where none may be", NONE, change=_required),
    plant(
        "calls without being asked in loops",
        "test_asynchronous_calls_take_every_parameter",
        where=in_loops,
        change=_required,
    ),
    plant("loses tools in chats", CALLS, where=in_chats, tools=None, tool_choice=None),
    plant("loses tool_choice in loops", CALLS, where=in_loops, tool_choice=None),
    plant("loses formats beside tools", BESIDE, where=_has_tools, response_format=None),
    plant("loses choices beside tools", BESIDE, where=_offers_a_choice, response_format=None),
    plant("takes the format text for JSON", NO_FORMAT, where=_is_text, response_format={"type": "json_object"}),
    plant("cuts an answer with the format text", NO_FORMAT, where=_is_text, max_tokens=1),
    plant(
        "ignores json_object",
        FORMATS,
        change=lambda r: (
            replace(r, response_format=None) if (r.response_format or {}).get("type") == "json_object" else r
        ),
    ),
    plant(
        "ignores json_object in chats",
        FORMATS,
        where=in_chats,
        change=lambda r: (
            replace(r, response_format=None) if (r.response_format or {}).get("type") == "json_object" else r
        ),
    ),
    plant(
        "takes a schema for json_object",
        FORMATS,
        change=lambda r: replace(r, response_format={"type": "json_object"}) if r.response_format else r,
    ),
    plant("formats greedy answers alone", FORMATS, where=when_sampled, response_format=None),
    plant("formats nothing in loops", FORMATS, where=in_loops, response_format=None),
    _guess("GuessesAreGreedy", "guesses are greedy"),
    _guess("GuessesForgetPenalties", "guesses forget penalties"),
    _guess("GuessesGoTooFar", "guesses go beyond max_tokens"),
    _guess("GuessesHaveNoLogprobs", "guesses have no log-probabilities"),
    _guess("GuessesPassStops", "guesses pass stop strings"),
)
