"""Whether the real vLLM has been tested with what is here: its tests take minutes and gigabytes to install.

    python tools/vllm_tested.py check         0 where they have passed with the files as they are, 1 where not
    python tools/vllm_tested.py run [...]     run them, with pytest's arguments; `hatch run vllm:test` does this

A digest of all that they test stands in .ci/vllm-tested. Only a whole run that passed writes it, so a change that
nobody has tested can't be taken for tested; commit the file with the change.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTED = (
    "packages/forge-vllm/pyproject.toml",
    "packages/forge-vllm/src",
    "packages/forge-openai/pyproject.toml",
    "packages/forge-openai/src",
    "packages/forge-core/src/llamaforge/servers",
    "packages/forge-core/src/llamaforge/backends/connectable.py",
    "packages/forge-core/src/llamaforge/backends/managed.py",
    "packages/forge-core/src/llamaforge/backends/server_configs.py",
    "tests/forge-vllm",
    "tools/install_vllm.py",
)
"""Files, and folders with all that is in them. The environment of hatch.toml counts, too."""
ENVIRONMENT = re.compile(r"^\[envs\.vllm\b.*?(?=^\[envs\.(?!vllm\b)|\Z)", re.M | re.S)


def files(root: Path) -> Iterator[Path]:
    """Every file that counts. Raises FileNotFoundError where one of :data:`TESTED` is missing."""
    for name in TESTED:
        path = root / name
        if not path.exists():
            raise FileNotFoundError(f"{name} is gone: say in tools/vllm_tested.py what vLLM's tests test now")
        found = [path] if path.is_file() else path.rglob("*")
        yield from sorted(each for each in found if each.is_file() and "__pycache__" not in each.parts)


def digest(root: Path = ROOT) -> str:
    """A digest of all that vLLM's tests test."""
    whole = hashlib.sha256()
    for file in files(root):
        whole.update(f"{file.relative_to(root).as_posix()}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    whole.update("".join(ENVIRONMENT.findall((root / "hatch.toml").read_text(encoding="utf-8"))).encode())
    return whole.hexdigest()


def is_tested(root: Path = ROOT) -> bool:
    """Whether the tests have passed with these very files."""
    note = root / ".ci" / "vllm-tested"
    return note.is_file() and note.read_text(encoding="utf-8").strip() == digest(root)


def run(arguments: list[str], root: Path = ROOT) -> int:
    """Run the tests; the exit code. A whole run that passed is noted."""
    before = digest(root)
    command = [sys.executable, "-m", "pytest", "tests/forge-vllm", *arguments]
    code = subprocess.run(command, cwd=root).returncode
    if code == 0 and not arguments and digest(root) == before:
        (root / ".ci" / "vllm-tested").write_text(f"{before}\n", encoding="utf-8")
    return code


def main(arguments: list[str]) -> int:
    """Check or run; the exit code."""
    if arguments[:1] == ["run"]:
        return run(arguments[1:])
    if arguments != ["check"]:
        print(__doc__, file=sys.stderr)
        return 2
    tested = is_tested()
    print("vLLM's tests have passed with these files." if tested else "vLLM's tests have not passed with these files.")
    return 0 if tested else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
