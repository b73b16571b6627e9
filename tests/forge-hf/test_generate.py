"""The real model: what it says, and that it says what transformers' own generate() says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forge_hf import HuggingFaceBackend
from llamaforge.errors import ContextOverflowError, EmptyPromptError
from llamaforge.results import Finished, TextDelta


def reference(backend: HuggingFaceBackend, prompt: str, tokens: int) -> list[int]:
    """The tokens of transformers' greedy generate() on the same model object, without the one that ends it."""
    engine: Any = backend._engine
    tokenizer = engine.vocabulary.tokenizer
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    out = engine._model.generate(**ids, max_new_tokens=tokens, do_sample=False)
    new = out[0, ids["input_ids"].shape[1] :].tolist()
    return [token for token in new if token not in engine.end_tokens]


def test_the_real_model_answers(real: HuggingFaceBackend) -> None:
    answer = real.generate("What is the capital of France?", temperature=0, max_tokens=30)
    assert answer == "The capital of France is Paris."
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (37, 7)


@pytest.mark.parametrize("question", ["Name three fruits.", "Écris « bonjour » en japonais, avec un emoji 🎉."])
def test_greedy_is_token_by_token_what_transformers_generates(real: HuggingFaceBackend, question: str) -> None:
    prompt = real.render(question)
    expected = reference(real, prompt, 14)
    answer = real.generate(prompt, raw=True, temperature=0, max_tokens=14, logprobs=True)
    assert [entry.token_id for entry in answer.logprobs] == expected
    decode: Any = real._engine
    assert answer == decode.vocabulary.tokenizer.decode(expected, skip_special_tokens=True)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(expected)


def test_a_prompt_in_pieces_is_the_prompt_whole(hf_model: Path) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 4
    told = []
    for n_batch in (512, 7):
        with HuggingFaceBackend() as backend:
            backend.load_model(hf_model, {"device": "cpu", "dtype": "float32", "n_batch": n_batch})
            told.append(backend.generate(f"{long}How many dogs?", temperature=0, max_tokens=4))
    assert told[0] == told[1]
    assert told[0]


def test_the_stream_joined_is_the_answer(tiny: HuggingFaceBackend) -> None:
    asked: dict[str, Any] = {"temperature": 0.8, "seed": 11, "max_tokens": 10, "logit_bias": {2: -100}}
    whole = tiny.generate("Tell me about cats 🐱", asked)
    with tiny.generate_stream("Tell me about cats 🐱", asked) as stream:
        pieces = list(stream)
        assert "".join(pieces) == whole == stream.result
        assert len(pieces) > 1
        assert all(pieces)
        assert stream.result.finish_reason == whole.finish_reason == "length"
        usage = [answer.usage for answer in (whole, stream.result) if answer.usage is not None]
        assert [each.completion_tokens for each in usage] == [10, 10]
        assert usage[1].cached_tokens == usage[1].prompt_tokens - 1


def test_max_tokens_ends_with_length(real: HuggingFaceBackend) -> None:
    answer = real.generate("Count to one hundred.", temperature=0, max_tokens=5)
    assert answer.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def test_the_seeds_own_calls(hf_model: Path) -> None:
    backend = HuggingFaceBackend()
    backend.load_model(
        model_path=str(hf_model), parameters={"device": "cpu", "torch_dtype": "bfloat16", "trust_remote_code": True}
    )
    assert backend.is_model_loaded()
    response = backend.generate(prompt="Say hello.", parameters={"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 6})
    assert isinstance(response, str)
    assert response.parameters["max_tokens"] == 6
    chunks = list(backend.generate_stream(prompt="Say hello.", parameters={"do_sample": False, "max_new_tokens": 6}))
    assert "".join(chunks) == backend.generate("Say hello.", {"temperature": 0, "max_tokens": 6})
    backend.unload_model()
    assert not backend.is_model_loaded()


def test_the_gguf_file_itself(gguf_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with HuggingFaceBackend() as backend:
        backend.load_model(gguf_model, {"device": "cpu"})
        answer = backend.generate("What is the capital of France?", temperature=0, max_tokens=10)
    assert answer == "The capital of France is Paris."
    assert capfd.readouterr() == ("", "")


def test_the_context_ends_the_answer(tiny: HuggingFaceBackend) -> None:
    answer = tiny.generate("word " * 200, raw=True, temperature=0, logit_bias={2: -100})
    assert answer.usage is not None
    assert answer.usage.total_tokens == 256
    assert answer.finish_reason == "length"


def test_a_prompt_that_is_too_long_is_refused_with_both_counts(tiny: HuggingFaceBackend, engine: Any) -> None:
    prompt = "word " * 300
    with pytest.raises(ContextOverflowError) as caught:
        tiny.generate(prompt, raw=True)
    assert caught.value.context_size == 256
    assert caught.value.prompt_tokens == len(engine.vocabulary.encode(prompt))
    assert tiny.generate("short", max_tokens=1, temperature=0) is not None


def test_a_prompt_that_is_too_long_may_be_cut(tiny: HuggingFaceBackend) -> None:
    answer = tiny.generate("word " * 300, raw=True, truncation="auto", max_tokens=20, temperature=0)
    assert answer.usage is not None
    assert answer.usage.truncated_tokens > 40
    assert answer.usage.total_tokens <= 256


def test_a_prompt_of_no_tokens_is_refused(tiny: HuggingFaceBackend, engine: Any, monkeypatch: Any) -> None:
    # A normaliser may drop all that a prompt holds; this tokenizer has none, so take its tokens away.
    monkeypatch.setattr(engine.vocabulary, "encode", lambda text: [])
    with pytest.raises(EmptyPromptError):
        tiny.generate("\u200b", raw=True)


def test_events_hold_text_or_logprobs_and_end_once(tiny: HuggingFaceBackend) -> None:
    events = list(tiny.generate_stream("Hello", seed=1, max_tokens=30).events())
    assert isinstance(events[-1], Finished)
    assert all(isinstance(event, TextDelta) and event.text for event in events[:-1])
    assert events[-1].timings is not None
    assert events[-1].timings.queued is not None


def test_end_tokens_are_no_text_and_are_not_counted(tiny: HuggingFaceBackend) -> None:
    answer = tiny.generate("Hello", temperature=0, logit_bias={2: 100})
    assert answer == ""
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 0
