"""``llamaforge bench``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import click

from llamaforge.cli.options import generation_options, given_parameters
from llamaforge.cli.values import JsonType, parse_pairs
from llamaforge.errors import InvalidParameterError

from .arrivals import PATTERNS

_INVALID: Final = 11


@click.group("bench", short_help="Measure latency and throughput of models and servers")
def command() -> None:
    """Measure engines under load: latency, throughput, and how sure the figures are.

    \b
    llamaforge bench run my-model --concurrency 1,4,8
    llamaforge bench run http://127.0.0.1:8000 --mode serve --rate 2,4,8 --slo ttft=0.5
    llamaforge bench sweep http://127.0.0.1:8000 --mode serve --rate 1
    llamaforge bench compare before.json after.json

    Exit codes beside the usual ones: 10, the second run of `compare` is worse; 11, the figures can't be trusted or
    allow no verdict.
    """


def _numbers(kind: type) -> Any:
    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> list[Any] | None:
        if value is None:
            return None
        try:
            return [kind(part) for part in value.split(",")]
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a number, or numbers with commas between them.") from None

    return read


def _workload_options(function: Any) -> Any:
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
                callback=_numbers(int),
                help="Requests at once; several numbers measure each.",
            ),
            click.option(
                "-r",
                "--rate",
                metavar="N,...",
                callback=_numbers(float),
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
            click.option("-n", "--runs", type=int, help="Requests in each trial. Default: the prompts, or 50."),
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
                help="Save as .json, .csv, .requests.csv, .html or .png. Repeatable.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print JSON, without the single requests."),
        )
    ):
        function = option(function)
    return generation_options(without=("timeout",))(function)


def _benchmark(target: str, options: dict[str, Any]) -> Any:
    from .benchmark import Benchmark
    from .loads import Prompts, Synthetic, read_dataset

    dataset: Any
    if options["prompts"]:
        dataset = Prompts(options["prompts"])
    elif options["dataset"] is not None:
        dataset = read_dataset(options["dataset"], column=options["column"])
    else:
        names = ("prompt_tokens", "output_tokens", "prefix_tokens", "prefixes", "turns")
        dataset = Synthetic(**{name: options[name] for name in names})
    backend: Any = target
    model = options["model"]
    if options["backend"] is not None:
        backend, model = {"type": options["backend"]}, target
    return Benchmark(
        backend,
        dataset=dataset,
        mode=options["mode"],
        model=model,
        load=options["load"],
        concurrency=options["concurrency"],
        arrival_rate=options["rate"],
        arrival_pattern=options["pattern"],
        burstiness=options["burstiness"],
        burst_size=options["burst_size"],
        time_scale=options["time_scale"],
        warmup=options["warmup"],
        runs=options["runs"],
        trials=options["trials"],
        confidence_level=options["confidence_level"],
        sampling=_sampling(options),
        slo=options["slo"] or None,
        seed=options["load_seed"],
        workers=options["workers"],
        timeout=options["request_timeout"],
        via="http" if options["via_http"] else "backend",
        api_key=options["api_key"],
        headers=options["header"],
        body=options["body"],
        continuous_usage=options["continuous_usage"],
        progress=lambda line: click.echo(line, err=True),
    )


def _sampling(options: dict[str, Any]) -> dict[str, Any]:
    found = given_parameters(options)
    if options.get("engine"):
        found["engine"] = options["engine"]
    return found


def _deliver(results: Any, options: dict[str, Any]) -> None:
    if options["as_json"]:
        click.echo(results.to_json(requests=False))
    else:
        results.print()
    for path in options["save"]:
        _save(results, path)
    if not results.valid:
        click.get_current_context().exit(_INVALID)


def _save(results: Any, path: str) -> None:
    try:
        results.save(path)
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror or error}.") from None


@command.command("run")
@click.argument("target")
@_workload_options
def run(target: str, **options: Any) -> None:
    """Measure TARGET: a model's name or reference, or the address of a server that speaks OpenAI's API."""
    results = asyncio.run(_benchmark(target, options).run())
    _deliver(results, options)


@command.command("sweep")
@click.argument("target")
@click.option("--factor", type=float, default=2.0, show_default=True, help="By how much the load rises each time.")
@click.option("--most", type=float, help="The highest load.")
@_workload_options
def sweep(target: str, factor: float, most: float | None, **options: Any) -> None:
    """Raise the load on TARGET until it is saturated, and say where the knee is.

    With --mode serve the arrival rate rises from --rate on, else the concurrency from --concurrency on.
    """
    results = asyncio.run(_benchmark(target, options).sweep(factor=factor, most=most))
    _deliver(results, options)


@command.command("compare")
@click.argument("before", type=click.Path(dir_okay=False))
@click.argument("after", type=click.Path(dir_okay=False))
@click.option("--metric", "metrics", multiple=True, metavar="NAME[.STATISTIC]", help="Such as ttft.p99. Repeatable.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Share of false alarms, over all figures.")
@click.option("--threshold", type=float, default=0.01, show_default=True, help="Smaller changes don't matter.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(before: str, after: str, metrics: tuple[str, ...], alpha: float, threshold: float, as_json: bool) -> None:
    """Say whether AFTER is slower than BEFORE, two files of `bench run -o FILE.json`.

    Exit code 0: it is not. 10: it is, or it fails more often. 11: the runs allow no verdict.
    """
    from .compare import compare as compared
    from .reports.table import show_comparison
    from .results import Results

    found = compared(
        Results.load_file(before),
        Results.load_file(after),
        metrics=metrics or None,
        alpha=alpha,
        threshold=threshold,
    )
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        show_comparison(found)
    click.get_current_context().exit(found.exit_code)


@command.command("calibrate")
@click.option("-n", "--requests", default=12, show_default=True, type=click.IntRange(4), help="Requests of each part.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def calibrate(requests: int, as_json: bool) -> None:
    """Say how far this machine's figures can be trusted: measure a server whose delays are known.

    Exit code 11: the figures are off, or this program was starved.
    """
    from .calibration.calibrate import calibrate as calibrated
    from .reports.table import show_calibration

    report = asyncio.run(calibrated(requests=requests, progress=lambda line: click.echo(line, err=True)))
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        show_calibration(report)
    if not report.trustworthy:
        click.get_current_context().exit(_INVALID)


@command.command("serve-calibration")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--ttft", default=0.1, show_default=True, help="Seconds until the first chunk.")
@click.option("--tpot", default=0.01, show_default=True, help="Seconds for each further token.")
@click.option("--tokens-per-chunk", default=1, show_default=True)
@click.option("--slots", default=0, show_default=True, help="Answers at once; 0: no limit.")
def serve_calibration(port: int, **delays: Any) -> None:
    """Run the server with known delays, to try any benchmark on it."""
    from .calibration.server import Delays, start
    from .loop import new_loop

    async def serve() -> None:
        server = await start(Delays(**delays), port)
        click.echo(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1  Ctrl-C ends it.")
        await server.serve_forever()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve())


@command.command("report")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("-o", "--save", "save", multiple=True, metavar="FILE", help="Save as .html, .csv, .png ... Repeatable.")
def report(file: str, save: tuple[str, ...]) -> None:
    """Show the results in FILE, which `bench run -o FILE.json` wrote, or save them in another form."""
    from .results import Results

    results = Results.load_file(file)
    if not save:
        results.print()
    for path in save:
        if Path(path).resolve() == Path(file).resolve():
            raise InvalidParameterError("save", path, "another file than the one that is read")
        _save(results, path)
