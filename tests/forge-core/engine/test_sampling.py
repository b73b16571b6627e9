"""What engines share when they choose tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.engine import BatchEntry, Choice, SamplingParams, choose_while_guessed
from llamaforge.engine.sampling import check_logit_bias
from llamaforge.errors import GenerationError, InvalidParameterError
from llamaforge.requests import read_request

from .toy import LETTERS, ToyBackend, ToyEngine, expected


def params(**given_parameters: Any) -> SamplingParams:
    return SamplingParams.of(read_request("x", None, given_parameters))


def test_a_parameter_that_is_not_given_is_off() -> None:
    assert params() == SamplingParams()
    assert not params().adjusts_logits


def test_every_sampling_parameter_arrives() -> None:
    asked: dict[str, Any] = {
        "temperature": 0.0, "top_k": 3, "top_p": 0.5, "min_p": 0.1, "repetition_penalty": 1.5, "frequency_penalty": 0.2,
        "presence_penalty": 0.3, "logit_bias": {4: -1.0}, "seed": 9,
    }  # fmt: skip
    found = params(**asked)
    assert {name: getattr(found, name) for name in asked} == asked
    assert found.top_logprobs is None
    assert params(logprobs=True).top_logprobs == 0
    assert params(logprobs=True, top_logprobs=2).top_logprobs == 2


@pytest.mark.parametrize(
    "asked",
    [{"logit_bias": {1: 1.0}}, {"frequency_penalty": 0.1}, {"presence_penalty": -0.1}, {"repetition_penalty": 0.9}],
)
def test_bias_and_penalties_adjust_logits(asked: dict[str, Any]) -> None:
    assert params(**asked).adjusts_logits


@pytest.mark.parametrize("token", [28, 10**9])
def test_a_bias_on_a_token_that_the_model_lacks_is_refused(token: int) -> None:
    request = read_request("x", None, {"logit_bias": {token: 1.0}})
    with pytest.raises(InvalidParameterError, match=rf"logit_bias.*0 to 27, not {token}"):
        check_logit_bias(request, 28)
    check_logit_bias(read_request("x", None, {"logit_bias": {0: 1.0, 27: 1.0}}), 28)


@given(answer=st.lists(st.integers(0, 2), min_size=9, max_size=9), guesses=st.lists(st.integers(0, 2), max_size=8))
def test_guesses_that_come_true_and_one_choice_more(answer: list[int], guesses: list[int]) -> None:
    asked: list[int] = []

    def choose(row: int) -> Choice:
        asked.append(row)
        return Choice(answer[row])

    entry: BatchEntry[Any] = BatchEntry(0, 0, [7, 7, *guesses], None, draft=len(guesses))
    assert list(entry.guesses) == guesses
    chosen = [choice.token for choice in choose_while_guessed(entry, choose)]
    right = next((place for place, guess in enumerate(guesses) if guess != answer[place]), len(guesses))
    assert chosen == answer[: right + 1]
    assert asked == list(range(right + 1))


@pytest.mark.parametrize("count", [0, 2])
def test_an_engine_with_a_wrong_number_of_choices_fails_and_does_not_hang(count: int) -> None:
    class Wrong(ToyEngine):
        def _compute(self, entry):  # type: ignore[no-untyped-def]
            choices = super()._compute(entry)
            return choices * count if entry.sampling is not None else choices

    with ToyBackend(Wrong) as backend, pytest.raises(GenerationError, match=f"{count} choices.*wants 1 to 1"):
        backend.generate("abc", max_tokens=5, timeout=10)


def test_an_engine_with_too_few_results_fails_and_goes_on() -> None:
    class Lossy(ToyEngine):
        def compute(self, entries):  # type: ignore[no-untyped-def]
            results = super().compute(entries)
            return results[1:] if self.steps == 1 else results

    with ToyBackend(Lossy) as backend:
        with pytest.raises(GenerationError, match="0 results for 1"):
            backend.generate("abc", max_tokens=5, timeout=10)
        assert backend.generate("abc", max_tokens=5) == expected("abc", 5)


def test_text_is_made_of_the_table_without_a_detokenizer() -> None:
    engine = ToyEngine()
    made = engine.detokenizer(read_request("x"), [])
    assert b"".join(map(made.feed, range(len(LETTERS) + 1))) + made.finish() == LETTERS.encode()


def test_an_engine_without_a_table_says_what_it_must_write() -> None:
    class Tableless(ToyEngine):
        def token_table(self) -> None:  # type: ignore[override]
            return None

    with pytest.raises(NotImplementedError, match=r"Tableless.*detokenizer\(\)"):
        Tableless().detokenizer(read_request("x"), [])
