"""Log-probabilities on every path, and the same whatever else is asked for."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest

from ...results import GeneratedText, TokenLogprob
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from ..ways import ways
from .arithmetic import lacks

TOKENS: Final = 5
CLOSE: Final = 2e-3
MANY: Final = 20


class NumberChecks(Kit):
    """Numbers that are the model's own must not depend on how they are asked for."""

    def test_log_probabilities_are_the_same_on_every_path(self, subject: Subject) -> None:
        """On every path a greedy answer has the same log-probabilities and alternatives, all of them finite.

        Why: evaluations are run as batches, or from event loops. Look at: which path passes log-probabilities on; the
        first and the last token's.
        """
        if lacks(subject, "top_logprobs", "logprobs"):
            return
        given = {**subject.greedy, **subject.limit(TOKENS), "logprobs": True, "top_logprobs": 3}
        wanted = subject.generate(None, given)
        for way in ways(subject):
            came = way.ask(subject.prompt, given)
            if str(came) == str(wanted):
                self._same(subject, came.logprobs, wanted.logprobs, f"log-probabilities of {way.name}")

    def test_numbers_do_not_depend_on_what_is_asked(self, subject: Subject) -> None:
        """The chosen token and its alternatives have the same log-probabilities with 0, 1, 3 or 20 alternatives asked
        for, as many as were asked for, and with a filter, a temperature or a bias that leaves the choice as it is.

        They are the model's own: what sampling parameters make of them is not told.

        Why: numbers that change with the request can't be compared. Look at: a softmax over the alternatives alone, or
        after the temperature and the filters.
        """
        if lacks(subject, "top_logprobs", "logprobs", "temperature"):
            return
        base = {**subject.greedy, **subject.limit(TOKENS), "logprobs": True}
        whole = subject.generate(None, {**base, "top_logprobs": MANY})
        few = [entry for entry in whole.logprobs if len(entry.top) != MANY and not _complete(entry)]
        expect(not few, f"{MANY} alternatives for each token", few)
        for number in (None, 1, 3, 10):
            more = {} if number is None else {"top_logprobs": number}
            came = subject.generate(None, {**base, **more})
            if str(came) != str(whole):
                continue  # a tie
            for entry, wanted in zip(came.logprobs, whole.logprobs, strict=True):
                close = abs(entry.logprob - wanted.logprob) <= max(CLOSE, subject.rounding)
                expect(close, f"the log-probability {wanted.logprob:.4f} also with {more}", entry)
                values = [each.logprob for each in entry.top]
                least = [each.logprob for each in wanted.top[: number or 0]]
                near = len(values) >= min(number or 0, len(wanted.top)) and all(
                    abs(one - other) <= max(CLOSE, subject.rounding) for one, other in zip(values, least, strict=False)
                )
                expect(near, f"the alternatives {least} with {more}", Told(values))
        if subject.backend.capabilities.server_defaults:
            return  # what a server's numbers are is up to the server
        changes: list[dict[str, Any]] = [{"temperature": 1.7, "top_k": 1}, {"top_p": 0.5}, {"presence_penalty": 0.001}]
        for change in changes:
            if not subject.declares(*change):
                continue
            came = subject.generate(None, {**base, "top_logprobs": 3, **change})
            if str(came) == str(whole):
                short = [TokenLogprob(e.token, e.logprob, e.token_id, e.top[:3]) for e in whole.logprobs]
                self._same(subject, came.logprobs, tuple(short), f"log-probabilities with {change}")

    def test_sampled_answers_tell_the_same_numbers(self, subject: Subject) -> None:
        """The first token's alternatives are the same for a greedy answer and for sampled ones, at any temperature.

        Why: confidences of sampled answers are compared. Look at: logits that were divided, biased or filtered before
        they are told.
        """
        if lacks(subject, "top_logprobs", "logprobs", "temperature"):
            return
        if subject.backend.capabilities.server_defaults:
            pytest.skip("could not be measured: what a server's numbers are is up to the server")
        told = {**subject.limit(1), "logprobs": True, "top_logprobs": 5}
        wanted = subject.ask(**told, temperature=0).logprobs
        shapes: tuple[dict[str, Any], ...] = (
            {},
            {"top_k": 3},
            {"top_p": 0.4},
            {"min_p": 0.5},
            {"logit_bias": {0: 1.0}},
        )
        for heat in (0.3, 1.0, 2.0):
            for shape in shapes:
                if not subject.declares(*shape):
                    continue
                came = subject.ask(**told, temperature=heat, **shape).logprobs
                tops = [[each.logprob for each in entry.top] for entry in (*came[:1], *wanted[:1])]
                if len(tops) == 2:
                    alike = len(tops[0]) == len(tops[1]) and all(
                        abs(one - other) <= max(CLOSE, subject.rounding)
                        for one, other in zip(tops[0], tops[1], strict=True)
                    )
                    expect(alike, f"the alternatives {tops[1]} at temperature {heat} with {shape}", Told(tops[0]))

    def test_each_entry_is_one_token(self, subject: Subject) -> None:
        """Each entry has a token with its id, alternatives that differ, and the token among those of no less
        probability.

        Why: entries are matched by token. Look at: stripped texts, ids shifted by one, a token listed twice.
        """
        if lacks(subject, "top_logprobs", "logprobs"):
            return
        answer: GeneratedText = subject.ask(
            **subject.greedy, **subject.limit(2 * TOKENS), logprobs=True, top_logprobs=5
        )
        for entry in answer.logprobs:
            ids = [each.token_id if each.token_id is not None else each.token for each in entry.top]
            expect(len(set(ids)) == len(ids) or None in ids, "alternatives that differ", entry)
            same = [each for each in entry.top if each.token_id == entry.token_id and each.token_id is not None]
            is_told = entry.token_id is not None and bool(entry.top)
            inside = is_told and entry.logprob > entry.top[-1].logprob + max(CLOSE, subject.rounding)
            expect(same or not inside, f"the token with id {entry.token_id} among more and less probable ones", entry)
            alike = all(each.token == entry.token for each in same)
            expect(alike, f"the text {entry.token!r} of the alternative with the token's id", same)
        spelled = "".join(entry.token for entry in answer.logprobs)
        text = answer.reasoning + str(answer)
        if text.isascii() and spelled.isascii() and answer.finish_reason == "length" and not subject.rounding:
            expect_equal(spelled.strip(), text.strip(), "the tokens' texts, joined")

    def _same(
        self, subject: Subject, came: tuple[TokenLogprob, ...], wanted: tuple[TokenLogprob, ...], what: str
    ) -> None:
        __tracebackhide__ = True
        expect_equal(len(came), len(wanted), f"the number of {what}")
        for entry, other in zip(came, wanted, strict=True):
            pairs = [(entry.logprob, other.logprob)]
            pairs += [(one.logprob, two.logprob) for one, two in zip(entry.top, other.top, strict=False)]
            close = len(entry.top) == len(other.top) and all(
                abs(one - two) <= max(CLOSE, subject.rounding) for one, two in pairs
            )
            expect(close, f"{what} to be {other}", entry)


def _complete(entry: TokenLogprob) -> bool:
    """Whether the alternatives have all the probability: a vocabulary may be small, and a grammar strict."""
    return math.fsum(math.exp(each.logprob) for each in entry.top) > 1 - 1e-6
