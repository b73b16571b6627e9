"""Every declared parameter, seen to reach the model's next token; every other one refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_hf import HuggingFaceBackend
from forge_hf.checkpoint import generation_defaults
from forge_hf.plugin import SPEC
from llamaforge.errors import InvalidParameterError, UnknownParameterError, UnsupportedError
from llamaforge.parameters import NAMES, UNIVERSAL

ASK: dict[str, Any] = {"raw": True, "max_tokens": 12, "logit_bias": {2: -100}}
PROMPT = "The cat sat on the mat. The cat sat on"


def ids(backend: HuggingFaceBackend, prompt: str = PROMPT, **parameters: Any) -> list[int]:
    answer = backend.generate(prompt, {**ASK, **parameters, "logprobs": True})
    return [int(entry.token_id or 0) for entry in answer.logprobs]


@torch.no_grad()
def next_logits(engine: Any, tokens: list[int]) -> torch.Tensor:
    """What the model itself says, all tokens in one pass."""
    logits: torch.Tensor = engine._model(input_ids=torch.tensor([tokens])).logits[0, -1].float()
    return logits


def test_logprobs_are_log_softmax_of_the_models_logits(tiny: HuggingFaceBackend, engine: Any) -> None:
    answer = tiny.generate(PROMPT, {**ASK, "seed": 4, "temperature": 1.5, "logprobs": True, "top_logprobs": 4})
    tokens = engine.vocabulary.encode(PROMPT)
    assert len(answer.logprobs) == 12
    for entry in answer.logprobs:
        own = torch.log_softmax(next_logits(engine, tokens), 0)
        assert entry.logprob == pytest.approx(float(own[entry.token_id]), abs=2e-3)
        best = own.topk(4)
        assert [top.token_id for top in entry.top] == best.indices.tolist()
        assert [top.logprob for top in entry.top] == pytest.approx(best.values.tolist(), abs=2e-3)
        tokens.append(entry.token_id)
    assert "".join(entry.token for entry in answer.logprobs if "\ufffd" not in entry.token)[:3] == str(answer)[:3]


def test_logprobs_cover_every_counted_token_and_no_other(tiny: HuggingFaceBackend) -> None:
    answer = tiny.generate("Hello", seed=3, max_tokens=40, logprobs=True)
    assert answer.usage is not None
    assert len(answer.logprobs) == answer.usage.completion_tokens
    assert answer.logprobs[0].top == ()
    assert tiny.generate("Hello", seed=3, max_tokens=40).logprobs == ()


def test_zero_temperature_is_the_best_token_each_time(tiny: HuggingFaceBackend, engine: Any) -> None:
    tokens, said = engine.vocabulary.encode(PROMPT), ids(tiny, temperature=0)
    for token in said:
        logits = next_logits(engine, tokens)
        logits[2] -= 100
        assert int(logits.argmax()) == token
        tokens.append(token)


def test_do_sample_false_is_temperature_zero(tiny: HuggingFaceBackend) -> None:
    assert ids(tiny, do_sample=False) == ids(tiny, temperature=0)


def test_seeds_repeat(tiny: HuggingFaceBackend) -> None:
    assert ids(tiny, seed=1) == ids(tiny, seed=1)
    assert ids(tiny, seed=1) != ids(tiny, seed=2)


def test_a_drawn_seed_is_told_and_repeats(tiny: HuggingFaceBackend) -> None:
    first = tiny.generate(PROMPT, ASK)
    assert tiny.generate(PROMPT, ASK, seed=first.parameters["seed"]) == first


def test_temperature_changes_the_answer(tiny: HuggingFaceBackend) -> None:
    assert ids(tiny, seed=1, temperature=0.01) == ids(tiny, temperature=0)
    assert ids(tiny, seed=1, temperature=5.0) != ids(tiny, seed=1, temperature=0.5)


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_a_filter_for_one_token_is_greedy(tiny: HuggingFaceBackend, narrow: dict[str, Any]) -> None:
    assert ids(tiny, seed=1, temperature=2.0, **narrow) == ids(tiny, temperature=0)
    assert ids(tiny, seed=1, temperature=2.0) != ids(tiny, temperature=0)


@pytest.mark.parametrize(
    "penalty",
    [
        {"presence_penalty": 2.0},
        {"presence_penalty": -1.5},
        {"frequency_penalty": 1.2},
        {"repetition_penalty": 1.5},
        {"repetition_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    ],
)
def test_penalties_follow_their_definitions(tiny: HuggingFaceBackend, engine: Any, penalty: dict[str, float]) -> None:
    pull = {100: 40.0, 101: 39.5, 102: 39.0, 2: -100.0}
    prompt = engine.vocabulary.encode(PROMPT)
    answer: list[int] = []
    for _ in range(12):
        logits = next_logits(engine, prompt + answer)
        for token, bias in pull.items():
            logits[token] += bias
        for token in {*prompt, *answer}:
            factor = penalty.get("repetition_penalty", 1.0)
            logits[token] = logits[token] / factor if logits[token] > 0 else logits[token] * factor
        for token in set(answer):
            logits[token] -= penalty.get("presence_penalty", 0.0)
            logits[token] -= answer.count(token) * penalty.get("frequency_penalty", 0.0)
        answer.append(int(logits.argmax()))
    assert ids(tiny, temperature=0, logit_bias=pull, **penalty) == answer
    assert ids(tiny, temperature=0, logit_bias=pull) != answer


def test_logit_bias_forces_and_forbids(tiny: HuggingFaceBackend) -> None:
    assert ids(tiny, seed=1, logit_bias={300: 100}, max_tokens=3) == [300] * 3
    best = ids(tiny, temperature=0, max_tokens=1)[0]
    assert ids(tiny, temperature=0, max_tokens=1, logit_bias={best: -100, 2: -100}) != [best]


def test_a_bias_for_no_token_of_this_model_is_refused(tiny: HuggingFaceBackend) -> None:
    with pytest.raises(InvalidParameterError, match="49151"):
        tiny.generate("Hello", logit_bias={49152: 1})


def test_the_load_time_seed_is_the_default(hf_model: Any, tiny_model: Any) -> None:
    with HuggingFaceBackend() as backend:
        backend.load_model(tiny_model, {"device": "cpu", "seed": 5})
        assert backend.generate("Hello", max_tokens=8) == backend.generate("Hello", max_tokens=8)
        assert backend.generate("Hello", max_tokens=8).parameters["seed"] == 5
        assert backend.generate("Hello", max_tokens=8, seed=6).parameters["seed"] == 6


def test_what_the_models_makers_recommend_holds_where_nobody_asks_otherwise(tiny_model: Any, tmp_path: Any) -> None:
    """generation_config.json gives the sampling and more tokens that end an answer."""
    told = shutil.copytree(tiny_model, tmp_path / "told")
    recommended = {"temperature": 0.6, "top_k": 7, "top_p": 0.9, "repetition_penalty": 1.3}
    settings = {**recommended, "do_sample": True, "max_new_tokens": 3, "eos_token_id": [2, 77]}
    (told / "generation_config.json").write_text(json.dumps(settings))
    with HuggingFaceBackend() as plain, HuggingFaceBackend() as other:
        plain.load_model(tiny_model, {"device": "cpu"})
        other.load_model(told, {"device": "cpu"})
        asked = {"seed": 3, "max_tokens": 8, "logit_bias": {2: -100, 77: -100}}
        answer = other.generate("Hello", asked)
        assert {name: answer.parameters[name] for name in recommended} == recommended
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 8
        assert answer == plain.generate("Hello", asked, **recommended)
        assert answer != plain.generate("Hello", asked)
        assert other.generate("Hello", asked, top_k=0).parameters["top_k"] == 0
        ended = other.generate("Hello", temperature=0, logit_bias={77: 100})
        assert (ended, ended.finish_reason) == ("", "stop")
        assert plain.generate("Hello", temperature=0, max_tokens=2, logit_bias={77: 100}) != ""


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, {}),
        ("[]", {}),
        ("{", {}),
        ({"eos_token_id": 2}, {}),
        ({"temperature": 0.5, "top_p": 0.5}, {}),
        ({"temperature": 0.5, "repetition_penalty": 1.2}, {"repetition_penalty": 1.2}),
        ({"do_sample": False, "temperature": 0.5}, {"temperature": 0.0}),
        ({"do_sample": True}, {}),
        ({"do_sample": True, "temperature": 0.5, "top_k": None}, {"temperature": 0.5}),
        ({"do_sample": True, "temperature": "hot", "top_p": 7, "top_k": 20, "min_p": 0.1}, {"top_k": 20, "min_p": 0.1}),
    ],
)
def test_what_a_generation_config_recommends(told: Any, expected: dict[str, Any], tmp_path: Path) -> None:
    """As transformers' generate() understands it: sampling counts where ``do_sample`` is true."""
    if told is not None:
        text = told if isinstance(told, str) else json.dumps(told)
        (tmp_path / "generation_config.json").write_text(text)
    assert generation_defaults(tmp_path) == expected


class TestStops:
    def test_a_stop_string_over_several_tokens(self, tiny: HuggingFaceBackend) -> None:
        asked: dict[str, Any] = {**ASK, "seed": 8, "max_tokens": 30}
        whole = tiny.generate(PROMPT, asked, logprobs=True)
        pieces = [entry.token for entry in whole.logprobs]
        start = next(
            index
            for index in range(4, 25)
            if all(len(piece) > 1 and piece.isascii() for piece in pieces[index : index + 2])
        )
        stop = pieces[start][1:] + pieces[start + 1][:1]
        cut = tiny.generate(PROMPT, asked, stop=[stop])
        assert cut == str(whole)[: str(whole).index(stop)]
        assert cut.stop == stop
        assert cut.finish_reason == "stop"
        assert cut.usage is not None
        assert cut.usage.completion_tokens < 30
        with tiny.generate_stream(PROMPT, asked, stop=[stop]) as stream:
            assert "".join(stream) == cut

    def test_a_stop_string_that_never_comes_costs_nothing(self, tiny: HuggingFaceBackend) -> None:
        asked: dict[str, Any] = {**ASK, "seed": 8}
        whole = tiny.generate(PROMPT, asked)
        beginning = str(whole)[-3:] + "\x00never"
        assert tiny.generate(PROMPT, asked, stop=[beginning]) == whole
        with tiny.generate_stream(PROMPT, asked, stop=[beginning]) as stream:
            assert "".join(stream) == whole

    def test_the_real_model_stops_before_the_word(self, real: HuggingFaceBackend) -> None:
        answer = real.generate("What is the capital of France?", temperature=0, max_tokens=20, stop=" is Pa")
        assert answer == "The capital of France"
        assert (answer.finish_reason, answer.stop) == ("stop", " is Pa")


@pytest.mark.parametrize("name", sorted(set(NAMES) - SPEC.capabilities.parameters - UNIVERSAL))
def test_what_is_not_declared_is_refused(tiny: HuggingFaceBackend, name: str) -> None:
    values: dict[str, Any] = {
        "response_format": {"response_format": {"type": "json_object"}},
        "grammar": {"grammar": "root ::= 'a'"},
        "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
        "tool_choice": {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"},
    }
    with pytest.raises(UnsupportedError, match=name):
        tiny.generate("Hello", values[name])
    assert name in tiny.generate("Hello", values[name], on_unsupported="drop", seed=1, max_tokens=2).dropped


def test_unknown_names_come_with_the_closest(tiny: HuggingFaceBackend) -> None:
    with pytest.raises(UnknownParameterError) as caught:
        tiny.generate("Hello", temprature=1)
    assert caught.value.suggestions[0] == "temperature"


def test_engine_options_are_refused_as_there_are_none(tiny: HuggingFaceBackend) -> None:
    with pytest.raises(UnknownParameterError):
        tiny.generate("Hello", engine={"beams": 4})
