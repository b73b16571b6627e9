"""Where a document's blocks run: a folder, an environment and a Python of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .documents import Block, same_output

_WORKER = Path(__file__).with_name("document_worker.py")
_HATCH = Path(__file__).with_name("hatch_check.py")

# The commands of the documents, by this Python: their scripts on the PATH belong to another one. Nobody types into a
# chat here, so it gets a turn; and answers are kept short where the document does not say how long.
_PREAMBLE = f"""
set -euo pipefail
pip() {{ python -m pip "$@"; }}
pytest() {{ python -m pytest "$@"; }}
hatchling() {{ python -m hatchling "$@"; }}
hatch() {{ python {_HATCH} "$@"; }}
llamaforge() {{
    local short=()
    case "${{1-}}" in
        run | chat) [[ "$*" == *--max-tokens* ]] || short=(--max-tokens 40) ;;
    esac
    if [[ "${{1-}}" == chat && ! -p /dev/stdin ]]; then
        printf 'Hello!\\n' | python -m llamaforge "$@" "${{short[@]}}"
    else
        python -m llamaforge "$@" "${{short[@]}}"
    fi
}}
"""


class Sandbox:
    """Runs blocks. What they install goes into a virtual environment that sees all that this one has.

    Args:
        folder: an empty folder; the document's files and commands live there.
        environment: variables besides those of this process.
        replacements: text of the document -> what really stands for it here.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], replacements: Mapping[str, str]) -> None:
        self.folder = folder / "page"
        self.folder.mkdir()
        self._python = _make_environment(folder / "env")
        self._replacements = replacements
        self._environment = {
            **os.environ,
            "LLAMAFORGE_CONFIG": str(folder / "models.toml"),
            "PATH": f"{self._python.parent}{os.pathsep}{os.environ['PATH']}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one as the value of the option: 0 is "no isolation"
            "PYTHONDONTWRITEBYTECODE": "1",
            "VIRTUAL_ENV": str(folder / "env"),
            **environment,
        }
        self._environment.pop("PYTHONPATH", None)
        self._worker: subprocess.Popen[str] | None = None

    def run(self, block: Block) -> None:
        """Do what *block* says, and hold it to the output that the document shows. Raises AssertionError."""
        text = block.text
        for placeholder, real in self._replacements.items():
            text = text.replace(placeholder, real)
        if block.kind == "file":
            self._write(block, text)
        elif block.kind == "python":
            self._python_block(block, text)
        elif block.kind == "shell":
            self._shell_block(block, text)

    def _write(self, block: Block, text: str) -> None:
        path = self.folder / str(block.title)
        assert path.resolve().is_relative_to(self.folder.resolve()), f"{block.where}: {block.title} is elsewhere"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _python_block(self, block: Block, code: str) -> None:
        worker = self._worker = self._worker or self._start_worker()
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps({"name": block.where, "code": code}) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
        assert line, f"{block.where}: Python ended with exit code {worker.wait()}"
        answer = json.loads(line)
        assert answer["failure"] is None, f"{block.where} failed:\n{answer['failure']}"
        _compare(block, answer["output"])

    def _shell_block(self, block: Block, script: str) -> None:
        done = subprocess.run(
            ["bash", "-c", _PREAMBLE + script],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
        )
        said = f"\n--- standard output\n{done.stdout}\n--- standard error\n{done.stderr}"
        assert done.returncode == block.exits, f"{block.where} ended with exit code {done.returncode}{said}"
        _compare(block, done.stdout + done.stderr if block.exits else done.stdout)

    def _start_worker(self) -> subprocess.Popen[str]:
        # A file and not a pipe: nobody reads it while the worker runs.
        with (self.folder.parent / "worker.log").open("wb") as log:
            return subprocess.Popen(
                [str(self._python), str(_WORKER)],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
            )

    def close(self) -> None:
        """End the page's Python."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                pipe.close()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _make_environment(folder: Path) -> Path:
    """A virtual environment into which documents install; it has all packages of this one. Gives its interpreter."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=variables))
    here = [path for path in sys.path if path.endswith("site-packages")]
    # addsitedir and not the path alone, so that editable installations are seen, too.
    lines = [f"import site; site.addsitedir({folder!r})\n" for folder in here]
    (site / "parent.pth").write_text("".join(lines), encoding="utf-8")
    return python


def _compare(block: Block, printed: str) -> None:
    if block.output is not None:
        assert same_output(block.output, printed), (
            f"{block.where} prints something else than it shows.\n--- shown\n{block.output}\n--- printed\n{printed}"
        )
