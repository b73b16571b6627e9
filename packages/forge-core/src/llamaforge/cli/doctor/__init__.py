"""``llamaforge doctor``: what is installed, what is broken and why, and the command that repairs it."""

from __future__ import annotations

import click

from ..exit_codes import BACKEND
from ..options import complete_backend
from ..output import text_output

_TIMEOUT = 120.0


def _check(names: tuple[str, ...]) -> None:
    from ...backends.distributions import DISTRIBUTIONS
    from ...errors import closest
    from ...plugins import GROUPS
    from .plugins import OWN

    known = {
        *(name for group in GROUPS.values() for name in group.names()),
        *DISTRIBUTIONS,
        *(n for each in OWN.values() for n in each),
    }
    for name in names:
        if name not in known:
            near = " or ".join(map(repr, closest(name, known)))
            raise click.UsageError(f"There is no plugin {name!r}." + (f" Did you mean {near}?" if near else ""))


@click.command("doctor", short_help="Show what is installed, what is broken, and how to repair it")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-v", "--verbose", is_flag=True, help="Show whole tracebacks.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=_TIMEOUT,
    metavar="SECONDS",
    show_default=True,
    help="Seconds to wait for each plugin and its engine. One that takes longer counts as broken.",
)
@click.argument("names", metavar="[PLUGIN]...", nargs=-1, shell_complete=complete_backend)
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], as_json: bool, verbose: bool, timeout: float) -> None:
    """Show what is installed, from where, and what it runs on; what is broken, why, and the command that repairs it.

    With PLUGIN, the name of a backend, source, command or observer: check only that one.

    Each plugin and its engine is checked in a process of its own, so that one that crashes doesn't hide the others.
    Secrets are masked. Optional parts that aren't installed are listed with the command that installs them. The exit
    code is 3 if something is broken, else 0.
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
