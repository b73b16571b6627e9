"""Sixteen threads, each with fifty requests, on one loaded model: every answer is the one that a single thread gets.

The engines are real; the models are small and exact, as 800 answers have to fit into seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from llamaforge import BaseBackend, get_backend
from support.gguf_files import make_talkative_gguf
from support.hf_models import make_tiny_model
from support.servers import run_llama_server

THREADS: Final = 16
REQUESTS: Final = 50
PROMPTS: Final = (
    "1, 2, 3, 4, 5, 6,",
    "0, 1, 2, 3, 4, 5,",
    "3, 4, 5, 6, 7, 8,",
    "2, 3, 4, 5, 6, 7,",
    "A, B, C, D, E, F,",
    "Monday, Tuesday, Wednesday, Thursday,",
    "a b c d e f",
    "10, 20, 30, 40, 50,",
    "30, 40, 50, 60, 70,",
    "100, 200, 300, 400,",
    "500, 600, 700, 800,",
    "def __init__(",
)
PATIENCE: Final = 500.0
"""Seconds after which what has not ended hangs."""
GREEDY: Final[dict[str, Any]] = {"temperature": 0, "max_tokens": 4, "raw": True}


@pytest.fixture
def echo() -> Iterator[BaseBackend]:
    with get_backend("echo")() as backend:
        backend.load_model("anything")
        yield backend


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Iterator[BaseBackend]:
    exact = {"n_ctx": 2048, "n_threads": 1, "f16_kv": False, "flash_attn": False}
    with get_backend("llama.cpp")() as backend:
        backend.load_model(make_talkative_gguf(tmp_path / "talkative.gguf"), {**exact, "prefix_cache": 16})
        yield backend


@pytest.fixture
def huggingface(hf_model: Path, tmp_path: Path) -> Iterator[BaseBackend]:
    """Two random layers under the real tokenizer."""
    from transformers import AutoTokenizer

    with get_backend("huggingface")() as backend:
        backend.load_model(make_tiny_model(tmp_path, AutoTokenizer.from_pretrained(hf_model)), {"device": "cpu"})
        yield backend


@pytest.fixture
def openai(tmp_path: Path) -> Iterator[BaseBackend]:
    model = make_talkative_gguf(tmp_path / "talkative.gguf")
    with run_llama_server(model, tmp_path / "llama.log") as server, get_backend("openai")() as backend:
        backend.load_model(server.model, {"api_base": server.base_url, "api_key": server.api_key})
        yield backend


@pytest.mark.engine
@pytest.mark.parametrize("name", ["echo", "llama_cpp", "huggingface", "openai"])
def test_every_thread_gets_its_own_answers(name: str, request: pytest.FixtureRequest) -> None:
    backend: BaseBackend = request.getfixturevalue(name)
    alone = {prompt: str(backend.generate(prompt, GREEDY)) for prompt in PROMPTS}
    assert len(set(alone.values())) >= len(PROMPTS) // 2  # or a swapped answer could not be told
    wrong: list[str] = []
    counts = dict.fromkeys(range(THREADS), 0)
    start = threading.Barrier(THREADS)

    def ask(number: int) -> None:
        start.wait()
        for turn in range(REQUESTS):
            prompt = PROMPTS[(number + turn * (number % 5 + 1)) % len(PROMPTS)]
            try:
                if turn % 2:
                    answer = str(backend.generate(prompt, GREEDY))
                else:
                    answer = "".join(backend.generate_stream(prompt, GREEDY))
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            counts[number] += 1
            if answer != alone[prompt]:
                others = [other for other, its in alone.items() if its == answer]
                wrong.append(f"thread {number}, request {turn}: {prompt!r} got {answer!r}, the answer to {others}")

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(THREADS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, PATIENCE - (time.monotonic() - began)))
    assert counts == dict.fromkeys(range(THREADS), REQUESTS)  # otherwise some of them hang
    assert not wrong, f"{len(wrong)} of {THREADS * REQUESTS} are wrong: " + "\n".join(wrong[:10])
