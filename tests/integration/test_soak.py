"""A short run of benchmarks/soak.py: callers who come and go at random. The long one is for hands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


MIB = {"llama.cpp": 48, "huggingface": 200}
"""What memory may grow by meanwhile. A request that leaves its text's state behind takes megabytes each time. torch
takes 140 MiB in the first hundreds of requests, for compiled kernels up to their limit, and no more afterwards."""


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
    assert found["growth"] < MIB[engine]
