"""Commands of plugins: known by their metadata, imported when they are called."""

from __future__ import annotations

import os
import sys
from collections.abc import Container
from functools import cache

import click

_GROUP = b"llamaforge.commands"


def plugin_commands(taken: Container[str]) -> dict[str, str]:
    """Name and owner of each command that a plugin contributes, but for names that are *taken*. Imports none."""
    if not _any():
        return {}
    from ..plugins import COMMANDS

    found = {}
    for name in COMMANDS.names():
        if name not in taken:
            found[name] = " and ".join(each.owner for each in COMMANDS.contributions(name))
    return found


def load_plugin_command(name: str, *, quiet: bool) -> click.Command | None:
    """Import the command *name*.

    Raises BrokenPluginError or DuplicatePluginError; *quiet* (while a shell completes a line): None instead.
    """
    from ..errors import BrokenPluginError, LlamaForgeError
    from ..plugins import COMMANDS
    from .output import quiet_output

    try:
        with quiet_output():  # what its import prints is no text of ours
            command = COMMANDS.load(name)
        if not isinstance(command, click.Command):
            reason = f"its hook returned {type(command).__name__}, not a click.Command"
            raise BrokenPluginError("command", name, COMMANDS.owner(name), reason, reason)
    except LlamaForgeError:
        if quiet:
            return None
        raise
    return command


@cache
def _any() -> bool:
    """Whether an installed distribution may contribute a command.

    Help must not cost what the metadata library costs, so files are looked through for the group's name. Where
    distributions may hide elsewhere, in an archive or behind a finder of its own, the answer is yes.
    """
    if any(hasattr(finder, "find_distributions") and finder.__module__ != _FROZEN for finder in _finders()):
        return True
    return any(_any_in(folder or os.curdir) for folder in sys.path)


_FROZEN = "_frozen_importlib_external"


def _finders() -> list[type]:
    return [finder if isinstance(finder, type) else type(finder) for finder in sys.meta_path]


def _any_in(folder: str) -> bool:
    try:
        entries = os.scandir(folder)
    except NotADirectoryError:
        return not folder.endswith(_STANDARD_LIBRARY)
    except OSError:
        return False
    with entries:
        return any(
            entry.name.endswith(".egg")
            or (entry.name.endswith((".dist-info", ".egg-info")) and _contributes(entry.path))
            for entry in entries
        )


_STANDARD_LIBRARY = f"python{sys.version_info.major}{sys.version_info.minor}.zip"


def _contributes(info: str) -> bool:
    try:
        with open(f"{info}{os.sep}entry_points.txt", "rb") as file:  # noqa: PTH123 - pathlib costs a tenth of --help
            return _GROUP in file.read()
    except OSError:
        return False
