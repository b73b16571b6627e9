"""llama.cpp's engine by itself, without a scheduler before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forge_llamacpp import LlamaCppBackend
from forge_llamacpp.engine import LlamaCppEngine
from llamaforge.engine import BatchEntry, Choice
from llamaforge.requests import read_request

GREEDY = read_request("x", None, {"temperature": 0})


def engine_of(backend: LlamaCppBackend) -> LlamaCppEngine:
    """The engine of a loaded backend. While requests are under way, what belongs to one thread is not to be touched."""
    engine = backend._engine
    assert isinstance(engine, LlamaCppEngine)
    return engine


def tokens_of(backend: LlamaCppBackend, text: str) -> list[int]:
    """The tokens of *text* as it stands."""
    return engine_of(backend).tokenize(read_request(text, None, {"raw": True})).token_ids


def logits_after(
    engine: LlamaCppEngine, tokens: Sequence[int], *, slot: int = 0, start: int = 0
) -> npt.NDArray[np.float32]:
    """What the model expects after *tokens*, which follow the *start* tokens that *slot* holds."""
    for begin in range(0, len(tokens), engine.n_batch):
        chunk = tokens[begin : begin + engine.n_batch]
        engine.compute([BatchEntry(slot, start + begin, chunk, engine.sampling(GREEDY, (), 1))])
    return engine._logits(1)[0].copy()


def choices(result: list[Choice] | Exception) -> list[int]:
    """The tokens that were chosen."""
    assert isinstance(result, list), result
    return [choice.token for choice in result]
