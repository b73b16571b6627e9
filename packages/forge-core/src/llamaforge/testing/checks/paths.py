"""Every parameter on every path: whichever way a request is made, it means the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pytest

from ...errors import LlamaForgeError
from ...results import GeneratedText
from ..expect import Told, expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject
from ..ways import cells_within, spread, ways

TOKENS: Final = 6
COLD: Final = 5
MOST: Final = 32
"""Requests of prompts that were never read before: all kinds of them, on all paths."""
COLOURS: Final = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "paint", "strict": True, "schema": COLOURS}}
TOOLS: Final = [{"type": "function", "function": {"name": "paint", "description": "Paint.", "parameters": COLOURS}}]
NAMED: Final = {"type": "function", "function": {"name": "paint"}}
CONVERSATION: Final = [
    {"role": "system", "content": "You tell stories of the sea."},
    {"role": "user", "content": "Which boat came in first?"},
    {"role": "assistant", "content": "The grey one, in the fog."},
    {"role": "user", "content": "And who saw it?"},
    {"role": "assistant", "content": "Nobody but the dog."},
    {"role": "user", "content": "Tell that story, please, and make it long."},
]
LETTERS: Final = ["e", "a", "o", "i"]
"""Stop strings that hardly an answer gets by."""

Given = dict[str, Any]


class PathChecks(Kit, slow=True):
    """``generate`` is what the other checks look at; here the other ways to ask are held to it, parameter by parameter.

    A basic backend has one way, and refuses the others.
    """

    def test_a_stream_takes_every_parameter(self, subject: Subject) -> None:
        """``generate_stream`` honours each parameter as ``generate`` does.

        Why: streaming is often another call of the engine, with options of its own. Look at: what is set in one of the
        two alone.
        """
        self._agrees(subject, "generate_stream()")

    def test_asynchronous_calls_take_every_parameter(self, subject: Subject) -> None:
        """``agenerate`` and ``agenerate_stream`` honour each parameter as ``generate`` does.

        Why: servers use these alone. Look at: ``astream`` written beside ``stream``, a second client.
        """
        self._agrees(subject, "agenerate()", "agenerate_stream()")

    def test_chat_takes_every_parameter(self, subject: Subject) -> None:
        """``chat`` and its stream honour each parameter as ``generate`` does for the same turn.

        Why: most requests are conversations. Look at: another endpoint, with other names for parameters.
        """
        self._agrees(subject, "chat()", "chat_stream()")

    def test_asynchronous_chat_takes_every_parameter(self, subject: Subject) -> None:
        """``achat`` and its stream honour each parameter as ``generate`` does for the same turn.

        Why: that is what a chat server calls. Look at: the paths that only this one takes.
        """
        self._agrees(subject, "achat()", "achat_stream()")

    def test_a_batch_takes_every_parameter(self, subject: Subject) -> None:
        """``generate_batch`` and ``agenerate_batch`` honour each parameter as ``generate`` does.

        Why: an evaluation is one batch. Look at: a batched call of the engine that takes fewer options.
        """
        self._agrees(subject, "generate_batch()", "agenerate_batch()")

    def test_a_raw_prompt_takes_every_parameter(self, subject: Subject) -> None:
        """The rendered prompt, sent raw, has the answer that the prompt has, with each parameter and the same counts.

        Why: ``raw`` must change the prompt and nothing else. Look at: another endpoint for completions; a token that
        begins a text, put before it twice or never.
        """
        if subject.full and not any(way.is_raw for way in ways(subject)):
            pytest.skip("could not be measured: the backend renders nothing, or takes no raw prompt")
        self._agrees(subject, "generate(raw=True)", "generate_stream(raw=True)", "agenerate(raw=True)")

    def test_a_long_conversation_takes_every_parameter(self, subject: Subject) -> None:
        """A conversation of several turns has, with each parameter, the answer that its rendered text has, sent raw.

        Why: the other checks ask in one turn. Look at: code of your own for histories and system turns.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template or not any(way.is_raw for way in ways(subject)):
            pytest.skip("could not be measured: there is no template, or the backend renders nothing")
        turns = CONVERSATION
        try:
            rendered = subject.backend.render(messages=turns)
        except LlamaForgeError:  # a template may refuse system turns
            turns = CONVERSATION[1:]
            rendered = subject.backend.render(messages=turns)
        plain = {**subject.greedy, **subject.limit(TOKENS)}
        whole = str(subject.chat(turns, **plain))
        if whole != subject.generate(rendered, {**plain, "raw": True}):
            pytest.skip("could not be measured: a raw text is not answered like the conversation that it shows")
        for given in self._requests(subject, whole):
            if "tools" in given:
                continue
            what = f"chat() of {len(turns)} turns with {given}"
            ask = partial(subject.backend.chat, turns, given)
            try:
                wanted = subject.generate(rendered, {**given, "raw": True})
            except LlamaForgeError as error:
                expect_refusal(type(error), ask, f"{what}, as generate() refuses it")
                continue
            self._is_alike(subject, subject.in_time(ask, what), wanted, what)

    def test_a_prompt_never_read_before_means_the_same(self, subject: Subject) -> None:
        """On each path, a prompt that nothing is kept of has the answer that it has once more, with the same fields.

        Why: the first request of a prompt takes another way through most engines. Look at: what is set up only where a
        prefix was found, or only where none was.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        cells = [(way, place) for place, _ in enumerate(self._mixtures(subject)) for way in ways(subject)]
        mixtures = list(self._mixtures(subject))
        for number, (way, place) in enumerate(spread(cells, min(MOST, cells_within(subject, 2 * COLD)))):
            given = mixtures[place]
            if way.is_raw and "tools" in given:
                continue
            prompt = f"{number * 7919 + id(self) % 7919} times: {subject.prompt}"
            came = subject.in_time(partial(self._unless_refused, way.ask, prompt, given), f"{way.name} with {given}")
            if came is None:
                continue
            wanted = subject.generate(prompt, given)
            self._is_alike(subject, came, wanted, f"{way.name} with {given} and a prompt never read before")
            self._keeps_to(given, came, f"{way.name} with {given} and a prompt never read before")

    def test_a_crowd_on_all_paths_means_the_same(self, subject: Subject) -> None:
        """Requests with other parameters each, on all paths at once, have the answers that they have alone.

        Why: what is computed together shares arrays, buffers and settings. Look at: parameters that are kept for a
        whole step; a queue that holds less than a request.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        mixtures = list(self._mixtures(subject))
        cells = [(way, given) for given in mixtures for way in ways(subject) if not (way.is_raw and "tools" in given)]
        chosen = spread(cells, min(self.crowd, cells_within(subject, 2 * COLD)))
        alone = {}
        for _, given in chosen:
            try:
                alone[repr(given)] = self._by_generate(subject, given)
            except LlamaForgeError:
                continue
        chosen = [(way, given) for way, given in chosen if repr(given) in alone]

        async def at_once() -> list[GeneratedText]:
            return list(await asyncio.gather(*(way.later(subject.prompt, given) for way, given in chosen)))

        came = Subject.answered(lambda: self.run_async(at_once), f"answers to {len(chosen)} requests at once")
        for (way, given), answer in zip(chosen, came, strict=True):
            self._is_alike(subject, answer, alone[repr(given)], f"{way.name} with {given} in a crowd")

    def test_the_first_request_means_the_same(self, subject: Subject) -> None:
        """The first request after loading, and the first of another instance beside it, have the answers and fields
        that the same requests have later.

        Why: what is set up by the first request, or shared by instances, is seen only here. Look at: lazy
        initialisation; class attributes; a library's global state.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        for given in spread(list(self._mixtures(subject)), 3):
            try:
                wanted = self._by_generate(subject, given)
            except LlamaForgeError:
                continue
            with self.fresh() as first:
                came = first.answered(lambda: first.generate(None, given), f"the first answer, with {given}")  # noqa: B023
                self._is_alike(subject, came, wanted, f"the first answer of an instance, with {given}")
                again = subject.answered(lambda: subject.generate(None, given), f"an answer with {given}")  # noqa: B023
                self._is_alike(subject, again, wanted, f"an answer beside another instance, with {given}")

    # How.

    def _agrees(self, subject: Subject, *names: str) -> None:
        """Fail unless the ways of these names answer as ``generate`` does, whatever is asked for."""
        __tracebackhide__ = True
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        for way in ways(subject):
            if way.name not in names:
                continue  # without a template there is no chat; that it refuses messages is another check's matter
            for given in self._requests(subject):
                if way.is_raw and "tools" in given:
                    continue
                ask, what = partial(way.ask, subject.prompt, given), f"{way.name} with {given}"
                try:
                    wanted = self._by_generate(subject, given)
                except LlamaForgeError as error:  # this model can't, or not in these words
                    expect_refusal(type(error), ask, f"{what}, as generate() refuses it")
                    continue
                self._is_alike(subject, subject.in_time(ask, what), wanted, what)

    def _by_generate(self, subject: Subject, given: Mapping[str, Any]) -> GeneratedText:
        """What ``generate`` answers. Asked only once for all paths."""
        known = subject.remembered.setdefault("paths", {})
        key = repr(sorted(given.items()))
        if key not in known:
            known[key] = subject.generate(None, given)
        answer: GeneratedText = known[key]
        return answer

    @staticmethod
    def _unless_refused(ask: Callable[[str, Given], GeneratedText], prompt: str, given: Given) -> GeneratedText | None:
        """The answer; None where the model can't, and the backend says so."""
        try:
            return ask(prompt, given)
        except LlamaForgeError as error:
            if type(error).__name__ in ("UnsupportedError", "InvalidParameterError"):
                return None
            raise

    def _requests(self, subject: Subject, whole: str | None = None) -> Iterator[Given]:
        """Parameters that each change the greedy answer, *whole*, or what is told of it."""
        greedy = {**subject.greedy, **subject.limit(TOKENS)}
        whole = subject.known(TOKENS) if whole is None else whole
        stop = whole[len(whole) // 2 :][:2]
        changes: list[Given] = [
            {"max_tokens": 2},
            {"stop": ["\u2603", stop]} if stop else {},
            {"presence_penalty": -2.0, "frequency_penalty": -1.0},
            {"presence_penalty": 2.0, "max_tokens": 12},
            {"frequency_penalty": 2.0, "max_tokens": 12},
            {"repetition_penalty": 1.9},
            {"logit_bias": dict.fromkeys(subject.first_ids()[1:2], 60.0)},
            {"logit_bias": dict.fromkeys(subject.first_ids()[:1], -60.0)},
            {"logprobs": True},
            {"logprobs": True, "top_logprobs": 3},
            {"response_format": FORMAT, "max_tokens": 24},
            {"response_format": {"type": "json_object"}, "max_tokens": 24},
            {"grammar": 'root ::= "yes" | "no"'},
            {"tools": TOOLS, "tool_choice": "required", "max_tokens": 32},
            {"tools": TOOLS, "tool_choice": NAMED, "max_tokens": 32},
            {"tools": TOOLS, "tool_choice": "none"},
        ]
        if subject.declares("seed", "temperature") and not subject.rounding:
            hot = {"temperature": 1.7, "seed": 3}
            filters: tuple[Given, ...] = ({"top_k": 2}, {"top_p": 0.3}, {"min_p": 0.6}, {"logprobs": True})
            changes += [hot, {**hot, "seed": 0}, *({**hot, **more} for more in filters)]
            pulls: tuple[Given, ...] = (
                {"presence_penalty": 2.0, "frequency_penalty": 1.0},
                {"repetition_penalty": 1.9},
                {"logit_bias": dict.fromkeys(subject.first_ids()[1:2], 60.0)},
                {"stop": LETTERS},
            )
            changes += [{**hot, **more} for more in pulls]
        yield greedy
        for change in changes:
            if change and subject.declares(*change) and change.get("logit_bias", True):
                yield {**greedy, **change}

    def _mixtures(self, subject: Subject) -> Iterator[Given]:
        """Several parameters at once, each of them seen in the answer or in what is told of it."""
        greedy = {**subject.greedy, **subject.limit(COLD)}
        told = {"logprobs": True, "top_logprobs": 3}
        bias = _nearly(subject)
        mixtures: list[Given] = [
            {**greedy, **bias, "presence_penalty": 2.0, "frequency_penalty": 1.5, **told},
            {**greedy, "repetition_penalty": 1.9, **told},
            {**greedy, "stop": LETTERS},
            {**greedy, "response_format": FORMAT, "max_tokens": 24},
            {**greedy, "grammar": 'root ::= "yes" | "no"'},
            {**greedy, "tools": TOOLS, "tool_choice": "required", "max_tokens": 32},
        ]
        if subject.declares("seed", "temperature") and not subject.rounding:
            hot = {"temperature": 1.6, "seed": 2**32 - 2, **subject.limit(COLD)}
            mixtures.append({**hot, "top_k": 9, "top_p": 0.95, "min_p": 0.01, **told})
        for mixture in mixtures:
            able = {name: value for name, value in mixture.items() if subject.declares(name)}
            if able != greedy and ("tools" in able or "tool_choice" not in able):
                yield able

    def _keeps_to(self, given: Given, came: GeneratedText, what: str) -> None:
        """What can be said of an answer without another one to compare it with."""
        __tracebackhide__ = True
        met = [stop for stop in given.get("stop", ()) if stop in came]
        expect(not met, f"none of the stop strings in the answer of {what}", str(came))
        if "top_logprobs" in given and came.usage is not None and not came.usage.estimated:
            answered = came.usage.completion_tokens - came.usage.reasoning_tokens
            expect_equal(len(came.logprobs), answered, f"the log-probabilities of {what}")

    def _is_alike(self, subject: Subject, came: GeneratedText, wanted: GeneratedText, what: str) -> None:
        __tracebackhide__ = True
        if subject.rounding:
            if came != wanted:
                return  # whether that is a tie only the greedy checks can tell
        else:
            expect_equal(str(came), str(wanted), f"the text of {what}")
        expect_equal(
            (came.finish_reason, came.stop, came.reasoning, came.dropped),
            (wanted.finish_reason, wanted.stop, wanted.reasoning, wanted.dropped),
            f"finish_reason, stop, reasoning and dropped of {what}",
        )
        calls = [[(call.function.name, call.function.arguments) for call in each.tool_calls] for each in (came, wanted)]
        expect_equal(calls[0], calls[1], f"tool_calls of {what}")
        named = [{name: value for name, value in each.parameters.items() if name != "raw"} for each in (came, wanted)]
        drawn = [each.pop("seed", None) is None for each in named]
        expect_equal(drawn[0], drawn[1], f"whether a seed is reported of {what}")
        expect_equal(named[0], named[1], f"parameters of {what}")
        told = [[(entry.token, len(entry.top)) for entry in each.logprobs] for each in (came, wanted)]
        expect_equal(told[0], told[1], f"tokens and alternatives of {what}")
        if came.usage is None or wanted.usage is None:
            expect_equal(came.usage, wanted.usage, f"usage of {what}")
        elif not came.usage.estimated:
            counts = [
                (each.prompt_tokens, each.completion_tokens, each.reasoning_tokens, each.truncated_tokens)
                for each in (came.usage, wanted.usage)
            ]
            expect_equal(counts[0], counts[1], f"tokens of prompt, answer, reasoning and truncation of {what}")
        if came.timings.total is None:
            expect(False, f"timings.total of {what}", Told("none"))


def _nearly(subject: Subject) -> dict[str, Any]:
    """A bias that brings the second best token a little before the best one, again and again."""
    if not subject.declares("logit_bias", "logprobs", "top_logprobs"):
        return {}
    first = subject.say(1, logprobs=True, top_logprobs=5).logprobs
    best = [each for each in (first[0].top if first else ()) if each.token_id is not None]
    if len(best) < 2:
        return {}
    return {"logit_bias": {best[1].token_id: min(99.0, round(best[0].logprob - best[1].logprob + 6.0, 2))}}
