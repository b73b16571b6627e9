"""llama.cpp behind the scheduler: one model, one context, many sequences in it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llama_cpp import llama_cpp as lib

from llamaforge.backends.memory import MemoryUsage
from llamaforge.chat import ChatTemplate, RenderedPrompt, read_template
from llamaforge.engine import (
    BatchEntry,
    BytesDetokenizer,
    Choice,
    Engine,
    InterruptedStepError,
    OutOfRoomError,
    Prompt,
    SamplingParams,
    StepResult,
    TokenTable,
    apply_mask,
    choose_while_guessed,
    only_token,
)
from llamaforge.errors import GenerationError, InvalidParameterError, NoChatTemplateError
from llamaforge.requests import GenerationRequest

from . import llama_params, loading, log_control, memory
from .abort import IS_RAISED, AbortFlag
from .batch import Batch
from .config import LlamaCppConfig
from .deep_stack import UntokenizableTextError
from .errors import NOT_A_NUMBER, decode_error
from .kv_swap import KvSwap
from .logprobs import token_logprob
from .micro_batches import MicroBatches
from .sampling import Sampler
from .tokenizer import Vocabulary

if TYPE_CHECKING:
    import numpy.typing as npt

_TEMPLATE_KEY: Final = "tokenizer.chat_template"
"""Where GGUF files keep the default chat template; one for tools stands under a longer key."""
_NO_LOGITS: Final = np.empty((0, 0), dtype=np.float32)
_NO_ROOM: Final = 1
_ABORTED: Final = 2
"""What ``llama_decode`` returns where that is no failure."""


class LlamaCppEngine(Engine[Sampler]):
    """A loaded model with its context, whose cells all sequences share.

    Raises ModelLoadError where llama.cpp can't load the model, make the context or apply an adapter, and
    InvalidModelError for an unsound chat template; all memory is given back then.
    """

    can_mask = True

    def __init__(self, path: str, config: LlamaCppConfig) -> None:
        self._path = path
        self._abort = AbortFlag()
        with contextlib.ExitStack() as stack, log_control.buffer_lines() as self._buffer_lines:
            if config.verbose:
                log_control.show()
                stack.callback(log_control.hide)
            model = loading.load_model(path, config)
            stack.callback(lib.llama_model_free, model)
            loading.refuse_what_writes_no_text(path, model)
            self.n_ctx = llama_params.context_length(config, lib.llama_model_n_ctx_train(model))
            self._context = loading.make_context(path, model, config, self.n_ctx)
            stack.callback(lib.llama_free, self._context)
            loading.apply_adapters(path, model, self._context, config)
            lib.llama_set_abort_callback(self._context, IS_RAISED, self._abort.address)
            self._memory = lib.llama_get_memory(self._context)
            self.n_slots: int = lib.llama_n_seq_max(self._context)
            self.n_batch: int = lib.llama_n_batch(self._context)
            self._batch = Batch(self.n_batch)
            self._logits_at, self._logits_view = (0, 0), _NO_LOGITS
            self._swapped = KvSwap(self._context)
            self._spoiled = False  # whether cells hold what is no number
            self._in_main_memory = not (config.offload_kqv and config.n_gpu_layers and lib.llama_supports_gpu_offload())
            self._window: int = lib.llama_model_n_swa(model)
            # What can't be shifted is not kept token by token: compressed caches, windows that forget.
            by_token = not (lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))
            self.can_trim = self.can_copy = by_token and bool(lib.llama_memory_can_shift(self._memory))
            plain = self._in_main_memory and by_token and not self._window
            self._micro_batches = MicroBatches(model, self._context, config, splittable=plain)
            self._vocabulary = Vocabulary(lib.llama_model_get_vocab(model), loading.metadata_reader(model, config))
            self.vocab_size, self.end_tokens = self._vocabulary.size, self._vocabulary.end_tokens
            self.chat_template = self._find_template(config, model)
            self._model_size: int = lib.llama_model_size(model)
            self._resources = stack.pop_all()

    def render(self, request: GenerationRequest) -> str:
        """The text that the model reads; a prompt stands for itself where it is raw, or there is no chat template."""
        return self._prompt(request).text

    def tokenize(self, request: GenerationRequest) -> Prompt:
        """The tokens of the rendered text. Special tokens in it are recognised; there is one BOS where the model wants
        it, and none is added otherwise."""
        try:
            return Prompt(self._vocabulary.tokenize(self._prompt(request)))
        except UntokenizableTextError as error:
            name = "messages" if request.messages else "prompt"
            message = f"{name} can't be tokenized: {error}."
            expected = "text that the model's tokenizer can read"
            raise InvalidParameterError(name, None, expected, show_value=False, message=message) from None

    def token_table(self) -> TokenTable:
        """llama.cpp's tokens are bytes, each by itself."""
        return self._vocabulary.token_table

    def special_tokens(self) -> Mapping[int, str]:
        """Found without the whole table."""
        return self._vocabulary.special

    def tokenize_text(self, text: str) -> list[int] | None:
        """Without a long text's own thread: what a constraint forces is short."""
        return self._vocabulary.tokenize_text(text)

    def detokenizer(self, request: GenerationRequest, prompt: Sequence[int]) -> BytesDetokenizer:
        """Nothing is kept between tokens; bytes are looked up as they come, without the whole table."""
        return BytesDetokenizer(self._vocabulary.token_bytes)

    def memory(self) -> MemoryUsage:
        """What llama.cpp said of its buffers while it loaded, and the sequences outside of the context."""
        return memory.usage(self._buffer_lines, model_size=self._model_size, swapped=self._swapped.nbytes)

    def interrupt(self, wanted: bool) -> None:
        """Break off the step; on a graphics card it ends as usual."""
        self._abort.set(wanted)

    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> Sampler:
        """The sampler chain of a request."""
        return Sampler(SamplingParams.of(request), self.vocab_size, prompt, max_new_tokens)

    def compute(self, entries: Sequence[BatchEntry[Sampler]]) -> list[StepResult]:
        """One ``llama_decode`` for all entries, or a few (:mod:`.micro_batches`), with the choices that are wanted."""
        if self._spoiled:  # masked cells are still multiplied by 0, and 0 times a NaN is one
            self._spoiled = False
            if not self._swapped.wipe_unused():
                raise GenerationError(NOT_A_NUMBER)
        results: list[StepResult] = [[]] * len(entries)
        for call in self._micro_batches.split(entries):
            for index, result in zip(call, self._decode([entries[index] for index in call]), strict=True):
                results[index] = result
        return results

    def trim(self, slot: int, length: int) -> int:
        """Cut the sequence, or empty it where llama.cpp can't cut it there."""
        if slot in self._swapped:
            self._swapped.drop(slot)
            return 0
        if length > 0 and lib.llama_memory_seq_rm(self._memory, slot, length, -1) and self._reaches_back(slot, length):
            return length
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return 0

    def copy(self, source: int, target: int, length: int) -> int:
        """Let both sequences share the cells of those tokens; nothing is copied."""
        if source in self._swapped:
            return self.trim(target, length) if self._swapped.copy(source, target) else 0
        lib.llama_memory_seq_cp(self._memory, source, target, 0, length)
        return length if self._reaches_back(target, length) else self.trim(target, 0)

    def swap_out(self, slot: int) -> bool:
        """Move it out of the context, unless that is on a graphics card: moving costs more there, and gains less."""
        return self._in_main_memory and self._swapped.move_out(slot)

    def swap_in(self, slot: int) -> bool:
        """Move it back."""
        return self._swapped.move_in(slot)

    def close(self) -> None:
        """Give all memory back."""
        self._swapped.clear()
        self._resources.close()

    def _decode(self, entries: Sequence[BatchEntry[Sampler]]) -> list[StepResult]:
        rows = self._batch.fill(entries)
        with log_control.troubles(quiet=True) as log:
            code = lib.llama_decode(self._context, self._batch.native)
        if code == _NO_ROOM:
            raise OutOfRoomError
        if code == _ABORTED:
            raise InterruptedStepError
        if code != 0:
            raise decode_error(code, log)
        logits = self._logits(rows)
        results: list[StepResult] = []
        begin = row = 0
        for entry in entries:
            if entry.sampling is None:
                results.append([])
            else:
                results.append(
                    self._choose(entry, entry.sampling, begin + entry.certain - 1, logits[row : row + entry.rows])
                )
                row += entry.rows
            begin += len(entry.tokens)
        return results

    def _choose(
        self, entry: BatchEntry[Sampler], sampler: Sampler, index: int, logits: npt.NDArray[np.float32]
    ) -> StepResult:
        """Choose after the batch's token *index*, and after the guesses that follow it while they come true."""

        def choose(step: int) -> Choice:
            row = logits[step]
            mask = None if entry.masks is None else entry.masks[step]
            wants_logprob = sampler.alternatives is not None
            model_row = row.copy() if wants_logprob and mask is not None else row
            forced = None if mask is None else only_token(mask)
            if forced is not None:
                sampler.accept(forced)
                return self._chosen(forced, model_row, sampler)
            if mask is not None:  # llama.cpp's samplers read the same memory
                apply_mask(row, mask)
            # The best token, found by numpy, is the one that llama.cpp's greedy sampler takes, in a tenth of its time.
            token = (
                int(row.argmax())
                if sampler.chain is None
                else lib.llama_sampler_sample(sampler.chain, self._context, index + step)
            )
            return self._chosen(token, model_row, sampler)

        try:
            return choose_while_guessed(entry, choose)
        except GenerationError as error:
            return error

    def _chosen(self, token: int, row: npt.NDArray[np.float32], sampler: Sampler) -> Choice:
        """*token* was chosen; *row* has the model's own logits."""
        if row[token] != row[token]:
            self._spoiled = True
            raise GenerationError(NOT_A_NUMBER)
        if sampler.alternatives is None:
            return Choice(token)
        return Choice(token, token_logprob(row, token, sampler.alternatives, self._vocabulary))

    def _logits(self, rows: int) -> npt.NDArray[np.float32]:
        """The logits of the last step, a row for each that was wanted; llama.cpp's own memory, until the next one."""
        if not rows:
            return _NO_LOGITS
        pointer = lib.llama_get_logits(self._context)
        address = ctypes.addressof(pointer.contents)
        if (address, rows) != self._logits_at:  # it stays where it is for as long as llama.cpp's buffer is large enough
            self._logits_at = address, rows
            self._logits_view = np.ctypeslib.as_array(pointer, (rows, self._vocabulary.size))
        return self._logits_view

    def _reaches_back(self, slot: int, length: int) -> bool:
        """Whether the next token after *length* has all that it looks at: sliding windows forget what lies behind."""
        if not self._window:
            return True
        oldest: int = lib.llama_memory_seq_pos_min(self._memory, slot)
        return 0 <= oldest <= max(0, length - self._window)

    def _prompt(self, request: GenerationRequest) -> RenderedPrompt:
        if request.prompt is not None and (request.raw or self.chat_template is None):
            return RenderedPrompt(self._vocabulary.raw_text(request.prompt))
        if self.chat_template is None:
            raise NoChatTemplateError(self._path)
        return self.chat_template.render(request)

    def _find_template(self, config: LlamaCppConfig, model: Any) -> ChatTemplate | None:
        """The template of the load parameter, or those that the model's file holds."""
        names = {"default": _TEMPLATE_KEY, "tool_use": f"{_TEMPLATE_KEY}.tool_use"}
        texts = {name: text for name, key in names.items() if (text := loading.metadata(model, key))}
        if config.chat_template is not None:
            texts = {"default": read_template(config.chat_template)}
        if not texts:
            return None
        return ChatTemplate.of_model(
            texts,
            model=self._path,
            source=f"{_TEMPLATE_KEY} in its metadata",
            special_tokens=self._vocabulary.named_tokens(),
            control_tokens=self._vocabulary.control_tokens,
        )
