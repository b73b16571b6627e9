"""Usage, finish reasons and timings: numbers that can be trusted."""

from __future__ import annotations

import math
from typing import Final

import pytest

from ...errors import LlamaForgeError
from ...results import GeneratedText, Usage
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from .text import LONG, UNICODE

NEVER: Final = "\u2603\u2603"


class UsageChecks(Kit):
    """What is counted, and why an answer ended. A basic backend tells neither, and must not seem to."""

    def test_usage_is_told(self, subject: Subject) -> None:
        """Each answer has usage: tokens of the prompt and of the answer. An engine without counts has none on any way.

        Why: people pay by it. Look at: ``Finished.usage``. Where the engine has no counts, estimate and set
        ``estimated``, or leave it None.
        """
        answer = subject.known(8)
        if not subject.full:
            expect_equal(answer.usage, None, "usage of a basic backend, which can't know it")
            return
        given = {**subject.greedy, **subject.limit(4)}
        others = {
            "a stream": subject.answered(lambda: subject.stream(**given).read(), "a stream"),
            "an answer of one token": subject.say(1),
            "an answer of two tokens": subject.say(2),
            "a raw prompt": subject.ask(**given, raw=True),
            "a sampled answer": subject.ask(**subject.limit(4)),
            "an asynchronous answer": self.run_async(lambda: subject.backend.agenerate(subject.prompt, given)),
        }
        if subject.declares("stop"):
            others["an answer that a stop string ended"] = subject.say(24, stop=[subject.material()[3:6]])
        if subject.declares("logprobs"):
            others["an answer with log-probabilities"] = subject.say(4, logprobs=True)
        if subject.has_template:
            turns = [{"role": "user", "content": subject.prompt}]
            others["a conversation"] = subject.chat(turns, **given)
            others["a conversation in an event loop"] = self.run_async(lambda: subject.backend.achat(turns, given))
        for way, other in others.items():
            what = f"usage of {way} where that of generate() is {'None' if answer.usage is None else 'told'}"
            expect((other.usage is None) == (answer.usage is None), what, other.usage)
        counts = _usage(answer)
        expect(counts.prompt_tokens > 0, "usage.prompt_tokens above 0", counts)
        expect(counts.completion_tokens > 0, "usage.completion_tokens above 0", counts)
        expect_equal(counts.total_tokens, counts.prompt_tokens + counts.completion_tokens, "usage.total_tokens")
        expect(0 <= counts.cached_tokens <= counts.prompt_tokens, "cached tokens among the prompt's", counts)
        expect(0 <= counts.reasoning_tokens <= counts.completion_tokens, "reasoning tokens among the answer's", counts)
        for given in ({"max_reasoning_tokens": 0}, {"reasoning_effort": "none"}):
            if all(map(subject.declares, given)):
                try:
                    quick = subject.generate("Hello", {**subject.limit(16), **given})
                except LlamaForgeError:
                    continue  # refused aloud: this model always thinks
                expect_equal(quick.reasoning, "", f"reasoning with {given}")

    def test_a_longer_prompt_has_more_tokens(self, subject: Subject) -> None:
        """usage.prompt_tokens grows with the prompt.

        Why: a count of 0, or of the last message only, goes unnoticed otherwise. Look at: what is counted, and when; a
        prompt that is cut silently.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        counts = [_usage(subject.say(1, "Count my words, please. " * times)).prompt_tokens for times in (1, 4, 16)]
        expect(counts[0] < counts[1] < counts[2], "prompt_tokens that grow with the prompt", counts)
        expect(counts[2] >= 16 * 4, "a prompt of 64 words to have 64 tokens at least", counts)

    def test_prompt_tokens_depend_on_the_prompt_alone(self, subject: Subject) -> None:
        """The same prompt has the same prompt_tokens again, also with another max_tokens.

        Why: a cache saves computing, not tokens. Look at: counting only what was computed this time; use
        ``cached_tokens``.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        counts = {_usage(subject.say(tokens)).prompt_tokens for tokens in (1, 5, 1)}
        expect(len(counts) == 1, "one number of prompt_tokens for one prompt", counts)

    def test_a_warm_prompt_has_the_same_answer(self, subject: Subject) -> None:
        """A prompt or conversation whose beginning, or all of it, was computed before has the answer that a backend
        has which was just loaded; usage.cached_tokens is part of prompt_tokens, which stays as it is.

        Why: a cache must not change the text. Look at: how far a cached beginning is taken to agree;
        what of a cache is overwritten meanwhile; counts of what was saved.
        """
        prompts = [f"{subject.prompt} And then tell of {end}." for end in ("the harbour", "a storm at night")]
        short = [{"role": "user", "content": subject.prompt}]
        turns = [*short, {"role": "assistant", "content": "I see."}, {"role": "user", "content": "And then?"}]
        given = {**subject.greedy, **subject.limit(8)}
        with self.fresh() as cold:
            wanted = cold.say(8, prompts[1])
            if subject.has_template:
                went_on = cold.chat(turns, **given)
                subject.chat(short, **given)
                for how in ("that goes on", "asked again"):
                    cold.agrees(subject.chat(turns, **given), went_on, f"the answer to a conversation {how}")
        subject.say(8, prompts[0])
        for how in ("begun by another one", "asked before"):
            answer = subject.say(8, prompts[1])
            cold.agrees(answer, wanted, f"the answer to a prompt {how}")
            if wanted.usage is not None:
                counts = _usage(answer)
                expect_equal(counts.prompt_tokens, wanted.usage.prompt_tokens, f"prompt_tokens of a prompt {how}")
                within = 0 <= counts.cached_tokens <= counts.prompt_tokens
                expect(within, f"at most {counts.prompt_tokens} cached_tokens of a prompt {how}", counts)

    def test_max_tokens_is_exact(self, subject: Subject) -> None:
        """An answer that reaches max_tokens has exactly that many tokens, and the reason "length".

        Why: errors by one add up, and programs continue if the reason is "length". Look at: ``<`` and ``<=``; the
        token that ends an answer, which isn't counted.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=4)
            return
        for tokens in (1, 2, 5, 8):
            answer = subject.known(tokens)
            expect_equal(answer.finish_reason, "length", f"finish_reason with max_tokens={tokens}")
            expect_equal(_usage(answer).completion_tokens, tokens, f"completion_tokens with max_tokens={tokens}")

    def test_an_answer_never_exceeds_max_tokens(self, subject: Subject) -> None:
        """Sampled answers have at most max_tokens, too, and the reason "length" only at that number.

        Why: budgets depend on it. Look at: the limit, which belongs in one place for every way of sampling.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=4)
            return
        for number in (1, 2, 3):
            more = {"seed": number} if subject.declares("seed") else {}
            answer = subject.ask(max_tokens=6, **more)
            counts = _usage(answer)
            expect(counts.completion_tokens <= 6, "at most 6 completion_tokens", counts)
            if answer.finish_reason == "length":
                expect_equal(counts.completion_tokens, 6, "completion_tokens of an answer cut at max_tokens=6")

    def test_an_answer_that_ends_by_itself_says_stop(self, subject: Subject) -> None:
        """An answer shorter than max_tokens has the reason "stop", not "length".

        Why: programs ask for more if they read "length". Look at: the reason being fixed, or guessed from the limit.
        """
        if not subject.full:
            expect_equal(subject.known(8).finish_reason, "unknown", "finish_reason of a basic backend")
            return
        whole = subject.known(LONG)
        if _usage(whole).completion_tokens < LONG:
            expect_equal(whole.finish_reason, "stop", "finish_reason of an answer that ended by itself")
        else:
            expect_equal(whole.finish_reason, "length", "finish_reason of an answer of max_tokens")

    def test_the_finish_reason_is_a_known_one(self, subject: Subject) -> None:
        """finish_reason is "stop" or "length" for a plain request that is read to its end.

        Why: programs branch on it. Look at: the engine's own words, passed on.
        """
        wanted = ("stop", "length") if subject.full else ("unknown",)
        for answer in (subject.known(4), subject.known(16)):
            expect(answer.finish_reason in wanted, f"a finish_reason of {wanted}", answer.finish_reason)

    def test_tokens_are_counted_and_not_pieces(self, subject: Subject) -> None:
        """completion_tokens counts tokens, even if several of them came as one piece of text.

        Characters of several tokens, and the beginning of a stop string, come out as one piece.

        Why: benchmarks that count pieces are wrong by a third. Look at: counting your own events; count the engine's
        tokens.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=4)
            return
        for prompt in (subject.prompt, UNICODE):
            plain = subject.known(16, prompt)
            counts = _usage(plain)
            if plain.finish_reason == "length":
                expect_equal(counts.completion_tokens, 16, "completion_tokens of an answer cut at 16 tokens")
            if subject.declares("stop") and len(plain) > 4:
                held = subject.say(16, prompt, stop=[plain[2:] + NEVER])
                expect_equal(
                    _usage(held).completion_tokens, counts.completion_tokens, "completion_tokens, text being held back"
                )

    def test_a_stopped_answer_counts_what_was_generated(self, subject: Subject) -> None:
        """An answer that a stop string ended has at least one token, and no more than the answer without it.

        Why: the tokens of the stop string were generated and are paid for; more were not. Look at: counting the text.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = subject.known(24)
        stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
        counts, most = _usage(subject.say(24, stop=[stop])), _usage(whole)
        within = 1 <= counts.completion_tokens <= most.completion_tokens
        expect(within, f"1 to {most.completion_tokens} completion_tokens", counts)
        if not counts.estimated:
            expect_equal(counts.prompt_tokens, most.prompt_tokens, "prompt_tokens of the answer that was stopped")

    def test_the_stream_has_the_same_usage(self, subject: Subject) -> None:
        """A stream read to its end has the same usage as ``generate``.

        Why: servers often leave it out when streaming, unless asked. Look at: the option that asks for it.
        """
        with subject.stream(**subject.greedy, **subject.limit(8)) as stream:
            streamed = Subject.answered(stream.read, "a stream to its end")
        came, wanted = streamed.usage, subject.known(8).usage
        if wanted is None or came is None:
            expect_equal(came, wanted, "usage of the stream")
            return
        expect_equal(
            (came.prompt_tokens, came.completion_tokens),
            (wanted.prompt_tokens, wanted.completion_tokens),
            "prompt and completion tokens of the stream",
        )

    def test_timings_make_sense(self, subject: Subject) -> None:
        """Timings are finite seconds, not negative: the first token comes before the end; queueing takes no longer than
        the whole request.

        Why: benchmarks use them. Look at: ``Timings.queued``, the one that an engine gives; two different clocks.
        """
        for answer in (subject.say(4), subject.say(1)):
            timings = answer.timings
            given = {name: getattr(timings, name) for name in ("first_token", "total", "queued")}
            numbers = {name: value for name, value in given.items() if value is not None}
            sound = all(math.isfinite(value) and value >= 0 for value in numbers.values())
            expect(sound, "timings that are finite and not negative", Told(given))
            total = numbers.get("total")
            expect(total is not None, "timings.total", Told(given))
            expect(all(value <= (total or 0.0) for value in numbers.values()), "no timing above the total", Told(given))


def _usage(answer: GeneratedText) -> Usage:
    """The counts of *answer*. Some engines have none."""
    __tracebackhide__ = True
    if answer.usage is None:
        pytest.skip("could not be measured: the engine counts no tokens")
    return answer.usage
