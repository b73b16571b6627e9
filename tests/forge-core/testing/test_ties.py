"""What the kit takes for a tie of two tokens, and what for a wrong answer, on log-probabilities that are made up."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llamaforge.backends.base import BaseBackend
from llamaforge.results import GeneratedText, TokenLogprob
from llamaforge.testing.expect import NotAsExpected
from llamaforge.testing.subject import Subject

Told = list[tuple[str, dict[str, float]]]
"""Each token that was chosen, and the log-probabilities that are told of it: the form rules out letters."""
TIED: Told = [("1", {"a": -0.1, "1": -4.0, "2": -4.3, "3": -9.0}), ("0", {"0": -0.1, "7": -3.0, "1": -5.0})]
HIDDEN: Told = [("1", {"a": -0.1, "b": -3.8, "c": -3.9, "1": -4.0}), ("0", {"0": -0.1, "7": -3.0, "1": -5.0})]


class Digits:
    """An engine that always says the digits of *told*."""

    is_basic = False
    model_path = "digits"
    capabilities = SimpleNamespace(
        parameters={"temperature", "max_tokens", "logprobs", "top_logprobs"}, server_defaults=False
    )

    def __init__(self, told: Told) -> None:
        self._told = told

    def generate(self, prompt: str, parameters: Mapping[str, Any]) -> GeneratedText:
        told = [
            TokenLogprob(token, top[token], top=tuple(TokenLogprob(each, top[each]) for each in top))
            for token, top in self._told
        ]
        return GeneratedText(
            "".join(each.token for each in told), logprobs=tuple(told) if parameters.get("logprobs") else ()
        )


def is_excused(came: str, told: Told, rounding: float = 0.8) -> bool:
    subject = Subject(cast("BaseBackend", Digits(told)), prompt="Count.", greedy=None, patience=5, rounding=rounding)
    _, whole, _ = subject.lengthy(0.01)
    try:
        subject.begins(came, whole, "an answer that was cut")
    except NotAsExpected:
        return False
    return True


@pytest.mark.parametrize("told", [TIED, HIDDEN])
def test_the_beginning_of_a_long_answer_may_deviate_at_a_tie(told: Told) -> None:
    assert is_excused("1", told)
    assert is_excused("25", told)
    assert not is_excused("25", told, rounding=0.0)


@pytest.mark.parametrize("told", [TIED, HIDDEN])
def test_elsewhere_it_may_not(told: Told) -> None:
    assert not is_excused("17", told)
    assert not is_excused("1x", told)


def test_what_is_less_probable_is_no_tie() -> None:
    assert not is_excused("35", TIED)
    assert not is_excused("95", TIED)
