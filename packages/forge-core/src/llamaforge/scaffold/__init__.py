"""The scaffold of a new backend: a complete distribution, rendered from the templates beside this module.

It knows names, templates and files, and nothing of the command line. What it writes works as it stands: it installs, it
is listed, it passes the conformance kit, ``mypy --strict`` and ``ruff``.
"""

from __future__ import annotations

from .names import Names, derive
from .project import KINDS, render, write

__all__ = ["KINDS", "Names", "derive", "render", "write"]
