"""Every parameter on every path: whichever way a request is made, it means the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pytest

from ...errors import LlamaForgeError
from ...results import GeneratedText
from ..expect import Told, expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 6
COLOURS: Final = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "paint", "strict": True, "schema": COLOURS}}
TOOLS: Final = [{"type": "function", "function": {"name": "paint", "description": "Paint.", "parameters": COLOURS}}]

Ask = Callable[[Mapping[str, Any]], GeneratedText]


class PathChecks(Kit, slow=True):
    """``generate`` is what the other checks look at; here the other ways to ask are held to it, parameter by parameter.

    A basic backend has one way, and refuses the others.
    """

    def test_a_stream_takes_every_parameter(self, subject: Subject) -> None:
        """``generate_stream`` honours each parameter as ``generate`` does.

        Why: streaming is often another call of the engine, with options of its own. Look at: what is set in one of the
        two alone.
        """
        backend = subject.backend
        self._agrees(subject, "generate_stream", lambda given: backend.generate_stream(subject.prompt, given).read())

    def test_asynchronous_calls_take_every_parameter(self, subject: Subject) -> None:
        """``agenerate`` and ``agenerate_stream`` honour each parameter as ``generate`` does.

        Why: servers use these alone. Look at: ``astream`` written beside ``stream``, a second client.
        """
        backend = subject.backend
        self._agrees(subject, "agenerate", self._in_a_loop(lambda given: backend.agenerate(subject.prompt, given)))
        self._agrees(
            subject,
            "agenerate_stream",
            self._in_a_loop(lambda given: backend.agenerate_stream(subject.prompt, given).read()),
        )

    def test_chat_takes_every_parameter(self, subject: Subject) -> None:
        """``chat`` and its stream honour each parameter as ``generate`` does for the same turn.

        Why: most requests are conversations. Look at: another endpoint, with other names for parameters.
        """
        if subject.full and not subject.has_template:
            return  # that it refuses messages is another check's matter
        backend, turns = subject.backend, [{"role": "user", "content": subject.prompt}]
        self._agrees(subject, "chat", lambda given: backend.chat(turns, given))
        self._agrees(subject, "chat_stream", lambda given: backend.chat_stream(turns, given).read())

    def test_asynchronous_chat_takes_every_parameter(self, subject: Subject) -> None:
        """``achat`` and its stream honour each parameter as ``generate`` does for the same turn.

        Why: that is what a chat server calls. Look at: the paths that only this one takes.
        """
        if subject.full and not subject.has_template:
            return
        backend, turns = subject.backend, [{"role": "user", "content": subject.prompt}]
        self._agrees(subject, "achat", self._in_a_loop(lambda given: backend.achat(turns, given)))
        self._agrees(subject, "achat_stream", self._in_a_loop(lambda given: backend.achat_stream(turns, given).read()))

    def test_a_batch_takes_every_parameter(self, subject: Subject) -> None:
        """``generate_batch`` and ``agenerate_batch`` honour each parameter as ``generate`` does.

        Why: an evaluation is one batch. Look at: a batched call of the engine that takes fewer options.
        """
        backend = subject.backend
        self._agrees(
            subject, "generate_batch", lambda given: next(iter(backend.generate_batch([subject.prompt], given))).text
        )

        async def batch(given: Mapping[str, Any]) -> GeneratedText:
            async for item in backend.agenerate_batch([subject.prompt], given):
                return item.text
            raise AssertionError("a batch of one prompt had no item")

        self._agrees(subject, "agenerate_batch", self._in_a_loop(batch))

    def test_a_raw_prompt_takes_every_parameter(self, subject: Subject) -> None:
        """The rendered prompt, sent raw, has the answer that the prompt has, with each parameter and the same counts.

        Why: ``raw`` must change the prompt and nothing else. Look at: another endpoint for completions; a token that
        begins a text, put before it twice or never.
        """
        if not subject.full:
            subject.refuses_the_full_contract(raw=True)
            return
        try:
            rendered = subject.backend.render(subject.prompt)
            subject.generate(rendered, {**subject.limit(1), "raw": True})
        except LlamaForgeError as error:
            pytest.skip(f"could not be measured: the backend renders nothing, or takes no raw prompt ({error})")
        self._agrees(
            subject,
            "generate(raw=True)",
            lambda given: subject.generate(rendered, {**given, "raw": True}),
            but=frozenset({"tools"}),  # the template puts them into words
        )

    # How.

    def _in_a_loop(self, ask: Callable[[Mapping[str, Any]], Awaitable[GeneratedText]]) -> Ask:
        return lambda given: self.run_async(partial(ask, given))

    def _agrees(self, subject: Subject, path: str, ask: Ask, but: frozenset[str] = frozenset()) -> None:
        """Fail unless *ask* answers as ``generate`` does, whatever is asked for."""
        __tracebackhide__ = True
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        for given in self._requests(subject):
            if but & given.keys():
                continue
            try:
                wanted = self._by_generate(subject, given)
            except LlamaForgeError as error:  # this model can't, or not in these words
                expect_refusal(type(error), partial(ask, given), f"{path}() with {given}, as generate() refuses it")
                continue
            came = subject.in_time(partial(ask, given), f"{path}() with {given}")
            self._is_alike(subject, came, wanted, f"{path}() with {given}")

    def _by_generate(self, subject: Subject, given: Mapping[str, Any]) -> GeneratedText:
        """What ``generate`` answers. Asked only once for all paths."""
        known = subject.remembered.setdefault("paths", {})
        key = repr(sorted(given.items()))
        if key not in known:
            known[key] = subject.generate(None, given)
        answer: GeneratedText = known[key]
        return answer

    def _requests(self, subject: Subject) -> Iterator[dict[str, Any]]:
        """Parameters that each change the greedy answer, or what is told of it."""
        greedy = {**subject.greedy, **subject.limit(TOKENS)}
        whole = subject.known(TOKENS)
        stop = whole[len(whole) // 2 :][:2]
        changes: list[dict[str, Any]] = [
            {"max_tokens": 2},
            {"stop": ["\u2603", stop]} if stop else {},
            {"presence_penalty": -2.0, "frequency_penalty": -1.0},
            {"repetition_penalty": 1.9},
            {"logit_bias": dict.fromkeys(subject.first_ids()[1:2], 60.0)},
            {"logprobs": True},
            {"logprobs": True, "top_logprobs": 3},
            {"response_format": FORMAT, "max_tokens": 24},
            {"grammar": 'root ::= "yes" | "no"'},
            {"tools": TOOLS, "tool_choice": "required", "max_tokens": 32},
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "paint"}}, "max_tokens": 32},
            {"tools": TOOLS, "tool_choice": "none"},
        ]
        if subject.declares("seed", "temperature") and not subject.rounding:
            hot = {"temperature": 1.7, "seed": 3}
            changes += [hot, *({**hot, **more} for more in ({"top_k": 2}, {"top_p": 0.3}, {"min_p": 0.6}))]
        yield greedy
        for change in changes:
            if change and subject.declares(*change) and change.get("logit_bias", True):
                yield {**greedy, **change}

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
        expect_equal(came.parameters.keys(), wanted.parameters.keys() | _raw(came), f"names of parameters of {what}")
        told = [[(entry.token, len(entry.top)) for entry in each.logprobs] for each in (came, wanted)]
        expect_equal(told[0], told[1], f"tokens and alternatives of {what}")
        if came.usage is None or wanted.usage is None:
            expect_equal(came.usage, wanted.usage, f"usage of {what}")
        elif not came.usage.estimated:
            counts = [(each.prompt_tokens, each.completion_tokens) for each in (came.usage, wanted.usage)]
            expect_equal(counts[0], counts[1], f"prompt_tokens and completion_tokens of {what}")
        if came.timings.total is None:
            expect(False, f"timings.total of {what}", Told("none"))


def _raw(answer: GeneratedText) -> set[str]:
    return {"raw"} & answer.parameters.keys()
