"""What core learns of this package: one command. Light: nothing of the server is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamaforge import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def llamaforge_command() -> click.Command:
    """``llamaforge serve``."""
    from .command import command

    return command
