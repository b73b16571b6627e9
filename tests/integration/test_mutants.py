"""benchmarks/mutants.py on a tiny project: what a test sees is killed, what none can see isn't counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MUTANTS = Path(__file__).resolve().parents[2] / "benchmarks" / "mutants.py"

AREAS = """
paths = ["src"]
[area.tiny]
modules = ["src/tiny_subject.py"]
kit = ["test_kit.py"]
own = ["test_own.py"]
bar = 100
"""
EQUIVALENT = """
[[equivalent]]
module = "tiny_subject.py"
function = "larger"
before = "return one if one > other else other"
after = "return one if one >= other else other"
reason = "Of equal numbers it is all the same which one is returned."

[[equivalent]]
module = "tiny_subject.py"
function = "larger"
before = "return 1"
after = "return 2"
reason = "There is no such line any more."
"""
SUBJECT = """
def larger(one, other):
    return one if one > other else other

def down(start):
    left = start
    while left > 0:
        left = left - 1
    return left
"""


def measure(root: Path, *options: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, str(MUTANTS), "--root", str(root), "--areas", str(root / "areas.toml")]
    quick = ["--jobs", "1", "--least-cpu", "2"]
    files = ["--equivalents", str(root / "equivalent.toml"), "--results", str(root / "results.jsonl")]
    done = subprocess.run([*command, *quick, *files, "--json", *options], capture_output=True, text=True, timeout=300)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_mutants_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "tiny_subject.py").write_text(SUBJECT)
    (tmp_path / "test_kit.py").write_text(
        "from tiny_subject import larger\n\ndef test_larger():\n    assert (larger(1, 2), larger(4, 3)) == (2, 4)\n"
    )
    (tmp_path / "test_own.py").write_text(
        "from tiny_subject import down\n\ndef test_down():\n    assert down(3) == 0\n"
    )
    (tmp_path / "areas.toml").write_text(AREAS)
    (tmp_path / "equivalent.toml").write_text(EQUIVALENT)

    status, found = measure(tmp_path)
    area = found["areas"]["tiny"]
    fates = {fate.splitlines()[-1].strip("+ "): became for fate, became in area["fates"].items()}
    assert fates["return one if (one > other) and False else other"] == "failed: test_kit.py::test_larger"
    assert fates["return one if one >= other else other"].startswith("equivalent: Of equal numbers")
    assert fates["while left > 1:"] == "failed: test_own.py::test_down"
    assert fates["left = left + 1"].partition(":")[0] in ("busy", "hung")  # it never ends
    assert area["equivalent"] == 1
    assert area["survived"] == 0
    assert area["killed %"] == 100
    assert [each["after"] for each in found["stale"]] == ["return 2"]
    assert status == 1  # for the stale entry

    # What has been found holds until something changes: with a blind test, more live.
    (tmp_path / "equivalent.toml").write_text(EQUIVALENT.partition("\n\n")[0])
    assert measure(tmp_path)[0] == 0
    (tmp_path / "test_kit.py").write_text("def test_nothing():\n    pass\n")
    status, found = measure(tmp_path, "--function", "larger")
    assert status == 1
    assert found["areas"]["tiny"]["survived"] == found["areas"]["tiny"]["mutants"] - 1
