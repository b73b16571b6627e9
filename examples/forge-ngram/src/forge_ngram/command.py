"""``llamaforge train-ngram``: an ARPA file of a text."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TextIO

import click

from . import arpa, training


@click.command("train-ngram", short_help="Make an n-gram model of a text")
@click.argument("text", type=click.File(encoding="utf-8"))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The ARPA file to write; compressed where its name ends in .gz.",
)
@click.option("--order", type=click.IntRange(1, 16), default=3, show_default=True, help="Words of the longest n-grams.")
def train(text: TextIO, output: Path, order: int) -> None:
    """Estimate a model of TEXT (- is standard input), in which each line is a sentence of its own.

    \b
    llamaforge train-ngram sentences.txt -o model.arpa
    llamaforge run --model model.arpa "The sea"
    """
    try:
        model = training.train(text, order)
    except (training.NoWordsError, UnicodeDecodeError) as error:
        raise click.UsageError(f"Nothing can be learnt from {text.name}: {error}") from None
    part = output.with_name(f".{output.name}.part{output.suffix}")
    try:
        with arpa.open_text(part, "w") as file:
            arpa.write(model, file)
        part.replace(output)  # whole, or not at all
    except OSError as error:
        raise click.UsageError(f"{output} can't be written: {error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    click.echo(f"Wrote {output}: {len(model.vocabulary)} words, n-grams up to {model.order}.", err=True)
