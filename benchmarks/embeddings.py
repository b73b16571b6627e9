"""Vectors beside sentence-transformers, in one run: how alike they are, and what they cost.

    hatch run bench:embeddings
    hatch run bench:embeddings --engine llama.cpp --gguf model-f16.gguf

The model is a folder of sentence-transformers, by default the built-in all-MiniLM-L6-v2; a GGUF file is made of it with
llama.cpp's ``convert_hf_to_gguf.py FOLDER --outtype f16``. The texts are paragraphs of the project's documents and of
the installed distributions' descriptions, cut at the same length on both sides.

Each figure of cost is a ratio of processor time with one thread on each side, taken in turns, so that other work on the
machine hardly counts. Callers at once stand beside the engine alone: a computation for each text, by one of them all,
which is the most that they can gain. A run takes about two minutes of one processor; ``--callers`` measures only them.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from llamaforge import BaseBackend, get_backend
from llamaforge.engine import EmbeddingEngine
from llamaforge.models import DEFAULT_EMBEDDING_MODEL
from llamaforge.sources import resolve

ROOT = Path(__file__).parents[1]
_CALLERS = 8
_ROUNDS = 11
_WORDS = (1, 3, 6, 12)
_COMPARED, _SEARCHED = 256, 1000


def paragraphs(count: int, least: int, most: int) -> list[str]:
    """Real paragraphs of so many characters, always the same ones on one machine."""
    documents = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    documents += [str(each.metadata.get_payload()) for each in importlib.metadata.distributions()]
    found = dict.fromkeys(" ".join(part.split()) for text in documents for part in text.split("\n\n"))
    fitting = [text for text in found if least <= len(text) <= most]
    random.Random(0).shuffle(fitting)
    if len(fitting) < count:
        raise SystemExit(f"There are only {len(fitting)} paragraphs here; {count} were asked for.")
    return fitting[:count]


def cost(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and seconds of processor time of all threads."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def times_less(one_by_one: Callable[[], Any], together: Callable[[], Any]) -> tuple[float, float]:
    """How many times *together* goes into *one_by_one*, in turns: by processor time, and by the clock."""
    found: dict[Callable[[], Any], list[tuple[float, float]]] = {one_by_one: [], together: []}
    for _ in range(_ROUNDS):
        for work, seen in found.items():
            began = time.perf_counter()
            seen.append((cost(work)[1], time.perf_counter() - began))
    processor, clock = (
        statistics.median(each[kind] for each in found[one_by_one])
        / statistics.median(each[kind] for each in found[together])
        for kind in (0, 1)
    )
    return round(processor, 2), round(clock, 2)


def callers(backend: BaseBackend, queries: list[str]) -> tuple[float, float]:
    """The queries one after another, by as many callers at once."""

    def together() -> None:
        threads = [threading.Thread(target=backend.embed, args=(query,)) for query in queries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return times_less(lambda: [backend.embed(query) for query in queries], together)


def engine_alone(engine: EmbeddingEngine, queries: list[str]) -> tuple[float, float]:
    """A computation for each query, by one computation of them all: what callers at once can gain at most."""
    tokens = sorted(map(engine.tokenize, queries), key=len, reverse=True)
    return times_less(lambda: [engine.compute([each]) for each in tokens], lambda: engine.compute(tokens))


def overlap(ours: Any, reference: Any, queries: int = 100, top: int = 10) -> float:
    """The part of the ten best paragraphs for each query that both sides name."""
    shared = 0
    for query in range(queries):
        best = [set(np.argsort(-(matrix @ matrix[query]))[: top + 1]) - {query} for matrix in (ours, reference)]
        shared += len(best[0] & best[1])
    return shared / (queries * top)


def compare(backend: BaseBackend, model: SentenceTransformer) -> Iterator[tuple[str, float]]:
    """Each figure as soon as it is known."""

    def encode(texts: list[str]) -> Any:
        return model.encode(texts, batch_size=32, show_progress_bar=False)

    def embed(texts: list[str]) -> Any:
        return np.asarray(backend.embed(texts, truncation="auto"))

    texts = paragraphs(_COMPARED, 200, 1000)
    encode(texts[:8]), embed(texts[:8])
    rows, seconds = {"theirs": [], "ours": []}, {"theirs": 0.0, "ours": 0.0}  # type: ignore[var-annotated]
    for first in range(0, _COMPARED, _COMPARED // 2):
        for name, work in (("theirs", encode), ("ours", embed)):
            found, spent = cost(functools.partial(work, texts[first : first + _COMPARED // 2]))
            rows[name].append(found)
            seconds[name] += spent
    ours, theirs = (np.concatenate(rows[name]) for name in ("ours", "theirs"))
    yield "least cosine", float((ours * theirs).sum(1).min())
    yield "throughput ratio", round(seconds["theirs"] / seconds["ours"], 2)
    yield "tokens a second, sentence-transformers", round(_tokens(backend, texts) / seconds["theirs"])
    among = embed(texts[:32])
    alone = np.concatenate([embed([text]) for text in texts[:32]])
    yield "alone and among 31, largest difference", float(np.abs(alone - among).max())
    yield from of_callers(backend, texts)
    searched = paragraphs(_SEARCHED, 80, 400)
    yield "top-10 overlap of 1,000", round(overlap(embed(searched), encode(searched)), 4)


def of_callers(backend: Any, texts: list[str]) -> Iterator[tuple[str, float]]:
    """What callers at once gain, and what they could gain."""
    for words in _WORDS:
        queries = [" ".join(text.split()[:words]) for text in texts[:_CALLERS]]
        engine = backend._batcher.engine
        size = sum(len(engine.tokenize(query)) for query in queries)
        for name, measure, of in (("callers", callers, backend), ("computations", engine_alone, engine)):
            processor, clock = measure(of, queries)
            yield f"{_CALLERS} {name} at once, {words} words each, {size} tokens", processor
            yield f"{_CALLERS} {name} at once, {words} words each, by the clock", clock


def _tokens(backend: BaseBackend, texts: list[str]) -> int:
    usage = backend.embed(texts[:32], truncation="auto").usage
    return 0 if usage is None else round(usage.prompt_tokens * len(texts) / 32)


def main() -> None:
    """Measure, and print each figure as a JSON object."""
    parser = argparse.ArgumentParser(description="Vectors beside sentence-transformers.")
    parser.add_argument("folder", nargs="?", help="a model of sentence-transformers; default: all-MiniLM-L6-v2")
    parser.add_argument("--engine", choices=["torch", "llama.cpp"], default="torch")
    parser.add_argument("--gguf", metavar="FILE", help="the same model as a GGUF file, for llama.cpp")
    parser.add_argument("--threads", type=int, default=1, help="of each side; default: 1")
    parser.add_argument("--callers", action="store_true", help="measure nothing but callers at once")
    given = parser.parse_args()
    if (given.engine == "llama.cpp") != (given.gguf is not None):
        parser.error("--engine llama.cpp and --gguf go together")
    torch.set_num_threads(given.threads)
    folder = given.folder or str(resolve(DEFAULT_EMBEDDING_MODEL.path).path)
    model = SentenceTransformer(folder, device="cpu")
    kind, path, parameters = "huggingface", folder, {"device": "cpu"}
    if given.gguf is not None:
        kind, path = "llama.cpp", given.gguf
        parameters = {"n_threads": given.threads, "n_ctx": model.max_seq_length}  # type: ignore[dict-item]
    with get_backend(kind)() as backend:
        backend.load_model(path, parameters)
        figures = of_callers(backend, paragraphs(_COMPARED, 200, 1000)) if given.callers else compare(backend, model)
        for name, value in figures:
            print(json.dumps({"engine": kind, "model": Path(path).name, name: value}), flush=True)


if __name__ == "__main__":
    main()
