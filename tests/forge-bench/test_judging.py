"""What is made of records: rates, objectives, validity, saturation, the server's counters. Nothing is timed here."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_bench import SLO, Level
from forge_bench.driver import Item, share
from forge_bench.metrics import summarize
from forge_bench.records import Call, Observation, Record, Trial
from forge_bench.sweep import knee, saturated
from forge_bench.targets.counters import difference, read_counters
from forge_bench.validity import merged, reasons
from llamaforge.errors import InvalidParameterError, UnknownParameterError


def record(
    index: int, *, at: float = 0.0, late: float = 0.0, first: float = 0.1, total: float = 0.5, **more: Any
) -> Record:
    sent = at + late
    return Record(
        index=index,
        intended=at,
        sent=sent,
        chunk_times=[sent + first, sent + total],
        end=sent + total,
        completion_tokens=more.pop("tokens", 5),
        prompt_tokens=10,
        **more,
    )


@given(st.integers(1, 30), st.integers(0, 30))
def test_failures_count_in_every_rate(good: int, bad: int) -> None:
    records = [record(number) for number in range(good)] + [record(good + number, error="no") for number in range(bad)]
    found = summarize([Trial(records=records, duration=2.0)], slo=SLO(e2e=1.0))
    assert found["error_rate"].mean == pytest.approx(bad / (good + bad))
    assert found["requests_per_second"].mean == pytest.approx(good / 2)
    assert found["output_tokens_per_second"].mean == pytest.approx(5 * good / 2)
    assert found["goodput"].mean == pytest.approx(good / 2)
    assert found["slo_share"].mean == pytest.approx(good / (good + bad))
    assert found["ttft"].count == good


def test_an_objective_counts_from_the_intended_arrival() -> None:
    slo = SLO(ttft=0.2)
    assert slo.kept(record(0))
    assert not slo.kept(record(0, late=0.15))
    assert not SLO(tpot=0.05).kept(record(0, total=0.9))  # 0.8 seconds for four tokens
    assert SLO(tpot=0.05).kept(record(0, tokens=1))
    assert not SLO(ttft=1).kept(Record(index=0, intended=0, sent=0, end=1.0))


def test_objectives_that_are_none() -> None:
    assert SLO.read(None) is None
    with pytest.raises(UnknownParameterError, match="ttft"):
        SLO.read({"ttf": 1})
    for value in (0, -1, "fast", True):
        with pytest.raises(InvalidParameterError, match="seconds, above 0"):
            SLO.read({"e2e": value})  # type: ignore[dict-item]


def test_without_usage_there_are_no_tokens() -> None:
    records = [record(0), record(1, tokens=None)]
    found = summarize([Trial(records=records, duration=1.0)])
    assert "output_tokens_per_second" not in found
    assert found["requests_per_second"].mean == 2


def test_figures_over_trials_have_intervals_and_their_trials() -> None:
    trials = [Trial(records=[record(0, first=first)], duration=1.0) for first in (0.1, 0.2, 0.3)]
    metric = summarize(trials)["ttft"]
    assert metric.trials["p50"] == pytest.approx([0.1, 0.2, 0.3])
    low, high = metric.intervals["mean"]
    assert 0.1 <= low < 0.2 < high <= 0.3
    assert summarize(trials[:1])["ttft"].intervals == {}


QUIET = Observation(lag={"p99": 0.0005}, cpu_share=0.1, waiting_share=0.01)


def trial(*, observation: Observation = QUIET, late: float = 0.0, offered: float | None = None) -> Trial:
    records = [record(number, at=float(number), late=late) for number in range(20)]
    return Trial(records=records, duration=20.0, observations=[observation], offered=offered)


@pytest.mark.parametrize(
    ("given_trial", "settings", "said"),
    [
        (trial(), {}, None),
        (trial(observation=Observation(lag={"p99": 0.009})), {}, None),  # a tenth of the time to the first token
        (trial(observation=Observation(lag={"p99": 0.011})), {}, "event loop ran late by 11.0 ms"),
        (trial(observation=Observation(cpu_share=0.95)), {}, "used 95% of a processor"),
        (trial(observation=Observation(cpu_share=0.95)), {"in_process": True}, None),
        (trial(observation=Observation(waiting_share=0.3)), {}, "waited for a processor in 30%"),
        (trial(late=0.02), {}, None),
        (trial(late=0.02, offered=1.0), {}, "sent 20.0 ms late"),
        (trial(late=0.02, offered=1.0), {"concurrency_limited": True}, None),
        (trial(late=0.004, offered=1.0), {}, None),
    ],
)
def test_a_client_that_was_the_bottleneck_is_told(
    given_trial: Trial, settings: dict[str, bool], said: str | None
) -> None:
    found = reasons(given_trial, **settings)
    assert (said is None) == (not found)
    assert said is None or said in found[0].text


def test_trials_are_judged_together() -> None:
    lags = [0.05, 0.0001, 0.09]
    trials = [trial(observation=Observation(lag={"p99": lag})) for lag in lags]
    (said,) = merged([reasons(each) for each in trials])
    assert "90.0 ms" in said
    assert "2 of 3 trials" in said
    assert merged([reasons(trials[1])]) == []


def level(
    rate: float, done: float, *, first: float = 0.1, share_kept: float | None = None, span: float = 100.0
) -> Level:
    """A level with *rate* arrivals a second, of which *done* a second were answered."""
    count = round(rate * span)
    records = [record(number, at=number / rate, first=first, total=first + 0.1) for number in range(count)]
    slo = None if share_kept is None else SLO(ttft=10)
    measured = Trial(records=records, duration=count / done, offered=rate)
    metrics = summarize([measured], slo=slo)
    if share_kept is not None:
        metrics["slo_share"].mean = share_kept
    return Level(arrival_rate=rate, metrics=metrics, trials=[measured])


def test_the_knee_is_the_last_level_that_keeps_up() -> None:
    levels = [level(1, 1), level(2, 2), level(4, 3.97), level(8, 5)]
    assert [saturated(levels[: n + 1]) for n in range(4)] == [False, False, False, True]
    assert knee(levels) == 2
    assert knee(levels[:1]) == 0
    assert knee([level(8, 5)]) is None


def test_objectives_and_queues_saturate_too() -> None:
    assert knee([level(1, 1), level(2, 2, share_kept=0.9)]) == 0
    assert knee([level(1, 1), level(2, 2, first=1.5)]) == 0


def test_a_short_trial_is_not_taken_for_saturation() -> None:
    """Ten requests in one second whose last one takes two seconds more: 3.3 a second, and still no queue."""
    records = [record(number, at=number / 10, first=1.0, total=2.0) for number in range(10)]
    measured = Trial(records=records, duration=2.9, offered=10.0)
    one = Level(arrival_rate=10.0, metrics=summarize([measured]), trials=[measured])
    assert not saturated([one])


def at_once(places: int, throughput: float) -> Level:
    measured = Trial(records=[record(0, tokens=round(throughput))], duration=1.0)
    return Level(concurrency=places, metrics=summarize([measured]), trials=[measured])


def test_more_at_once_saturates_when_nothing_is_gained() -> None:
    levels = [at_once(1, 100), at_once(2, 190), at_once(4, 300), at_once(8, 305), at_once(16, 200)]
    assert knee(levels) == 2
    assert knee(levels[:3]) == 2


@given(st.integers(1, 40), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 20)))
def test_workers_share_everything(count: int, workers: int, concurrency: int | None) -> None:
    items = [Item(call=Call(prompt="x"), index=index) for index in range(count)]
    plans = share(items, concurrency, workers)
    sent = sorted(item.index for plan in plans for item in plan.items)
    if concurrency is None or concurrency >= workers:
        assert sent == list(range(count))
    assert sum(plan.concurrency or 0 for plan in plans) <= (concurrency or 0)
    assert all(plan.items and plan.concurrency != 0 for plan in plans)


PAGE = """
# HELP vllm:request_queue_time_seconds Time in the queue.
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{le="0.3",model_name="m"} 3.0
vllm:request_queue_time_seconds_count{model_name="m"} 4.0
vllm:request_queue_time_seconds_sum{model_name="m"} 0.5
vllm:spec_decode_num_draft_tokens_total{model_name="a}b"} 100
vllm:spec_decode_num_draft_tokens_total{model_name="n"} 20
vllm:spec_decode_num_accepted_tokens_total 60
vllm:prefix_cache_hits_total{model_name="m"} nonsense
"""


def test_counters_of_a_server() -> None:
    found = read_counters(PAGE)
    assert found == {"queue_requests": 4, "queue_seconds": 0.5, "drafted_tokens": 120, "accepted_tokens": 60}
    assert difference(found, {**found, "queue_requests": 6, "accepted_tokens": 10}) == {
        "queue_requests": 2,
        "queue_seconds": 0,
        "drafted_tokens": 0,
    }
    counted = {
        "queue_requests": 2.0,
        "queue_seconds": 0.5,
        "drafted_tokens": 10.0,
        "accepted_tokens": 4.0,
        "cache_queries": 8.0,
        "cache_hits": 2.0,
    }
    metrics = summarize([Trial(records=[record(0)], duration=1.0, counters=counted)])
    assert (metrics["mean_queueing"].mean, metrics["acceptance"].mean, metrics["cached_share"].mean) == (
        0.25,
        0.4,
        0.25,
    )
