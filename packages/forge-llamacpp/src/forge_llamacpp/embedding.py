"""Vectors and scores from llama.cpp's low-level interface: texts packed into batches of about 512 tokens.

llama.cpp ends the process where a batch has more tokens than ``n_ubatch``, or a text's number is beyond the batch's
tokens or the context's sequences; and while it makes a context, where ``n_ubatch`` is no multiple of the sequences and
the pooling is a mean. So ``n_ubatch`` is the longest text or the width, whichever is more, rounded up; texts are
numbered from 0 in each batch, and none is empty; :class:`~llamaforge.engine.EmbeddingEngine` bounds the rest.

A text's vector depends on what else is in its batch, by rounding. Flash attention on a processor adds up in half
precision, in tiles that hold tokens of several texts, and llama.cpp looks GELU up in a table of half precision, which
makes more of any difference. Without flash attention the sums are in single precision, but their parts are as wide as
vector registers. So there each text begins at a multiple of 16 tokens, and a text that nobody wants fills it up to one:
then all sums have the same order, whatever is beside them, and the vectors are the same.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_cpp import llama_cpp as lib

from llamaforge.backends.memory import MemoryUsage
from llamaforge.engine import EmbeddingEngine, InterruptedStepError, OutOfRoomError, TokenizedText
from llamaforge.errors import InvalidModelError, InvalidParameterError, ModelLoadError

from . import llama_params, loading, log_control, memory
from .abort import IS_RAISED, AbortFlag
from .batch import Batch
from .config import LlamaCppConfig
from .deep_stack import UntokenizableTextError
from .embedding_checks import POOLINGS, PROBES, RANK, check_scores
from .errors import decode_error, load_error
from .tokenizer import Vocabulary

_WIDTH: Final = 512
"""Tokens of a batch. Attention is computed between all tokens of a batch, so that wider ones are slower."""
_MOST_SEQUENCES: Final = 256
"""LLAMA_MAX_SEQ of llama.cpp."""
_STEP: Final = 16
"""Tokens: a multiple of how many single-precision numbers a vector register holds."""
_MOST_STATES: Final = 16
"""Texts of a batch of a recurrent model, which holds a state for each."""
_NO_ROOM, _ABORTED, _NO_MEMORY = 1, 2, -2
"""What ``llama_decode`` and ``llama_encode`` return where that is no fault."""
_FLOAT: Final = ctypes.sizeof(ctypes.c_float)


class LlamaCppEmbeddingEngine(EmbeddingEngine):
    """A loaded model that makes vectors, or scores of pairs.

    Args:
        path: the GGUF file.
        config: the load parameters.
        rerank: whether the model is for scores.
        exact: whether a text's vector must not depend on the texts beside it; takes a third more time.

    Raises ModelLoadError where llama.cpp can't load the model, and InvalidModelError for a reranker whose scores are
    not its own; all memory is given back then.
    """

    def __init__(self, path: str, config: LlamaCppConfig, *, rerank: bool, exact: bool = False) -> None:
        self._path = path
        self._abort = AbortFlag()
        self.task = "rerank" if rerank else "embed"
        self.prompts: Mapping[str, str] = dict(config.prompts)
        with contextlib.ExitStack() as stack, log_control.buffer_lines() as self._buffer_lines:
            if config.verbose:
                log_control.show()
                stack.callback(log_control.hide)
            # Quiet, for it warns of every encoder that its vocabulary ends no answer.
            model = loading.load_model(path, config, quiet=True)
            stack.callback(lib.llama_model_free, model)
            refuse_what_makes_no_vectors(path, model)
            trained = lib.llama_model_n_ctx_train(model)
            self.n_ctx = llama_params.context_length(config, trained)
            self.n_batch = config.n_batch or _WIDTH
            states = lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model)
            self._exact = exact and not states
            most = self.n_sequences = _MOST_STATES if states else _MOST_SEQUENCES
            if self._exact:  # each has a neighbour that fills it up
                self.n_sequences = max(1, min(_MOST_SEQUENCES // 2, self.n_batch // _STEP))
            size = max(self.n_ctx, self.n_batch) + (_STEP * self.n_sequences if self._exact else 0)
            size += -size % _MOST_SEQUENCES
            self._context = make_context(path, model, config, size, exact=self._exact, sequences=most)
            stack.callback(lib.llama_free, self._context)
            loading.apply_adapters(path, model, self._context, config)
            lib.llama_set_abort_callback(self._context, IS_RAISED, self._abort.address)
            self._memory = lib.llama_get_memory(self._context)
            self._compute = lib.llama_decode if self._memory else lib.llama_encode
            self._check_pooling()
            made = lib.llama_model_n_embd_out(model) if hasattr(lib, "llama_model_n_embd_out") else 0
            self.dimensions = 1 if rerank else made or lib.llama_model_n_embd(model)
            vocab = lib.llama_model_get_vocab(model)
            self._vocabulary = Vocabulary(vocab, loading.metadata_reader(model, config))
            self.vocab_size = self._vocabulary.size
            self._begin, self._end = self._vocabulary.frame()
            self._between = pair_separator(vocab)
            self._batch = Batch(size)
            self._model_size: int = lib.llama_model_size(model)
            if rerank:
                self._check_scores()
            self._resources = stack.pop_all()

    def tokenize(self, text: str) -> TokenizedText:
        """Between the tokens that the model wants around a text. Names of control tokens in it are plain text."""
        return TokenizedText([*self._begin, *self._plain(text), *self._end])

    def tokenize_pair(self, query: str, document: str) -> TokenizedText:
        """Query and document as one text, with the separators between them."""
        return TokenizedText([*self._begin, *self._plain(query), *self._between, *self._plain(document), *self._end])

    def truncate(self, text: TokenizedText, length: int) -> TokenizedText:
        """What ends a text stays at its end."""
        end = len(self._end) if list(text.token_ids[len(text) - len(self._end) :]) == self._end else 0
        end = min(end, length - 1)
        kept = text.token_ids[: length - end]
        return TokenizedText([*kept, *text.token_ids[len(text) - end :]] if end else list(kept))

    def memory(self) -> MemoryUsage:
        """What llama.cpp said of its buffers while it loaded."""
        return memory.usage(self._buffer_lines, model_size=self._model_size, swapped=0)

    def interrupt(self, wanted: bool) -> None:
        """Break off the computation; on a graphics card it ends as usual."""
        self._abort.set(wanted)

    def compute(self, texts: Sequence[TokenizedText]) -> bytearray:
        """One call of llama.cpp for all *texts*."""
        if self._memory:
            lib.llama_memory_clear(self._memory, False)
        places = self._fill(texts)
        with log_control.troubles(quiet=True) as log:
            code = self._compute(self._context, self._batch.native)
        if code == _ABORTED:
            raise InterruptedStepError
        if code == _NO_ROOM or (code == _NO_MEMORY and len(texts) > 1):
            raise OutOfRoomError
        if code != 0:
            raise decode_error(code, log)
        width = self.dimensions * _FLOAT
        rows = bytearray(len(texts) * width)
        target = ctypes.addressof((ctypes.c_char * len(rows)).from_buffer(rows))
        for number, place in enumerate(places):
            ctypes.memmove(target + number * width, lib.llama_get_embeddings_seq(self._context, place), width)
        return rows

    def close(self) -> None:
        """Give all memory back."""
        self._resources.close()

    def _fill(self, texts: Sequence[TokenizedText]) -> Sequence[int]:
        """Put *texts* into the batch. Returns the number that each one has there."""
        if not self._exact:
            self._batch.fill_texts([text.token_ids for text in texts])
            return range(len(texts))
        laid_out: list[Sequence[int]] = []
        places = []
        for text in texts:
            places.append(len(laid_out))
            laid_out.append(text.token_ids)
            if rest := -len(text) % _STEP:
                laid_out.append([text.token_ids[0]] * rest)
        self._batch.fill_texts(laid_out)
        return places

    def _plain(self, text: str) -> list[int]:
        try:
            return self._vocabulary.tokenize_text(text)
        except UntokenizableTextError as error:
            raise InvalidParameterError("text", None, str(error), show_value=False) from None

    def _check_pooling(self) -> None:
        """llama.cpp has decided by now; a file may say other than its header's check understood."""
        pooling = lib.llama_pooling_type(self._context)
        if pooling != RANK if self.task == "rerank" else pooling not in POOLINGS.values():
            raise ModelLoadError(self._path, f"llama.cpp takes another pooling for it (type {pooling}).")

    def _check_scores(self) -> None:
        """Raise InvalidModelError where plain answers don't score above plain nonsense."""
        pairs = [self.tokenize_pair(query, document) for query, *documents in PROBES for document in documents]
        if max(map(len, pairs)) > self.n_ctx:
            raise InvalidModelError(self._path, f"a context of {self.n_ctx} tokens is too short for a reranker.")
        check_scores(self._path, [memoryview(self.compute([pair])).cast("f")[0] for pair in pairs])


def refuse_what_makes_no_vectors(path: str, model: Any) -> None:
    """Raises ModelLoadError for a model without a tokenizer, or of an encoder and a decoder."""
    if lib.llama_vocab_type(lib.llama_model_get_vocab(model)) == lib.LLAMA_VOCAB_TYPE_NONE:
        raise ModelLoadError(path, "it has no tokenizer.")
    if lib.llama_model_has_encoder(model) and lib.llama_model_has_decoder(model):
        raise ModelLoadError(path, "it has an encoder and a decoder; vectors come from one of them alone.")


def make_context(path: str, model: Any, config: LlamaCppConfig, size: int, *, exact: bool, sequences: int) -> Any:
    """A context for batches of *size* tokens, a multiple of *sequences*.

    Raises ModelLoadError where memory can't hold one.
    """
    parameters = llama_params.context_parameters(config, size)
    parameters.embeddings = True
    parameters.n_batch = parameters.n_ubatch = parameters.n_outputs_max = size
    parameters.n_seq_max = sequences
    if exact:
        parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.pooling_type = POOLINGS[config.pooling] if config.pooling is not None else -1
    # Quiet, for it warns that a batch is longer than the texts that the model was trained for.
    with log_control.troubles(quiet=True) as log:
        context = lib.llama_init_from_model(model, parameters)
    if not context:
        raise load_error(path, f"Making a context of {size} tokens", log)
    return context


def pair_separator(vocab: Any) -> list[int]:
    """The tokens between query and document: the end of one text, and the separator, as the file's flags say."""
    eos, sep = lib.llama_vocab_eos(vocab), lib.llama_vocab_sep(vocab)
    first = [eos] if lib.llama_vocab_get_add_eos(vocab) and eos >= 0 else []
    second = [sep] if lib.llama_vocab_get_add_sep(vocab) and sep >= 0 else []
    return first + second
