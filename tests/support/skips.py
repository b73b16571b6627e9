"""Skipped checks in what pytest printed with ``-rs``."""

from __future__ import annotations


def unexplained_skips(printed: str) -> list[str]:
    """Lines about skipped tests, but for checks of the kit that say that they could not measure anything."""
    skipped = [line for line in printed.splitlines() if line.startswith("SKIPPED")]
    return [line for line in skipped if "could not be measured: " not in line]
