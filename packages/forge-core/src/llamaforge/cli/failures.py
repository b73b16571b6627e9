"""Shows an error as a line on standard error, without a traceback and without secrets."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import click

from ..errors import BrokenPluginError, LlamaForgeError, UnsupportedError
from ..installing import pip_here
from ..models.masking import shown
from ..secrets import ENV_PREFIX, MASK
from ..sources.redact import redact
from .exit_codes import UNEXPECTED, USAGE, exit_code
from .output import UnwritableOutputError
from .values import parse_value
from .wording import in_options

_SHORTEST_SECRET = 6
_PLACES: Final = frozenset({"PWD", "OLDPWD", "SSH_AUTH_SOCK"})
"""Environment variables that sound secret but contain paths, which messages may show."""


def report(error: Exception, *, debug: bool = False, plugin: str | None = None) -> int:
    """Show *error* on standard error; its exit code. *plugin* names the plugin's command that raised it."""
    if isinstance(error, click.ClickException):
        said = io.StringIO()
        error.show(said)
        say(said.getvalue().rstrip("\n"))
        return USAGE if isinstance(error, click.UsageError) else error.exit_code
    if debug:
        say("".join(traceback.format_exception(error)).rstrip("\n"))
    if isinstance(error, UnwritableOutputError):
        say(f"Error: {error}")
        return exit_code(error)
    if isinstance(error, LlamaForgeError):
        say(f"Error: {in_options(str(error))}")
        leave_out = "--on-unsupported drop"
        if (
            isinstance(error, UnsupportedError)
            and error.feature.startswith("the parameter")
            and leave_out not in in_options(str(error))
        ):
            say(f"To ignore it, pass {leave_out}.")
        if "pip install" in str(error) and (pip := pip_here()) is not None:
            say(f"In this environment, use this pip: {pip}")
        if debug and isinstance(error, BrokenPluginError) and error.__cause__ is None:
            say(error.traceback.rstrip("\n"))
        return exit_code(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    where = f"unexpected failure of the command {plugin}" if plugin else "unexpected failure"
    say(f"Error: {where}: {what}")
    if not debug:
        say("`llamaforge --debug COMMAND ...` shows the traceback.")
    return UNEXPECTED


def say(text: str) -> None:
    """Write a line to standard error, with known secrets masked. A closed standard error is ignored."""
    with contextlib.suppress(OSError):
        click.echo(cleaned(text), err=True)


def cleaned(text: str) -> str:
    """*text* without anything that is a secret or looks like one."""
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return redact(text)


def _secrets() -> Iterator[str]:
    """Values whose names suggest a secret: in the environment, on the command line, in the model file."""
    yield from _telling((name, value) for name, value in os.environ.items() if name not in _PLACES)
    for argument in sys.argv:
        for at in (index for index, character in enumerate(argument) if character == "="):
            yield from _telling([(argument[:at], argument[at + 1 :]), (argument[:at], parse_value(argument[at + 1 :]))])
    with contextlib.suppress(Exception):  # a damaged model file has its own error, and may be the one being shown
        from ..models import ModelFile

        for entry in ModelFile().load().values():
            yield from _telling([*entry.parameters.items(), *entry.generation.items()])


def _telling(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for name, value in pairs:
        for inner_name, inner in _strings(name, value):
            if inner.startswith(ENV_PREFIX):
                inner, inner_name = os.environ.get(inner.removeprefix(ENV_PREFIX), ""), "key"
            if len(inner) >= _SHORTEST_SECRET and shown(inner, inner_name) == MASK:
                yield inner


def _strings(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(f"{name} {key}", inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(name, inner)
