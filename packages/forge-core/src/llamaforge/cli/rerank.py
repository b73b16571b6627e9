"""``llamaforge rerank``: documents by their relevance to a query."""

from __future__ import annotations

from typing import Any, Literal

import click

from .embedding_inputs import for_task, input_options, read_inputs
from .options import model_options
from .output import text_output
from .session import ModelChoice, loaded_model
from .values import utf8


@click.command("rerank", short_help="Sort documents by their relevance to a query")
@click.argument("query")
@click.argument("documents", metavar="[DOCUMENT]...", nargs=-1)
@input_options
@model_options
@click.option("-n", "--top-n", type=click.IntRange(min=1), metavar="N", help="Print only the best N.")
@click.option("--truncate", is_flag=True, help="Use the beginning of a document that is too long, instead of failing.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each document: index, score, document.")
def command(
    query: str,
    documents: tuple[str, ...],
    files: tuple[str, ...],
    whole: bool,
    top_n: int | None,
    truncate: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Sort documents by their relevance to QUERY: each DOCUMENT, or each line of files or of standard input.

    Empty lines are left out. The best comes first, after its score.
    """
    choice = for_task(ModelChoice.take(options), "rerank")
    asked = utf8(query, "The query")
    inputs = read_inputs(documents, files, whole=whole)
    truncation: Literal["auto"] | None = "auto" if truncate else None
    with text_output() as output, loaded_model(choice) as session:
        ranking = session.forge.rerank(asked, inputs, top_n=top_n, truncation=truncation)
        for ranked in ranking:
            if as_json:
                import msgspec

                output.line(msgspec.json.encode(ranked).decode())
            else:
                output.line(f"{ranked.score:.4f}  {ranked.document}")
