"""Recorded traffic: when requests came, how long they were, and what they shared.

Shapes that are read:

* Mooncake (https://github.com/kvcache-ai/Mooncake): JSON lines with ``timestamp`` (milliseconds), ``input_length``,
  ``output_length`` and ``hash_ids``, one for each block of 512 tokens; equal ids are equal beginnings.
* Azure's LLM inference traces (https://github.com/Azure/AzurePublicDataset): CSV with ``TIMESTAMP``, ``ContextTokens``,
  ``GeneratedTokens``.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from llamaforge.errors import InvalidParameterError

from ..driver import Item
from ..records import Call
from .base import Wording, source_of, text_of


class TraceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded request."""

    timestamp: float
    """Seconds, from any beginning."""
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    """Ids of the prompt's blocks. Two prompts that begin with the same ids begin with the same text."""


class Trace:
    """Requests as they were recorded, with texts of the same lengths. Each trial replays it from the beginning.

    Args:
        entries: :class:`TraceEntry`, or mappings with its fields or with Mooncake's.
        name: for reports.
        block_size: tokens of a block.
        exact_output: whether answers are to be exactly as long as they were.

    Raises InvalidParameterError for an empty trace, or for other entries.
    """

    needs_wording = True

    def __init__(
        self,
        entries: Iterable[TraceEntry | Mapping[str, Any]],
        *,
        name: str = "trace",
        block_size: int = 512,
        exact_output: bool = True,
    ) -> None:
        self.entries = sorted(
            (_entry(entry, index) for index, entry in enumerate(entries)), key=lambda entry: entry.timestamp
        )
        if not self.entries:
            raise InvalidParameterError("dataset", name, "a trace with at least one request")
        self.name = name
        self._block_size, self._exact = block_size, exact_output

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.entries)

    @property
    def timestamps(self) -> list[float]:
        """When they came."""
        return [entry.timestamp for entry in self.entries]

    def draw(self, count: int, *, seed: int, salt: str, wording: Wording, fresh: bool) -> list[Item]:
        """The first *count*, in order; from the beginning again if there are fewer."""
        items = []
        for index in range(count):
            entry = self.entries[index % self.size]
            call = Call(
                prompt=self._text(entry, f"{salt}:{fresh}:{index // self.size}", index, wording),
                max_tokens=max(1, entry.output_tokens),
                exact_length=self._exact,
            )
            items.append(Item(call=call, index=index))
        return items

    def _text(self, entry: TraceEntry, salt: str, index: int, wording: Wording) -> str:
        left = wording.words(entry.prompt_tokens)
        size = wording.words(self._block_size, whole=False)
        parts = []
        for block in entry.blocks:
            if left <= 0:
                break
            words = min(size, left)
            parts.append(text_of(size, source_of(salt, "block", block)).split()[:words])
            left -= words
        if left > 0:
            parts.append(text_of(left, source_of(salt, "own", index)).split())
        return " ".join(word for part in parts for word in part)

    def describe(self) -> dict[str, Any]:
        """For the report."""
        span = self.entries[-1].timestamp - self.entries[0].timestamp
        return {"kind": "trace", "name": self.name, "requests": self.size, "seconds": span}


def _entry(entry: object, index: int) -> TraceEntry:
    try:
        if isinstance(entry, Mapping) and "input_length" in entry:
            (entry,) = read_mooncake([entry])
        found = msgspec.convert(entry, TraceEntry)
        if math.isfinite(found.timestamp):
            return found
    except (KeyError, TypeError, ValueError):
        pass
    expected = "a TraceEntry, or a mapping with timestamp, prompt_tokens and output_tokens"
    raise InvalidParameterError(f"entries[{index}]", entry, expected)


def read_mooncake(lines: Iterable[Any]) -> list[TraceEntry]:
    """Entries of decoded JSON lines. Raises KeyError, TypeError or ValueError for another shape."""
    return [
        TraceEntry(
            timestamp=float(line["timestamp"]) / 1000,
            prompt_tokens=int(line["input_length"]),
            output_tokens=int(line["output_length"]),
            blocks=tuple(map(int, line.get("hash_ids", ()))),
        )
        for line in lines
    ]


def read_azure(text: str) -> list[TraceEntry]:
    """Entries of a CSV file. Raises KeyError or ValueError for another shape."""
    entries = []
    for row in csv.DictReader(io.StringIO(text)):
        named = {str(key).strip().lower(): value for key, value in row.items()}
        entries.append(
            TraceEntry(
                timestamp=_seconds(named["timestamp"]),
                prompt_tokens=int(named["contexttokens"]),
                output_tokens=int(named["generatedtokens"]),
            )
        )
    return entries


def _seconds(text: str) -> float:
    """``2023-11-16 18:17:03.9799600`` (seven digits), the same with a zone, or plain seconds."""
    try:
        return float(text)
    except ValueError:
        pass
    text = text.strip()
    base, dot, fraction = text.partition(".")
    digits = ""
    if dot:
        digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
        base += fraction[len(digits) :]
    moment = dt.datetime.fromisoformat(base)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment.timestamp() + (float(f"0.{digits}") if digits else 0.0)
