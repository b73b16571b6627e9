"""Each sampling parameter on fixed logits, beside a plain reference in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_hf.sampling import Sampler, draw_by_race, draw_by_sum
from llamaforge.errors import GenerationError, InvalidParameterError
from llamaforge.requests import GenerationRequest, read_request

pytestmark = pytest.mark.engine

CPU = torch.device("cpu")
LOGITS = [2.0, -1.0, 0.5, 3.0, -4.0, 0.0, 1.5, -0.5]


def request(**parameters: Any) -> GenerationRequest:
    return read_request("x", None, parameters)


def sampler(prompt: list[int] | None = None, size: int = len(LOGITS), **parameters: Any) -> Sampler:
    return Sampler(request(**parameters), prompt or [], size, CPU)


def distribution(made: Sampler, logits: Any = LOGITS) -> np.ndarray:
    """The probabilities of all tokens, 0 for those that were filtered out."""
    tokens, probabilities = made.distribution(torch.tensor(logits, dtype=torch.float32))
    full = np.zeros(len(logits))
    full[slice(None) if tokens is None else tokens.numpy()] = probabilities.numpy()
    return full


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def expected(logits: Any, prompt: list[int], answer: list[int], **p: Any) -> np.ndarray:
    """The canonical order, step by step, in float64."""
    x = np.array(logits, dtype=np.float64)
    for token, bias in p.get("logit_bias", {}).items():
        x[token] += bias
    for token in {*prompt, *answer}:
        penalty = p.get("repetition_penalty", 1.0)
        x[token] = x[token] / penalty if x[token] > 0 else x[token] * penalty
    for token in set(answer):
        x[token] -= p.get("presence_penalty", 0.0) + answer.count(token) * p.get("frequency_penalty", 0.0)
    x = x / p.get("temperature", 1.0)
    kept = np.argsort(-x, kind="stable")
    if p.get("top_k"):
        kept = kept[: p["top_k"]]
    if p.get("top_p", 1.0) < 1:
        reached = np.cumsum(softmax(x[kept]))
        kept = kept[: int(np.searchsorted(reached, p["top_p"])) + 1]
    if p.get("min_p"):
        kept = kept[x[kept] >= x[kept].max() + math.log(p["min_p"])]
    full = np.zeros(len(x))
    full[kept] = softmax(x[kept])
    return full


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 1},
        {"top_k": 3},
        {"top_k": 100},
        {"top_p": 0.001},
        {"top_p": 0.6},
        {"top_p": 0.95},
        {"min_p": 0.2},
        {"min_p": 1.0},
        {"top_k": 4, "top_p": 0.8},
        {"top_k": 5, "top_p": 0.9, "min_p": 0.15, "temperature": 1.4},
        {"logit_bias": {4: 7.5, 3: -100}},
        {"presence_penalty": 1.5},
        {"frequency_penalty": 0.7},
        {"presence_penalty": -2.0, "frequency_penalty": 1.1},
        {"repetition_penalty": 1.8},
        {"repetition_penalty": 0.5},
        {"repetition_penalty": 1.3, "presence_penalty": 0.4, "logit_bias": {1: 1.7}, "temperature": 0.7, "top_p": 0.9},
    ],
)
def test_the_distribution_is_the_references(parameters: dict[str, Any]) -> None:
    prompt, answer = [0, 1, 5], [3, 3, 2, 1]
    made = sampler(prompt, **parameters)
    for token in answer:
        made._count(token)
    np.testing.assert_allclose(distribution(made), expected(LOGITS, prompt, answer, **parameters), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.999), st.floats(0.3, 3), st.sampled_from([600, 2000]))
def test_a_large_vocabulary_is_cut_like_a_small_one(seed: int, top_p: float, temperature: float, size: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, size)
    kept = distribution(sampler(size=size, top_p=top_p, temperature=temperature), logits) > 0
    order = np.argsort(-logits, kind="stable")
    reached = np.cumsum(softmax(logits / temperature)[order])
    # float32 and float64 may disagree by a token where the sum meets top_p almost exactly
    least = int(np.searchsorted(reached, top_p - 1e-4)) + 1
    most = int(np.searchsorted(reached, top_p + 1e-4)) + 1
    assert least <= kept.sum() <= most
    assert kept[order[: kept.sum()]].all()


def test_zero_temperature_takes_the_best_after_bias_and_penalties() -> None:
    logits = torch.tensor(LOGITS)
    assert sampler(temperature=0).choose(logits).token == 3
    assert sampler(temperature=0, logit_bias={3: -100}).choose(logits).token == 0
    greedy = sampler(temperature=0, presence_penalty=2.0)
    assert [greedy.choose(logits).token for _ in range(3)] == [3, 0, 6]
    assert sampler([3], temperature=0, repetition_penalty=2.0).choose(logits).token == 0


def test_presence_counts_once_and_frequency_every_time() -> None:
    logits = torch.tensor([1.0, 0.0])
    often = sampler(size=2, temperature=0, frequency_penalty=0.3)
    assert [often.choose(logits).token for _ in range(6)] == [0, 0, 0, 0, 1, 0]
    once = sampler(size=2, temperature=0, presence_penalty=0.9)
    assert [once.choose(logits).token for _ in range(4)] == [0, 0, 0, 0]


def test_the_prompt_counts_for_repetition_alone() -> None:
    logits = torch.tensor(LOGITS)
    assert sampler([3, 3, 3], temperature=0, presence_penalty=2.0, frequency_penalty=2.0).choose(logits).token == 3
    assert sampler([3], temperature=0, repetition_penalty=3.0).choose(logits).token == 0


def test_draws_follow_the_distribution() -> None:
    made = sampler(temperature=1.3, top_k=4, seed=5)
    drawn = np.bincount([made.choose(torch.tensor(LOGITS)).token for _ in range(4000)], minlength=len(LOGITS)) / 4000
    np.testing.assert_allclose(drawn, expected(LOGITS, [], [], temperature=1.3, top_k=4), atol=0.03)


@pytest.mark.parametrize("draw", [draw_by_sum, draw_by_race])
def test_both_ways_to_draw_follow_the_probabilities(draw: Any) -> None:
    """One of them is for accelerators, but it is the same mathematics on any device."""
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.15, 0.05, 0.0])
    generator = torch.Generator().manual_seed(9)
    drawn = np.bincount([draw(probabilities, generator) for _ in range(4000)], minlength=7) / 4000
    np.testing.assert_allclose(drawn, probabilities.numpy(), atol=0.03)
    assert not drawn[[0, 2, 6]].any()


def test_a_seed_repeats_and_another_differs() -> None:
    def draws(seed: int) -> list[int]:
        made = sampler(seed=seed)
        return [made.choose(torch.tensor(LOGITS)).token for _ in range(40)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert draws(0) == draws(0)
    assert len(draws(2**32 - 1)) == 40


def test_torchs_own_random_numbers_are_not_touched() -> None:
    before = torch.get_rng_state()
    made = sampler(seed=3)
    for _ in range(5):
        made.choose(torch.tensor(LOGITS))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("parameters", [{}, {"temperature": 0}, {"temperature": 0.2, "top_k": 2}])
def test_logprobs_are_the_models_own(parameters: dict[str, Any]) -> None:
    logits = torch.tensor(LOGITS)
    choice = sampler(logprobs=True, top_logprobs=3, seed=1, logit_bias={4: 50}, **parameters).choose(logits)
    assert choice.token == 4
    own = torch.log_softmax(logits, 0)
    assert choice.logprob == pytest.approx(float(own[4]), abs=1e-6)
    assert [token for token, _ in choice.top] == [3, 0, 6]
    assert [logprob for _, logprob in choice.top] == pytest.approx(own[[3, 0, 6]].tolist(), abs=1e-6)


def test_no_logprobs_unless_asked_for() -> None:
    assert sampler(temperature=0).choose(torch.tensor(LOGITS)).top == ()


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e-6, 1e30])
def test_extreme_temperatures_stay_numbers(temperature: float) -> None:
    probabilities = distribution(sampler(temperature=temperature))
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities.argmax() == 3 if temperature < 1 else probabilities.max() < 0.2


def test_every_filter_keeps_a_token() -> None:
    made = sampler(top_k=1, top_p=1e-9, min_p=1.0, temperature=5.0)
    assert distribution(made).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


def test_masked_logits_are_never_drawn() -> None:
    masked = [-math.inf, 1.0, -math.inf, 0.5]
    made = sampler(size=4, seed=2, top_p=0.99)
    assert {made.choose(torch.tensor(masked)).token for _ in range(200)} == {1, 3}


def test_half_precision_logits_are_read_as_float32() -> None:
    choice = sampler(temperature=0, logprobs=True).choose(torch.tensor(LOGITS, dtype=torch.bfloat16))
    assert choice.logprob == pytest.approx(float(torch.log_softmax(torch.tensor(LOGITS), 0)[3]), abs=1e-6)


@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers_are_an_error(temperature: float) -> None:
    with pytest.raises(GenerationError, match="dtype"):
        sampler(size=2, temperature=temperature).choose(torch.tensor([math.nan, 1.0]))


@pytest.mark.parametrize("token", [8, 10**9])
def test_a_bias_for_a_token_that_is_not_there_is_refused(token: int) -> None:
    with pytest.raises(InvalidParameterError, match="0 to 7"):
        sampler(logit_bias={token: 1.0})
