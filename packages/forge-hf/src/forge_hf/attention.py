"""Attention over rows of different lengths, in parts that are only as long as their own rows.

torch's attention takes a rectangle of rows and keys, so that a short text beside a long one costs as much as the long
one. So neighbours of similar length share a call, and others get their own. transformers looks attentions up by name,
and this is one more, which a model may use instead of ``sdpa``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_by_length"

_pass = threading.local()
"""The parts of the pass that this thread computes. Not every model hands arguments on to its attention."""


@contextmanager
def in_parts(ends: Sequence[int], keys: Sequence[int]) -> Iterator[None]:
    """Attend in parts during a forward pass: each part ends before the row in *ends*, and *keys* are those of each
    row."""
    _pass.parts = (
        [(slice(start, end), max(keys[start:end])) for start, end in zip([0, *ends], ends, strict=False)],
        max(keys),
    )
    try:
        yield
    finally:
        del _pass.parts


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more: Any
) -> tuple[Tensor, None]:
    """``sdpa``, part by part where the pass that is under way has parts. Layers with a window leave out keys that no
    row looks at any more, so the last key is the longest row's, and the first one any."""
    parts, longest = getattr(_pass, "parts", ((), 0))
    if len(parts) < 2 or attention_mask is None:
        whole: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **more)
        return whole
    left_out = longest - key.shape[2]
    found = []
    for rows, keys in parts:
        seen = slice(0, keys - left_out)
        attended, _ = sdpa_attention_forward(
            module, query[rows], key[rows, :, seen], value[rows, :, seen], attention_mask[rows, :, :, seen], **more
        )
        found.append(attended)
    return torch.cat(found), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
