"""The benchmarks run: no figure is looked at, only that each side does its work."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from llamaforge import get_backend

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1: a bar is missed, as may be on a busy machine
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_the_front_door() -> None:
    found = json.loads(run("front_door.py", "--rounds", "1", "--json"))
    assert found["calls"][0][0]["generate"] > 0


def test_exact_text() -> None:
    assert json.loads(run("assembler.py", "--rounds", "1", "--json"))


def test_the_load_of_engines_and_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measuring import under_load
    from measuring.load import Ask

    rounds = [[Ask(f"{number} one two three", 2 + number)] * 3 for number in range(3)]
    with get_backend("echo")() as backend:
        backend.load_model("m")
        results = asyncio.run(under_load.benchmark(backend, rounds, 2, warmup=1).run())
        (level,) = results.levels
        sent = [[record.completion_tokens for record in trial.records] for trial in level.trials]
        assert sent == [[2, 2, 2], [3, 3, 3]]
        assert all(rate > 0 for rate in under_load.rates(results))
        assert under_load.rate(backend, rounds[2], 2, arrival_rate=500.0, seed=4) > 0
        with pytest.raises(RuntimeError, match="3 requests failed"):
            under_load.rate(backend, [Ask(" ", 2)] * 3, 2)


@pytest.mark.engine
def test_throughput_beside_the_peers(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    run("throughput.py", "--quick", "--case", "llama-one", "--json", str(figures))
    rows = json.loads(figures.read_text())["rows"]
    assert {row["case"] for row in rows} == {"llama.cpp, 1 caller"}
    assert all(figure > 0 for row in rows for figure in (*row["ours"], *row["theirs"]))
