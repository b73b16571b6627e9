"""What ``llamaforge doctor`` shows of this engine."""

from __future__ import annotations

import importlib.util


def probe() -> dict[str, list[str]]:
    """Which devices it can use. It runs in a process of its own, so that an engine may even crash here."""
    compressed = importlib.util.find_spec("zlib") is not None
    return {
        "compiled": ["nothing: it is Python alone"],
        "visible": ["the processor"],
        "used": ["the processor"],
        "advice": [] if compressed else ["This Python has no zlib, so .arpa.gz files can't be read: unpack them."],
    }
