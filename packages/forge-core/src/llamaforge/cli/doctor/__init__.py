"""``llamaforge doctor``: what is installed, what is broken and why, and the command that mends it."""

from __future__ import annotations

import click

from ..exit_codes import BACKEND
from ..output import text_output

_TIMEOUT = 120.0


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
@click.pass_context
def command(ctx: click.Context, as_json: bool, verbose: bool, timeout: float) -> None:
    """Say what is installed, from where, and what it runs on; what is broken, why, and the command that mends it.

    Every plugin and its engine is looked at in a process of its own: whatever it does there, the others are seen to.
    No secret is shown. The exit code is 3 where something is broken.
    """
    from .examine import examine
    from .report import write_report

    with text_output() as output:
        found = examine(timeout)
        if as_json:
            output.json(found)
        else:
            write_report(output, found, verbose=verbose)
    if found["broken"]:
        ctx.exit(BACKEND)
