"""The estimate: probabilities that add up to 1, and by hand where that can be done."""

from __future__ import annotations

import itertools
import math

import pytest

from forge_ngram.model import NgramModel
from forge_ngram.training import NoWordsError, train


def probability(model: NgramModel, history: str, word: str) -> float:
    return math.exp(model.next_logprobs(model.encode(history))[model.ids[word]])


def test_after_every_history_the_probabilities_add_up_to_1(model: NgramModel) -> None:
    for history in itertools.islice(itertools.product(range(len(model.vocabulary)), repeat=2), 0, None, 7):
        assert math.fsum(map(math.exp, model.next_logprobs(history))) == pytest.approx(1)


def test_the_estimate_is_witten_bell_s() -> None:
    model = train(["a b", "a c"], 2)
    # Words: a a b c and two ends, 4 different of 6; below them <unk>, </s>, a, b and c with 1/5 each.
    assert probability(model, "", "a") == pytest.approx((2 + 4 / 5) / 10)
    assert probability(model, "", "<unk>") == pytest.approx((0 + 4 / 5) / 10)
    assert probability(model, "a", "b") == pytest.approx((1 + 2 * (1 + 4 / 5) / 10) / 4)
    assert probability(model, "a", "a") == pytest.approx(2 / 4 * (2 + 4 / 5) / 10)
    assert probability(model, "b a", "b") == probability(model, "a", "b")


def test_marks_in_the_text_are_no_words() -> None:
    assert train(["a <s> b </s> <unk>"], 3).logprobs == train(["a b"], 3).logprobs


@pytest.mark.parametrize("text", [[], ["", " \n"], ["<s>"]])
def test_a_text_without_words_is_refused(text: list[str]) -> None:
    with pytest.raises(NoWordsError):
        train(text, 2)
