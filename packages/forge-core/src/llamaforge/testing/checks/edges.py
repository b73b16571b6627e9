"""The context's edge and truncation, on every path."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pytest

from ...errors import ContextOverflowError, LlamaForgeError
from ...results import GeneratedText, Usage
from ..expect import expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject
from ..ways import ways

SMALL: Final = 96
Turn = Mapping[str, Any]


class EdgeChecks(Kit):
    """What holds for ``generate`` at the context's edge holds for the other ways to ask, too."""

    def test_the_context_ends_alike_on_every_path(self, subject: Subject) -> None:
        """With room for two tokens, each path answers with two, for the reason "length", whatever max_tokens is; with
        room for none, it raises ContextOverflowError with both counts.

        Why: an empty or cut answer that looks finished. Look at: what the paths subtract; max_tokens that counts the
        prompt; an error that only one path maps.
        """
        used = self._used(subject)
        if subject.known(3).finish_reason != "length":
            pytest.skip("could not be measured: the answer ends by itself")
        with self.fresh(n_ctx=used.prompt_tokens + 2) as tight:
            for way in ways(tight):
                for more in ({}, tight.limit(2), tight.limit(50)):
                    answer = tight.answered(
                        lambda: way.ask(tight.prompt, {**tight.greedy, **more}),  # noqa: B023
                        f"{way.name} with room for two tokens, and {more}",
                    )
                    came = (answer.finish_reason, answer.usage and answer.usage.completion_tokens)
                    expect_equal(came, ("length", 2), f"finish_reason and tokens of {way.name} with room for two")
        with self.fresh(n_ctx=used.prompt_tokens) as full:
            for way in ways(full):
                if way.is_raw:
                    continue
                error = expect_refusal(
                    ContextOverflowError,
                    lambda: way.ask(full.prompt, full.limit(1)),  # noqa: B023
                    f"{way.name} with a prompt as long as the context",
                )
                counts = (error.prompt_tokens, error.context_size)
                expect_equal(counts, (used.prompt_tokens,) * 2, f"prompt_tokens and context_size of {way.name}'s error")

    def test_nothing_is_cut_on_any_path_unasked(self, subject: Subject) -> None:
        """A prompt that doesn't fit raises ContextOverflowError on every path, also with truncation="disabled".

        Why: a cut prompt gets an invented answer. Look at: a path that truncates by default; "disabled" taken for
        "set".
        """
        self._used(subject)
        long = f"{'Nobody saw the boats that came in from the sea. ' * 40}And then?"
        disabled = [{"truncation": "disabled"}] if subject.declares("truncation") else []
        with self.fresh(n_ctx=SMALL) as small:
            for way in ways(small):
                for more in ({}, *disabled):
                    expect_refusal(
                        ContextOverflowError,
                        lambda: way.ask(long, {**small.limit(2), **more}),  # noqa: B023
                        f"{way.name} with a prompt that doesn't fit, and {more}",
                    )
            if small.has_template:
                for more in ({}, *disabled):
                    for name, call in self._chats(small, _long_history(), {**small.limit(2), **more}).items():
                        expect_refusal(ContextOverflowError, call, f"{name} with turns that don't fit, and {more}")

    def test_truncation_is_the_same_on_every_path(self, subject: Subject) -> None:
        """With truncation="auto", each path cuts a conversation alike, tells how much, and leaves room for max_tokens,
        or for a quarter of the context where that is not set.

        Why: one conversation that is too long must not be answered in two ways. Look at: where the turns are dropped.
        """
        if not subject.declares("truncation"):
            subject.refuses(truncation="auto")
            return
        self._used(subject)
        if not subject.has_template:
            pytest.skip("could not be measured: there is no chat template")
        given = {**subject.greedy, "truncation": "auto"}
        turns = _long_history()
        with self.fresh(n_ctx=4 * SMALL) as small:
            for limit in (4, 100):
                asked = {**given, **small.limit(limit)}
                wanted = small.chat(turns, **asked)
                counts = self._counts(wanted)
                expect(counts[0] <= 4 * SMALL - limit, f"prompt_tokens that leave room for {limit}", wanted.usage)
                expect(counts[0] >= 4 * SMALL - limit - 2 * SMALL, "no more left out than has to be", wanted.usage)
                came = {
                    name: small.answered(call, f"{name} of a conversation that has to be cut")
                    for name, call in self._chats(small, turns, asked).items()
                }
                for name, answer in came.items():
                    expect_equal(self._counts(answer), counts, f"prompt_tokens and truncated_tokens of {name}")
                    small.agrees(answer, wanted, f"the answer of {name} to a conversation that was cut")
            free = small.chat(turns, **given)
            room = 4 * SMALL - self._counts(free)[0]
            expect(room >= SMALL, f"room for {SMALL} tokens, a quarter of the context, without max_tokens", free.usage)

    def test_truncation_keeps_what_it_must(self, subject: Subject) -> None:
        """With truncation="auto" all turns of system and developer and the last turn stay, also where little fits. If
        they don't fit themselves, ContextOverflowError is raised. No answer stays without its question.

        Why: a question that is cut is not answered. Look at: instructions that don't come first; the last turn cut from
        its beginning; turns that are left out one by one.
        """
        if not subject.declares("truncation"):
            subject.refuses(truncation="auto")
            return
        self._used(subject)
        if not subject.has_template:
            pytest.skip("could not be measured: there is no chat template")
        given = {**subject.greedy, **subject.limit(4)}
        last = {"role": "user", "content": "What did the dog of the keeper do then?"}
        rules = self._rules(subject, last)
        wanted = subject.chat([*rules, last], **given)
        least = self._counts(wanted)[0]
        past = _history(4)
        # As much as there would be if an answer stayed without its question.
        room = self._size(subject, [*rules, past[-1], last], given) or least
        with self.fresh(n_ctx=room + 4) as tight:
            answer = tight.chat([*rules, *past, last], **given, truncation="auto")
            expect_equal(self._counts(answer)[0], least, "prompt_tokens where only instructions and last turn fit")
            tight.agrees(answer, wanted, "the answer to instructions and the last turn, the others being left out")
            expect(self._counts(answer)[1] > 0, "truncated_tokens above 0", answer.usage)
            long = {**past[0], "content": f"{past[0]['content']} " * 3}
            for turns, kept, what in (
                ([*rules, past[-1], last], [*rules, past[-1], last], "a conversation that just fits"),
                ([*rules, *past], [*rules, past[-1]], "a begun answer, whose question doesn't fit"),
                ([*rules, long, last], [*rules, last], "a question after one that doesn't fit"),
            ):
                whole, rest = (self._size(subject, each, given) for each in (turns, kept))
                if whole is None or rest is None or rest > room:
                    continue  # a template may want a question before each answer, and an answer after it
                came = self._counts(tight.chat(turns, **given, truncation="auto"))
                expect_equal(came, (rest, whole - rest), f"tokens read of, and cut from, {what}")
        tiny_size = max(8, least - 4)
        with self.fresh(n_ctx=tiny_size) as tiny:
            error = expect_refusal(
                ContextOverflowError,
                lambda: tiny.backend.chat([*rules, *past, last], {**given, "truncation": "auto"}),
                "a conversation whose last turn doesn't fit",
            )
            expect_equal(error.context_size, tiny_size, "error.context_size")
            counted = error.prompt_tokens
            expect(counted is not None and counted > tiny_size - 4, "error.prompt_tokens, more than fit", counted)

    # How.

    @staticmethod
    def _rules(subject: Subject, last: Turn) -> Sequence[Turn]:
        """Instructions that the template takes."""
        every = [{"role": "system", "content": "You are the keeper."}, {"role": "developer", "content": "Be brief."}]
        for rules in (every, every[:1]):
            with contextlib.suppress(LlamaForgeError):
                subject.backend.chat([*rules, last], subject.limit(1))
                return rules
        return []

    def _size(self, subject: Subject, turns: Sequence[Turn], given: Mapping[str, Any]) -> int | None:
        """The tokens of a conversation; None where it is refused."""
        try:
            return self._counts(subject.backend.chat(turns, given))[0]
        except LlamaForgeError:
            return None

    def _chats(
        self, subject: Subject, turns: Sequence[Turn], given: Mapping[str, Any]
    ) -> dict[str, Callable[[], GeneratedText]]:
        """The ways to send a conversation."""
        backend = subject.backend
        return {
            "chat()": lambda: backend.chat(turns, given),
            "chat_stream()": lambda: backend.chat_stream(turns, given).read(),
            "achat()": lambda: self.run_async(lambda: backend.achat(turns, given)),
            "achat_stream()": lambda: self.run_async(lambda: backend.achat_stream(turns, given).read()),
            "generate_batch()": lambda: next(iter(backend.generate_batch([list(turns)], given))).text,
        }

    def _used(self, subject: Subject) -> Usage:
        """What the kit's prompt takes; skips where that can't be told."""
        if "n_ctx" not in self.config_class().__struct_fields__:
            pytest.skip("could not be measured: there is no load parameter n_ctx")
        if not subject.declares("max_tokens"):
            pytest.skip("could not be measured: max_tokens is not declared")
        usage = subject.known(4).usage
        if usage is None or usage.estimated:
            pytest.skip("could not be measured: the engine counts no tokens")
        return usage

    @staticmethod
    def _counts(answer: GeneratedText) -> tuple[int, int]:
        expect(answer.usage is not None, "usage", answer.usage)
        usage = answer.usage or Usage(prompt_tokens=0, completion_tokens=0)
        return usage.prompt_tokens, usage.truncated_tokens


def _history(exchanges: int) -> Sequence[Turn]:
    return [
        {"role": role, "content": f"Number {number}: the fog came in over the sea and nobody saw boat {number}."}
        for number in range(exchanges)
        for role in ("user", "assistant")
    ]


def _long_history() -> Sequence[Turn]:
    return [*_history(12), {"role": "user", "content": "What did the dog do?"}]
