"""Values between the extremes: temperatures, filters and biases are taken as they are, wherever they lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from ...errors import LlamaForgeError
from ...results import TokenLogprob
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..run import slow
from ..subject import Subject
from .arithmetic import LOGPROBS, lacks
from .widths import SURELY, drawn_tokens, likely_first_tokens, tail

HEATS: Final[Mapping[float, float]] = {0.6: 0.1, 1.9: 1.0, 2.0: 1.0}
"""Temperatures, and the odds to which biases bring all others than the best token there: where it shows most if the
temperature is another one, up or down to a whole number."""
FEW: Final = 72
"""Draws of one token each."""
MANY: Final = 290
LONG: Final = 64
FEW_ENDS: Final = 8
WARM: Final = 1.7
RARE: Final = 0.049
"""What all others than the best token have together: a filter that nobody set leaves none of them."""
CLOSE: Final = 16
"""Prompts that may have a close choice."""
LETTERS: Final = "abcdefghij"
FLAT: Final = 1000.0
WIDE: Final = (12, 150)
"""Widths of top_k: more than there are letters."""
DRAWS: Final = 20
LEAST: Final = 5
"""Letters that come of ten, in that many draws: fewer come once in 400,000 times."""


class ValueChecks(Kit, slow=True):
    """What a parameter does at its extremes says little of the values that people use."""

    def test_a_temperature_is_taken_as_it_is(self, subject: Subject) -> None:
        """At temperatures of 0.6, 1.9 and 2, the best token comes as often as the arithmetic says.

        Why: a temperature that is rounded, capped or taken for an integer still makes answers vary. Look at: ``int``,
        ``round``, ``min``; whole numbers that another branch handles.
        """
        if lacks(subject, "logit_bias", "temperature", "top_logprobs", "logprobs"):
            return
        best = likely_first_tokens(subject)
        for heat, odds in HEATS.items():
            bias = _raced(best, heat * math.log((len(best) - 1) / odds))
            came = drawn_tokens(subject, FEW, {"temperature": heat, "logit_bias": bias}, tokens=1)
            count, share = sum(token != best[0].token_id for token in came), odds / (1 + odds)
            told = Told(f"{count} of {len(came)} draws, where {share:.1%} are expected")
            expect(tail(count, len(came), share) > SURELY, f"others than the best token at temperature {heat}", told)

    def test_what_is_off_filters_nothing(self, subject: Subject) -> None:
        """Tokens that have a twentieth of the probability together come as often as they should, where nothing is set,
        and where every filter is set to the value that means off, at a higher temperature.

        Why: a top_p of 0.95, or a min_p, that nobody set takes them all. Look at: the engine's defaults, and values
        that mean off taken for "not set".
        """
        if lacks(subject, "logit_bias", "temperature", "top_logprobs", "logprobs"):
            return
        best = likely_first_tokens(subject)
        gap = math.log((len(best) - 1) * (1 - RARE) / RARE)
        off = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
        every = {name: off[name] for name in off if subject.declares(name)}
        shapes: tuple[dict[str, Any], ...] = ({}, {**every, "temperature": WARM})
        plain = subject.ask(**subject.limit(1)).parameters
        for given in shapes:
            if any(plain.get(name, value) != value for name, value in off.items() if name not in given):
                continue  # the model recommends something else
            bias = _raced(best, gap * given.get("temperature", 1.0))
            came = drawn_tokens(subject, MANY, {**given, "logit_bias": bias}, tokens=1)
            count = sum(token != best[0].token_id for token in came)
            told = Told(f"{count} of {len(came)} draws, where {RARE:.1%} are expected")
            expect(tail(count, len(came), RARE) > math.log(1e-6), f"others than the best token with {given}", told)

    def test_a_form_comes_before_the_filters(self, subject: Subject) -> None:
        """Of ten letters that a form allows, a top_k of 12 or 150 leaves all: at a high temperature many come. A top_k
        of 1 leaves the best of them.

        Why: a filter that is applied before the form keeps tokens that the form forbids, and loses those that it
        allows. Look at: where the mask is applied; before anything else touches the logits.
        """
        form = {"response_format": {"type": "choice", "choice": list(LETTERS)}}
        if lacks(subject, "response_format", "top_k", "temperature", "seed"):
            return
        if subject.backend.capabilities.server_defaults or subject.known(8).reasoning:
            pytest.skip("could not be measured: the server decides, or the model thinks before it answers")
        asked: dict[str, Any] = {**subject.limit(8), **form}
        try:
            told = {"logprobs": True} if subject.declares("logit_bias", "logprobs") else {}
            greedy = subject.generate(None, {**subject.greedy, **asked, **told})
        except LlamaForgeError:
            pytest.skip("could not be measured: the engine knows no choices")
        for seed in range(3):
            one = subject.ask(**asked, temperature=FLAT, top_k=1, seed=seed)
            subject.agrees(one, greedy, "the letter with a top_k of 1")
        first = greedy.logprobs[0].token_id if greedy.logprobs else None
        if first is not None:  # at that temperature a lead of 40 is nothing, and at any usual one it is all
            asked["logit_bias"] = {first: 40.0}
        for width in WIDE:
            came = {str(subject.ask(**asked, temperature=FLAT, top_k=width, seed=seed)) for seed in range(DRAWS)}
            expect(len(came) >= LEAST, f"at least {LEAST} letters of {len(LETTERS)} with a top_k of {width}", came)

    def test_a_fraction_of_a_bias_decides_a_close_choice(self, subject: Subject) -> None:
        """Where the two best tokens are close, a bias below 1 on the second turns the choice if it is larger than what
        lies between them, and not if it is smaller; so does one above -1 on the first.

        Why: biases are numbers, not whole ones. Look at: rounding, ``int()``, thresholds below which a bias is left
        out.
        """
        if not subject.declares("logit_bias"):
            subject.refuses(logit_bias={65: 0.5})
            return
        if not subject.declares("logprobs", "top_logprobs", "temperature", "max_tokens"):
            pytest.skip("could not be measured: it needs log-probabilities")
        margin = subject.rounding + 0.05
        measured = 0
        for prompt in subject.prompts(CLOSE):
            told = subject.say(1, prompt, logprobs=True, top_logprobs=2).logprobs
            if len(told) != 1 or len(told[0].top) < 2:  # a character of several tokens, or none
                continue
            best, second = told[0].top[:2]
            apart = best.logprob - second.logprob
            if best.token_id is None or second.token_id is None or not 2 * margin < apart < 1 - 2 * margin:
                continue
            for bias, wanted in (
                ({second.token_id: apart + margin}, second),
                ({second.token_id: apart - margin}, best),
                ({best.token_id: -apart - margin}, second),
                ({best.token_id: margin - apart}, best),
            ):
                came = subject.say(1, prompt, logprobs=True, logit_bias=bias).logprobs
                what = f"the token with {bias}, the best two being {apart:.3f} apart"
                expect_equal(came and came[0].token_id, wanted.token_id, what)
            measured += 1
        if not measured:
            pytest.skip("could not be measured: of no prompt the two best tokens are close")

    def test_the_end_of_an_answer_can_be_biased(self, subject: Subject) -> None:
        """A bias of 100 on a token without text, such as one that ends answers, makes it come: the answer is that token
        alone, or empty. With a bias of -100 on all that end one, it goes on.

        Why: whoever wants longer or shorter answers biases their end. Look at: special tokens that biases leave out.
        """
        if lacks(subject, "logit_bias", "temperature", "top_logprobs", "logprobs", "max_tokens"):
            return
        whole = subject.say(LONG, **LOGPROBS)
        last = [each for entry in whole.logprobs[-12:] for each in entry.top]
        marks = (each.token.strip() for each in last)
        odd = [each.token_id for each, mark in zip(last, marks, strict=True) if not mark or mark[0] + mark[-1] == "<>"]
        ends: list[int] = []
        for token in [token for token in dict.fromkeys(odd) if token is not None][:FEW_ENDS]:
            answer = subject.say(3, logit_bias={token: 100.0}, logprobs=True)
            told = [entry.token_id for entry in answer.logprobs[:1]]
            expect(told in ([], [token]), f"the token {token}, or an empty answer, with a bias of 100 on it", answer)
            if not told and answer.finish_reason == "stop" and not answer:
                ends.append(token)
        if not ends or whole.finish_reason != "stop" or whole.usage is None:
            pytest.skip("could not be measured: the tokens that end an answer are not known")
        banned = subject.say(LONG, logit_bias=dict.fromkeys(ends, -100.0))
        tokens = banned.usage.completion_tokens if banned.usage is not None else 0
        longer = banned.finish_reason == "length" or tokens > whole.usage.completion_tokens
        expect(longer, f"an answer that goes on after {whole.usage.completion_tokens} tokens, its end banned", banned)

    @slow
    def test_the_strongest_bans_are_ordered(self, subject: Subject) -> None:
        """Of two letters that a form allows, the one with a bias of -60 comes, and not the one with -100.

        Why: a limit below 100 makes them equal. Look at: clipping; ``-inf`` in place of the sum.
        """
        if lacks(subject, "response_format", "logit_bias", "logprobs"):
            return
        if subject.backend.capabilities.server_defaults or subject.known(8).reasoning:
            pytest.skip("could not be measured: the server decides, or the model thinks before it answers")
        ids: dict[str, int] = {}
        for letter in LETTERS[:2]:
            given = {**subject.greedy, **subject.limit(4), "response_format": {"type": "choice", "choice": [letter]}}
            try:
                told = subject.generate(None, {**given, "logprobs": True}).logprobs
            except LlamaForgeError:
                pytest.skip("could not be measured: the engine knows no choices")
            if len(told) == 1 and told[0].token_id is not None:
                ids[letter] = told[0].token_id
        if len(set(ids.values())) < 2:
            pytest.skip("could not be measured: a letter is more than one token, or has no id")
        form = {"response_format": {"type": "choice", "choice": list(ids)}}
        for letter, other in (("a", "b"), ("b", "a")):
            bias = {ids[letter]: -100.0, ids[other]: -60.0}
            answer = subject.say(4, **form, logit_bias=bias)
            expect_equal(str(answer), other, f"the letter, with {letter!r} banned by -100 and {other!r} by -60")


def _raced(best: Sequence[TokenLogprob], gap: float) -> dict[int, float]:
    """Biases that bring the first of *best* before the others, all of them *gap* behind, and these before the rest."""
    one = best[0]
    ids = [(int(each.token_id or 0), each.logprob) for each in best]
    return {token: 60.0 + (one.logprob - value) - (gap if place else 0.0) for place, (token, value) in enumerate(ids)}
