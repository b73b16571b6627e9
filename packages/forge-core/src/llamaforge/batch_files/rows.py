"""The rows of a batch file (https://platform.openai.com/docs/guides/batch): one JSON object a line."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ..errors import BatchFileError

URLS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""What a row may ask for."""
_DEPTH: Final = 64


class Row(msgspec.Struct):
    """One request of a batch."""

    line: int = msgspec.field(default=0, name="llamaforge:line")
    """Its line in the file, from 1. This field's name in JSON, and those below, are none that anybody writes."""
    custom_id: str | None = None
    """The caller's name for it; None if the line couldn't be read so far."""
    url: str = ""
    body: Mapping[str, Any] | None = None
    """What is asked; None for a line with a *problem*."""
    problem: str = msgspec.field(default="", name="llamaforge:problem")
    """What is wrong with the line."""
    raw: bytes = msgspec.field(default=b"", name="llamaforge:raw")
    """The line of a row with a problem."""

    @property
    def name(self) -> str:
        """What tells the row from all others of its file."""
        return self.custom_id if self.custom_id is not None else f"\0line {self.line}"

    def key(self, about: bytes) -> bytes:
        """A digest of the request, with *about*: the model and the parameters of the whole run."""
        digest = _begun(about, self.url).copy()
        digest.update(self.raw if self.body is None else _encode(self.body))
        return digest.digest()


@functools.lru_cache(maxsize=16)
def _begun(about: bytes, url: str) -> hashlib.blake2b:
    """A digest of what is the same in many rows."""
    return hashlib.blake2b(b"%b %b " % (about, url.encode()), digest_size=8)


class _Line(Row, kw_only=True):
    """A line as it should be: read straight into a row, since most are so."""

    custom_id: str
    url: str
    body: dict[str, Any]
    method: Literal["POST"] = "POST"


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode
_decode_line = msgspec.json.Decoder(_Line).decode
_OPENING: Final = b"[{"


def read_rows(lines: Iterable[bytes], shard: tuple[int, int] = (1, 1)) -> Iterator[Row]:
    """The rows in *lines*; empty lines are none. A line that can't be read is a row with a ``problem``.

    Args:
        lines: the lines of a file, with or without their line breaks.
        shard: (i, n): only each n-th row, beginning with the i-th.
    """
    mine, shards = shard
    skip = mine - 1
    for line, content in enumerate(lines, 1):
        text = content.strip()
        if line == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if text:
            if skip:
                skip -= 1
            else:
                skip = shards - 1
                yield read_row(line, text)


def read_row(line: int, text: bytes) -> Row:
    """The row in *text*, the line number *line*."""
    try:
        row = _decode_line(text)
        brackets = len(text) - len(text.translate(None, _OPENING))
        if row.custom_id and row.url in URLS and (brackets <= _DEPTH or not deeper(row.body, _DEPTH)):
            row.line = line
            return row
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _read_odd(line, text)


def _read_odd(line: int, text: bytes) -> Row:
    """A line that isn't as it should be, and why."""
    try:
        found = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Row(line, None, problem=f"The line is not JSON: {error}.", raw=text)
    except RecursionError:
        return Row(line, None, problem="The line is nested too deeply.", raw=text)
    if not isinstance(found, dict):
        return Row(line, None, problem="The line must be a JSON object.", raw=text)
    custom_id = found.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        problem = "custom_id is missing: it must be a non-empty string, different in each line."
        return Row(line, None, problem=problem, raw=text)
    method, url, body = found.get("method", "POST"), found.get("url"), found.get("body")
    problem = ""
    if method != "POST":
        problem = f"method must be POST, not {method!r}."
    elif url not in URLS:
        problem = f"url must be one of {', '.join(URLS)}."
    elif not isinstance(body, dict):
        problem = "body must be a JSON object: the request."
    elif deeper(body, _DEPTH):
        problem = f"body is nested too deeply: more than {_DEPTH} levels."
    if problem:
        return Row(line, custom_id, problem=problem, raw=text)
    return Row(line, custom_id, url, body)  # type: ignore[arg-type]


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of the file *path*. Raises BatchFileError."""
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise BatchFileError(f"The batch {path} can't be read: {error.strerror or error}.", str(path)) from error


def count_rows(path: Path, shard: tuple[int, int] = (1, 1)) -> int:
    """How many rows are in the file *path*, or in that shard of it. Raises BatchFileError."""
    rows = sum(1 for line in lines_of(path) if not line.isspace())
    mine, shards = shard
    return (rows - mine + shards) // shards


def deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested more than *levels* deep."""
    row = [value]
    for _ in range(levels):
        row = [
            inner
            for each in row
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not row:
            return False
    return True
