"""What it costs to start: llamaforge beside llm, its nearest peer, in one run.

    hatch run bench:startup

Whole processes are timed from outside, in turn, so that a change of the machine's speed falls on all alike. The bars:
``import llamaforge`` costs at most a tenth of what ``import llm`` costs over bare Python, and ``llamaforge --help``
takes at most an eighth of the time of ``llm --help``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from importlib.metadata import distributions, version
from pathlib import Path

BIN = Path(sys.executable).parent
COMMANDS = {
    "bare Python": [sys.executable, "-c", "pass"],
    "import llamaforge": [sys.executable, "-c", "import llamaforge"],
    "list_backends()": [sys.executable, "-c", "import llamaforge; llamaforge.list_backends()"],
    "import llm": [sys.executable, "-c", "import llm"],
    "llamaforge --help": [str(BIN / "llamaforge"), "--help"],
    "llm --help": [str(BIN / "llm"), "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Time every command and print medians and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()

    for command in COMMANDS.values():  # once, uncounted: bytecode and disk caches
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))

    median = {name: statistics.median(each) for name, each in times.items()}
    bare = median["bare Python"]
    ratios = {
        "import llamaforge / import llm, over bare Python": (
            (median["import llamaforge"] - bare) / (median["import llm"] - bare),
            1 / 10,
        ),
        "llamaforge --help / llm --help": (median["llamaforge --help"] / median["llm --help"], 1 / 8),
    }
    versions = {name: version(name) for name in ("forge-core", "llm")} | {"python": sys.version.split()[0]}
    if options.json:
        shown = {name: {"ratio": ratio, "bar": bar} for name, (ratio, bar) in ratios.items()}
        print(json.dumps({"versions": versions, "median_seconds": median, "ratios": shown}, indent=2))
        return
    print(", ".join(f"{name} {each}" for name, each in versions.items()), end="; ")
    print(f"{len(list(distributions()))} distributions installed; {options.rounds} rounds")
    for name, each in times.items():
        print(f"{name:<20} {median[name] * 1000:8.1f} ms   ({min(each) * 1000:.1f} to {max(each) * 1000:.1f})")
    for name, (ratio, bar) in ratios.items():
        print(f"{name}: {ratio:.3f} (bar: at most {bar:.3f}, {'met' if ratio <= bar else 'MISSED'})")


if __name__ == "__main__":
    main()
