"""A backend whose module can't be imported by a program, as opposed to its author's tests."""

from __future__ import annotations

import sys

from ..fakes import ToyBackend

if sys.argv[:1] == ["-c"]:
    raise ImportError("No module named 'helpers_of_my_tests'")


class NeedsItsTests(ToyBackend):
    """Needs modules that only its author's tests have on their path."""
