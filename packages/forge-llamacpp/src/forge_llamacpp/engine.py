"""llama.cpp itself: a model, a context, and the few operations that generating takes.

One sequence is computed at a time. A scheduler that runs several side by side needs the same operations: tokenize,
token bytes, prefill, step, release.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llama_cpp import llama_cpp as lib

from llamaforge.errors import GenerationError, ModelLoadError

from . import logs, native
from .config import LlamaCppConfig
from .errors import decode_error, load_error
from .lease import Lease
from .sampling import Sampler
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy.typing as npt

_PATIENCE: Final = 30.0
"""Seconds that closing waits for a computation that can't be broken off (on some graphics cards)."""

_libc = ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
_is_raised: Final = ctypes.cast(_libc.strlen, lib.ggml_abort_callback)
"""llama.cpp's abort callback: whether the text at an address is longer than nothing. The engine asks before each of
the thousand operations of a step; asking C and not Python keeps that free of the interpreter's lock."""

_backend_lock: Final = threading.Lock()
_backend_ready = False


class StopFlag:
    """Breaks a computation off from any thread."""

    def __init__(self) -> None:
        self._text = ctypes.create_string_buffer(2)
        self.address = ctypes.addressof(self._text)

    def set(self) -> None:
        """Break off what is computed under this flag, now or later."""
        self._text[0] = b"\x01"


class EngineSequence:
    """What is computed of one request: how many tokens, and, while another one is computed, their state."""

    def __init__(self) -> None:
        self.stop = StopFlag()
        self.length = 0
        self.released = False
        self.state: ctypes.Array[ctypes.c_uint8] | None = None


class Engine:
    """A loaded model with its context. Free it with :meth:`close`.

    Raises ModelLoadError where llama.cpp can't load the model, make the context or apply an adapter; all memory is
    given back then.
    """

    def __init__(self, path: str, config: LlamaCppConfig) -> None:
        _prepare_backend()
        self._lease = Lease()
        self._resident: EngineSequence | None = None
        self._idle = StopFlag()
        with contextlib.ExitStack() as stack:
            if config.verbose:
                logs.show()
                stack.callback(logs.hide)
            self._model = _load_model(path, config)
            stack.callback(lib.llama_model_free, self._model)
            _refuse_what_writes_no_text(path, self._model)
            self.n_ctx = native.context_length(config, lib.llama_model_n_ctx_train(self._model))
            self._context = _make_context(path, self._model, config, self.n_ctx)
            stack.callback(lib.llama_free, self._context)
            _apply_adapters(path, self._model, self._context, config)
            self.n_batch: int = lib.llama_n_batch(self._context)
            self._batch = lib.llama_batch_init(self.n_batch, 0, 1)
            stack.callback(lib.llama_batch_free, self._batch)
            for slot in range(self.n_batch):
                self._batch.n_seq_id[slot] = 1
                self._batch.seq_id[slot][0] = 0
                self._batch.logits[slot] = 0
            self._memory = lib.llama_get_memory(self._context)
            lib.llama_set_abort_callback(self._context, _is_raised, self._idle.address)
            unknown = self.metadata("tokenizer.ggml.unknown_token_id")
            self._vocabulary = Vocabulary(
                lib.llama_model_get_vocab(self._model), int(unknown) if unknown and unknown.isdecimal() else None
            )
            self._resources = stack.pop_all()

    @property
    def vocabulary_size(self) -> int:
        """Tokens that the model knows."""
        return self._vocabulary.size

    def close(self) -> None:
        """Break off what is computed and give all memory back."""
        resident = self._resident
        if resident is not None:
            resident.stop.set()
        if not self._lease.end(_PATIENCE):
            logs.logger.warning("A computation could not be broken off: its model stays in memory.")
            return
        self._resident = None
        self._resources.close()

    def metadata(self, key: str) -> str | None:
        """An entry of the model's metadata, as text."""
        room = 1024
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = lib.llama_model_meta_val_str(self._model, key.encode(), buffer, room)
            if length < 0:
                return None
            if length < room:
                return buffer.value.decode("utf-8", "replace")
            room = length + 1

    def special_tokens(self) -> dict[str, str]:
        """Texts of the special tokens, by the names that chat templates use."""
        with self._lease:
            return self._vocabulary.named_tokens()

    def tokenize(self, text: bytes) -> list[int]:
        """The tokens of UTF-8 *text*. Special tokens in it are recognised; exactly one BOS is there where the model
        wants one, and none is added otherwise."""
        with self._lease:
            return self._vocabulary.tokenize(text)

    def token_bytes(self, token: int) -> bytes:
        """What *token* adds to the text."""
        with self._lease:
            return self._vocabulary.token_bytes(token)

    def ends(self, token: int) -> bool:
        """Whether *token* ends an answer."""
        with self._lease:
            return self._vocabulary.ends(token)

    def prefill(self, sequence: EngineSequence, tokens: Sequence[int], check: Callable[[], None]) -> None:
        """Compute a prompt, n_batch tokens at a time; *check* runs before each batch and may raise.

        Raises GenerationError where the engine fails or is broken off.
        """
        for begin in range(0, len(tokens), self.n_batch):
            check()
            chunk = tokens[begin : begin + self.n_batch]
            self._decode(sequence, chunk, last=begin + len(chunk) == len(tokens))

    def step(self, sequence: EngineSequence, token: int) -> None:
        """Compute one more token. Raises as :meth:`prefill` does."""
        self._decode(sequence, (token,), last=True)

    def sample(self, sampler: Sampler) -> int:
        """Choose the token that follows what was computed last."""
        with self._lease:
            token: int = lib.llama_sampler_sample(sampler.chain, self._context, -1)
            logit = lib.llama_get_logits_ith(self._context, -1)[token]
        if logit != logit:
            raise GenerationError(
                "The model computes no numbers (NaN): its file is damaged, or does not suit the engine."
            )
        return token

    def logprob(self, token: int, alternatives: int) -> Any:
        """The log-probability of *token* after what was computed last; see :func:`.logprobs.token_logprob`."""
        from .logprobs import token_logprob

        with self._lease:
            return token_logprob(self.logits(), token, alternatives, self._vocabulary)

    def logits(self) -> npt.NDArray[np.float32]:
        """A copy of the logits after what was computed last, one for each token of the vocabulary."""
        with self._lease:
            pointer = lib.llama_get_logits_ith(self._context, -1)
            return np.ctypeslib.as_array(pointer, (self._vocabulary.size,)).copy()

    def release(self, sequence: EngineSequence) -> None:
        """*sequence* is not needed any more. Nothing waits here, so that any thread may call it, at any time: what the
        context still holds of it is dropped when the next one comes."""
        sequence.released = True
        sequence.state = None

    def _decode(self, sequence: EngineSequence, tokens: Sequence[int], *, last: bool) -> None:
        count = len(tokens)
        batch = self._batch
        with self._lease:
            self._seat(sequence)
            batch.n_tokens = count
            for slot, token in enumerate(tokens):
                batch.token[slot] = token
                batch.pos[slot] = sequence.length + slot
            batch.logits[count - 1] = last
            try:
                with logs.troubles() as log:
                    code = lib.llama_decode(self._context, batch)
            finally:  # after a Ctrl-C, too: a flag that stays set would ask the next batch for logits it doesn't have
                batch.logits[count - 1] = 0
            if code != 0:
                self._forget()
                raise decode_error(code, log)
            sequence.length += count

    def _seat(self, sequence: EngineSequence) -> None:
        """Make *sequence* the one in the context; another one that is there keeps its state aside."""
        resident = self._resident
        if resident is sequence:
            return
        if resident is not None and not resident.released:
            self._put_aside(resident)
        self._forget()
        if sequence.state is not None:
            read = lib.llama_state_seq_set_data(self._context, sequence.state, len(sequence.state), 0)
            if read == 0:
                raise GenerationError("llama.cpp could not take up an answer where it was interrupted.")
            sequence.state = None
        self._resident = sequence
        lib.llama_set_abort_callback(self._context, _is_raised, sequence.stop.address)

    def _put_aside(self, sequence: EngineSequence) -> None:
        size = lib.llama_state_seq_get_size(self._context, 0)
        state = (ctypes.c_uint8 * size)()
        if lib.llama_state_seq_get_data(self._context, state, size, 0) == 0:
            raise GenerationError("llama.cpp could not put an unfinished answer aside for another one.")
        sequence.state = state

    def _forget(self) -> None:
        lib.llama_memory_clear(self._memory, False)
        self._resident = None
        lib.llama_set_abort_callback(self._context, _is_raised, self._idle.address)


def _prepare_backend() -> None:
    global _backend_ready
    with _backend_lock:
        if not _backend_ready:
            logs.connect()
            lib.llama_backend_init()
            _backend_ready = True


def _load_model(path: str, config: LlamaCppConfig) -> Any:
    parameters = native.model_parameters(config)
    with logs.troubles() as log:
        model = lib.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise load_error(path, "Loading it", log)
    return model


def _refuse_what_writes_no_text(path: str, model: Any) -> None:
    if lib.llama_vocab_type(lib.llama_model_get_vocab(model)) == lib.LLAMA_VOCAB_TYPE_NONE:
        raise ModelLoadError(path, "it has no tokenizer.")
    if lib.llama_model_has_encoder(model) or not lib.llama_model_has_decoder(model):
        raise ModelLoadError(path, "it has an encoder; this backend generates with decoder-only models.")
    if lib.llama_model_is_diffusion(model):
        raise ModelLoadError(path, "it is a diffusion model; this backend generates token by token.")


def _make_context(path: str, model: Any, config: LlamaCppConfig, n_ctx: int) -> Any:
    with logs.troubles() as log:
        context = lib.llama_init_from_model(model, native.context_parameters(config, n_ctx))
    if not context:
        raise load_error(path, f"Making a context of {n_ctx} tokens", log)
    return context


def _apply_adapters(path: str, model: Any, context: Any, config: LlamaCppConfig) -> None:
    """Load the LoRA adapters and switch them on. They are freed with the model."""
    adapters = config.adapters
    if not adapters:
        return
    pointers = (lib.llama_adapter_lora_p_ctypes * len(adapters))()
    for index, adapter in enumerate(adapters):
        with logs.troubles() as log:
            pointers[index] = lib.llama_adapter_lora_init(model, os.fsencode(adapter.path))
        if not pointers[index]:
            raise load_error(path, f"Loading the LoRA adapter {adapter.path}", log)
    scales = (ctypes.c_float * len(adapters))(*(adapter.scale for adapter in adapters))
    with logs.troubles() as log:
        code = lib.llama_set_adapters_lora(context, pointers, len(adapters), scales)
    if code != 0:
        raise load_error(path, "Applying the LoRA adapters", log)
