"""Log-probabilities: one a token, true ones, and only when asked for."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest

from ...errors import LlamaForgeError
from ..expect import expect, expect_equal
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 8
TOOLS: Final = [{"type": "function", "function": {"name": "paint", "parameters": {"type": "object", "properties": {}}}}]


class LogprobChecks(Kit):
    """What log-probabilities say."""

    def test_there_is_one_logprob_a_token(self, subject: Subject) -> None:
        """``result.logprobs`` has one entry for each token of the answer, also when text was held back meanwhile,
        and whatever else is asked for.

        Why: perplexities and confidences are summed over it. Look at: tokens without text of their own (a piece of a
        character, the beginning of a stop string), whose entries get lost.
        """
        if not subject.declares("logprobs"):
            subject.refuses(logprobs=True)
            return
        shapes: tuple[dict[str, Any], ...] = (
            {},
            {"stop": [subject.known(TOKENS)[2:] + "\u2603"]},
            {"response_format": {"type": "json_object"}},
            {"tools": TOOLS, "tool_choice": "none"},
            {"seed": 7, "temperature": 1.2},
            {"presence_penalty": 0.5},
        )
        if subject.backend.capabilities.server_defaults:
            shapes = shapes[:2]  # what a server tells beside the forms of its own is up to the server
        for more in shapes:
            if not subject.declares(*more):
                continue
            try:
                answer = subject.generate(None, {**subject.greedy, **subject.limit(TOKENS), **more, "logprobs": True})
            except LlamaForgeError as error:
                expect("tools" in more or "response_format" in more, f"an answer with logprobs and {more}", error)
                continue  # this model can't, and says so
            if answer.usage is None:
                pytest.skip("could not be measured: the engine counts no tokens")
            tokens = answer.usage.completion_tokens - answer.usage.reasoning_tokens
            expect_equal(len(answer.logprobs), tokens, f"the number of logprobs of an answer of {tokens} tokens")

    def test_logprobs_are_logarithms_of_probabilities(self, subject: Subject) -> None:
        """Each is a number of at most 0, and what the model thought most of is at least as probable as all the rest.

        Why: logits, probabilities and bases other than e look alike at first sight. Look at: the softmax, the
        logarithm.
        """
        if not subject.declares("logprobs"):
            subject.refuses(logprobs=True)
            return
        answer = subject.say(TOKENS, logprobs=True)
        wrong = [each for each in answer.logprobs if not each.logprob <= 1e-4]
        expect(not wrong, "log-probabilities of at most 0", wrong)
        if subject.declares("temperature"):
            wrong = [each for each in answer.logprobs if not math.isfinite(each.logprob)]
            expect(not wrong, "finite log-probabilities of the tokens that were chosen", wrong)

    def test_logprobs_do_not_change_the_answer(self, subject: Subject) -> None:
        """With logprobs the text is the same as without.

        Why: looking must not change what is seen. Look at: another path through the engine where they are asked for.
        """
        if not subject.declares("logprobs"):
            subject.refuses(logprobs=True)
            return
        subject.agrees(subject.say(16, logprobs=True), subject.known(16), "the greedy answer with logprobs")

    def test_there_are_no_logprobs_unasked(self, subject: Subject) -> None:
        """Without logprobs there are none.

        Why: they cost memory and bandwidth. Look at: entries that are made always.
        """
        expect_equal(subject.known(8).logprobs, (), "result.logprobs of a request that didn't ask for them")

    def test_alternatives_are_sorted_and_no_more_than_asked_for(self, subject: Subject) -> None:
        """With top_logprobs=n each token has one to n alternatives, the most probable first.

        Why: readers take the first for the best. Look at: the sorting, and servers that send one more.
        """
        if not subject.declares("top_logprobs"):
            subject.refuses(logprobs=True, top_logprobs=3)
            return
        for each in subject.say(TOKENS, logprobs=True, top_logprobs=3).logprobs:
            expect(1 <= len(each.top) <= 3, "one to three alternatives", each.top)
            values = [other.logprob for other in each.top]
            expect(values == sorted(values, reverse=True), "alternatives, the most probable first", values)
            expect(all(value <= 1e-4 for value in values), "log-probabilities of at most 0", values)
            together = math.fsum(math.exp(value) for value in values)
            expect(together <= 1.001, "probabilities of alternatives that add up to 1 at most", together)

    def test_the_greedy_token_is_the_best_alternative(self, subject: Subject) -> None:
        """At temperature 0 each token is the first of its alternatives, with the same log-probability.

        Why: if it isn't, either the choice or the numbers are of another position. Look at: which position's logits are
        reported with which token.
        """
        if not subject.declares("top_logprobs"):
            subject.refuses(logprobs=True, top_logprobs=2)
            return
        if not subject.declares("temperature"):
            subject.refuses(temperature=0)
            return
        answer = subject.ask(**subject.limit(TOKENS), temperature=0, logprobs=True, top_logprobs=2)
        for each in answer.logprobs:
            best = each.top[0]
            expect(
                abs(each.logprob - best.logprob) < 1e-3,
                f"the log-probability of {each.token!r} to be that of the best alternative",
                each,
            )
            tied = len(each.top) > 1 and abs(best.logprob - each.top[1].logprob) < 1e-3
            expect(tied or each.token == best.token, "the greedy token to be the best alternative", each)

    def test_logprobs_spell_the_answer(self, subject: Subject) -> None:
        """The tokens of the log-probabilities stand in the answer, one after another.

        Why: a shift by one token is not seen otherwise. Look at: the entry that goes with each piece of text.
        """
        if not subject.declares("logprobs"):
            subject.refuses(logprobs=True)
            return
        answer = subject.say(TOKENS, logprobs=True)
        tokens = [each.token for each in answer.logprobs]
        text, place = answer.reasoning + answer, 0
        for token in tokens:
            word = token.strip()
            if word and word.isascii():  # pieces of other characters are shown in many ways
                found = text.find(word, place)
                expect(found >= 0, f"tokens that spell {text!r}", tokens)
                place = found + len(word)
