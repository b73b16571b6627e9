"""Calls a model's forward(), whatever its arguments are called."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CACHE_NAMES = ("cache", "past_key_values", "cache_params", "state")
"""What the cache is called, in models and their outputs; newer versions of transformers say ``cache``."""


class Forward:
    """A model's forward pass: tokens and a cache in, logits out.

    Attributes:
        model: the model.
        device: where tokens go in.
        takes_positions: whether the positions of tokens can be given.
        embeddings: tokens that the model knows.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model.eval()  # type: ignore[no-untyped-call] # torch has no types here
        embeddings: Any = model.get_input_embeddings()
        self.embeddings: int = getattr(embeddings, "num_embeddings", None) or model.config.get_text_config().vocab_size
        # Weights that accelerate keeps elsewhere have no device; it moves the tokens by itself then.
        self.device: torch.device = torch.device("cpu") if embeddings.weight.is_meta else embeddings.weight.device
        accepts = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in accepts
        self._cache_name = next((name for name in _CACHE_NAMES if name in accepts), "past_key_values")
        self._keeps_logits = "logits_to_keep" in accepts

    def __call__(self, tokens: Tensor, cache: Any, keep: int, **more: Any) -> tuple[Tensor, Any]:
        """Compute *tokens*, [rows, tokens], after what *cache* holds (None: nothing).

        Returns the logits of the last *keep* tokens, [rows, keep, vocabulary], and the model's cache.
        """
        options = {self._cache_name: cache, "use_cache": True, "return_dict": True, **more}
        if self._keeps_logits:
            options["logits_to_keep"] = keep
        output = self.model(input_ids=tokens, **options)
        logits: Tensor = output.logits[:, -keep:]
        return logits, next(
            (found for name in _CACHE_NAMES if (found := getattr(output, name, None)) is not None), None
        )
