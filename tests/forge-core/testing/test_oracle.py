"""The kit's arithmetic, on draws that are made up."""

from __future__ import annotations

import random

from llamaforge.testing.oracle import Drawn, forbidden, improbable

FAIR = {1: 0.5, 2: 0.3, 3: 0.2}


def draws(probabilities: dict[int, float], count: int = 400) -> list[Drawn]:
    dice = random.Random(1)
    chosen = dice.choices(list(probabilities), list(probabilities.values()), k=count)
    return [Drawn(token, FAIR) for token in chosen]


def test_draws_from_their_distribution_are_none_to_complain_of() -> None:
    assert improbable(draws(FAIR)) is None
    assert forbidden(draws(FAIR)) is None


def test_draws_from_another_distribution_are_found() -> None:
    assert "more probable" in str(improbable(draws({1: 0.8, 2: 0.1, 3: 0.1})))
    assert "less probable" in str(improbable(draws({1: 0.2, 2: 0.3, 3: 0.5})))


def test_a_token_that_can_not_come_is_found() -> None:
    stray = Drawn(9, FAIR)
    assert forbidden([*draws(FAIR), stray]) is stray
    assert "can't come" in str(improbable([*draws(FAIR), stray]))


def test_what_rounding_decides_is_no_fault() -> None:
    stray = Drawn(9, FAIR, sharp=False)
    assert forbidden([stray]) is None
    assert improbable([*draws(FAIR), stray]) is None
