"""Runs the property tests with new examples until the time is over: hatch run quick:fuzz --minutes 5

`hatch test` always takes the same examples, so that it passes or fails for everybody alike. This looks for others. It
runs the property tests of every distribution that is installed, round by round, each with a seed of its own, and stops
at the first round that fails. Exit code 0: nothing was found; 1: something was, and the last lines say how to see it
again; 2: the tests couldn't be run.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAILED = 1  # of pytest's exit codes


def installed_tests() -> list[str]:
    """The folders of tests/ whose distributions are installed."""
    modules = {"forge-core": "llamaforge"}
    return [
        f"tests/{folder.name}"
        for folder in sorted((ROOT / "tests").glob("forge-*"))
        if importlib.util.find_spec(modules.get(folder.name, folder.name.replace("-", "_"))) is not None
    ]


def run_round(seed: int, tests: list[str], pytest_args: list[str], end: float | None) -> int | None:
    """Run all property tests once; pytest's exit code, or None where the time was over before it ended."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "hypothesis", "--hypothesis-profile", "fuzz"]
    command += ["--hypothesis-seed", str(seed), "-p", "no:cacheprovider", *pytest_args, *tests]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        printed, _ = process.communicate(timeout=None if end is None else max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            process.terminate()
            process.communicate()
    if process.returncode:
        print(printed)
    return process.returncode


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    flags.add_argument("--minutes", type=float, default=5.0, help="for how long; 5 if left out")
    flags.add_argument("--rounds", type=int, help="so many rounds, however long they take")
    flags.add_argument("--seed", type=int, help="one round with this seed, to see a failure again")
    flags.add_argument("tests", nargs="*", help="files or folders; those of all installed distributions if left out")
    given, pytest_args = flags.parse_known_args(arguments)
    tests = given.tests or installed_tests()
    wanted = given.rounds if given.seed is None else 1
    end = time.monotonic() + given.minutes * 60 if wanted is None else None
    rounds = 0
    while rounds != wanted:
        seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
        code = run_round(seed, tests, pytest_args, end)
        if code is None:
            break
        if code:
            again = ["hatch", "run", "quick:fuzz", "--seed", str(seed), *pytest_args, *given.tests]
            print(f"Round {rounds + 1}, with the seed {seed}, failed. Run it again with:\n  {' '.join(again)}")
            return 1 if code == FAILED else 2
        rounds += 1
        print(f"round {rounds}, seed {seed}: passed", flush=True)
    print(f"Nothing found in {rounds} whole round{'' if rounds == 1 else 's'}.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
