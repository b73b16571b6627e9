"""What a model thinks before it answers: apart from the answer, no longer than it may be, and never in its way."""

from __future__ import annotations

from typing import Any, Final

from ...errors import LlamaForgeError, RequestError
from ...results import GeneratedText, ReasoningDelta, TextDelta
from ..expect import NotAsExpected, expect, expect_equal
from ..kit import Kit
from ..refusing import expect_a_refusal
from ..subject import Subject
from ..ways import ways
from .constraints import COLOURS

ROOM: Final = 48
"""Tokens for thoughts and answer."""
_MARKS: Final = ("<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>", "<|channel>", "<channel|>")
_MARKERS_LENGTH: Final = 16
"""Tokens that the markers around a reasoning may take."""


class ReasoningChecks(Kit):
    """Reasoning. A model that never thinks passes where nothing of it can be seen."""

    def test_reasoning_is_apart_on_every_path(self, subject: Subject) -> None:
        """The greedy answer has the same reasoning on every path, streamed or not, and its text no marker of any.

        Why: what a model thinks is not what it says. Look at: paths that join all text of the engine.
        """
        wanted = self._asked(subject)
        if wanted is None:
            return
        for way in ways(subject):
            came = way.ask(subject.prompt, {**subject.greedy, **subject.limit(ROOM)})
            found = [mark for mark in _MARKS if mark in str(came)]
            expect(not found, f"no marker of reasoning in the text of {way.name}", found)
            if not subject.rounding and not way.is_raw:
                expect_equal(came.reasoning, wanted.reasoning, f"the reasoning of {way.name}")

    def test_reasoning_streams_before_the_text(self, subject: Subject) -> None:
        """A stream's reasoning comes in pieces that add up to ``result.reasoning``, before the text that follows it.

        Why: a reader sees that something happens. Look at: reasoning that is only told at the end.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        with subject.stream(**subject.greedy, **subject.limit(ROOM)) as stream:
            events = Subject.answered(lambda: list(stream.events()), "a stream to its end")
            result = stream.result
        thoughts = [number for number, event in enumerate(events) if isinstance(event, ReasoningDelta)]
        texts = [number for number, event in enumerate(events) if isinstance(event, TextDelta) and event.text]
        joined = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
        expect_equal(joined, result.reasoning, "the pieces of reasoning together")
        if thoughts and texts:
            expect(thoughts[0] < texts[0], "reasoning before the text", [type(each).__name__ for each in events])

    def test_reasoning_is_no_longer_than_it_may_be(self, subject: Subject) -> None:
        """With max_reasoning_tokens the reasoning has so many tokens at most, and its markers' few; the answer follows.

        Why: thoughts cost what answers cost. Look at: a limit that is told to nobody; one that ends the answer, too.
        """
        if not subject.declares("max_reasoning_tokens"):
            subject.refuses(max_reasoning_tokens=4)
            return
        free = self._asked(subject)
        if free is None or free.usage is None or not free.reasoning:
            return
        for limit in (0, 1, 2):
            came = self._asked(subject, max_reasoning_tokens=limit)
            if came is None:
                continue
            counts = came.usage
            expect(counts is not None, f"usage with max_reasoning_tokens={limit}", counts)
            spent = 0 if counts is None else counts.reasoning_tokens
            if limit == 0:
                expect_equal(came.reasoning, "", "the reasoning with max_reasoning_tokens=0")
            most = min(limit + _MARKERS_LENGTH, free.usage.reasoning_tokens + _MARKERS_LENGTH)
            expect(spent <= most, f"at most {limit} reasoning_tokens, and the markers", counts)
            shorter = len(came.reasoning) < len(free.reasoning) or free.usage.reasoning_tokens <= limit
            expect(shorter, f"less reasoning with max_reasoning_tokens={limit}", came.reasoning)
            expect(came or came.finish_reason == "length", f"an answer after {limit} tokens of reasoning", came)

    def test_no_effort_is_no_reasoning(self, subject: Subject) -> None:
        """With reasoning_effort="none" there is no reasoning on any path; or it is refused with a typed error, as by a
        model that always thinks.

        Why: a quick answer was wanted. Look at: paths that lose the parameter.
        """
        if not subject.declares("reasoning_effort"):
            subject.refuses(reasoning_effort="none")
            return
        for way in ways(subject):
            if way.is_raw:
                continue
            try:
                came = way.ask(subject.prompt, {**subject.greedy, **subject.limit(ROOM), "reasoning_effort": "none"})
            except LlamaForgeError as error:
                expect_a_refusal(error, f"{way.name} with reasoning_effort='none'")
                continue
            except Exception as error:
                raise NotAsExpected(f"an answer of {way.name} without reasoning", error) from error
            expect_equal(came.reasoning, "", f"the reasoning of {way.name} with reasoning_effort='none'")

    def test_a_format_holds_after_the_reasoning(self, subject: Subject) -> None:
        """A choice is followed by the answer, whatever was thought before it.

        Why: programs read the answer. Look at: formats that are dropped where the model thinks, or that bind its
        thoughts.
        """
        wanted = {"type": "choice", "choice": list(COLOURS)}
        if not subject.declares("response_format"):
            subject.refuses(response_format=wanted)
            return
        limit = {"max_reasoning_tokens": 8} if subject.declares("max_reasoning_tokens") else {}
        for seed in range(3):
            more = {"seed": seed, "temperature": 1.0} if subject.declares("seed", "temperature") else {}
            came = self._asked(subject, **more, **limit, response_format=wanted)
            if came is None:
                return
            whole = came.finish_reason != "length"
            right = str(came) in COLOURS if whole else any(colour.startswith(came) for colour in COLOURS)
            expect(right, f"one of {COLOURS}, or its beginning, after the reasoning", came)

    def test_thoughts_of_earlier_turns_are_taken(self, subject: Subject) -> None:
        """A conversation may tell what the assistant thought, under both names in use; or it is refused.

        Why: models expect it between the rounds of tools. Look at: messages that are passed on with fields that the
        engine doesn't know.
        """
        if not subject.full or not subject.has_template:
            return
        for name in ("reasoning_content", "reasoning"):
            turns: list[dict[str, Any]] = [
                {"role": "user", "content": subject.prompt},
                {"role": "assistant", "content": "I see.", name: "They want to hear that I see."},
                {"role": "user", "content": "Go on."},
            ]
            try:
                came = subject.backend.chat(turns, {**subject.greedy, **subject.limit(8)})
            except RequestError:
                continue  # this model's template takes no such conversation
            except Exception as error:
                raise NotAsExpected(f"an answer to a conversation with {name}", error) from error
            expect(isinstance(came, GeneratedText), f"an answer to a conversation with {name}", came)

    def _asked(self, subject: Subject, **given: Any) -> GeneratedText | None:
        try:
            return subject.generate(None, {**subject.greedy, **subject.limit(ROOM), **given})
        except RequestError:
            return None
        except Exception as error:
            raise NotAsExpected(f"an answer or a typed error with {given}", error) from error
