"""Whether the client itself was the bottleneck, so that the figures are its own and not the engine's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

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
WAITING_SHARE = 0.05
"""Share of the time in which the event loop's thread may wait for a processor."""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why figures can't be trusted."""

    kind: str
    """What was too much, the same in every trial."""
    value: float
    text: str


def reasons(trial: Trial, *, in_process: bool = False, concurrency_limited: bool = False) -> list[Reason]:
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
    allowed = max(LAG_FLOOR, LAG_SHARE * percentile(waits, 50)) if waits else LAG_FLOOR
    for observation in trial.observations:
        lag = observation.lag.get("p99", 0.0)
        if lag > allowed:
            text = f"the client's event loop ran late by {_ms(lag)} at the 99th percentile; {_ms(allowed)} are allowed"
            found.append(Reason(kind="lag", value=lag, text=text))
        busy = observation.cpu_share
        if busy > BUSY_SHARE and not in_process:
            found.append(Reason(kind="busy", value=busy, text=f"the client's thread used {busy:.0%} of a processor"))
        waiting = observation.waiting_share or 0.0
        if waiting > WAITING_SHARE and not in_process:
            text = f"the client's thread waited for a processor in {waiting:.0%} of the time"
            found.append(Reason(kind="waiting", value=waiting, text=text))
    if trial.offered is not None and not concurrency_limited:
        late = sorted(value for record in trial.records if (value := record.lateness) is not None and record.turn == 0)
        worst, most = percentile(late, 99) if late else 0.0, max(LATE_FLOOR, allowed)
        if worst > most:
            text = f"requests were sent {_ms(worst)} late at the 99th percentile; {_ms(most)} are allowed"
            found.append(Reason(kind="late", value=worst, text=text))
    return found


def merged(trials: Sequence[Sequence[Reason]]) -> list[str]:
    """The reasons of several trials: of each kind the worst, with the number of trials that it is true of."""
    kinds = dict.fromkeys(reason.kind for each in trials for reason in each)
    found = []
    for kind in kinds:
        some = [reason for each in trials for reason in each if reason.kind == kind]
        count = sum(any(reason.kind == kind for reason in each) for each in trials)
        worst = max(some, key=lambda reason: reason.value)
        found.append(worst.text if len(trials) == 1 else f"{worst.text} (the worst of {count} of {len(trials)} trials)")
    return found


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
