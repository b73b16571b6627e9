"""Vectors and scores from torch: sentence-transformers' modules, a plain encoder with a pooling, or a cross-encoder.

Texts come sorted by length and in batches of about a thousand tokens, padding included; short ones share rows where the
model allows it. That makes it faster than sentence-transformers' own ``encode`` with its 32 texts at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from llamaforge.backends.memory import MemoryUsage
from llamaforge.engine import EmbeddingEngine, OutOfRoomError, TokenizedText
from llamaforge.engine.context import USUAL_CONTEXT

from .memory import memory_of
from .packed_texts import LONGEST, Encoder, lay_out

_BATCH_ON_CPU, _BATCH_ELSEWHERE = 1024, 16_384
"""Tokens of a computation, padding included. Wider ones fill a processor's caches and are slower."""
_START_ELSEWHERE: Final = 1024
"""Tokens that a graphics card computes, at the least, in the time that a computation takes to start."""
_FIRST: Final = 16
"""Tokens of the text that tells how long vectors are."""

Forward = Callable[[dict[str, torch.Tensor]], torch.Tensor]
"""From ``input_ids``, ``attention_mask`` and perhaps ``token_type_ids`` to a row for each text."""
Pooling = Literal["mean", "cls", "last"]


class TorchEmbeddingEngine(EmbeddingEngine):
    """A model whose rows come from *forward*.

    Args:
        module: the model; all of its parameters are on one device.
        forward: computes a padded batch.
        tokenizer: transformers' tokenizer.
        n_ctx: the most tokens of a text; None is what the tokenizer says.
        task: whether the rows are vectors or logits.
        lowercase: whether texts are put into lower case first.
    """

    padded = True

    def __init__(
        self,
        module: torch.nn.Module,
        forward: Forward,
        tokenizer: Any,
        *,
        n_ctx: int | None,
        n_batch: int | None,
        task: Literal["embed", "rerank"],
        lowercase: bool = False,
    ) -> None:
        self._module: torch.nn.Module | None = module
        self._forward: Forward | None = forward
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # a tokenizer keeps settings that its calls change
        self._lowercase = lowercase
        self.task = task
        self._device = next(module.parameters()).device
        self.n_ctx = n_ctx or USUAL_CONTEXT
        self.n_batch = n_batch or (_BATCH_ON_CPU if self._device.type == "cpu" else _BATCH_ELSEWHERE)
        if self._device.type != "cpu":
            self.start_cost = _START_ELSEWHERE
        self.vocab_size = len(tokenizer)
        self._has_types = "token_type_ids" in tokenizer.model_input_names
        self._pad: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._left = tokenizer.padding_side == "left"
        self._usage = memory_of([*module.parameters(), *module.buffers()])
        probe = [TokenizedText([self._pad] * _FIRST)]
        self.dimensions = int(self._rows(probe).shape[1])
        if isinstance(forward, Encoder):
            with torch.inference_mode():
                forward.try_packing(self.vocab_size, pad=self._pad, types=self._has_types)
            self.packed_up_to = LONGEST if forward.packs else 0

    def tokenize(self, text: str) -> TokenizedText:
        """With the special tokens that the tokenizer adds; names of such tokens in *text* are plain text."""
        return self._encode(text)

    def tokenize_pair(self, query: str, document: str) -> TokenizedText:
        """As the tokenizer puts two texts together, with their segments."""
        return self._encode(query, document)

    def memory(self) -> MemoryUsage:
        """The bytes of the weights."""
        return self._usage

    def compute(self, texts: Sequence[TokenizedText]) -> memoryview:
        """One forward pass over all *texts*, padded to the longest."""
        try:
            rows = self._rows(texts)
        except torch.OutOfMemoryError:
            raise OutOfRoomError from None
        return rows.data

    def close(self) -> None:
        """Give all memory back."""
        self._module = self._forward = None

    def _encode(self, *texts: str) -> TokenizedText:
        given = [text.lower() for text in texts] if self._lowercase else texts
        with self._lock:
            found = self._tokenizer(*given, truncation=False, padding=False, split_special_tokens=True, verbose=False)
        return TokenizedText(found["input_ids"], found.get("token_type_ids"))

    def _rows(self, texts: Sequence[TokenizedText]) -> npt.NDArray[np.float32]:
        if self.packed_up_to and len(texts) > 1:
            layout = lay_out([len(text) for text in texts])
            if len(layout) < len(texts):
                return self._packed(texts, layout)
        longest = max(map(len, texts))
        ids = np.full((len(texts), longest), self._pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        types = np.zeros_like(ids)
        for number, text in enumerate(texts):
            place = slice(longest - len(text), longest) if self._left else slice(0, len(text))
            ids[number, place] = text.token_ids
            mask[number, place] = 1
            if text.token_types is not None:
                types[number, place] = text.token_types
        features = {"input_ids": ids, "attention_mask": mask}
        if self._has_types:
            features["token_type_ids"] = types
        forward = self._forward
        assert forward is not None  # noqa: S101 - closed only when nobody computes any more
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(self._device) for name, array in features.items()}
            rows = forward(tensors).float().cpu().numpy()
        return np.ascontiguousarray(rows)

    def _packed(self, texts: Sequence[TokenizedText], rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        encoder = self._forward
        assert isinstance(encoder, Encoder)  # noqa: S101 - only such a one packs
        with torch.inference_mode():
            found = encoder.packed(texts, rows, pad=self._pad, types=self._has_types).float().cpu().numpy()
        return np.ascontiguousarray(found)


def pooled(model: torch.nn.Module, pooling: Pooling) -> Encoder:
    """A plain encoder's vectors: of all tokens the mean, of the first one, or of the last one."""

    def states(features: dict[str, torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = model(**features).last_hidden_state
        return found

    def pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if pooling == "mean":
            weights = mask.unsqueeze(-1).to(states.dtype)
            return (states * weights).sum(1) / weights.sum(1)
        places = torch.arange(mask.shape[1], device=mask.device)
        wanted = (mask * places).argmax(1) if pooling == "last" else mask.argmax(1)
        return states[torch.arange(len(states), device=states.device), wanted]

    return Encoder(model, states, pool)


def scored(model: torch.nn.Module) -> Forward:
    """A cross-encoder's logits."""

    def forward(features: dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = model(**features).logits
        return logits

    return forward


def in_turn(modules: Sequence[torch.nn.Module]) -> Forward:
    """The modules of sentence-transformers, one after another."""
    first: Any = modules[0]
    names = [type(module).__name__ for module in modules]
    if names[:2] == ["Transformer", "Pooling"] and getattr(first, "module_output_name", None) == "token_embeddings":

        def states(features: dict[str, torch.Tensor]) -> torch.Tensor:
            found: torch.Tensor = first(dict(features))["token_embeddings"]
            return found

        def pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return _run(modules[1:], {"token_embeddings": states, "attention_mask": mask})

        return Encoder(first.model, states, pool)
    return lambda features: _run(modules, dict(features))


def _run(modules: Sequence[torch.nn.Module], features: dict[str, Any]) -> torch.Tensor:
    for module in modules:
        features = module(features)
    vectors: torch.Tensor = features["sentence_embedding"]
    return vectors
