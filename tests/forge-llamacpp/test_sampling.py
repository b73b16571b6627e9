"""Sampling parameters, seen at llama.cpp's own sampler chain: its numbers against plain arithmetic on the same logits.

The order is part of the meaning: logit_bias, penalties, temperature, top_k, top_p, min_p, then the draw.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_cpp import llama_cpp as lib

from forge_llamacpp.engine import LlamaCppEngine
from forge_llamacpp.sampling import Sampler
from llamaforge.engine import SamplingParams
from llamaforge.parameters import NAMES
from llamaforge.requests import GenerationRequest, read_request, resolve_request
from support.llama_engine import logits_after
from support.reference_sampling import probabilities

Logits = npt.NDArray[np.float32]


def request(**parameters: Any) -> GenerationRequest:
    return resolve_request("x", None, parameters, backend="llama.cpp", supported=frozenset(NAMES)).request


@pytest.fixture(scope="session")
def logits(engine: LlamaCppEngine) -> Logits:
    """Real ones: what the model expects after a question."""
    after = logits_after(engine, engine.tokenize(read_request("Name a fruit.", None, {})).token_ids)
    engine.trim(0, 0)
    return after


def run(sampler: Sampler, logits: Logits) -> tuple[int, dict[int, float]]:
    """The token that the chain chooses, and what it leaves of the others: token to probability."""
    data = np.zeros(len(logits), dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
    data["id"], data["logit"] = np.arange(len(logits)), logits
    pointer = data.ctypes.data_as(lib.llama_token_data_p)
    candidates = lib.llama_token_data_array(pointer, len(logits), -1, False)
    lib.llama_sampler_apply(sampler.chain, ctypes.byref(candidates))
    assert 0 <= candidates.selected < candidates.size
    kept = data[: candidates.size]
    return int(kept["id"][candidates.selected]), dict(zip(kept["id"].tolist(), kept["p"].tolist(), strict=True))


def apply(logits: Logits, asked: GenerationRequest, prompt: Iterable[int], answer: Iterable[int]) -> dict[int, float]:
    """Token to probability, as the chain leaves them, after it has seen *prompt* and *answer*."""
    prompt, answer = list(prompt), list(answer)
    sampler = Sampler(SamplingParams.of(asked), len(logits), prompt, len(answer) + 1)
    if sampler.chain is None:  # the best token is all that is wanted: the engine takes it by itself
        return {int(logits.argmax()): 1.0}
    try:
        for token in answer:
            lib.llama_sampler_accept(sampler.chain, token)
        chosen, kept = run(sampler, logits)
        return kept if any(kept.values()) else {chosen: 1.0}
    finally:
        sampler.close()


def assert_same(found: dict[int, float], expected: dict[int, float]) -> None:
    """Equal but for the last digits. llama.cpp adds up in 32 bits, so that tokens on the edge of top_p, a thousandth of
    all probability at most, may fall to either side."""
    size = max(*found, *expected) + 1
    ours, book = np.zeros(size), np.zeros(size)
    ours[list(found)], book[list(expected)] = list(found.values()), list(expected.values())
    only_one = (ours == 0) != (book == 0)
    assert book[only_one].sum() + ours[only_one].sum() < 1.5e-3
    np.testing.assert_allclose(ours[~only_one], book[~only_one], rtol=3e-3, atol=1e-7)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-4)


CASES: list[dict[str, Any]] = [
    {},
    {"temperature": 0.3},
    {"temperature": 0.2, "top_p": 0.9},
    {"temperature": 0.49, "top_k": 1000, "min_p": 1e-9},
    {"top_p": 1.0},
    {"top_p": 0.999999},
    {"top_k": 0},
    {"min_p": 0.0},
    {"min_p": 1e-30},
    {"temperature": 1.8},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 500},
    {"top_k": 2**40},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"top_p": 1e-9},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"temperature": 0.7, "top_k": 40, "top_p": 0.9},
    {"temperature": 1.5, "top_k": 60, "top_p": 0.8, "min_p": 0.1},
    {"temperature": 3.0, "top_p": 0.7},
    {"presence_penalty": 1.5},
    {"presence_penalty": -2.0},
    {"frequency_penalty": 0.7},
    {"frequency_penalty": -0.4, "presence_penalty": 0.9},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8},
    {"presence_penalty": 2.0, "frequency_penalty": -2.0},
    {"temperature": 2.0, "top_k": 2, "top_p": 0.5, "min_p": 0.9},
    {"repetition_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": 0.25, "temperature": 0.8, "top_k": 30},
]


@pytest.mark.parametrize("parameters", CASES, ids=repr)
@pytest.mark.parametrize("biased", [False, True], ids=["", "biased"])
def test_the_chain_does_what_the_parameters_say(logits: Logits, parameters: dict[str, Any], biased: bool) -> None:
    best = [int(token) for token in np.argsort(-logits)[:6]]
    prompt, answer = [best[0], best[0], best[4], 3], [best[1], best[2], best[2], 17]
    bias = {best[0]: -100.0, best[3]: 2.5, len(logits) - 1: 100.0} if biased else {}
    asked = request(**parameters, **({"logit_bias": bias} if bias else {}))
    assert_same(apply(logits, asked, prompt, answer), probabilities(logits, asked, prompt, answer))
    greedy = request(**{**parameters, "temperature": 0}, **({"logit_bias": bias} if bias else {}))
    assert_same(apply(logits, greedy, prompt, answer), probabilities(logits, greedy, prompt, answer))


def test_the_first_of_equals_is_the_best(logits: Logits) -> None:
    """With penalties llama.cpp chooses, without them numpy: both take the same one of two equally good tokens."""
    tied = logits.copy()
    best = int(tied.argmax())
    tied[[5, best, len(tied) - 1]] = tied[best] + 1
    assert apply(tied, request(temperature=0, logit_bias={6: 0.5}), [], []) == {5: 1.0}
    assert apply(tied, request(temperature=0), [], []) == {5: 1.0}
    assert Sampler(SamplingParams(temperature=0), len(tied), [], 1).chain is None


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    values=st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=60),
    parameters=st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0.05, 3),
            "top_k": st.integers(0, 70),
            "top_p": st.floats(0.01, 1),
            "min_p": st.floats(0, 1),
            "repetition_penalty": st.floats(0.2, 4),
            "presence_penalty": st.floats(-2, 2),
            "frequency_penalty": st.floats(-2, 2),
        },
    ),
    answer=st.lists(st.integers(0, 1), max_size=6),
)
def test_some_token_is_always_kept(values: list[float], parameters: dict[str, Any], answer: list[int]) -> None:
    kept = apply(np.array(values, dtype=np.float32), request(**parameters), [1], answer)
    assert kept
    assert sum(kept.values()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("temperature", [1e-5, 1e-7, 1e-30, 1e-300])
@pytest.mark.parametrize("penalty", [1.0, 1e-4, 1e-30, 1e30])
def test_extreme_values_choose_the_best_token(logits: Logits, temperature: float, penalty: float) -> None:
    """Where 32 bits run out of digits, the limit of the formula holds, and nothing crashes."""
    best = int(logits.argmax())
    asked = request(temperature=temperature, repetition_penalty=penalty, top_p=0.9)
    kept = apply(logits, asked, [], [])
    assert max(kept, key=lambda token: kept[token]) == best or kept == {best: 1.0}


def test_a_repeated_token_is_penalised_over_the_whole_prompt_and_answer(logits: Logits) -> None:
    """llama.cpp looks back over a window, and takes -1 for none; ours must hold everything."""
    best = int(logits.argmax())
    prompt = [best, *range(1000)]
    asked = request(repetition_penalty=50.0, temperature=0)
    assert best not in apply(logits, asked, prompt, list(range(1000, 1500)))


def test_presence_and_frequency_forget_nothing_of_the_answer_and_know_nothing_of_the_prompt(logits: Logits) -> None:
    best = int(logits.argmax())
    asked = request(presence_penalty=2.0, frequency_penalty=2.0)
    plain = request()
    assert apply(logits, asked, [best] * 5, [])[best] == pytest.approx(apply(logits, plain, [], [])[best], rel=1e-4)
    others = [token for token in range(2000) if token != best]
    expected = probabilities(logits, asked, [], [best, *others])[best]
    assert apply(logits, asked, [], [best, *others])[best] == pytest.approx(expected, rel=1e-3)


def draws(logits: Logits, seed: int, count: int = 40) -> list[int]:
    sampler = Sampler(SamplingParams(seed=seed), len(logits), [], count)
    try:
        return [run(sampler, logits)[0] for _ in range(count)]
    finally:
        sampler.close()


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_a_seed_draws_the_same_tokens_again(seed: int) -> None:
    flat = np.zeros(1000, dtype=np.float32)
    assert draws(flat, seed) == draws(flat, seed)


def test_seeds_differ_and_draw_by_probability() -> None:
    flat = np.zeros(1000, dtype=np.float32)
    assert len({tuple(draws(flat, seed)) for seed in range(20)}) == 20
    two = np.log(np.array([0.8, 0.2], dtype=np.float32))
    share = sum(token == 0 for token in draws(two, 7, 4000)) / 4000
    assert share == pytest.approx(0.8, abs=0.03)
