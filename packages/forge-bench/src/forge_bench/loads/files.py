"""Loads from files and from Hugging Face data sets, known by their shape."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from llamaforge.errors import InvalidParameterError, MissingDependencyError

from .base import Load
from .prompts import Given, Prompts
from .traces import Trace, read_azure, read_mooncake

_COLUMNS: Final = ("prompt", "question", "instruction", "text", "input", "problem", "query")
"""Where a prompt stands, in this order."""
_USERS: Final = frozenset({"human", "user"})


def read_dataset(reference: str | os.PathLike[str], *, column: str | None = None, limit: int | None = None) -> Load:
    """A load from a file or a data set.

    * ``prompts.txt``: a prompt in each line.
    * ``prompts.jsonl``: objects with ``prompt`` or ``messages``, and perhaps ``max_tokens``; or strings; or the
      ShareGPT shape; or a trace in Mooncake's shape.
    * ``sharegpt.json``: a list of objects with ``conversations``, whose human turns are sent one after another, behind
      its system turn.
    * ``trace.csv``: a trace in Azure's shape.
    * ``hf:NAME`` or ``hf:NAME:SPLIT``: a data set of the hub, with the extra ``datasets``.

    Args:
        column: where the prompt stands. None: found by name.
        limit: read no more prompts than this.

    Raises InvalidParameterError with the place of what can't be read, or MissingDependencyError.
    """
    name = os.fspath(reference)
    if name.startswith("hf:"):
        rows = _hub(name.removeprefix("hf:"))
        return Prompts(_limited((_given(row, column, f"{name}, row {at}") for at, row in rows), limit), name=name)
    path = Path(name).expanduser()
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidParameterError(
            "dataset", name, "a file", message=f"The data set {name!r} can't be read: {reason}."
        ) from None
    kind = path.suffix.lower()
    if kind == ".csv":
        return _trace(name, lambda: read_azure(text))
    if kind in (".jsonl", ".ndjson", ".json"):
        rows = _json_rows(name, text)
        first = next(iter(rows), (0, None))[1]
        if isinstance(first, Mapping) and {"timestamp", "input_length", "output_length"} <= first.keys():
            return _trace(name, lambda: read_mooncake(row for _, row in rows))
        return Prompts(_limited((_given(row, column, f"{name}, {_at(at)}") for at, row in rows), limit), name=name)
    lines = (line.strip() for line in text.splitlines())
    return Prompts(_limited((Given(prompt=line) for line in lines if line), limit), name=name)


def _trace(name: str, read: Callable[[], Any]) -> Trace:
    try:
        return Trace(read(), name=name)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidParameterError):
            raise
        what = f"there is no column {error}" if isinstance(error, KeyError) else str(error)
        message = f"The trace {name!r} can't be read: {what}."
        raise InvalidParameterError("dataset", name, "a trace", message=message) from None


def _limited(given: Iterator[Given], limit: int | None) -> Iterator[Given]:
    for number, each in enumerate(given):
        if limit is not None and number >= limit:
            return
        yield each


def _at(place: int) -> str:
    return f"entry {place}"


def _json_rows(name: str, text: str) -> list[tuple[int, Any]]:
    """The objects, each with its number from 1: of one array, or one in each line."""
    if text.lstrip().startswith("["):
        try:
            return list(enumerate(msgspec.json.decode(text), 1))
        except msgspec.MsgspecError:
            pass  # lines that are arrays, perhaps
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append((number, msgspec.json.decode(line)))
            except msgspec.MsgspecError as error:
                message = f"The data set {name!r} can't be read: line {number} is not JSON: {error}."
                raise InvalidParameterError("dataset", name, "JSON", message=message) from None
    return rows


def _given(row: Any, column: str | None, where: str) -> Given:
    if isinstance(row, str) and row.strip():
        return Given(prompt=row)
    if isinstance(row, list) and row and all(isinstance(each, Mapping) for each in row):
        return Given(messages=_without_answer(row))
    if isinstance(row, Mapping):
        limit = row.get("max_tokens", row.get("output_tokens"))
        most = limit if isinstance(limit, int) and limit > 0 else None
        turns = row.get("conversations", row.get("conversation"))
        messages = row.get("messages")
        if column is None and isinstance(turns, list):
            said = list(_said(turns))
            system = [{"role": "system", "content": text} for text in _said(turns[:1], frozenset({"system"}))]
            if said and system:
                messages = [*system, {"role": "user", "content": said[0]}]
                return Given(messages=messages, turns=said[1:], max_tokens=most)
            if said:
                return Given(prompt=said[0], turns=said[1:], max_tokens=most)
        if column is None and isinstance(messages, list) and messages:
            return Given(messages=_without_answer(messages), max_tokens=most)
        for name in (column,) if column is not None else _COLUMNS:
            value = row.get(name)
            if isinstance(value, str) and value.strip():
                return Given(prompt=value, max_tokens=most)
    expected = f"the column {column!r}" if column is not None else "prompt, messages or conversations"
    raise InvalidParameterError(
        "dataset", None, expected, message=f"{where}: there is no text of a prompt; {expected} should hold it."
    )


def _without_answer(messages: list[Any]) -> list[dict[str, Any]]:
    """A recorded conversation without the answer at its end, which the engine is to give."""
    kept = [dict(message) for message in messages]
    while len(kept) > 1 and kept[-1].get("role") == "assistant":
        kept.pop()
    return kept


def _said(turns: Iterable[Any], whose: frozenset[str] = _USERS) -> Iterator[str]:
    for turn in turns:
        if isinstance(turn, Mapping):
            who = turn.get("from", turn.get("role"))
            text = turn.get("value", turn.get("content"))
            if who in whose and isinstance(text, str) and text.strip():
                yield text


def _hub(reference: str) -> Iterable[tuple[int, Any]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise MissingDependencyError("a data set of the hub", "datasets", "pip install datasets") from None
    name, _, split = reference.partition(":")
    found = load_dataset(name, split=split or "train", streaming=True)
    return enumerate(found, 1)
