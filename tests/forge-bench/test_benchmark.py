"""Whole benchmarks, of a server with known delays and of backends. No upper bound of any time is asserted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forge_bench import Benchmark, Prompts, Results, Synthetic
from forge_bench.calibration.server import Delays, running
from llamaforge import LlamaForge, get_backend
from llamaforge.backends.echo import EchoConfig
from llamaforge.errors import ConflictingParametersError, GenerationError, InvalidParameterError, LlamaForgeError

QUICK = Delays(ttft=0.02, tpot=0.001, tokens=8, tokens_per_chunk=4)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running(QUICK) as url:
        yield url


def measure(*arguments: Any, **settings: Any) -> Results:
    return asyncio.run(Benchmark(*arguments, **settings).run())


def records(results: Results, level: int = 0) -> list[Any]:
    return [record for trial in results.levels[level].trials for record in trial.records]


def test_every_request_is_sent_and_counted(server: str) -> None:
    results = measure(
        server, dataset=Synthetic(prompt_tokens=20, output_tokens=10), concurrency=[1, 3], runs=5, trials=2
    )
    assert [level.concurrency for level in results.levels] == [1, 3]
    for number, level in enumerate(results.levels):
        found = records(results, number)
        assert len(found) == 10
        assert all(record.succeeded for record in found)
        assert {record.prompt_tokens for record in found} == {20}
        assert {record.completion_tokens for record in found} == {10}
        assert {len(record.chunk_times) for record in found} == {3}
        assert {record.tokens_of_first_chunk for record in found} == {4}
        assert min(record.ttft for record in found) >= 0.02
        assert level.metrics["error_rate"].mean == 0
        assert level.metrics["ttft"].count == 10
        assert set(level.metrics["ttft"].intervals) == {"mean", "p50", "p90", "p95", "p99"}
    assert results.settings["wording"]["overhead"] == 3


def test_no_more_than_asked_for_are_under_way_at_once(server: str) -> None:
    results = measure(server, dataset=Synthetic(prompt_tokens=8, output_tokens=8), concurrency=2, runs=8, trials=1)
    moments = sorted(
        [(record.sent, 1) for record in records(results)] + [(record.end, -1) for record in records(results)]
    )
    at_once = most = 0
    for _, step in moments:
        at_once += step
        most = max(most, at_once)
    assert most == 2


def test_arrivals_are_as_scheduled_whatever_the_server_does(server: str) -> None:
    results = measure(
        server,
        dataset=Synthetic(prompt_tokens=8, output_tokens=8),
        mode="serve",
        arrival_rate=[50, 100],
        arrival_pattern="constant",
        runs=10,
        trials=1,
        slo={"e2e": 30},
    )
    for level, rate in zip(results.levels, (50, 100), strict=True):
        (trial,) = level.trials
        assert [record.intended for record in trial.records] == pytest.approx([n / rate for n in range(10)], abs=1e-6)
        assert all(record.lateness >= -1e-6 for record in trial.records)
        assert level.metrics["slo_share"].mean == 1
        assert "lateness" in level.metrics


def test_a_stall_is_not_hidden() -> None:
    """The server stands still for half a second: who should have been sent meanwhile has waited for it."""
    with running(Delays(ttft=0.0, tokens=1, stall_after=5, stall=0.5)) as url:
        results = measure(
            url,
            prompts=[f"Number {number}" for number in range(40)],
            mode="serve",
            arrival_rate=100,
            arrival_pattern="constant",
            warmup=0,
            trials=1,
            sampling={"max_tokens": 1},
            concurrency=1,
        )
    found = records(results)
    begun = found[4].sent
    for record in found[5:]:
        assert record.ttft >= begun + 0.5 - record.intended - 0.001
    assert found[5].ttft > 0.45


def test_failures_are_in_the_rates() -> None:
    with running(Delays(ttft=0.0, tokens=2, fail_every=4)) as url:
        results = measure(
            url,
            prompts=[f"Number {number}" for number in range(8)],
            warmup=0,
            trials=1,
            slo={"e2e": 60},
            sampling={"max_tokens": 2},
        )
    (level,) = results.levels
    assert level.metrics["error_rate"].mean == pytest.approx(0.25)
    assert level.metrics["slo_share"].mean == pytest.approx(0.75)
    assert level.metrics["ttft"].count == 6
    assert any("2 of 8 requests failed" in note and "on purpose" in note for note in results.notes)


def test_a_server_that_answers_nothing_is_an_error() -> None:
    with running(Delays(fail_every=1)) as url, pytest.raises(GenerationError, match="fails on purpose"):
        measure(url, prompts=["Hello"], runs=3)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(LlamaForgeError, match=r"127\.0\.0\.1:9"):
        measure("http://127.0.0.1:9", prompts=["Hello"])


def test_workers_share_the_load(server: str) -> None:
    results = measure(
        server,
        dataset=Synthetic(prompt_tokens=8, output_tokens=8),
        mode="serve",
        arrival_rate=200,
        runs=20,
        trials=2,
        workers=2,
    )
    found = records(results)
    assert Counter(record.worker for record in found) == {0: 20, 1: 20}
    assert [record.index for record in results.levels[0].trials[0].records] == list(range(20))
    assert len(results.levels[0].trials[0].observations) == 2
    assert all(record.succeeded for record in found)


def test_an_engine_in_this_process() -> None:
    results = measure(EchoConfig(), prompts=["one two three", "four five six seven"], runs=4, trials=2, warmup=1)
    found = records(results)
    assert Counter(record.completion_tokens for record in found).keys() <= {3, 4, 5}  # with the mark of a repeated one
    assert results.engine["backend"] == "echo"
    assert results.levels[0].metrics["queueing"].count == 8


@pytest.mark.parametrize("kind", ["mapping", "backend", "name"])
def test_what_can_be_measured(kind: str, tmp_path: Path) -> None:
    with LlamaForge(tmp_path / "models.toml") as forge, get_backend("echo")() as backend:
        forge.add_model("mine", "anything", "echo")
        backend.load_model("anything")
        what: Any = {"mapping": {"type": "echo"}, "backend": backend, "name": "mine"}[kind]
        results = measure(what, prompts=["Hello there"], trials=1, warmup=0, forge=forge if kind == "name" else None)
        assert backend.is_model_loaded()
    assert [record.completion_tokens for record in records(results)] == [2]
    assert results.target.startswith("echo (")


def test_as_many_are_under_way_as_are_wanted() -> None:
    """However few prompts there are."""
    results = measure({"type": "echo", "delay": 0.01}, prompts=["a b", "c d"], concurrency=[1, 8], trials=1, warmup=0)
    assert [len(level.trials[0].records) for level in results.levels] == [2, 16]
    sent = sorted(record.sent or 0.0 for record in results.levels[1].trials[0].records)
    first_end = min(record.end or 0.0 for record in results.levels[1].trials[0].records)
    assert sent[7] <= first_end
    assert not any("under way" in note for note in results.notes)


def test_too_few_requests_are_noted() -> None:
    results = measure({"type": "echo"}, prompts=["a"], concurrency=[4], runs=3, trials=2, warmup=0)
    assert "With 3 requests in a trial, 4 were never under way at once." in results.notes


def test_a_conversation_goes_on_with_its_answers() -> None:
    given = [{"role": "user", "content": "first"}]
    load = Synthetic(prompt_tokens=4, output_tokens=4, turns=3)
    results = measure(EchoConfig(), dataset=load, runs=2, trials=1, warmup=0)
    found = records(results)
    assert [(record.index, record.turn) for record in found] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert found[0].prompt_tokens < found[1].prompt_tokens < found[2].prompt_tokens  # the history grows
    assert found[1].intended >= found[0].end
    results = measure(EchoConfig(), dataset=Prompts([given]), trials=1, warmup=0)
    assert records(results)[0].completion_tokens == 1


def test_it_may_be_cancelled(server: str) -> None:
    async def main() -> None:
        load = Synthetic(prompt_tokens=8, output_tokens=2000)
        task = asyncio.create_task(Benchmark(server, dataset=load, runs=100, warmup=0).run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "fast"}, "mode must be"),
        ({"mode": "serve"}, "needs arrival_rate"),
        ({"arrival_rate": 3}, "arrival_rate has no meaning"),
        ({"concurrency": [0]}, "concurrency must be"),
        ({"concurrency": []}, "concurrency must be"),
        ({"mode": "serve", "arrival_rate": -1}, "arrival_rate must be"),
        ({"mode": "serve", "arrival_rate": 1, "arrival_pattern": "trace"}, "no timestamps"),
        ({"trials": 0}, "trials must be"),
        ({"trials": "3"}, "trials must be"),
        ({"runs": True}, "runs must be"),
        ({"seed": "x"}, "seed must be"),
        ({"confidence_level": 95}, "confidence_level must be"),
        ({"confidence_level": "0.9"}, "confidence_level must be"),
        ({"timeout": "10"}, "timeout must be"),
        ({"burstiness": "x"}, "burstiness must be"),
        ({"time_scale": float("nan")}, "time_scale must be"),
        ({"slo": {"tftt": 1}}, "ttft"),
        ({"slo": {"ttft": 0}}, "slo.ttft must be"),
        ({"sampling": {"temprature": 1}}, "temperature"),
        ({"dataset": "x.jsonl"}, "dataset"),
        ({"prompts": "Hello"}, "a list of prompts"),
    ],
)
def test_mistakes_are_said_before_anything_is_loaded(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidParameterError, ConflictingParametersError, LlamaForgeError), match=message):
        Benchmark("nowhere", **{"prompts": ["Hello"], **settings})


@pytest.mark.parametrize("backend", [3, {"model": "m"}, object()])
def test_what_can_not_be_measured(backend: object) -> None:
    with pytest.raises(InvalidParameterError, match="backend must be"):
        measure(backend, prompts=["Hello"])
