"""The small print of log-probabilities: how many alternatives, which ids, and whose text after a cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from ...results import TokenLogprob
from ..expect import expect, expect_equal
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 6
SMALL: Final = 96


class AlternativeChecks(Kit):
    """What stands beside a token's own log-probability."""

    def test_there_are_no_alternatives_unasked(self, subject: Subject) -> None:
        """With logprobs alone, or with top_logprobs=0, no token has alternatives.

        Why: callers get as many as they asked for. Look at: a default number of alternatives.
        """
        if not subject.declares("logprobs"):
            subject.refuses(logprobs=True)
            return
        for more in ({}, {"top_logprobs": 0} if subject.declares("top_logprobs") else {}):
            answer = subject.say(TOKENS, logprobs=True, **more)
            unasked = [each for each in answer.logprobs if each.top]
            expect(not unasked, f"no alternatives with logprobs=True and {more or 'nothing else'}", unasked)

    def test_more_alternatives_begin_with_the_fewer(self, subject: Subject) -> None:
        """The alternatives of top_logprobs=1 are the first of top_logprobs=3, without duplicates.

        Why: a ranking doesn't depend on its length. Look at: a partial sort, the chosen token put first.
        """
        if not subject.declares("top_logprobs"):
            subject.refuses(logprobs=True, top_logprobs=1)
            return
        one, three = (subject.say(1, logprobs=True, top_logprobs=count).logprobs for count in (1, 3))
        for few, many in zip(one, three, strict=False):
            expect_equal(len(few.top), 1, "the number of alternatives with top_logprobs=1")
            near = abs(few.top[0].logprob - many.top[0].logprob) <= max(subject.rounding, 1e-3)
            expect(near, f"the best alternative's log-probability, {many.top[0].logprob}", few)
            ids = [each.token_id for each in many.top if each.token_id is not None]
            expect_equal(len(ids), len(set(ids)), f"how many different alternatives there are in {ids}")

    def test_ids_are_told_for_every_token_or_for_none(self, subject: Subject) -> None:
        """Either every token of an answer and every alternative has its ``token_id``, or none has.

        Why: a caller that works with ids needs every one. Look at: the entry of the chosen token, which other code
        often makes than the alternatives' entries.
        """
        if not subject.declares("logprobs"):
            subject.refuses(logprobs=True)
            return
        top = {"top_logprobs": 2} if subject.declares("top_logprobs") else {}
        entries = subject.say(TOKENS, logprobs=True, **top).logprobs
        every = [*entries, *(other for each in entries for other in each.top)]
        told = [each for each in every if each.token_id is not None]
        expect(len(told) in (0, len(every)), "a token_id for every token and alternative, or for none", entries)
        for each in entries:
            same = [other for other in each.top if other.token_id == each.token_id and told]
            texts = {other.token for other in same}
            expect(texts <= {each.token}, f"one text for the token {each.token_id}, {each.token!r}", each)

    def test_the_tokens_after_a_cut_spell_the_answer(self, subject: Subject) -> None:
        """After a text that was cut with truncation="auto", the tokens of the log-probabilities are still the answer's.

        Why: text and tokens differ here if one is made from the whole prompt and the other from the cut one. Look at:
        which of them each part of the engine gets.
        """
        if not subject.declares("truncation", "logprobs"):
            subject.refuses(truncation="auto", logprobs=True)
            return
        if "n_ctx" not in self.config_class().__struct_fields__:
            pytest.skip("could not be measured: there is no load parameter n_ctx")
        words = [f"{word}{number}" for number in range(SMALL) for word in ("fog", "boat", "lamp", "gull", "tide")]
        with self.fresh(n_ctx=SMALL) as small:
            given = {**small.greedy, **small.limit(TOKENS), "raw": True, "truncation": "auto"}
            plain = small.ask(" ".join(words), **given)
            answer = small.ask(" ".join(words), **given, logprobs=True)
            small.agrees(answer, plain, "the answer with logprobs to a text that was cut")
            _spell(answer.reasoning + answer, answer.logprobs)


def _spell(text: str, entries: Sequence[TokenLogprob]) -> None:
    tokens, place = [each.token for each in entries], 0
    for token in tokens:
        word = token.strip()
        if word and word.isascii():  # pieces of other characters are shown in many ways
            found = text.find(word, place)
            expect(found >= 0, f"tokens that spell {text!r}", tokens)
            place = found + len(word)
