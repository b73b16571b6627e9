"""How much memory a model takes, by the buffers that llama.cpp says it makes while it loads.

No function tells where they are; the log does, one line for each kind and device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from llamaforge.backends.memory import MemoryUsage

_BUFFER: Final = re.compile(r"\b(?P<device>\S+) +(?P<kind>\S+) buffer size = +(?P<size>[\d.]+) MiB")
_HOST: Final = re.compile(r"CPU|BLAS|AMX|.*_Host$|.*_Pinned$", re.DOTALL)
"""What ggml calls main memory: its processor's buffers, and those from which a device copies."""


def usage(lines: Iterable[str], *, model_size: int, swapped: int) -> MemoryUsage:
    """The memory of a model.

    Args:
        lines: llama.cpp's log of the loading.
        model_size: bytes of all weights, which count as host memory where the log says nothing of them.
        swapped: bytes of sequences that are kept outside of the context.
    """
    sizes: dict[str, int] = {}
    weights: dict[str, int] = {}
    for line in lines:
        for found in _BUFFER.finditer(line):
            part = weights if found["kind"] == "model" else sizes
            part[found["device"]] = part.get(found["device"], 0) + round(float(found["size"]) * 2**20)
    if all(_HOST.match(device) for device in weights):  # then it is known to the byte
        weights = {"CPU": model_size}
    totals: dict[str, int] = {}
    for device, size in [*weights.items(), *sizes.items(), ("CPU", swapped)]:
        name = "CPU" if _HOST.match(device) else device
        totals[name] = totals.get(name, 0) + size
    host = totals.pop("CPU", 0)
    return MemoryUsage(host=host, devices=totals, measured=True)
