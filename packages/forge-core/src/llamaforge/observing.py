"""Who observes requests: all that a request looks at while nobody does. See :mod:`llamaforge.observers`."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .arriving import arriving
    from .observation import Observer

VARIABLE: Final = "LLAMAFORGE_OBSERVERS"
"""The environment variable that names the observers of a process, separated by commas."""

attached: tuple[Observer, ...] = ()
"""The observers, in the order in which they were attached."""

pending: str = os.environ.get(VARIABLE, "").strip()
"""The names that :data:`VARIABLE` has, until the first request loads them."""

wanted: bool = bool(pending)
"""Whether a request has to look further: somebody is attached, or still to be loaded."""

arrival: Final[ContextVar[arriving | None]] = ContextVar("llamaforge_arrival", default=None)
"""The request from outside for which this thread or task works; None for calls of this process."""
