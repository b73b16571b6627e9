"""Tests a model when it is loaded: does it compute at all, and can many rows share a forward pass?

What a model does with masks and positions can't be read off its class. So two texts go through one pass, as they
will later, and must give the same logits as each does alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import cache_utils

from llamaforge.engine import BatchEntry
from llamaforge.errors import InvalidModelError, ModelLoadError

from . import attention as by_length
from .batched_rows import BatchedRows
from .cost_model import AttentionCost
from .forward import Forward
from .rows import Rows
from .single_rows import SingleRows
from .slot_cache import SlotCache

_logger = logging.getLogger("forge_hf")

_TEXTS = ((1, 5, 2, 7, 3, 6, 4), (4, 2, 3))
"""Tokens of the trial: any will do, but the texts differ in length."""
_TOLERANCE = 0.1
"""How far logits may differ, beside how far they spread: a wrong mask moves them by as much as they spread, and
bfloat16 by a hundredth of it."""
_KINDS = ("full_attention", "sliding_attention")
"""Kinds of layers that a mask of ours is known for."""


class NotBatchable(Exception):
    """Why the rows of a model can't share a forward pass."""


def choose_rows(forward: Forward, name: str, n_ctx: int) -> tuple[Rows, int, str | None]:
    """How to run the model.

    Returns the rows, the size of the vocabulary, and why one row is computed at a time, where that is so.

    Raises ModelLoadError where its first token can't be computed, and InvalidModelError where it keeps no cache.
    """
    try:
        logits, cache = alone(forward, [[0]])
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, IndexError) as error:
        raise ModelLoadError(name, f"its first token can't be computed ({type(error).__name__}: {error})") from error
    if cache is None:
        raise InvalidModelError(name, "it keeps no cache of keys and values, so it can't generate token by token.")
    try:
        return _batched(forward, cache, n_ctx), logits.shape[-1], None
    except NotBatchable as reason:
        _logger.info("%s: requests are computed one at a time: %s.", name, reason)
        in_pieces = _works(lambda: _comes_in_pieces(forward))
        rows = SingleRows(forward, can_trim=in_pieces and _is_plain(cache), in_pieces=in_pieces)
        return rows, logits.shape[-1], str(reason)


def _batched(forward: Forward, cache: Any, n_ctx: int) -> BatchedRows:
    """Raises NotBatchable."""
    layers = _layers(cache)
    attention = getattr(forward.model.config.get_text_config(), "_attn_implementation", None)
    if attention not in ("eager", "sdpa", by_length.NAME):
        raise NotBatchable(f"its attention ({attention}) is not known to take masks")
    if not forward.takes_positions:
        raise NotBatchable("it takes no positions")
    windows = _windows(forward, layers)
    try:
        expected = [alone(forward, [text])[0] for text in _TEXTS]
    except Exception as error:
        raise NotBatchable(f"it computes no text of several tokens ({type(error).__name__}: {error})") from error
    if attention != "eager" and forward.device.type == "cpu":
        rows = BatchedRows(forward, SlotCache(layers, n_ctx), windows)
        if _attends_in_parts(forward, rows, expected):
            return rows
    rows = BatchedRows(forward, SlotCache(layers, n_ctx), windows)
    if not _works(lambda: _agree(rows, expected)):
        raise NotBatchable("texts that share a forward pass come out otherwise than alone")
    return rows


def _attends_in_parts(forward: Forward, rows: BatchedRows, expected: Sequence[Tensor]) -> bool:
    """Whether attention can be computed in parts, as it is from now on then. A model may compare the name of its
    attention with those that it knows, and compute otherwise for a strange one."""

    def agree() -> bool:
        rows.attention_cost = AttentionCost(
            call=0.0, heads=1, threads=1
        )  # the trial's texts are short, and cut all the same
        if not (_agree(rows, expected) and same(alone(forward, _TEXTS[:1])[0], expected[0])):
            return False
        rows.attention_cost = rows.parting_here()
        return True

    config = forward.model.config.get_text_config()
    config._attn_implementation = by_length.NAME
    if _works(agree):
        return True
    config._attn_implementation = "sdpa"
    return False


def _layers(cache: Any) -> list[Any]:
    """For each layer of the model's own cache its window, or a layer that holds nothing."""
    if type(cache) is not cache_utils.DynamicCache:
        raise NotBatchable(f"its cache is a {type(cache).__name__}")
    layers: list[Any] = []
    each: Any
    for each in cache.layers:
        kind = type(each)
        if kind is cache_utils.DynamicLayer:
            layers.append(None)
        elif kind is cache_utils.DynamicSlidingWindowLayer:
            layers.append(int(each.sliding_window))
        elif kind is getattr(cache_utils, "DummyLayer", None):
            layers.append(each)
        else:
            raise NotBatchable(f"its cache has a {kind.__name__}")
    return layers


def _windows(forward: Forward, layers: Sequence[Any]) -> Mapping[str, int | None]:
    """The window of each kind of layer."""
    found = {each for each in layers if each is None or isinstance(each, int)}
    kinds = set(getattr(forward.model.config.get_text_config(), "layer_types", None) or ())
    strange = kinds.difference(_KINDS)
    if strange:
        raise NotBatchable(f"it has layers of the kind {', '.join(sorted(strange))}")
    if not kinds and len(found) == 1:
        return {"": found.pop()}
    sliding = found - {None}
    if not kinds or len(sliding) > 1:
        raise NotBatchable("the windows of its layers differ")
    window = sliding.pop() if sliding else None
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}


class _Wanted:
    """Logits are wanted after the entry's last token."""

    def close(self) -> None:
        """Nothing to give back."""


def _agree(rows: BatchedRows, expected: Sequence[Tensor]) -> bool:
    """Whether two texts come out of one pass, and then of another one, as *expected*."""
    slots = range(len(_TEXTS))
    rows.compute([BatchEntry(slot, 0, text[:-1]) for slot, text in zip(slots, _TEXTS, strict=True)])
    together = rows.compute(
        [BatchEntry(slot, len(text) - 1, text[-1:], _Wanted()) for slot, text in zip(slots, _TEXTS, strict=True)]
    )
    for slot in slots:
        rows.trim(slot, 0)
    return all(
        isinstance(logits, Tensor) and same(logits, alone) for logits, alone in zip(together, expected, strict=True)
    )


def _comes_in_pieces(forward: Forward) -> bool:
    text = _TEXTS[0]
    return same(alone(forward, [text[:3], text[3:]])[0], alone(forward, [text])[0])


@torch.inference_mode()
def alone(forward: Forward, pieces: Sequence[Sequence[int]]) -> tuple[Tensor, Any]:
    """The logits after a text that is computed in *pieces*, and the model's own cache of it."""
    cache = None
    for piece in pieces:
        logits, cache = forward(torch.tensor([piece], device=forward.device), cache, 1)
    return logits[0], cache


def same(one: Tensor, other: Tensor) -> bool:
    """Whether the difference is rounding."""
    one, other = one.float(), other.float()
    spread = (other - other.mean()).norm()
    return bool((one - other).norm() <= _TOLERANCE * spread)


def _works(check: Callable[[], bool]) -> bool:
    """What *check* says; False where the model fails at it."""
    try:
        with torch.inference_mode():
            return check()
    except Exception:  # noqa: BLE001 - a model may fail in any way at what it was not made for
        return False


def _is_plain(cache: Any) -> bool:
    """Whether a cache can be cut anywhere."""
    return all(type(layer) is cache_utils.DynamicLayer for layer in getattr(cache, "layers", [None]))
