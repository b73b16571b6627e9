"""Whether the client itself was the bottleneck, so that the figures are its own and not the engine's."""

from __future__ import annotations

from collections.abc import Sequence

from .records import Trial
from .statistics import percentile

LAG_FLOOR = 0.002
"""Seconds of lag of the event loop that are always allowed, at the 99th percentile."""
LAG_SHARE = 0.1
"""Allowed lag, as a share of the median time to the first token."""
LATE_FLOOR = 0.005
"""Seconds by which sends may always be late, at the 99th percentile."""
BUSY_SHARE = 0.9
"""Share of a processor above which the event loop's thread is as fast as it can be."""
WAITING_SHARE = 0.1
"""Share of the time in which the event loop's thread may wait for a processor."""


def reasons(trial: Trial, *, in_process: bool = False, concurrency_limited: bool = False) -> list[str]:
    """Why the figures of *trial* can't be trusted. Empty if they can.

    The event loop's lag is what tells a starved client, and every time that was noted is wrong by as much; the share of
    a processor doesn't tell, because a starved client uses little.

    Args:
        in_process: the engine computes in this process, so that its thread may well be busy.
        concurrency_limited: requests wait for room, as asked, so that late sends are the engine's doing.
    """
    found = []
    waits = sorted(
        record.chunk_times[0] - record.sent
        for record in trial.records
        if record.chunk_times and record.sent is not None
    )
    median = percentile(waits, 50) if waits else 0.0
    allowed = max(LAG_FLOOR, LAG_SHARE * median)
    for observation in trial.observations:
        lag = observation.lag.get("p99", 0.0)
        if lag > allowed:
            found.append(
                f"the client's event loop ran late by {lag * 1e3:.1f} ms at the 99th percentile; "
                f"{allowed * 1e3:.1f} ms are allowed"
            )
        if observation.cpu_share > BUSY_SHARE and not in_process:
            found.append(f"the client's thread used {observation.cpu_share:.0%} of a processor")
        waiting = observation.waiting_share
        if waiting is not None and waiting > WAITING_SHARE and not in_process:
            found.append(f"the client's thread waited for a processor in {waiting:.0%} of the time")
    if trial.offered is not None and not concurrency_limited:
        late = sorted(value for record in trial.records if (value := record.lateness) is not None and record.turn == 0)
        late_allowed = max(LATE_FLOOR, allowed)
        if late and percentile(late, 99) > late_allowed:
            found.append(
                f"requests were sent {percentile(late, 99) * 1e3:.1f} ms late at the 99th percentile; "
                f"{late_allowed * 1e3:.1f} ms are allowed"
            )
    return list(dict.fromkeys(found))


def merged(trials: Sequence[Sequence[str]]) -> list[str]:
    """The reasons of several trials, each said with the number of its trial."""
    return [f"trial {number}: {reason}" for number, each in enumerate(trials, 1) for reason in each]
