"""The model and what can be asked of it: tokens in, logits out, one forward pass at a time.

These are the primitives that a scheduler drives: :meth:`Engine.tokenize`, :meth:`Engine.token_bytes`,
:meth:`Engine.open`, :meth:`Engine.prefill`, :meth:`Engine.step`, :meth:`Engine.release`. None of them may be called by
two threads at once but the first two; :class:`forge_hf.turns.Turns` sees to that.
"""

from __future__ import annotations

import gc
import inspect
import traceback
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llamaforge.errors import GenerationError, InvalidModelError, ModelLoadError, ModelNotLoadedError

from .chat import ChatTemplate
from .devices import empty_cache
from .errors import is_out_of_memory
from .turns import Turns
from .vocabulary import Vocabulary


class Row:
    """One text that the model is at work on: its tokens' keys and values."""

    __slots__ = ("cache", "length")

    def __init__(self) -> None:
        self.cache: Any = None
        self.length = 0


class Engine:
    """A loaded model.

    Attributes:
        vocabulary: its tokenizer.
        template: its chat template.
        turns: who may use it now.
        n_ctx: context length, in tokens.
        n_batch: tokens of a prompt that are computed at once.
        end_tokens: each of them ends an answer.
        device: where tokens go in.
        vocab_size: length of the logits.
    """

    def __init__(
        self, name: str, model: Any, vocabulary: Vocabulary, template: ChatTemplate, *, n_ctx: int, n_batch: int
    ) -> None:
        self.vocabulary = vocabulary
        self.template = template
        self.turns = Turns()
        self.n_ctx = n_ctx
        # A model with a recurrent state may not take a prompt in several pieces.
        self.n_batch = n_ctx if getattr(model, "_is_stateful", False) else n_batch
        self._model = model.eval()
        embeddings = model.get_input_embeddings()
        self._rows: int = getattr(embeddings, "num_embeddings", None) or model.config.get_text_config().vocab_size
        # Weights that accelerate keeps elsewhere have no device; it moves the tokens by itself then.
        self.device = torch.device("cpu") if embeddings.weight.is_meta else embeddings.weight.device
        accepts = inspect.signature(model.forward).parameters
        self._options: dict[str, int] = {"use_cache": True, "return_dict": True}
        if "logits_to_keep" in accepts:
            self._options["logits_to_keep"] = 1
        self.end_tokens = _end_tokens(model, vocabulary, template)
        self.vocab_size = self._try_out(name)

    def tokenize(self, text: str) -> list[int]:
        """Tokens of a rendered prompt."""
        return self.vocabulary.encode(text)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to a text."""
        return self.vocabulary.token_bytes(token)

    def open(self) -> Row:
        """A new, empty row."""
        return Row()

    def prefill(self, row: Row, tokens: Sequence[int]) -> Tensor:
        """Compute *tokens* after what *row* has; the logits of what follows them.

        Raises ModelNotLoadedError after :meth:`close`, and GenerationError where the engine fails; *row* is of no use
        then.
        """
        if self._model is None:
            raise ModelNotLoadedError("The model was unloaded before the answer was complete.")
        if max(tokens) >= self._rows:
            raise GenerationError(
                f"The tokenizer made the token {max(tokens)}, but the model has only {self._rows}: the two don't "
                "belong together."
            )
        try:
            return self._forward(row, tokens)
        except RuntimeError as error:
            self.release(row)
            if not is_out_of_memory(error):
                raise
            # Its frames hold what the computation had allocated until then.
            traceback.clear_frames(error.__traceback__)
            _collect()
            raise GenerationError(
                f"The device {self.device} has not enough memory for this answer ({row.length} tokens). Shorten the "
                "prompt, lower max_tokens, or load the model with a smaller n_ctx, n_batch or dtype, or quantized."
            ) from error

    def step(self, row: Row, token: int) -> Tensor:
        """Compute one more token; the logits of what follows it."""
        return self.prefill(row, (token,))

    def release(self, row: Row) -> None:
        """Give the row's memory back."""
        row.cache = None

    def close(self) -> None:
        """Give the model's memory back, once the forward pass that is under way has ended."""
        with self.turns.ticket().turn():
            self._model = None
        _collect()

    @torch.inference_mode()
    def _forward(self, row: Row, tokens: Sequence[int]) -> Tensor:
        batch = torch.tensor([tokens], dtype=torch.long, device=self.device)
        output = self._model(input_ids=batch, past_key_values=row.cache, **self._options)
        row.cache = output.past_key_values
        row.length += len(tokens)
        logits: Tensor = output.logits[0, -1]
        return logits

    def _try_out(self, name: str) -> int:
        """Compute one token, so that what can't run fails now; the length of the logits."""
        row = self.open()
        try:
            logits = self._forward(row, [min(self.end_tokens, default=0)])
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
            raise ModelLoadError(
                name, f"its first token can't be computed ({type(error).__name__}: {error})"
            ) from error
        if row.cache is None:
            raise InvalidModelError(name, "it keeps no cache of keys and values, so it can't generate token by token.")
        return logits.shape[-1]


def _end_tokens(model: Any, vocabulary: Vocabulary, template: ChatTemplate) -> frozenset[int]:
    """What ends an answer: by the model's own settings, by the tokenizer, and by the chat template."""
    tokens: set[int] = set(template.end_of_turn())
    for owner in (getattr(model, "generation_config", None), model.config.get_text_config(), vocabulary.tokenizer):
        declared = getattr(owner, "eos_token_id", None)
        tokens.update(declared if isinstance(declared, list | tuple) else [] if declared is None else [declared])
    return frozenset(tokens)


def _collect() -> None:
    gc.collect()
    empty_cache()
