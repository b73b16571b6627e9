"""The text: the same by every way, nothing lost, nothing of a stop string let through."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ...results import Finished, GeneratedText, ReasoningDelta, TextDelta, ToolCallDelta
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject

FIELDS: Final = ("finish_reason", "usage", "parameters", "dropped", "stop", "reasoning", "tool_calls", "logprobs")
LONG: Final = 56
"""Tokens within which many a model ends its answer."""
UNICODE: Final = "Say it in many scripts: naïve café, Straße, niño, 東京の海, Ελλάδα, עברית, 🦊 and 🌊, 👋🏽 … and on."


class TextChecks(Kit):
    """Text, whole and as a stream."""

    def test_the_model_answers(self, subject: Subject) -> None:
        """The kit's prompt has an answer of some length.

        Why: swallowed errors look like empty answers. Look at: the model; or set ``prompt`` to one that it answers.
        """
        answer = subject.material()
        expect(answer.strip(), "an answer with text", answer)

    def test_the_result_knows_how_it_came_about(self, subject: Subject) -> None:
        """The result is a ``str`` with finish_reason, usage, timings and parameters.

        Why: it is one type on every backend. Look at: overrides of ``generate`` that return a plain string.
        """
        answer = subject.known(16)
        expect(isinstance(answer, GeneratedText), "a GeneratedText", type(answer))
        expect(type(answer.text) is str and answer.text == answer, "result.text to be the plain text", answer.text)
        expect(isinstance(answer.to_dict(), dict), "result.to_dict() to be a dict", answer.to_dict())

    def test_the_same_request_has_the_same_answer(self, subject: Subject) -> None:
        """The greedy answer is the same again, even after another request.

        Why: most checks here compare answers. Look at: state that a request leaves behind; ``greedy``, if your backend
        needs something else than temperature 0.
        """
        first = subject.say(16)
        subject.say(6, "What is the capital of France?")
        subject.agrees(subject.say(16), first, "the answer, asked again")

    def test_the_stream_joined_is_the_whole(self, subject: Subject) -> None:
        """The pieces of ``generate_stream``, joined, are exactly what ``generate`` returns; so are ``text`` and
        ``result``.

        Why: applications show one and store the other. Look at: what only one of the ways strips, decodes or cuts.
        """
        with subject.stream(**subject.greedy, **subject.limit(24)) as stream:
            pieces = Subject.answered(lambda: list(stream), "a stream to its end")
        subject.agrees("".join(pieces), subject.known(24), "the stream, joined")
        expect_equal(stream.text, subject.known(24), "stream.text")
        subject.agrees(stream.result, subject.known(24), "stream.result")

    def test_stream_and_generate_agree_on_every_field(self, subject: Subject) -> None:
        """finish_reason, usage, parameters, dropped and the rest are the same, streamed or not.

        Why: callers should not have to choose. Look at: anything that ``generate`` adds to the events.
        """
        with subject.stream(**subject.greedy, **subject.limit(12)) as stream:
            streamed = Subject.answered(stream.read, "a stream to its end")
        self._agree(subject, streamed, subject.known(12), "the stream")

    def test_the_asynchronous_twins_agree(self, subject: Subject) -> None:
        """``agenerate`` and ``agenerate_stream`` give the same text and the same fields as ``generate``.

        Why: one meaning. Look at: separate code in ``stream`` and ``astream``.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given = {**subject.greedy, **subject.limit(12)}
        backend = subject.backend

        async def both() -> tuple[GeneratedText, str, GeneratedText]:
            whole = await backend.agenerate(subject.prompt, given)
            async with backend.agenerate_stream(subject.prompt, given) as stream:
                joined = "".join([piece async for piece in stream])
            return whole, joined, stream.result

        whole, joined, streamed = Subject.answered(lambda: self.run_async(both), "asynchronous answers")
        self._agree(subject, whole, subject.known(12), "agenerate()")
        self._agree(subject, streamed, subject.known(12), "agenerate_stream()")
        subject.agrees(joined, subject.known(12), "the asynchronous stream, joined")

    def test_the_answer_comes_in_pieces(self, subject: Subject) -> None:
        """An answer of many tokens comes as several pieces, none of them empty.

        Why: people want to see it grow. Look at: buffers, and a "stream" that is made of the finished text.
        """
        with subject.stream(**subject.greedy, **subject.limit(24)) as stream:
            pieces = list(stream)
        expect(all(pieces), "no empty piece", pieces)
        usage = stream.result.usage
        tokens = usage.completion_tokens if usage is not None else len(stream.text.split())
        if tokens >= 8 and len(stream.text) >= 8:
            expect(len(pieces) > 1, f"an answer of {tokens} tokens in several pieces", pieces)

    def test_a_stream_has_exactly_one_end(self, subject: Subject) -> None:
        """The events are text, reasoning or tool calls, and then exactly one ``Finished``, the last.

        Why: it carries the counts and marks the end. Look at: ``stream``; yield ``Finished`` once, on each
        path.
        """
        with subject.stream(**subject.greedy, **subject.limit(8)) as stream:
            events = Subject.answered(lambda: list(stream.events()), "events to their end")
        kinds = [type(event).__name__ for event in events]
        expect(kinds.count("Finished") == 1 and kinds[-1] == "Finished", "one Finished, the last event", kinds)
        known = TextDelta | ReasoningDelta | ToolCallDelta | Finished
        expect(all(isinstance(event, known) for event in events), "events of the four kinds", kinds)

    def test_a_shorter_answer_is_the_beginning_of_the_longer_one(self, subject: Subject) -> None:
        """The greedy answers with a smaller max_tokens are beginnings of those with a larger one.

        Why: this reveals text that is lost, doubled or stripped at the end of an answer. Look at: what happens to the
        last token; incomplete UTF-8 becomes U+FFFD at the end, and only there.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=4)
            return
        longest = subject.known(16)
        for tokens in (1, 2, 3, 5, 8, 12):
            shorter = subject.known(tokens).rstrip("\ufffd")
            subject.begins(shorter, longest, f"the answer of {tokens} tokens")

    def test_every_token_brings_its_text(self, subject: Subject) -> None:
        """One token has text, and each further one makes the answer longer.

        Why: the last token of an answer gets lost most easily. Look at: where your loop stops, and whether the last
        token's text has been sent by then.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=1)
            return
        lengths = []
        for tokens in (1, 2, 3, 4, 5, 6):
            answer = subject.known(tokens)
            if answer.finish_reason != "length":
                break
            text = answer.reasoning + answer
            if not text.endswith("\ufffd"):  # there, the next token completes a character
                lengths.append(len(text))
        grows = all(before < after for before, after in zip([0, *lengths], lengths, strict=False))
        expect(grows, "answers of 1, 2, 3 ... tokens, each longer than the one before", Told(f"{lengths} characters"))

    def test_the_end_of_an_answer_is_not_lost(self, subject: Subject) -> None:
        """An answer that ends by itself is complete: with one token less allowed, it is shorter, and with one more it
        ends by itself as well.

        Why: what ends the answer must not take the last token with it. Look at: what is still held back at the end.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=1)
            return
        whole = subject.known(LONG)
        if whole.usage is None:
            pytest.skip("could not be measured: the engine counts no tokens")
        tokens = whole.usage.completion_tokens
        if whole.finish_reason == "stop" and tokens > 1:
            exact, less, more = (subject.known(number) for number in (tokens, tokens - 1, tokens + 1))
            subject.agrees(more, whole, f"the answer with max_tokens={tokens + 1}, one more than its length")
            if more == whole and not whole.usage.estimated:
                expect_equal(more.finish_reason, "stop", f"finish_reason with max_tokens={tokens + 1}")
            subject.agrees(exact, whole, f"the answer with max_tokens={tokens}, which is its length")
            expect(
                len(less.encode()) < len(whole.encode()), f"a shorter answer than {whole!r} with one token less", less
            )

    def test_utf8_is_never_split(self, subject: Subject) -> None:
        """No piece of a stream ends in the middle of a character, wherever the answer is cut.

        Why: emoji and most scripts are several bytes, and tokens split them. Look at: ``bytes.decode`` of single
        tokens; send all bytes through :class:`llamaforge.text.TextAssembler`. A model that really writes broken bytes
        is rare.
        """
        with subject.stream(UNICODE, **subject.greedy, **subject.limit(24)) as stream:
            pieces = list(stream)
        whole = "".join(pieces)
        subject.agrees(whole, subject.known(24, UNICODE), "the stream of a text in many scripts, joined")
        cut = stream.result.finish_reason == "length"
        inside = whole.rstrip("\ufffd") if cut else whole
        expect("\ufffd" not in inside, "no replacement character (U+FFFD) inside the answer", pieces)
        if subject.declares("max_tokens"):
            for tokens in (2, 3, 5, 7, 9):
                shorter = subject.known(tokens, UNICODE)
                subject.begins(shorter.rstrip("\ufffd"), subject.known(24, UNICODE), f"the answer of {tokens} tokens")

    def _agree(self, subject: Subject, came: GeneratedText, wanted: GeneratedText, way: str) -> None:
        __tracebackhide__ = True
        subject.agrees(came, wanted, f"the text of {way}")
        for name in FIELDS:
            expect_equal(
                _comparable(getattr(came, name), name), _comparable(getattr(wanted, name), name), f"{name} of {way}"
            )


def _comparable(value: Any, name: str) -> Any:
    """What must be equal: a cache may know the prompt the second time, and ids of calls are drawn."""
    if name == "usage" and value is not None:
        return value.prompt_tokens, value.completion_tokens, value.reasoning_tokens
    if name == "tool_calls":
        return [call.function for call in value]
    return value
