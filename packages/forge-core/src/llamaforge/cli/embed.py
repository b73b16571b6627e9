"""``llamaforge embed``: vectors of texts."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal

import click

from ..embeddings import EmbeddingStream
from ..files import atomic_file
from ..vectors import Row
from .embedding_inputs import for_task, input_options, read_inputs
from .failures import say
from .options import model_options
from .output import Output, text_output
from .session import ModelChoice, loaded_model

_HEADER: Final = 128
"""Bytes of a .npy file before its numbers."""


@click.command("embed", short_help="Make vectors of texts")
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@input_options
@model_options
@click.option("--npy", metavar="FILE", help="Write the vectors to this file, for numpy.load.")
@click.option("--text", "with_text", is_flag=True, help="Add each text to its JSON object.")
@click.option("--dimensions", type=int, metavar="N", help="Use only the first N components (Matryoshka models).")
@click.option("--normalize/--no-normalize", default=None, help="Scale vectors to length 1, or don't.")
@click.option("--prompt-name", metavar="NAME", help="The model's prompt to put before each text, such as query.")
@click.option("--truncate", is_flag=True, help="Use the beginning of a text that is too long, instead of failing.")
@click.option("--progress", is_flag=True, help="Show how many texts are done, on standard error.")
def command(
    texts: tuple[str, ...],
    files: tuple[str, ...],
    whole: bool,
    npy: str | None,
    with_text: bool,
    dimensions: int | None,
    normalize: bool | None,
    prompt_name: str | None,
    truncate: bool,
    progress: bool,
    **options: Any,
) -> None:
    """Make a vector of each TEXT, or of each line of files or of standard input.

    Empty lines are left out. Each vector is a line of standard output: a JSON object with `index` and `embedding`. With
    --npy, the vectors are written to a file as a matrix of 32-bit floats instead. Any number of texts takes constant
    memory.

    Without --model, the model is all-minilm-l6-v2, unless your default model is one for vectors. A model that can write
    text, too, needs `--load task=embed`.
    """
    choice = for_task(ModelChoice.take(options), "embed")
    truncation: Literal["auto"] | None = "auto" if truncate else None
    inputs = read_inputs(texts, files, whole=whole)
    shown: deque[str] = deque()

    def read() -> Iterator[str]:
        for text in inputs:
            if with_text:
                shown.append(text)
            yield text

    with text_output() as output, loaded_model(choice) as session:
        stream = session.forge.embed_stream(
            read(), dimensions=dimensions, normalize=normalize, prompt_name=prompt_name, truncation=truncation
        )
        with stream, _counter(progress) as count:
            if npy is not None:
                _write_npy(Path(npy), stream, count)
            else:
                _print(output, stream, shown, count)
        usage = stream.usage
        if usage is not None and usage.truncated_tokens:
            say(f"Note: {usage.truncated_tokens} tokens were cut off from texts that are too long.")


def _print(output: Output, stream: EmbeddingStream, texts: deque[str], count: _Counter) -> None:
    for index, vector in enumerate(stream):
        described: dict[str, Any] = {"index": index, "embedding": list(vector)}
        if texts:
            described["text"] = texts.popleft()
        output.line(_json(described))
        count.add()


def _json(value: dict[str, Any]) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def _write_npy(path: Path, stream: EmbeddingStream, count: _Counter) -> None:
    """A .npy file, version 1.0; its header says how many there are, so it is written last."""
    try:
        with atomic_file(path) as file:
            file.write(bytes(_HEADER))
            width = written = 0
            for vector in stream:
                width = len(vector)
                file.write(_little_endian(vector))
                written += 1
                count.add()
            _finish_npy(file, written, width)
    except OSError as error:
        raise click.UsageError(f"{path} can't be written: {error.strerror or error}") from None


def _finish_npy(file: IO[bytes], rows: int, width: int) -> None:
    described = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    begin = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")
    file.seek(0)
    file.write(begin + described.ljust(_HEADER - 11).encode() + b"\n")


def _little_endian(vector: Row) -> bytes:
    import sys

    if sys.byteorder == "little":
        return vector.tobytes()
    from array import array

    swapped = array("f", vector)
    swapped.byteswap()
    return swapped.tobytes()


class _Counter:
    """Texts that are done; shown on standard error, where that is wanted."""

    def __init__(self, bar: Any = None, task: Any = None) -> None:
        self._bar, self._task = bar, task

    def add(self) -> None:
        if self._bar is not None:
            self._bar.advance(self._task)


@contextlib.contextmanager
def _counter(wanted: bool) -> Iterator[_Counter]:
    if not wanted:
        yield _Counter()
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("Embedding"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _Counter(bar, bar.add_task("Embedding", total=None))
