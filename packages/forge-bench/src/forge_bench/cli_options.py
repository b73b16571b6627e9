"""The options of ``bench run`` and ``bench sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llamaforge.cli.options import generation_options
from llamaforge.cli.values import JsonType, parse_pairs, parse_value
from llamaforge.errors import InvalidParameterError

from .arrivals import PATTERNS


def numbers(kind: type) -> Any:
    """A click callback: numbers with commas between them."""

    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> list[Any] | None:
        if value is None:
            return None
        try:
            return [kind(part) for part in value.split(",")]
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a number, or numbers with commas between them.") from None

    return read


def variants(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, list[Any]] | None:
    """``n_batch=128,256``: the name and its values."""
    if value is None:
        return None
    name, equals, values = value.partition("=")
    if not equals or not name or not all(values.split(",")):
        raise click.BadParameter("use NAME=VALUE,VALUE.")
    return name, [parse_value(each) for each in values.split(",")]


def savable(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """A click callback: names of files for results, refused before anything is measured."""
    from .results import check_file_name

    for name in values:
        try:
            check_file_name(name)
        except InvalidParameterError as error:
            raise click.BadParameter(f"{name!r} isn't {error.expected}.") from None
        folder = Path(name).parent
        if not folder.is_dir():
            raise click.BadParameter(f"{name!r} can't be written: there is no folder {str(folder)!r}.")
    return values


def workload_options(function: Any) -> Any:
    """What is sent, how, and where the results go; then the generation parameters."""
    function = generation_options(without=("timeout",))(function)
    for option in reversed(
        (
            click.option("--backend", metavar="NAME", help="Load TARGET, a model, on this backend."),
            click.option("-m", "--model", metavar="NAME", help="The model's name, where a server has several."),
            click.option(
                "-p",
                "--load",
                "load",
                metavar="NAME=VALUE",
                multiple=True,
                callback=parse_pairs,
                help="A load parameter of the backend. Repeatable.",
            ),
            click.option(
                "--mode",
                type=click.Choice(["latency", "throughput", "serve"]),
                default="latency",
                show_default=True,
                help="Some requests at once; all at once; or as they arrive.",
            ),
            click.option(
                "-c",
                "--concurrency",
                metavar="N,...",
                callback=numbers(int),
                help="Requests at once; several numbers measure each.",
            ),
            click.option(
                "-r",
                "--rate",
                metavar="N,...",
                callback=numbers(float),
                help="Requests a second that arrive, with --mode serve.",
            ),
            click.option(
                "--pattern", type=click.Choice(PATTERNS), default="poisson", show_default=True, help="How they arrive."
            ),
            click.option(
                "--burstiness",
                type=float,
                default=1.0,
                show_default=True,
                help="For --pattern gamma: below 1 in bunches, above 1 evenly.",
            ),
            click.option("--burst-size", type=int, default=10, show_default=True, help="For --pattern burst."),
            click.option(
                "--time-scale",
                type=float,
                default=1.0,
                show_default=True,
                help="For --pattern trace: 2 takes twice as long.",
            ),
            click.option(
                "-d",
                "--dataset",
                metavar="FILE|hf:NAME",
                help="Prompts, conversations or a trace. Default: synthetic prompts.",
            ),
            click.option("--column", metavar="NAME", help="Where the prompt stands in the data set."),
            click.option("--prompt", "prompts", metavar="TEXT", multiple=True, help="A prompt to send. Repeatable."),
            click.option(
                "--prompt-tokens",
                metavar="N|DISTRIBUTION",
                default="512",
                show_default=True,
                help="Length of synthetic prompts: 512, uniform:100:900, normal:512:64, lognormal:512:200.",
            ),
            click.option(
                "--output-tokens",
                metavar="N|DISTRIBUTION",
                default="128",
                show_default=True,
                help="Length of their answers.",
            ),
            click.option("--prefix-tokens", type=int, default=0, help="Beginning that synthetic prompts share."),
            click.option("--prefixes", type=int, default=1, show_default=True, help="How many such beginnings."),
            click.option("--turns", type=int, default=1, show_default=True, help="User turns of each conversation."),
            click.option(
                "--warmup", type=int, default=2, show_default=True, help="Requests before, with other prompts."
            ),
            click.option(
                "-n",
                "--runs",
                type=int,
                help="Requests in each trial. Default: the prompts, or 50, or two for each one at once.",
            ),
            click.option("--trials", type=int, default=3, show_default=True, help="How often all is measured."),
            click.option("--confidence-level", type=float, default=0.95, show_default=True),
            click.option(
                "--slo",
                metavar="NAME=SECONDS",
                multiple=True,
                callback=parse_pairs,
                help="An objective for the goodput: ttft, tpot or e2e. Repeatable.",
            ),
            click.option(
                "--load-seed", type=int, default=0, show_default=True, help="Decides arrivals, lengths and order."
            ),
            click.option("--workers", type=int, default=1, show_default=True, help="Processes that send to a server."),
            click.option("--request-timeout", type=float, default=600.0, show_default=True),
            click.option("--via-http", is_flag=True, help="Ask a backend's server directly."),
            click.option("--api-key", metavar="KEY|env:NAME", help="A server's key."),
            click.option(
                "--header",
                metavar="NAME=VALUE",
                multiple=True,
                callback=parse_pairs,
                help="A header for a server. Repeatable.",
            ),
            click.option("--body", type=JsonType(), metavar="JSON", help="More fields of each request to a server."),
            click.option(
                "--continuous-usage", is_flag=True, help="Ask a server for token counts with each chunk (vLLM, SGLang)."
            ),
            click.option(
                "-o",
                "--save",
                "save",
                multiple=True,
                metavar="FILE",
                callback=savable,
                help="Save as .json, .csv, .requests.csv, .html or .png. Repeatable.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print JSON, without the single requests."),
        )
    ):
        function = option(function)
    return function
