"""The response log: what was asked and answered, in a file of SQLite. Off unless somebody turns it on.

``llamaforge logs on`` turns it on for the commands of ``llamaforge``. A program attaches it itself::

    from llamaforge import observers

    observers.attach("log")

The commands of ``llamaforge`` look whether it is on, so nothing else is imported here.
"""

from __future__ import annotations

from .places import is_on, log_file

__all__ = ["is_on", "log_file"]
