"""``llamaforge doctor``: what is installed, what is broken and why, and the command that mends it."""

from __future__ import annotations

import click

from ..exit_codes import BACKEND
from ..options import complete_backend
from ..output import text_output

_TIMEOUT = 120.0


def _check(names: tuple[str, ...]) -> None:
    from ...backends.distributions import DISTRIBUTIONS
    from ...errors import closest
    from ...plugins import BACKENDS, COMMANDS, SOURCES

    known = {*BACKENDS.names(), *SOURCES.names(), *COMMANDS.names(), *DISTRIBUTIONS}
    for name in names:
        if name not in known:
            near = " or ".join(map(repr, closest(name, known)))
            raise click.UsageError(f"There is no plugin {name!r}." + (f" Did you mean {near}?" if near else ""))


@click.command("doctor", short_help="Say what is installed, what is broken, and how to mend it")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-v", "--verbose", is_flag=True, help="Show whole tracebacks.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=_TIMEOUT,
    show_default=True,
    help="Seconds that looking at one plugin and its engine may take.",
)
@click.argument("names", metavar="[PLUGIN]...", nargs=-1, shell_complete=complete_backend)
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], as_json: bool, verbose: bool, timeout: float) -> None:
    """Say what is installed, from where, and what it runs on; what is broken, why, and the command that mends it.

    With the names of backends, sources or commands: look at those plugins alone.

    Every plugin and its engine is looked at in a process of its own: whatever it does there, the others are seen to.
    No secret is shown. The exit code is 3 where something is broken.
    """
    from .examine import examine
    from .report import write_report

    with text_output() as output:
        _check(names)
        found = examine(timeout, names)
        if as_json:
            output.json(found)
        else:
            write_report(output, found, verbose=verbose)
    if found["broken"]:
        ctx.exit(BACKEND)
