"""transformers without LlamaForge: ``generate``, a bare forward loop, and its own continuous batching."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, GenerationConfig

from .work import Prompt, Streamed


def _load(folder: Path, threads: int) -> Any:
    """The model, as its files have it."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


class Generate:
    """``model.generate``, one request after another."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._model = _load(folder, threads)

    def answer(self, prompts: Iterable[Prompt]) -> int:
        """Answer all *prompts*; the tokens of the answers together."""
        ends = _ends(self._model)
        count = 0
        for prompt in prompts:
            tokens = torch.tensor([prompt.tokens])
            output = self._model.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=prompt.max_tokens, do_sample=False
            )
            answer = output[0, len(prompt.tokens) :].tolist()
            count += sum(token not in ends for token in answer)
        return count

    def close(self) -> None:
        """Its process ends."""


class ForwardLoop(Streamed):
    """The forward pass with a cache, for all prompts at once, the best token of each; nothing else.

    Each prompt is computed alone and then put beside the others, since padding all prompts to the longest one would
    cost more. A row whose answer is complete leaves.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._model = _load(folder, threads)

    @torch.inference_mode()
    def answer(self, prompts: Iterable[Prompt]) -> int:
        """Answer all *prompts*; the tokens of the answers together."""
        ends = _ends(self._model)
        caches, lengths, left, following = [], [], [], []
        for prompt in prompts:
            caches.append(DynamicCache(config=self._model.config))
            tokens = torch.tensor([prompt.tokens])
            logits = self._model(tokens, cache=caches[-1], logits_to_keep=1).logits
            lengths.append(len(prompt.tokens))
            left.append(prompt.max_tokens)
            following.append(int(logits[0, -1].argmax()))
        self.first = time.perf_counter()
        cache = _beside(caches, lengths)
        count = 0
        while True:
            stay = []
            for row, token in enumerate(following):
                if token not in ends:
                    count += 1
                    left[row] -= 1
                    if left[row]:
                        stay.append(row)
            if not stay:
                return count
            if len(stay) < len(left):
                lengths, left, following = ([each[row] for row in stay] for each in (lengths, left, following))
                cache.batch_select_indices(torch.tensor(stay))
            held = cache.get_seq_length()
            # The one row of a batch, or rows that are alike, need no mask.
            uneven = min(lengths) < max(lengths) or held > lengths[0]
            mask = torch.arange(held + 1) >= held - torch.tensor(lengths)[:, None] if uneven else None
            logits = self._model(
                torch.tensor(following)[:, None],
                cache=cache,
                attention_mask=None if mask is None else mask.long(),
                position_ids=torch.tensor(lengths)[:, None],
            ).logits
            following = logits[:, -1].argmax(-1).tolist()
            lengths = [length + 1 for length in lengths]

    def close(self) -> None:
        """Its process ends."""


def _beside(caches: list[Any], lengths: list[int]) -> Any:
    """One cache of several, each of one row, all padded in front to the longest."""
    for index, layer in enumerate(caches[0].layers):
        for name in ("keys", "values"):
            tensors = [getattr(cache.layers[index], name) for cache in caches]
            padded = [torch.nn.functional.pad(each, (0, 0, max(lengths) - each.shape[2], 0)) for each in tensors]
            setattr(layer, name, torch.cat(padded))
    return caches[0]


class ContinuousBatching:
    """transformers' own: what its ``generate_batch`` does, with a length for each request, and kept between rounds."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._model = model = _load(folder, threads)
        self._config = GenerationConfig(do_sample=False, max_new_tokens=128, eos_token_id=sorted(_ends(model)))
        manager = model.continuous_batching_context_manager(generation_config=self._config, warmup=False)
        self._context = manager
        self._manager = manager.__enter__()
        # Its thread prepares itself once it runs, and would do so while the other side is measured.
        self.answer([Prompt([1], 2)])

    def answer(self, prompts: Iterable[Prompt]) -> int:
        """Answer all *prompts*; the tokens of the answers together."""
        ends = _ends(self._model)
        open_requests = {
            self._manager.add_request(prompt.tokens, max_new_tokens=prompt.max_tokens) for prompt in prompts
        }
        count = 0
        while open_requests:
            result = self._manager.get_result(timeout=1)
            if result is None:
                if not self._manager.is_running():
                    raise RuntimeError("transformers' continuous batching stopped")
                continue
            if result.is_finished():
                open_requests.discard(result.request_id)
                count += sum(token not in ends for token in result.generated_tokens)
        return count

    def close(self) -> None:
        """Stop its thread."""
        self._context.__exit__(None, None, None)


def _ends(model: Any) -> set[int]:
    declared = model.generation_config.eos_token_id
    return {declared} if isinstance(declared, int) else set(declared)
