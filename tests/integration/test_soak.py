"""A short run of benchmarks/soak.py: callers who come and go at random. The long one is for hands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["llama.cpp", "huggingface"])
def test_every_request_ends_once(engine: str) -> None:
    command = [sys.executable, str(SOAK), "--small", "--minutes", "0.25", "--engine", engine, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode in (0, 1), run.stderr
    found = json.loads(run.stdout)[engine]
    assert not found["stuck"], run.stderr
    assert not found["wrong"]
    assert found["answers_afterwards"]
    endings = found["endings"]
    whole = sum(count for ending, count in endings.items() if ending in ("whole: length", "whole: stop"))
    left = sum(count for ending, count in endings.items() if ending.startswith("leaves: left"))
    refused = sum(count for ending, count in endings.items() if ending.startswith("bad: "))
    assert whole >= 5
    assert left
    assert refused
    # Caches still fill. A request that left its texts' state behind would take megabytes each time.
    assert found["growth"] < 48, "MiB"
