"""``llamaforge batch``: a file of requests, answered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ..backends.base import BaseBackend
from ..batch_files import BatchRun, Journal, Row, Summary, read_rows
from ..batch_files.rows import count_rows, lines_of
from ..errors import LlamaForgeError
from ..files import special_file
from ..forge import LlamaForge
from ..parameters import read_parameters
from .batch_progress import shown
from .embedding_inputs import for_task
from .exit_codes import ENGINE
from .failures import say
from .formats import format_options, take_format
from .options import generation_options, given_parameters, model_options
from .output import quiet_output
from .progress import FetchDisplay
from .session import ModelChoice, settle


def _shard(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int]:
    if value is None:
        return 1, 1
    mine, slash, shards = value.partition("/")
    if not (slash and mine.isdecimal() and shards.isdecimal() and 1 <= int(mine) <= int(shards)):
        raise click.BadParameter("it must be I/N with I from 1 to N, such as 1/4.")
    return int(mine), int(shards)


@click.command("batch", short_help="Answer a file of requests, and go on after a crash")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where answers go. Default: FILE with .results before its suffix.",
)
@click.option(
    "--errors",
    "errors_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where errors go. Default: OUTPUT with .errors before its suffix.",
)
@model_options
@click.option(
    "--concurrency", type=click.IntRange(min=1), metavar="N", help="Requests at once. Default: the backend's."
)
@click.option("--in-order", is_flag=True, help="Write answers in the order of FILE, not as they come.")
@click.option("--retry-errors", is_flag=True, help="Also do the rows again that failed before.")
@click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Only each N-th row, beginning with the I-th: N machines share a file. Each needs its own OUTPUT.",
)
@click.option("--progress/--no-progress", default=True, help="Show how far it is, on standard error.")
@format_options
@generation_options()
def command(
    file: Path,
    output: Path | None,
    errors_file: Path | None,
    concurrency: int | None,
    in_order: bool,
    retry_errors: bool,
    shard: tuple[int, int],
    progress: bool,
    **options: Any,
) -> None:
    """Answer the requests in FILE, which is a batch file of OpenAI: a JSON object in each line.

    \b
    {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
     "body": {"messages": [{"role": "user", "content": "Hello"}]}}

    url may be /v1/chat/completions, /v1/completions, /v1/embeddings or /v1/responses. With -m, that model answers all
    rows; without, the one that each body names, or else the default model. Options for generation apply where a body
    says nothing.

    Answers and errors are only appended, each as soon as it is there. A run that was stopped, by whatever, goes on
    where it was when it is started again. What is done isn't repeated; a custom_id that stands for another request
    than before is refused. The exit code is 5 if rows failed.
    """
    take_format(options)
    choice = ModelChoice.take(options)
    parameters = given_parameters(options)
    read_parameters(parameters)
    output = output or file.with_name(f"{file.stem}.results{_part(shard)}{file.suffix or '.jsonl'}")
    errors_file = errors_file or output.with_name(f"{output.stem}.errors{output.suffix or '.jsonl'}")
    if len({each.resolve() for each in (file, output, errors_file)}) < 3:
        raise click.UsageError("FILE, OUTPUT and the file of errors must be different files.")
    with (
        quiet_output(),
        contextlib.closing(Journal(output)) as results,
        contextlib.closing(Journal(errors_file)) as errors,
        _models(choice, _is_for_vectors(file)) as (backend, model, default_concurrency),
    ):
        for journal in (results, errors):
            if journal.repaired:
                say(f"Note: the last line of {journal.path} was torn, so it was removed; its row is done again.")
        total = count_rows(file, shard) if progress and special_file(file) is None else None
        run = BatchRun(
            backend,
            results,
            errors,
            parameters=parameters,
            model=model,
            concurrency=concurrency or default_concurrency,
            in_order=in_order,
            retry_errors=retry_errors,
            expected=total or 0,
        )
        with shown(total, wanted=progress) as advance:
            summary = run.run(read_rows(lines_of(file), shard), advance)
    say(_described(summary, output, errors_file))
    if summary.failed or summary.failed_before:
        click.get_current_context().exit(ENGINE)


def _part(shard: tuple[int, int]) -> str:
    return f".{shard[0]}-of-{shard[1]}" if shard[1] > 1 else ""


def _described(summary: Summary, output: Path, errors: Path) -> str:
    said = [f"{summary.finished:,} answered, in {output}"]
    if summary.failed:
        said.append(f"{summary.failed:,} failed, in {errors}")
    if summary.skipped - summary.failed_before:
        said.append(f"{summary.skipped - summary.failed_before:,} were answered before")
    if summary.failed_before:
        said.append(f"{summary.failed_before:,} had failed before: --retry-errors does them again")
    return "; ".join(said) + "."


def _is_for_vectors(file: Path) -> bool:
    """Whether the first row asks for embeddings: then the model is loaded for them."""
    if special_file(file) is not None:
        return False
    first: Row | None = next(iter(read_rows(lines_of(file))), None)
    return first is not None and first.url == "/v1/embeddings"


@contextlib.contextmanager
def _models(
    choice: ModelChoice, vectors: bool
) -> Iterator[tuple[Callable[[str | None], tuple[BaseBackend, str]], str | None, int]]:
    """What gives the model of a row, the one model of all rows, if there is one, and the concurrency that suits it."""
    if vectors:
        choice = for_task(choice, "embed")
    display = FetchDisplay()
    with LlamaForge(progress=display, offline=choice.offline) as forge:
        if choice.model is None and choice.backend is None and choice.server is None:
            each = _NamedByRows(forge, display, choice.load, forge.default_model_for(choice.task))
            yield each, None, 8
            return
        name = settle(forge, choice)
        with display:
            backend = forge.load_model(name, choice.load)
        yield lambda _: (backend, name), name, backend.concurrency


class _NamedByRows:
    """Loads each model that rows name when the first one does; one that can't be loaded is not tried again."""

    def __init__(self, forge: LlamaForge, display: FetchDisplay, load: Mapping[str, Any], default: str | None) -> None:
        self._forge = forge
        self._default = default
        self._display = display
        self._load = load
        self._failed: dict[str, LlamaForgeError] = {}

    def __call__(self, name: str | None) -> tuple[BaseBackend, str]:
        name = name or self._default or self._forge.default_model
        if name in self._failed:
            raise self._failed[name]
        try:
            with self._display:
                return self._forge.load_model(name, self._load), name
        except LlamaForgeError as error:
            self._failed[name] = error
            raise
