"""What a server counts of its own accord: queueing, guesses, cache hits; Prometheus' figures at ``/metrics``.

They are the server's own sums, so requests of other clients are in them. Names:
https://docs.vllm.ai/en/latest/usage/metrics/ and https://huggingface.co/docs/text-generation-inference/reference/metrics
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "queue_seconds": ("vllm:request_queue_time_seconds_sum", "tgi_request_queue_duration_sum"),
    "queue_requests": ("vllm:request_queue_time_seconds_count", "tgi_request_queue_duration_count"),
    "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
    "drafted_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
    "cache_hits": ("vllm:prefix_cache_hits_total",),
    "cache_queries": ("vllm:prefix_cache_queries_total",),
}
"""Our names, and the servers'."""


def read_counters(text: str) -> dict[str, float]:
    """Our counters among the lines of a page in Prometheus' text format; values of several labels are added up."""
    found: dict[str, float] = {}
    names = {source: name for name, sources in _SOURCES.items() for source in sources}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        source = line.partition("{")[0].partition(" ")[0]
        name = names.get(source)
        if name is None:
            continue
        value = line.rpartition("}")[2].split() if "{" in line else line.split()[1:]
        try:
            found[name] = found.get(name, 0.0) + float(value[0])
        except (IndexError, ValueError):
            continue
    return found


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was counted meanwhile. A counter that fell belongs to a server that was restarted, and is left out."""
    return {name: after[name] - before[name] for name in before.keys() & after.keys() if after[name] >= before[name]}
