"""``llamaforge bench``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from llamaforge.cli.options import given_parameters
from llamaforge.errors import InvalidParameterError

from .cli_options import savable, variants, workload_options

_INVALID: Final = 11


@click.group("bench", short_help="Measure latency and throughput of models and servers")
def command() -> None:
    """Measure engines under load: latency, throughput, and how sure the figures are.

    \b
    llamaforge bench run my-model --concurrency 1,4,8
    llamaforge bench run http://127.0.0.1:8000 --mode serve --rate 2,4,8 --slo ttft=0.5
    llamaforge bench run my-model serve:my-model                  what HTTP costs
    llamaforge bench run my-model --vary n_batch=128,256          which settings
    llamaforge bench sweep http://127.0.0.1:8000 --mode serve --rate 1
    llamaforge bench compare before.json after.json

    Exit codes beside the usual ones: 10, the second run of `compare` is worse; 11, the figures can't be trusted or
    allow no verdict.
    """


def _benchmark(target: str, options: dict[str, Any]) -> Any:
    from .benchmark import Benchmark
    from .loads import Prompts, Synthetic, read_dataset

    if options["mode"] != "serve" and options["rate"] is not None:
        raise click.UsageError(f"--rate has no meaning with --mode {options['mode']}. Add --mode serve.")
    if options["mode"] == "serve" and options["rate"] is None and options["pattern"] != "trace":
        raise click.UsageError("--mode serve needs --rate, the requests a second that arrive.")
    loads = {"--prompt": bool(options["prompts"]), "--dataset": options["dataset"] is not None}
    source = click.get_current_context().get_parameter_source
    synthetic = ("prompt_tokens", "output_tokens", "prefix_tokens", "prefixes", "turns")
    given = [f"--{name.replace('_', '-')}" for name in synthetic if source(name) is ParameterSource.COMMANDLINE]
    chosen = [name for name, is_given in loads.items() if is_given] + given[:1]
    if len(chosen) > 1 and any(loads.values()):
        raise click.UsageError(f"{' and '.join(chosen)} contradict each other: each says what is sent.")
    dataset: Any
    if options["prompts"]:
        dataset = Prompts(options["prompts"])
    elif options["dataset"] is not None:
        dataset = read_dataset(options["dataset"], column=options["column"])
    else:
        dataset = Synthetic(**{name: options[name] for name in synthetic})
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


def _deliver(found: list[Any], labels: list[str], options: dict[str, Any]) -> None:
    """Show and save the results; of several, compare each further one with the first."""
    from .compare import compare as compared
    from .reports.table import show_comparison

    comparisons = [compared(found[0], other) for other in found[1:]]
    if options["as_json"]:
        plain = [results.to_dict(requests=False) for results in found]
        further = {"results": plain, "comparisons": [each.to_dict() for each in comparisons]}
        click.echo(json.dumps(further if comparisons else plain[0], indent=2))
    else:
        for results in found:
            results.print()
        for label, comparison in zip(labels[1:], comparisons, strict=True):
            click.echo(f"\n{labels[0]}  ->  {label}")
            show_comparison(comparison)
    for path in options["save"]:
        for number, results in enumerate(found, 1):
            _save(results, path if len(found) == 1 else _numbered(path, number))
    if not all(results.valid for results in found):
        click.get_current_context().exit(_INVALID)


def _numbered(path: str, number: int) -> str:
    """``results.2.json`` for ``results.json``."""
    where = Path(path)
    ending = "".join(where.suffixes[-2:]) if where.name.endswith(".requests.csv") else where.suffix
    return str(where.with_name(f"{where.name.removesuffix(ending)}.{number}{ending}"))


def _save(results: Any, path: str) -> None:
    try:
        results.save(path)
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror or error}.") from None


@command.command("run")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--vary",
    metavar="NAME=V1,V2,...",
    callback=variants,
    help="Measure TARGET once with each value of this load parameter.",
)
@click.option("--interleave", is_flag=True, help="Several targets: all loaded at once, their trials in turn.")
@workload_options
def run(targets: tuple[str, ...], vary: tuple[str, list[Any]] | None, interleave: bool, **options: Any) -> None:
    """Measure TARGET: a model's name or reference, or the address of a server that speaks OpenAI's API.

    `serve:MODEL` is a model behind `llamaforge serve`, started for this. Each further TARGET is compared with the first
    one: `bench run my-model serve:my-model` says what HTTP costs.
    """
    names: list[tuple[str, dict[str, Any]]] = [(target, {}) for target in targets]
    if vary is not None:
        name, values = vary
        names = [(target, {name: value}) for target, _ in names for value in values]
    benchmarks = [_benchmark(target, {**options, "load": options["load"] | more}) for target, more in names]
    labels = [" ".join([target, *(f"{key}={value}" for key, value in more.items())]) for target, more in names]
    found = asyncio.run(_measured(benchmarks, labels, together=interleave))
    _deliver(found, labels, options)


async def _measured(benchmarks: list[Any], labels: list[str], *, together: bool) -> list[Any]:
    from .benchmark import Benchmark

    if together:
        return await Benchmark.run_together(benchmarks)
    found = []
    for benchmark, label in zip(benchmarks, labels, strict=True):
        if len(benchmarks) > 1:
            click.echo(label, err=True)
        found.append(await benchmark.run())
    return found


@command.command("sweep")
@click.argument("target")
@click.option("--factor", type=float, default=2.0, show_default=True, help="By how much the load rises each time.")
@click.option("--most", type=float, help="The highest load.")
@workload_options
def sweep(target: str, factor: float, most: float | None, **options: Any) -> None:
    """Raise the load on TARGET until it is saturated, and say where the knee is.

    With --mode serve the arrival rate rises from --rate on, else the concurrency from --concurrency on.
    """
    results = asyncio.run(_benchmark(target, options).sweep(factor=factor, most=most))
    _deliver([results], [target], options)


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
@click.option(
    "-o",
    "--save",
    "save",
    multiple=True,
    metavar="FILE",
    callback=savable,
    help="Save as .html, .csv, .png ... Repeatable.",
)
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
