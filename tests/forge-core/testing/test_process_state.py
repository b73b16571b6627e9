"""The kit puts the process's state back."""

from __future__ import annotations

import warnings
from typing import Any

from llamaforge.testing.process_state import put_back, read_state


def test_warning_filters_that_are_put_back_count_at_once() -> None:
    once: dict[Any, Any] = {}

    def warn() -> None:
        warnings.warn_explicit("twice", UserWarning, "somewhere.py", 1, registry=once)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        before = read_state()
        warn()
        warn()
        assert len(seen) == 1
        warnings.filters[:] = [("ignore", None, UserWarning, None, 0)]
        put_back(before)
        warn()
        assert len(seen) == 2
