"""``hatch`` as documents call it, checked in a cheaper way.

Making hatch's environments takes many minutes, and continuous integration makes each of them by the very commands of
the README. So here ``hatch env show`` is asked whether the environment and the script are there, and a ``llamaforge``
command of the default environment is run by this Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(arguments: list[str]) -> int:
    """Check one call; the exit code."""
    environments = _environments()
    if arguments[0] == "test":
        matrix = [name for name in environments if name.startswith("hatch-test")]
        paths = [each for each in arguments[1:] if each.startswith("tests/")]
        if not matrix or not all((ROOT / path).exists() for path in paths):
            return _refuse(f"hatch has {matrix}, and of {paths} some are missing")
        return 0
    if arguments[0] != "run":
        return _refuse(f"this test knows no `hatch {arguments[0]}`")
    environment, colon, script = arguments[1].partition(":")
    if colon:
        if environment not in environments or script not in environments[environment].get("scripts", {}):
            return _refuse(f"hatch has no {arguments[1]}")
        return 0
    members = environments["default"].get("workspace", {}).get("members", [])
    if environment != "llamaforge" or "packages/forge-core" not in members:
        return _refuse(f"the default environment has no {arguments[1]}")
    short = [] if "--max-tokens" in arguments else ["--max-tokens", "40"]
    return subprocess.run([sys.executable, "-m", "llamaforge", *arguments[2:], *short]).returncode


def _environments() -> dict[str, dict[str, object]]:
    command = [sys.executable, "-m", "hatch", "env", "show", "--json"]
    # Where hatch runs the tests, its variables name the environment of the tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HATCH_")}
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads(shown.stdout)


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
