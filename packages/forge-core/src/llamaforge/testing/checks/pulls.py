"""What pulls at single tokens: biases and penalties, seen in the text. One that isn't declared is refused instead."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 8
LONG: Final = 16
STRONGEST: Final = 100.0
"""The largest bias there is."""
HAIR: Final = 0.5
"""How near to the tipping point a token is brought; the penalties that are tried are stronger."""
ANY_IDS: Final = (65, 97, 40)
"""Tokens that nearly every vocabulary has, whatever they mean there: for backends that don't tell their tokens' ids."""


class PullChecks(Kit):
    """logit_bias and the penalties. Tokens are taken from the model's log-probabilities where those tell ids."""

    def test_presence_penalty_is_honoured(self, subject: Subject) -> None:
        """A strong presence_penalty, or reward, changes the greedy answer.

        Why: it shows that it reaches the engine. Look at: its name there, its sign, and what it counts: the answer
        alone.
        """
        self._changes(subject, {"presence_penalty": 2.0}, {"presence_penalty": -2.0})

    def test_frequency_penalty_is_honoured(self, subject: Subject) -> None:
        """A strong frequency_penalty, or reward, changes the greedy answer.

        Why: it shows that it reaches the engine. Look at: its name there, its sign, and what it counts: the answer
        alone.
        """
        self._changes(subject, {"frequency_penalty": 2.0}, {"frequency_penalty": -2.0})

    def test_repetition_penalty_is_honoured(self, subject: Subject) -> None:
        """A strong repetition_penalty, or reward, changes the greedy answer.

        Why: it shows that it reaches the engine. Look at: its name there (repeat_penalty), and how many tokens it looks
        back: all of prompt and answer.
        """
        self._changes(subject, {"repetition_penalty": 2.0}, {"repetition_penalty": 0.6})

    def test_logit_bias_can_force_a_token(self, subject: Subject) -> None:
        """A bias of 100 makes one token the whole answer.

        Why: it shows that biases reach the engine, and with the right sign. Look at: keys, which are numbers here and
        strings in JSON; a bias that is applied after the choice.
        """
        if not subject.declares("logit_bias"):
            subject.refuses(logit_bias={65: 5})
            return
        forced = 0
        for token in subject.first_ids()[1:]:
            answer = subject.say(TOKENS, logprobs=True, logit_bias={token: STRONGEST})
            if answer.logprobs:  # otherwise it is a token that ends an answer
                told = [each.token_id for each in answer.logprobs]
                expect(set(told) == {token}, f"an answer of the token {token} alone, with a bias of 100 on it", told)
                forced += 1
            if forced == 2:
                return
        plain = subject.known(TOKENS)
        answers = [subject.say(TOKENS, logit_bias={token: STRONGEST}) for token in ANY_IDS]
        changed = [answer for answer in answers if answer != plain]
        expect(len(changed) >= 2, f"other answers with a bias of 100 on one of the tokens {ANY_IDS}", answers)
        expect(len(set(changed)) > 1, f"a different answer for each of the tokens {ANY_IDS}", answers)

    def test_logit_bias_can_ban_a_token(self, subject: Subject) -> None:
        """A bias of -100 keeps the token away that would have come first.

        Why: banning is what most people use biases for. Look at: negative values that are clamped or dropped.
        """
        if not subject.declares("logit_bias"):
            subject.refuses(logit_bias={65: -5})
            return
        ids = subject.first_ids()
        if not ids:  # it doesn't tell numbers of tokens: force one, and ban another
            given = {"logit_bias": {ANY_IDS[0]: -STRONGEST, ANY_IDS[1]: STRONGEST}}
            wanted = subject.say(4, logit_bias={ANY_IDS[1]: STRONGEST})
            expect_equal(subject.say(4, **given), wanted, "the answer with one token forced and another one banned")
            return
        told = _ids(subject, 4, logit_bias={ids[0]: -STRONGEST})
        expect(ids[0] not in told, f"an answer without the token {ids[0]}, which is banned", told)

    def _changes(self, subject: Subject, *pulls: dict[str, Any]) -> None:
        """At least one of *pulls* changes the greedy answer, unless the model is certain of it."""
        __tracebackhide__ = True
        if not subject.declares(*pulls[0]):
            subject.refuses(**pulls[0])
            return
        plain = subject.known(LONG)
        pulled = []
        for pull in pulls:
            pulled.append(subject.say(LONG, **pull))
            if pulled[-1] != plain:
                return
        if subject.only_one_answer(LONG, **subject.greedy):
            return
        point = self._tipping_point(subject)
        if point is None:  # an answer without a repetition, say, and nothing else to see it by
            pytest.skip("could not be measured: the answer stays, and no choice of the model's hangs by a hair")
        token, bias = point  # this model's choices are clear ones: try one that hangs by a hair
        if any(_ids(subject, 2, logit_bias={token: bias}, **pull) != [token, token] for pull in pulls):
            return
        asked = " or ".join(map(str, pulls))
        expect(False, f"another answer than {plain!r} with {asked}", Told(f"the same: {pulled}"))

    def _tipping_point(self, subject: Subject) -> tuple[int, float] | None:
        """A token, and the bias with which the answer just so begins with it twice; None where it can't be found."""
        for token in subject.first_ids() if subject.declares("logit_bias") else ():

            def told(bias: float, token: int = token) -> list[int | None]:
                return _ids(subject, 2, logit_bias={token: bias})

            low, high = -STRONGEST, STRONGEST
            if told(high) != [token, token] or told(low) == [token, token]:
                continue
            while high - low > HAIR:
                middle = (low + high) / 2
                low, high = (low, middle) if told(middle) == [token, token] else (middle, high)
            if told(low)[:1] == [token]:  # it is the second one that hangs by a hair, which the penalties know
                return token, high
        return None


def _ids(subject: Subject, tokens: int, **more: Any) -> list[int | None]:
    """The ids of the greedy answer's tokens."""
    return [each.token_id for each in subject.say(tokens, logprobs=True, **more).logprobs]
