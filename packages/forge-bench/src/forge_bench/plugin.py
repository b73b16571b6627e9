"""What core learns of this package: one command. Light: nothing of the benchmark is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamaforge import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def llamaforge_command() -> click.Command:
    """``llamaforge bench``."""
    from .cli import command

    return command
