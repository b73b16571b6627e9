"""Engines of this process: the samplers that the backend makes for a request, tried on given logits."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from llamaforge import BaseBackend, GeneratedText
from llamaforge.errors import GenerationTimeoutError
from llamaforge.requests import read_request
from llamaforge.text import StopMatcher

from ..reference_sampling import probabilities
from .base import ASK, Boundary

Numbers = npt.NDArray[np.float64]

_SHAPES = (
    *("temperature", "top_p", "top_k", "min_p", "logit_bias"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty"),
)


_TOOLS = "{% if tools %}{{ tools[0].function.name }}{% endif %}"
"""Before a template: shows tools in few tokens."""


@contextmanager
def open_llama_cpp(name: str, folder: Path) -> Iterator[Boundary]:
    """A small model with random weights in llama.cpp."""
    from forge_llamacpp import LlamaCppBackend

    from ..gguf_files import TEMPLATE, make_tiny_gguf

    with LlamaCppBackend() as backend, pytest.MonkeyPatch.context() as patch:
        backend.load_model(make_tiny_gguf(folder / "tiny.gguf", template=_TOOLS + TEMPLATE), {"n_threads": 1})
        yield LlamaCppBoundary(backend, patch)


@contextmanager
def open_huggingface(name: str, folder: Path) -> Iterator[Boundary]:
    """A small model with random weights in transformers."""
    import torch

    from forge_hf import HuggingFaceBackend

    from ..gguf_files import TEMPLATE
    from ..hf_models import make_tiny_model
    from ..small_tokenizers import byte_level

    tokenizer = byte_level()
    tokenizer.chat_template = _TOOLS + TEMPLATE
    torch.set_num_threads(1)
    with HuggingFaceBackend() as backend, pytest.MonkeyPatch.context() as patch:
        backend.load_model(make_tiny_model(folder / "tiny", tokenizer), {"device": "cpu"})
        yield HuggingFaceBoundary(backend, patch)


def given_logits(size: int) -> Numbers:
    """Logits of *size* tokens, always the same ones."""
    logits: Numbers = np.random.default_rng(11).normal(0, 2, size).astype(np.float32).astype(np.float64)
    return logits


def by_the_book(logits: Numbers, prompt: Sequence[int], answer: Sequence[int], **asked: Any) -> Numbers:
    """What the probability of each token to be the next one must be."""
    found = probabilities(logits, read_request("x", None, asked), prompt, answer)
    every = np.zeros(len(logits))
    every[list(found)] = list(found.values())
    return every


class SamplerBoundary(Boundary):
    """Keeps what each sampler was made of; a test makes the same one again, and tries it."""

    sampler: type[Any]

    def __init__(self, backend: BaseBackend, patch: pytest.MonkeyPatch) -> None:
        super().__init__(backend)
        self.made: list[inspect.BoundArguments] = []
        make, signature = self.sampler.__init__, inspect.signature(self.sampler)

        def watched(sampler: Any, *arguments: Any, **named: Any) -> None:
            bound = signature.bind(*arguments, **named)
            bound.arguments["prompt"] = list(bound.arguments["prompt"])
            self.made.append(bound)
            make(sampler, *bound.args, **bound.kwargs)

        patch.setattr(self.sampler, "__init__", watched)

    def work(self) -> int:
        return len(self.made)

    def asked(self, **parameters: Any) -> inspect.BoundArguments:
        """What a request with *parameters* makes its sampler of."""
        self.answer(**parameters)
        return self.made[-1]

    def prompt(self, **parameters: Any) -> list[int]:
        """The tokens that the engine reads."""
        tokens: list[int] = self.asked(**parameters).arguments["prompt"]
        return tokens

    def size(self, bound: inspect.BoundArguments) -> int:
        """The length of the vocabulary."""
        raise NotImplementedError

    def found(self, bound: inspect.BoundArguments, logits: Numbers, answer: Sequence[int]) -> Numbers:
        """The distribution of such a sampler on *logits*, after *answer*."""
        raise NotImplementedError

    def draws(self, bound: inspect.BoundArguments, logits: Numbers, count: int) -> list[int]:
        """*count* tokens that such a sampler draws from *logits*."""
        raise NotImplementedError

    def honours(self, name: str) -> None:
        if name not in _SHAPES:
            super().honours(name)
            return
        bound = self.asked(**ASK[name])
        logits = given_logits(self.size(bound))
        best = [int(token) for token in np.argsort(-logits)[:2]]
        answer, prompt = [best[0], best[0], best[1]], bound.arguments["prompt"]
        book = by_the_book(logits, prompt, answer, **ASK[name])
        assert np.abs(book - by_the_book(logits, prompt, answer)).max() > 0.01, "this would not show"
        np.testing.assert_allclose(self.found(bound, logits, answer), book, rtol=2e-3, atol=1e-7)

    def honours_seed(self) -> None:
        first, again, other = (self.asked(seed=seed) for seed in (7, 7, 8))
        flat = np.zeros(self.size(first))
        drawn = self.draws(first, flat, 20)
        assert drawn == self.draws(again, flat, 20)
        assert drawn != self.draws(other, flat, 20)

    def honours_max_tokens(self) -> None:
        for length in (1, 3, 5):
            result = self.answer(temperature=0, max_tokens=length, logprobs=True)
            assert (result.finish_reason, len(result.logprobs)) == ("length", length)
            assert result.usage is not None
            assert result.usage.completion_tokens == length

    def honours_stop(self) -> None:
        whole = self.answer(temperature=0)
        stop = whole[2:4]
        result = self.answer(temperature=0, stop=[stop])
        assert (result, result.finish_reason, result.stop) == (StopMatcher([stop]).feed(whole), "stop", stop)
        assert result.usage is not None
        assert whole.usage is not None
        assert result.usage.completion_tokens < whole.usage.completion_tokens

    def honours_logprobs(self) -> None:
        result = self.answer(temperature=0, logprobs=True)
        assert result.usage is not None
        assert len(result.logprobs) == result.usage.completion_tokens
        assert all(entry.logprob < 0 and entry.top == () for entry in result.logprobs)

    def honours_top_logprobs(self) -> None:
        for entry in self.answer(temperature=0, logprobs=True, top_logprobs=2).logprobs:
            best, second = entry.top
            assert (best.token_id, best.logprob) == (entry.token_id, entry.logprob)
            assert second.logprob <= best.logprob

    def honours_raw(self) -> None:
        raw, turn = self.prompt(raw=True), self.prompt()
        assert self.backend.render("one two three", parameters={"raw": True}) == "one two three"
        assert 0 < len(raw) < len(turn)
        assert any(turn[start : start + len(raw)] == raw for start in range(len(turn)))

    def honours_chat_template_kwargs(self) -> None:
        plain, switched = self.prompt(), self.prompt(**ASK["chat_template_kwargs"])
        assert switched[: len(plain)] == plain
        assert len(switched) > len(plain)

    def honours_parse_special(self) -> None:
        read = []
        for parameters in ({}, ASK["parse_special"]):
            self.backend.generate("x<|end|></s>", parameters, max_tokens=1)
            read.append(self.made[-1].arguments["prompt"])
        assert len(read[0]) > len(read[1])

    def honours_response_format(self) -> None:
        schema = {"type": "object", "properties": {"ripe": {"type": "boolean"}}, "required": ["ripe"]}
        closed = {"type": "json_schema", "json_schema": {"schema": {**schema, "additionalProperties": False}}}
        result = self.answer(response_format=closed, max_tokens=40)
        assert (result in {'{"ripe": true}', '{"ripe": false}'}, result.finish_reason) == (True, "stop")

    def honours_grammar(self) -> None:
        result = self.answer(**ASK["grammar"])
        assert (result in {"yes", "no"}, result.finish_reason) == (True, "stop")

    def honours_tools(self) -> None:
        plain, told = self.prompt(), self.prompt(**ASK["tools"])
        assert len(told) > len(plain)

    def honours_tool_choice(self) -> None:
        result = self.answer(**ASK["tools"], tool_choice="required", parallel_tool_calls=False, max_tokens=300)
        assert (len(result.tool_calls), result.finish_reason) == (1, "tool_calls")

    def honours_parallel_tool_calls(self) -> None:
        result = self.answer(**ASK["parallel_tool_calls"], tool_choice="required", max_tokens=300)
        assert (len(result.tool_calls), result.finish_reason) == (1, "tool_calls")

    def honours_reasoning_effort(self) -> None:
        assert self.prompt(**ASK["reasoning_effort"]) == self.prompt(**ASK["chat_template_kwargs"]) != self.prompt()

    def honours_max_reasoning_tokens(self) -> None:
        result = self.answer(**ASK["max_reasoning_tokens"])
        assert result.usage is not None
        assert result.usage.reasoning_tokens == 0

    def honours_timeout(self) -> None:
        with pytest.raises(GenerationTimeoutError):
            self.answer(timeout=1e-5)

    def lacks(self, name: str, result: GeneratedText) -> None:
        super().lacks(name, result)
        assert getattr(self.made[-1].arguments["params"], name, None) is None

    def unset(self) -> str:
        bound = self.asked()
        logits = given_logits(self.size(bound))
        np.testing.assert_allclose(self.found(bound, logits, [1, 1]), by_the_book(logits, [], []), rtol=2e-3)
        return super().unset()


class LlamaCppBoundary(SamplerBoundary):
    def __init__(self, backend: BaseBackend, patch: pytest.MonkeyPatch) -> None:
        from forge_llamacpp.sampling import Sampler

        self.sampler = Sampler
        super().__init__(backend, patch)

    def size(self, bound: inspect.BoundArguments) -> int:
        size: int = bound.arguments["vocabulary_size"]
        return size

    def found(self, bound: inspect.BoundArguments, logits: Numbers, answer: Sequence[int]) -> Numbers:
        kept = self._apply(bound, logits, answer, 1)[0][1]
        probabilities = np.zeros(len(logits))
        probabilities[kept["id"]] = kept["p"]
        return probabilities

    def draws(self, bound: inspect.BoundArguments, logits: Numbers, count: int) -> list[int]:
        return [token for token, _ in self._apply(bound, logits, [], count)]

    def _apply(
        self, bound: inspect.BoundArguments, logits: Numbers, answer: Sequence[int], count: int
    ) -> list[tuple[int, Any]]:
        """The chain of llama.cpp's samplers, applied *count* times: the token that it chose, and those that it kept."""
        from llama_cpp import llama_cpp as lib

        sampler = self.sampler(*bound.args, **bound.kwargs)
        applied = []
        try:
            for token in answer:
                lib.llama_sampler_accept(sampler.chain, token)
            for _ in range(count):
                data = np.zeros(len(logits), dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
                data["id"], data["logit"] = np.arange(len(logits)), logits
                candidates = lib.llama_token_data_array(
                    data.ctypes.data_as(lib.llama_token_data_p), len(data), -1, False
                )
                lib.llama_sampler_apply(sampler.chain, ctypes.byref(candidates))
                kept = data[: candidates.size]
                applied.append((int(kept["id"][candidates.selected]), kept))
        finally:
            sampler.close()
        return applied


class HuggingFaceBoundary(SamplerBoundary):
    def __init__(self, backend: BaseBackend, patch: pytest.MonkeyPatch) -> None:
        from forge_hf.sampling import Sampler

        self.sampler = Sampler
        super().__init__(backend, patch)

    def size(self, bound: inspect.BoundArguments) -> int:
        size: int = bound.arguments["vocab_size"]
        return size

    def found(self, bound: inspect.BoundArguments, logits: Numbers, answer: Sequence[int]) -> Numbers:
        import torch

        sampler = self.sampler(*bound.args, **bound.kwargs)
        for token in answer:
            certain = torch.full((len(logits),), -1e4)
            certain[token] = 1e4
            assert sampler.choose(certain).token == token
        tokens, kept = sampler.distribution(torch.tensor(logits, dtype=torch.float32))
        probabilities = np.zeros(len(logits))
        probabilities[slice(None) if tokens is None else tokens.numpy()] = kept.numpy()
        return probabilities

    def draws(self, bound: inspect.BoundArguments, logits: Numbers, count: int) -> list[int]:
        import torch

        sampler = self.sampler(*bound.args, **bound.kwargs)
        return [sampler.choose(torch.tensor(logits, dtype=torch.float32)).token for _ in range(count)]
