"""A backend whose module imports what is heavy, and prints. Not imported before it is used."""

from __future__ import annotations

import rich.console

from ..fakes import ToyBackend

rich.console.Console().print("The heavy backend is ready.")


class ImportsAnEngine(ToyBackend):
    """Imports at the top what only loading needs, and greets everybody."""
