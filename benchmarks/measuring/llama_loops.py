"""llama.cpp without LlamaForge: the bare low-level loop, and ``Llama`` of llama-cpp-python."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llama_cpp import Llama
from llama_cpp import llama_cpp as lib

from .work import Prompt, Streamed

N_CTX = 8192

_QUIET = lib.llama_log_callback(lambda *_: None)
"""Kept, as llama.cpp calls it as long as the process lives."""


class BareLoop(Streamed):
    """``llama_decode`` and a greedy sampler for each of *width* sequences; nothing else.

    A sequence whose answer is complete takes the next prompt at once. What it computes becomes no text.

    Args:
        gguf: the model.
        width: sequences at once.
        threads: threads of llama.cpp.
        n_batch: tokens of a step.
        unified: whether all sequences share one cache, as they do in forge-llamacpp, or have a part of it each.
        n_ctx: tokens of the cache.
    """

    def __init__(
        self, gguf: Path, width: int, threads: int, n_batch: int, *, unified: bool = True, n_ctx: int = N_CTX
    ) -> None:
        lib.llama_log_set(_QUIET, None)
        self._width = width
        self._n_batch = n_batch
        self._model = lib.llama_model_load_from_file(os.fsencode(gguf), lib.llama_model_default_params())
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = n_ctx
        parameters.n_batch = parameters.n_ubatch = n_batch
        parameters.n_seq_max = width
        parameters.kv_unified = unified
        parameters.n_threads = parameters.n_threads_batch = threads
        self._context = lib.llama_init_from_model(self._model, parameters)
        self._memory = lib.llama_get_memory(self._context)
        self._vocabulary = lib.llama_model_get_vocab(self._model)
        self._samplers = [lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params()) for _ in range(width)]
        for sampler in self._samplers:
            lib.llama_sampler_chain_add(sampler, lib.llama_sampler_init_greedy())
        self._batch = lib.llama_batch_init(n_batch, 0, 1)

    def answer(self, prompts: Iterable[Prompt]) -> int:
        """Answer all *prompts*; the tokens of the answers together."""
        lib.llama_memory_clear(self._memory, True)
        waiting = list(prompts)[::-1]
        count = 0
        left = [0] * self._width  # tokens that each sequence may still have
        position = [0] * self._width
        prefill: list[list[int]] = [[] for _ in range(self._width)]  # what is still to be computed of its prompt
        following = [-1] * self._width
        batch, vocabulary = self._batch, self._vocabulary
        while True:
            for sequence in range(self._width):
                if not left[sequence] and waiting:
                    prompt = waiting.pop()
                    left[sequence], position[sequence] = prompt.max_tokens, 0
                    prefill[sequence] = list(prompt.tokens)
            size = 0
            wanted: list[tuple[int, int]] = []
            for sequence in range(self._width):
                if left[sequence] and not prefill[sequence]:
                    self._add(size, following[sequence], position[sequence], sequence, True)
                    wanted.append((size, sequence))
                    position[sequence] += 1
                    size += 1
            for sequence in range(self._width):
                tokens = prefill[sequence][: self._n_batch - size]
                if left[sequence] and tokens:
                    del prefill[sequence][: len(tokens)]
                    for token in tokens:
                        self._add(size, token, position[sequence], sequence, False)
                        position[sequence] += 1
                        size += 1
                    if not prefill[sequence]:
                        batch.logits[size - 1] = True
                        wanted.append((size - 1, sequence))
            if not size:
                return count
            batch.n_tokens = size
            if lib.llama_decode(self._context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            if wanted and not count:
                self.first = time.perf_counter()
            for index, sequence in wanted:
                token = lib.llama_sampler_sample(self._samplers[sequence], self._context, index)
                if lib.llama_vocab_is_eog(vocabulary, token):
                    left[sequence] = 0
                else:
                    count += 1
                    following[sequence] = token
                    left[sequence] -= 1
                if not left[sequence]:
                    lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def _add(self, index: int, token: int, position: int, sequence: int, logits: bool) -> None:
        batch = self._batch
        batch.token[index] = token
        batch.pos[index] = position
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = sequence
        batch.logits[index] = logits

    def close(self) -> None:
        """Give the memory back."""
        lib.llama_batch_free(self._batch)
        for sampler in self._samplers:
            lib.llama_sampler_free(sampler)
        lib.llama_free(self._context)
        lib.llama_model_free(self._model)


class OneByOne:
    """``Llama`` of llama-cpp-python, streaming; it answers one request at a time."""

    def __init__(self, gguf: Path, threads: int) -> None:
        options: dict[str, Any] = {"n_ctx": N_CTX, "n_threads": threads, "n_threads_batch": threads}
        self._llama = Llama(str(gguf), verbose=False, **options)

    def answer(self, prompts: Iterable[Prompt]) -> int:
        """Answer all *prompts*, one after another; the tokens of the answers together."""
        count = 0
        for prompt in prompts:
            pieces = self._llama(prompt.tokens, max_tokens=prompt.max_tokens, temperature=0.0, stream=True)
            for piece in pieces:
                count += bool(piece["choices"][0]["text"])  # it streams token by token, then an empty end
        return count

    def close(self) -> None:
        """Give the memory back."""
        self._llama.close()


def instruction_sets() -> str:
    """What llama-cpp-python's build of llama.cpp uses."""
    return str(lib.llama_print_system_info().decode())
