"""The kit catches what it claims to catch: each broken backend, at the checks meant for it; and its sound twin passes.

All runs in one pytest session of its own, in a process of its own: broken backends leave threads, locks and files.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from llamaforge.testing import BackendConformance
from llamaforge.testing.defects import DEFECTS, Defect

SUITE = """
from llamaforge.testing.defects import DEFECTS

for number, defect in enumerate(DEFECTS):
    globals()[f"TestBroken{number}"] = defect.conformance(defect.broken_class())
    globals()[f"TestSound{number}"] = defect.conformance(defect.sound_class())
"""

Outcomes = dict[tuple[str, str], tuple[str, str]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Class and check to outcome and message, of all the checks that matter."""
    folder = tmp_path_factory.mktemp("defects")
    (folder / "test_all.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    nodes = [
        f"test_all.py::Test{kind}{number}::{check}\n"
        for number, defect in enumerate(DEFECTS)
        for kind in ("Broken", "Sound")
        for check in defect.checks
    ]
    (folder / "nodes").write_text("".join(nodes))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=report.xml", "@nodes"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 1, done.stdout[-5000:] + done.stderr[-5000:]
    return read_report(folder / "report.xml")


def read_report(report: Path) -> Outcomes:
    found: Outcomes = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        key = case.get("classname", "").rpartition(".")[2], case.get("name", "")
        failures = [part for part in case if part.tag in ("failure", "error", "skipped")]
        kind, message = ("passed", "") if not failures else (failures[0].tag, failures[0].text or "")
        found[key] = kind, message
    return found


@pytest.mark.parametrize(
    ("number", "defect"), list(enumerate(DEFECTS)), ids=[each.name.replace(" ", "-") for each in DEFECTS]
)
def test_a_defect_is_caught(number: int, defect: Defect, outcomes: Outcomes) -> None:
    for check in defect.checks:
        kind, message = outcomes[f"TestBroken{number}", check]
        assert kind == "failure", f"{check} lets {defect.target} pass: {kind} {message}"
        assert "expected: " in message, message
        assert "came:     " in message, message


@pytest.mark.parametrize(
    ("number", "defect"), list(enumerate(DEFECTS)), ids=[each.name.replace(" ", "-") for each in DEFECTS]
)
def test_its_sound_twin_passes(number: int, defect: Defect, outcomes: Outcomes) -> None:
    for check in defect.checks:
        assert outcomes[f"TestSound{number}", check] == ("passed", "")


def test_the_catalogue_is_as_large_as_it_should_be() -> None:
    assert len(DEFECTS) >= 25
    assert not [name for name, count in Counter(each.name for each in DEFECTS).items() if count > 1]


def test_every_check_named_is_one_of_the_kit() -> None:
    checks = BackendConformance.checks()
    assert {check for defect in DEFECTS for check in defect.checks} <= set(checks)


def test_most_checks_are_known_to_catch_something() -> None:
    """Those that don't hold the base class to its word: what a plugin can hardly break."""
    caught = {check for defect in DEFECTS for check in defect.checks}
    print(f"{len(caught)} of {len(BackendConformance.checks())} checks catch one of {len(DEFECTS)} defects")
    assert len(caught) >= 0.6 * len(BackendConformance.checks())
