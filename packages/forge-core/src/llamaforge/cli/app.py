"""The top of the command line: which commands there are, and what becomes of an error."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from .._version import __version__
from .exit_codes import CLOSED_OUTPUT, FINE, INTERRUPTED, MEANINGS, USAGE
from .output import ClosedOutputError, UnwritableOutputError, is_closed_pipe, is_writable
from .plugin_commands import load_plugin_command, plugin_commands

BUILT_IN: Final = {
    "run": "Answer one prompt",
    "chat": "Chat with a model",
    "embed": "Make vectors of texts",
    "rerank": "Sort documents by their relevance to a query",
    "batch": "Answer a file of requests, and go on after a crash",
    "models": "List, add, show, fetch and remove models",
    "logs": "Show, search and delete logged requests and answers",
    "backends": "List backends; show the parameters of one",
    "doctor": "Show what is installed, what is broken, and how to repair it",
    "new-backend": "Create the package of a new backend",
}
"""Every command of ours with its short help. ``llamaforge.cli.NAME`` (dashes underscores) holds it as ``command``."""


class State:
    """What one invocation knows about itself. (No dataclass: importing that library is a tenth of the help's time.)"""

    def __init__(self) -> None:
        self.debug = False
        self.plugin: str | None = None
        """The plugin's command that runs, for messages."""


class Cli(click.Group):
    """A group that imports a command when it is called, and knows plugins' commands by their metadata alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without any argument: the help, but as a usage error."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our commands, then those of plugins. Imports none."""
        return [*BUILT_IN, *plugin_commands(BUILT_IN)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command. A plugin can't replace one of ours; raises a BackendError where a plugin is broken."""
        if cmd_name in BUILT_IN:
            command: click.Command = importlib.import_module(f"{__package__}.{cmd_name.replace('-', '_')}").command
            return command
        found = plugin_commands(BUILT_IN)
        if cmd_name not in found:
            return None
        ctx.ensure_object(State).plugin = f"{cmd_name!r} of {found[cmd_name]}"
        return load_plugin_command(cmd_name, quiet=ctx.resilient_parsing)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; raises UsageError with the closest names where there is none."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and name not in self.list_commands(ctx):
            from ..errors import closest

            near = " or ".join(map(repr, closest(name, self.list_commands(ctx))))
            raise click.UsageError(f"There is no command {name!r}." + (f" Did you mean {near}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from what is known without importing them; then the exit codes."""
        with formatter.section("Commands"):
            formatter.write_dl(list(BUILT_IN.items()))
        found = plugin_commands(BUILT_IN)
        if found:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, f"from {owner}") for name, owner in found.items()])
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in MEANINGS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete commands by name, without importing any; options as click does it."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=BUILT_IN.get(name)) for name in names]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> None:
        """Run the command. What a command returns is nobody's exit code."""
        _attach_log()
        super().invoke(ctx)


def _attach_log() -> None:
    """Have requests logged if the user has turned that on. The first request loads what is needed."""
    from ..response_log.places import is_on

    if is_on():
        from .. import observing

        names = [each.strip() for each in observing.pending.split(",")]
        observing.pending = ",".join(dict.fromkeys([*filter(None, names), "log"]))
        observing.wanted = True


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"llamaforge {__version__}")
        ctx.exit()


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(State).debug = value


_NAME: Final = "llamaforge"
_LEAST_WIDTH: Final = 52
"""Columns below which click's help doesn't follow the terminal."""
_COMPLETE: Final = "_LLAMAFORGE_COMPLETE"
"""The environment variable by which a shell asks for completions, as click names it."""

cli = Cli(
    name=_NAME,
    help="""Run language models on any engine through one interface.

    \b
    llamaforge run "What is the capital of France?"
    llamaforge chat

    Without any configuration, a small model is downloaded and answers. `llamaforge COMMAND --help` describes a
    command. Only results go to standard output; notes and errors go to standard error.

    Completion in bash (zsh_source and fish_source for other shells):

    \b
    eval "$(_LLAMAFORGE_COMPLETE=bash_source llamaforge)"
    """,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_set_debug,
            help="Also show the traceback of an error.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class _Formatter(click.HelpFormatter):
    """Leaves the second column of a list enough room on a narrow terminal."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        narrow = self.width < _LEAST_WIDTH
        super().write_dl(rows, min(col_max, max(self.width // 3, 6)) if narrow else col_max, col_spacing)


click.Context.formatter_class = _Formatter  # for every command, plugins' too, in this process that is the command line


def _narrow_width() -> int | None:
    """How wide help may be on a terminal narrower than click's least width; None: click knows."""
    width = shutil.get_terminal_size().columns
    return max(width - 1, 20) if width < _LEAST_WIDTH else None


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Errors are shown on standard error, none is raised but SystemExit."""
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, _NAME, _COMPLETE, instruction)
    state = State()
    try:
        # Not cli.main(): that one turns a closed pipe into exit code 1 and keeps to itself that it was one.
        given = list(sys.argv[1:] if arguments is None else arguments)
        with cli.make_context(_NAME, given, obj=state, terminal_width=_narrow_width()) as ctx:
            cli.invoke(ctx)
        return FINE
    except click.exceptions.Exit as error:
        return error.exit_code
    except ClosedOutputError:
        return CLOSED_OUTPUT
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one to hear of it; it is shown, and told by the exit code
        if is_closed_pipe(error):
            return CLOSED_OUTPUT
        from .failures import report

        if isinstance(error, OSError) and not is_writable():  # what click itself printed
            error = UnwritableOutputError(error)
        return report(error, debug=state.debug, plugin=state.plugin)
