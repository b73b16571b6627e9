"""Several short texts in one row of an encoder: nothing is filled up, and no text sees another one.

A mask of four dimensions keeps each text to itself, and each has positions of its own. Models differ in what they make
of both, so a trial compares packed texts with the same ones alone; a model that gives anything else isn't packed.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from llamaforge.engine import TokenizedText

LONGEST: Final = 256
"""Tokens of the longest text that others share rows with."""
_PRODUCTS: Final = 2400
"""All tokens of a row are multiplied with each other before the mask hides most of the products. In rows of so many
tokens that costs as much as all else: six times the width of a small model's states."""
_WAYS: Final = 8
_POOLED: Final = 32
"""Texts that are pooled at once: of similar lengths, so that little is filled up."""
_TRIAL: Final = (5, 9, 3)
"""Lengths of the texts of a trial."""
_EXACT, _ROUGH = 1e-4, 2e-2
"""How far a packed text's vector may be from its own, relative to its length: in 32 bits, and in fewer."""

Features = dict[str, Tensor]
States = Callable[[Features], Tensor]
"""From ``input_ids``, ``attention_mask``, ``position_ids`` and perhaps ``token_type_ids`` to each token's state."""
Pool = Callable[[Tensor, Tensor], Tensor]
"""From states, [texts, tokens, width], and a mask, [texts, tokens], to a row for each text."""
Places = dict[int, tuple[int, int]]
"""Each text's row, and where in it the text begins."""

_logger = logging.getLogger("forge_hf")


class Encoder:
    """An encoder in two parts, for texts that are padded or packed.

    Args:
        model: transformers' model, the first part.
        states: calls it.
        pool: the rest.
    """

    def __init__(self, model: nn.Module, states: States, pool: Pool) -> None:
        self._states = states
        self._pool = pool
        parameter = next(model.parameters())
        self._dtype, self._device = parameter.dtype, parameter.device
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._first_position: int | None = None

    def __call__(self, features: Features) -> Tensor:
        """The rows of texts that are filled up to the longest."""
        return self._pool(self._states(features), features["attention_mask"])

    @property
    def packs(self) -> bool:
        """Whether :meth:`packed` may be used: a trial has shown that it gives the same rows."""
        return self._first_position is not None

    def packed(self, texts: Sequence[TokenizedText], rows: Sequence[Sequence[int]], *, pad: int, types: bool) -> Tensor:
        """The rows of *texts*, which stand in *rows* as :func:`lay_out` says.

        Args:
            texts: token ids.
            rows: indices of texts.
            pad: fills up the ends of rows.
            types: whether the model distinguishes token types.
        """
        width = max(sum(len(texts[index]) for index in row) for row in rows)
        shape = (len(rows), width)
        ids, owners = np.full(shape, pad, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
        positions, kinds = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        places: Places = {}
        for number, row in enumerate(rows):
            begin = 0
            for index in row:
                text = texts[index]
                place = slice(begin, begin + len(text))
                ids[number, place], owners[number, place] = text.token_ids, index
                positions[number, place] = np.arange(len(text))
                if text.token_types is not None:
                    kinds[number, place] = text.token_types
                places[index] = (number, begin)
                begin += len(text)
        device = self._device
        owner = torch.from_numpy(owners).to(device)
        hidden = owner[:, None, :, None] != owner[:, None, None, :]
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=device)
        mask.masked_fill_(hidden, torch.finfo(self._dtype).min)
        features = {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": mask}
        features["position_ids"] = torch.from_numpy(positions + (self._first_position or 0)).to(device)
        if types:
            features["token_type_ids"] = torch.from_numpy(kinds).to(device)
        return self._pool_packed(texts, self._states(features), places)

    def try_packing(self, vocab_size: int, *, pad: int, types: bool) -> None:
        """Find out whether packed texts have the rows that they have alone. To be called once, before :attr:`packs`."""
        if not self._takes_positions or not self._dtype.is_floating_point:
            return
        ids = [number * 7919 % vocab_size for number in range(sum(_TRIAL))]
        texts = [TokenizedText(ids[sum(_TRIAL[:place]) :][:length]) for place, length in enumerate(_TRIAL)]
        allowed = _EXACT if self._dtype == torch.float32 else _ROUGH
        try:
            alone = torch.cat([self._alone(text, types=types) for text in texts]).float()
            for first in (0, pad + 1):  # RoBERTa counts from there
                self._first_position = first
                rows = self.packed(texts, [range(len(texts))], pad=pad, types=types).float()
                away = (rows - alone).norm(dim=1) / alone.norm(dim=1)
                if bool((away <= allowed).all()):
                    return
            reason = "their vectors differ"
        except Exception as error:  # noqa: BLE001 - models do with masks and positions whatever they like
            reason = f"{type(error).__name__}: {error}"
        self._first_position = None
        _logger.info("Texts are not packed, but filled up to the longest: %s.", reason.partition("\n")[0])

    def _alone(self, text: TokenizedText, *, types: bool) -> Tensor:
        ids = torch.tensor([text.token_ids], device=self._device)
        features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if types:
            features["token_type_ids"] = torch.zeros_like(ids)
        return self(features)

    def _pool_packed(
        self, texts: Sequence[TokenizedText], states: Tensor, places: dict[int, tuple[int, int]]
    ) -> Tensor:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        parts = []
        for first in range(0, len(order), _POOLED):
            own = []
            for index in order[first : first + _POOLED]:
                row, begin = places[index]
                own.append(states[row, begin : begin + len(texts[index])])
            mask = pad_sequence([each.new_ones(len(each), dtype=torch.int64) for each in own], batch_first=True)
            parts.append(self._pool(pad_sequence(own, batch_first=True), mask))
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back.to(states.device)]


def lay_out(lengths: Sequence[int]) -> list[list[int]]:
    """Rows of texts, by their indices: of several ways the cheapest one."""
    total, longest = sum(lengths), max(lengths)
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    counts = range(1, min(len(lengths), math.ceil(total / longest)) + 1)
    widths = {longest, *(max(longest, math.ceil(total / count)) for count in counts[-_WAYS:])}
    return min((_fill(order, lengths, width) for width in sorted(widths)), key=lambda rows: _cost(rows, lengths))


def _fill(order: Sequence[int], lengths: Sequence[int], width: int) -> list[list[int]]:
    """Each text into the first row that has room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in order:
        length = lengths[index]
        number = next((number for number, left in enumerate(room) if left >= length), len(rows))
        if number == len(rows):
            rows.append([])
            room.append(width)
        rows[number].append(index)
        room[number] -= length
    return rows


def _cost(rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    width = max(sum(lengths[index] for index in row) for row in rows)
    return len(rows) * width * (1 + width / _PRODUCTS)
