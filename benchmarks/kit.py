"""The conformance kit: how many checks, what they cost against the echo backend, and what they catch.

    hatch run bench:kit
    hatch run bench:kit --false-alarms 200
    hatch run bench:kit --false-alarms 200 --seconds 200

A run takes some ten seconds on each backend, and there are about twenty of them: 200 rounds are a day's work.

Times are of whole processes of pytest, its own start included, the best of several rounds. The bar: under 5 seconds.
The score is over the catalogue of defective backends: each has to fail at every check meant for it, by what that check
says, and its sound twin has to pass there. No engine is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from llamaforge import BaseBackend, __version__
from llamaforge.testing import BackendConformance
from llamaforge.testing.defects import DEFECTS
from llamaforge.testing.defects.proof import Outcome, prove, run_all
from llamaforge.testing.fakes import AsyncToyBackend, BasicToyBackend, QueueingToyBackend, ToyBackend, shapes

BAR = 5.0
ECHO = """
from llamaforge.testing import BackendConformance

class TestEcho(BackendConformance):
    backend = "echo"
    model = "anything"
"""


def seconds_against_echo() -> tuple[float, str]:
    """Wall time of a whole run of pytest, and its last line. Raises CalledProcessError where a check fails."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_echo.py").write_text(ECHO, encoding="utf-8")
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        start = time.perf_counter()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        # Whatever other plugins are installed have a price of their own.
        alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(command, cwd=folder, env=alone, check=True, capture_output=True, text=True)
        return time.perf_counter() - start, done.stdout.strip().splitlines()[-1]


def score(outcomes: list[Outcome]) -> dict[str, int]:
    """Of how many defects all outcomes are right, the broken backend's and its sound twin's."""
    wrong = {(outcome.defect, outcome.kind) for outcome in outcomes if not outcome.right}
    counts = Counter(kind for _, kind in wrong)
    return {
        "defects": len(DEFECTS),
        "failed at their checks": len(DEFECTS) - counts["broken"],
        "sound twins that pass": len(DEFECTS) - counts["sound"],
        "checks that catch one": len({outcome.check for outcome in outcomes}),
    }


def false_alarms(rounds: int, seconds: float) -> int:
    """Run the whole kit so often on each sound backend, or until the time is up. Returns 1 where a check fails."""
    names = [name for name, value in vars(shapes).items() if getattr(value, "__module__", "") == shapes.__name__]
    found = [getattr(shapes, name) for name in names]
    kinds: list[type[BaseBackend]] = [ToyBackend, AsyncToyBackend, QueueingToyBackend, BasicToyBackend]
    kinds += [each for each in found if isinstance(each, type) and issubclass(each, BaseBackend)]
    settings = [{"backend": "echo", "model": "anything"}]
    settings += [{"backend": each, "model": "toy", "crowd": 6} for each in kinds]
    alarms, checks, runs = Counter[str](), 0, 0
    end = time.monotonic() + seconds
    for _ in range(rounds):
        for given in settings:
            if time.monotonic() > end:
                continue
            runs += 1
            for name, error in run_all(type("TestSound", (BackendConformance,), given)):
                checks += 1
                if isinstance(error, Exception):
                    alarms[f"{given['backend']} {name}: {error}"] += 1
    print(f"{runs} runs on {len(settings)} sound backends, {checks} checks: {alarms.total()} false alarms")
    for told, count in alarms.most_common():
        print(f"{count} times: {told}")
    return 1 if alarms else 0


def main() -> int:
    """Run it all and print a table. Returns 1 where the catalogue's score is not full."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--false-alarms", type=int, metavar="N", help="run the kit N times on sound backends instead")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further run after so long")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.false_alarms:
        return false_alarms(options.false_alarms, options.seconds)

    rounds = [seconds_against_echo() for _ in range(options.rounds)]
    best = min(seconds for seconds, _ in rounds)
    outcomes = prove()
    counts = {"checks": len(BackendConformance.checks()), **score(outcomes)}
    full = all(outcome.right for outcome in outcomes)
    if options.json:
        versions = {"forge-core": __version__, "python": platform.python_version()}
        json.dump({"versions": versions, "seconds": [s for s, _ in rounds], **counts}, sys.stdout, indent=2)
        print()
    else:
        print(f"forge-core {__version__}, python {platform.python_version()}; {options.rounds} rounds")
        for name, count in counts.items():
            print(f"{name:<28}{count:>8}")
        met = "met" if best < BAR else "MISSED"
        print(f"{'seconds against echo':<28}{best:>8.2f}   (bar: under {BAR:g}, {met}; pytest: {rounds[0][1]})")
        for outcome in outcomes:
            if not outcome.right:
                print(f"WRONG: {outcome}")
    return 0 if full else 1


if __name__ == "__main__":
    sys.exit(main())
