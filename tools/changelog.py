"""The news of the distributions, by towncrier: each has fragments in packages/NAME/changes/ and a CHANGELOG.md.

python tools/changelog.py               show what the next release of each would say; fails on a bad fragment
python tools/changelog.py forge-core    write it to the distribution's CHANGELOG.md, under the version in its
                                        _version.py, and remove the fragments
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "packages"


def main(arguments: Sequence[str] | None = None) -> int:
    """Show or write; the exit code."""
    names = sorted(project.parent.name for project in PACKAGES.glob("*/pyproject.toml"))
    parser = argparse.ArgumentParser(description="Show the news of every distribution, or release those of one.")
    parser.add_argument("distribution", nargs="?", choices=names, help="whose news to write")
    released: str | None = parser.parse_args(arguments).distribution
    if released is not None:
        return build(released, "--yes").returncode
    bad = 0
    for name in names:
        draft = build(name, "--draft", capture_output=True, encoding="utf-8")
        print(f"# {name}\n\n{draft.stdout.strip() if draft.returncode == 0 else draft.stderr}\n")
        bad += draft.returncode != 0
    return 1 if bad else 0


def build(name: str, mode: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run towncrier for one distribution."""
    folder = PACKAGES / name
    options = ["--config", "towncrier.toml", "--dir", str(folder.relative_to(ROOT)), "--version", version(folder)]
    return subprocess.run([sys.executable, "-m", "towncrier", "build", mode, *options], cwd=ROOT, **settings)


def version(folder: Path) -> str:
    """What the distribution's _version.py says. Raises ValueError where there is none."""
    for source in folder.glob("src/*/_version.py"):
        if found := re.search(r'__version__ = "([^"]+)"', source.read_text(encoding="utf-8")):
            return found[1]
    raise ValueError(f"{folder.name} has no _version.py with a version")


if __name__ == "__main__":
    sys.exit(main())
