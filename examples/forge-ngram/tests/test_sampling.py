"""The canonical parameters, seen in what is chosen."""

from __future__ import annotations

from collections import Counter

import pytest
from llamaforge.errors import InvalidParameterError
from llamaforge.requests import read_request

from forge_ngram.model import NgramModel
from forge_ngram.sampling import Sampler

DRAWS = 400


def drawn(model: NgramModel, history: str, **parameters: object) -> Counter[str]:
    """The words that are chosen after *history*, and how often."""
    logprobs = model.next_logprobs(model.encode(history))
    found: Counter[str] = Counter()
    for seed in range(DRAWS):
        sampler = Sampler(read_request("x", None, {"seed": seed, **parameters}), model, model.encode("x"))
        found[model.vocabulary[sampler.choose(logprobs)]] += 1
    return found


def test_words_come_as_often_as_they_are_probable(model: NgramModel) -> None:
    found = drawn(model, "old keeper")
    assert found["lights"] < found["and"] < DRAWS / 2
    assert not found.keys() & {"<s>", "<unk>"}


def test_temperature(model: NgramModel) -> None:
    assert set(drawn(model, "old keeper", temperature=0)) == set(drawn(model, "old keeper", temperature=1e-300))
    assert len(drawn(model, "old keeper", temperature=0.2)) < len(drawn(model, "old keeper", temperature=2))


@pytest.mark.parametrize(
    ("parameters", "kept"), [({"top_k": 1}, 1), ({"top_k": 3}, 3), ({"top_p": 1e-9}, 1), ({"min_p": 1.0}, 1)]
)
def test_filters_keep_the_best(parameters: dict[str, float], kept: int, model: NgramModel) -> None:
    found = drawn(model, "in the", temperature=1.5, **parameters)
    assert len(found) == kept
    assert found.keys() <= {word for word, _ in drawn(model, "in the", temperature=0.3).most_common(5)}


def test_a_bias_forbids_and_forces(model: NgramModel) -> None:
    best = next(iter(drawn(model, "old keeper", temperature=0)))
    assert best not in drawn(model, "old keeper", logit_bias={model.ids[best]: -100})
    assert set(drawn(model, "old keeper", logit_bias={model.ids["sea"]: 100})) == {"sea"}
    with pytest.raises(InvalidParameterError, match="logit_bias"):
        drawn(model, "old keeper", logit_bias={len(model.vocabulary): 1})


@pytest.mark.parametrize(
    "penalty",
    [{"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 3.0}],
    ids=lambda each: next(iter(each)),
)
def test_penalties_make_repetition_rarer(penalty: dict[str, float], model: NgramModel) -> None:
    logprobs = model.next_logprobs(model.encode("in the"))
    different = []
    for given in ({}, penalty):
        sampler = Sampler(read_request("x", None, {"seed": 1, **given}), model, [])
        different.append(len({sampler.choose(logprobs) for _ in range(12)}))
    assert different[0] < different[1]
