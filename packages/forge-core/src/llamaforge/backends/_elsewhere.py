"""What the import-path modules share: an absent plugin is told from a broken one."""

from __future__ import annotations

from typing import NoReturn

from ..errors import BackendNotInstalledError
from .distributions import DISTRIBUTIONS, install_command


def absent(name: str, package: str, error: ModuleNotFoundError) -> NoReturn:
    """Raise BackendNotInstalledError if it is the plugin *package* itself that is missing, else *error* as it is."""
    if error.name == package:
        raise BackendNotInstalledError(name, DISTRIBUTIONS[name], install_command(name)) from None
    raise error
