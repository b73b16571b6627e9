"""Short runs of benchmarks/serve_fuzz.py and benchmarks/serve_soak.py. The long ones are for hands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.engine
def test_made_up_requests_do_no_harm() -> None:
    done = run("serve_fuzz.py", "--count", "1500", "--clients", "8")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "0 findings" in done.stdout


@pytest.mark.engine
def test_clients_who_come_and_go() -> None:
    done = run("serve_soak.py", "--minutes", "0.15", "--clients", "12", "--json")
    assert done.returncode in (0, 1), done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert not found["wrong"], found["wrong"]
    assert any(ending.endswith("answered") for ending in found["endings"])
