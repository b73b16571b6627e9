"""Each sampling parameter on fixed logits, beside the plain reference of both engines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_hf.sampling import Sampler, _draw
from llamaforge.engine import Choice, SamplingParams
from llamaforge.errors import GenerationError
from llamaforge.requests import GenerationRequest, read_request
from llamaforge.results import TokenLogprob
from support.reference_sampling import probabilities, softmax, token_mask

pytestmark = pytest.mark.engine

LOGITS = [2.0, -1.0, 0.5, 3.0, -4.0, 0.0, 1.5, -0.5]


def request(**parameters: Any) -> GenerationRequest:
    return read_request("x", None, parameters)


def sampler(prompt: list[int] | None = None, size: int = len(LOGITS), **parameters: Any) -> Sampler:
    return Sampler(SamplingParams.of(request(**parameters)), prompt or [], size, str)


def logprob(choice: Choice) -> TokenLogprob:
    assert choice.logprob is not None
    return choice.logprob


def distribution(made: Sampler, logits: Any = LOGITS) -> np.ndarray:
    """The probabilities of all tokens, 0 for those that were filtered out."""
    tokens, shares = made.distribution(torch.tensor(logits, dtype=torch.float32))
    full = np.zeros(len(logits))
    full[slice(None) if tokens is None else tokens.numpy()] = shares.numpy()
    return full


def expected(logits: Any, prompt: list[int], answer: list[int], **parameters: Any) -> np.ndarray:
    """The plain reference, as an array."""
    full = np.zeros(len(logits))
    for token, share in probabilities(np.asarray(logits), request(**parameters), prompt, answer).items():
        full[token] = share
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


def test_draws_follow_the_probabilities() -> None:
    shares = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.15, 0.05, 0.0])
    generator = torch.Generator().manual_seed(9)
    drawn = np.bincount([_draw(shares, generator) for _ in range(4000)], minlength=7) / 4000
    np.testing.assert_allclose(drawn, shares.numpy(), atol=0.03)
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
    found = logprob(choice)
    assert found.logprob == pytest.approx(float(own[4]), abs=1e-6)
    assert [each.token_id for each in found.top] == [3, 0, 6]
    assert [each.logprob for each in found.top] == pytest.approx(own[[3, 0, 6]].tolist(), abs=1e-6)


def test_no_logprobs_unless_asked_for() -> None:
    assert sampler(temperature=0).choose(torch.tensor(LOGITS)).logprob is None


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e-6, 1e30])
def test_extreme_temperatures_stay_numbers(temperature: float) -> None:
    shares = distribution(sampler(temperature=temperature))
    assert shares.sum() == pytest.approx(1)
    assert shares.argmax() == 3 if temperature < 1 else shares.max() < 0.2


def test_every_filter_keeps_a_token() -> None:
    made = sampler(top_k=1, top_p=1e-9, min_p=1.0, temperature=5.0)
    assert distribution(made).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


def test_masked_logits_are_never_drawn() -> None:
    masked = [-math.inf, 1.0, -math.inf, 0.5]
    made = sampler(size=4, seed=2, top_p=0.99)
    assert {made.choose(torch.tensor(masked)).token for _ in range(200)} == {1, 3}


@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers_are_an_error(temperature: float) -> None:
    with pytest.raises(GenerationError, match="dtype"):
        sampler(size=2, temperature=temperature).choose(torch.tensor([math.nan, 1.0]))


@pytest.mark.parametrize("parameters", [{"temperature": 0}, {"top_k": 1}, {"top_p": 0.1}, {"top_k": 2, "top_p": 0.6}])
@pytest.mark.parametrize("size", [6, 1000])
def test_of_equals_the_lower_token_comes_first(parameters: dict[str, Any], size: int) -> None:
    logits = torch.zeros(size)
    logits[[2, 3, 5]] = 9.0
    made = sampler(size=size, seed=1, **parameters)
    allowed = {2, 3} if parameters.get("top_k") == 2 else {2}
    assert {made.choose(logits).token for _ in range(30)} == allowed


def test_top_logprobs_of_equals_are_in_order() -> None:
    made = sampler(size=6, temperature=0, logprobs=True, top_logprobs=3)
    assert [entry.token_id for entry in logprob(made.choose(torch.zeros(6))).top] == [0, 1, 2]


@pytest.mark.parametrize(
    ("parameters", "plain"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0, "seed": 3, "top_p": 0.5}, True),
        ({"temperature": 0, "logprobs": True}, False),
        ({"temperature": 0, "logit_bias": {1: 1.0}}, False),
        ({"temperature": 0, "presence_penalty": 1.0}, False),
        ({"temperature": 0, "repetition_penalty": 1.1}, False),
        ({}, False),
    ],
)
def test_only_what_needs_no_sampler_goes_without(parameters: dict[str, Any], plain: bool) -> None:
    assert sampler(**parameters).is_plain is plain


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0},
        {"seed": 3},
        {"seed": 1, "top_k": 3, "temperature": 0.2},
        {"seed": 1, "top_p": 0.2},
        {"temperature": 0, "logit_bias": {0: 100.0}},
        {"seed": 2, "frequency_penalty": 2.0, "presence_penalty": 2.0},
    ],
    ids=repr,
)
def test_only_tokens_of_the_mask_are_chosen(parameters: dict[str, Any]) -> None:
    made = sampler(**parameters)
    logits = torch.tensor(LOGITS)
    assert {made.choose(logits, token_mask(4, 7, size=32)).token for _ in range(20)} <= {4, 7}
    assert made.choose(logits, token_mask(2, size=32)).token == 2
    assert logits.tolist() == LOGITS


def test_log_probabilities_are_those_without_the_mask() -> None:
    free = sampler(temperature=0, logprobs=True, top_logprobs=1, logit_bias={5: 50.0}).choose(torch.tensor(LOGITS))
    held = sampler(temperature=0, logprobs=True, top_logprobs=1).choose(torch.tensor(LOGITS), token_mask(5, size=32))
    assert logprob(held) == logprob(free)


def test_a_mask_that_allows_nothing_is_an_error() -> None:
    with pytest.raises(GenerationError, match="allows no token"):
        sampler(temperature=0).choose(torch.tensor(LOGITS), token_mask(size=32))
