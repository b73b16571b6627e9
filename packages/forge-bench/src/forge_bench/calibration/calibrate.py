"""How far this machine's figures can be trusted: known delays, and what the benchmark makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..benchmark import Benchmark
from ..loads import Synthetic
from ..records import Trial
from ..results import Level
from ..statistics import percentile
from .server import Delays, running

_TTFT, _TPOT = 0.1, 0.01
_STREAMS = 4
_RATE = 500.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One figure whose value is known."""

    name: str
    known: float
    measured: float
    allowed: float
    """By how much they may differ."""
    unit: str

    @property
    def passed(self) -> bool:
        """Whether it does."""
        return abs(self.measured - self.known) <= self.allowed


class CalibrationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`calibrate` found."""

    checks: list[Check]
    read_delay: dict[str, float]
    """Seconds between a chunk's sending by the server and the client's note of it: p50, p99. The client's own error,
    the way through the system included."""
    reasons: list[str]
    """Why the client's figures can't be trusted at the moment."""

    @property
    def trustworthy(self) -> bool:
        """Whether every check passed and the client was no bottleneck."""
        return not self.reasons and all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        for check, made in zip(self.checks, built["checks"], strict=True):
            made["passed"] = check.passed
        return {**built, "trustworthy": self.trustworthy}


async def calibrate(
    *, requests: int = 12, trials: int = 1, progress: Callable[[str], None] | None = None
) -> CalibrationReport:
    """Measure a server with known delays: 1, 4 and 16 tokens a chunk, then 500 requests a second.

    Args:
        requests: for each number of tokens a chunk; of the second part 40 times as many.
        trials: of each.
        progress: called with a line of text now and then.
    """
    checks: list[Check] = []
    reads: list[float] = []
    reasons: list[str] = []
    for tokens in (1, 4, 16):
        with running(Delays(ttft=_TTFT, tpot=_TPOT, tokens_per_chunk=tokens)) as url:
            results = await Benchmark(
                url,
                dataset=Synthetic(prompt_tokens=32, output_tokens=64),
                concurrency=_STREAMS,
                runs=requests,
                trials=trials,
                progress=progress,
            ).run()
        (level,) = results.levels
        reads += _reads(level)
        reasons += level.reasons
        if tokens == 1:
            checks.append(_check("TTFT, p50", _TTFT, level, "ttft", max(0.001, 0.01 * _TTFT)))
        checks.append(_check(f"TPOT, p50, {tokens} a chunk", _TPOT, level, "tpot", 0.01 * _TPOT))
    with running(Delays(ttft=0.01, tpot=0.001, tokens=1)) as url:
        results = await Benchmark(
            url,
            dataset=Synthetic(prompt_tokens=32, output_tokens=1),
            mode="serve",
            arrival_rate=_RATE,
            arrival_pattern="constant",
            runs=requests * 40,
            trials=trials,
            progress=progress,
        ).run()
    (level,) = results.levels
    reads += _reads(level)
    late = [record.lateness or 0.0 for trial in level.trials for record in trial.records]
    share = sum(value <= 0.001 for value in late) / len(late)
    checks.append(
        Check(name=f"sent at most 1 ms late, {_RATE:g} a second", known=1.0, measured=share, allowed=0.01, unit="share")
    )
    reads.sort()
    return CalibrationReport(
        checks=checks,
        read_delay={"p50": percentile(reads, 50), "p99": percentile(reads, 99)},
        reasons=list(dict.fromkeys(reasons)),
    )


def _check(name: str, known: float, level: Level, metric: str, allowed: float) -> Check:
    measured = level.metrics[metric].p50 or 0.0
    return Check(name=name, known=known, measured=measured, allowed=allowed, unit="s")


def _reads(level: Level) -> list[float]:
    return [delay for trial in level.trials for delay in read_delays(trial)]


def read_delays(trial: Trial) -> list[float]:
    """Seconds between sending and noting, for each chunk of a calibration server on this machine."""
    return [
        read - sent
        for record in trial.records
        for read, sent in zip(record.chunk_times, record.server_times, strict=False)
    ]
