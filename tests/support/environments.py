"""Wheels, and virtual environments that hold nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
BARE = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
"""The environment variables of this process, without those that lend its packages to another interpreter."""


def build_wheel(project: Path, into: Path) -> Path:
    """Build the wheel of the distribution in the folder *project*, as its own build-system table says it is built."""
    into.mkdir(exist_ok=True)
    before = set(into.glob("*.whl"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=BARE, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = set(into.glob("*.whl")) - before
    return made


PACKAGES = {
    "forge-core": "llamaforge",
    "forge-llamacpp": "forge_llamacpp",
    "forge-hf": "forge_hf",
    "forge-openai": "forge_openai",
    "forge-vllm": "forge_vllm",
    "forge-tgi": "forge_tgi",
    "forge-serve": "forge_serve",
    "forge-bench": "forge_bench",
    "forge-otel": "forge_otel",
}
"""This project's distributions, and what each is imported as."""


def build_wheels(folder: Path) -> dict[str, Path]:
    """The wheels of all our distributions in *folder*: built once, whoever else asks for the same folder at once."""
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            unfinished = folder.with_name(f"{folder.name}-unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            for name in PACKAGES:
                build_wheel(ROOT / "packages" / name, unfinished)
            unfinished.rename(folder)
    return {name: next(folder.glob(f"{name.replace('-', '_')}-*.whl")) for name in PACKAGES}


class CleanEnvironment:
    """A new virtual environment in *folder*, with pip alone. Ours come from the wheels in *wheels*, the rest from the
    index."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        venv.create(folder, with_pip=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._wheels = wheels

    def install(self, *requirements: str) -> None:
        """Install what is named."""
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--find-links", str(self._wheels))
        self.run(*pip, *requirements)

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run its interpreter; what that printed. It must have ended with 0."""
        return self._run(self.python, *arguments, cwd=cwd)

    def llamaforge(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run its ``llamaforge``, likewise."""
        return self._run(self.folder / "bin" / "llamaforge", *arguments, cwd=cwd)

    def lint(self, project: Path) -> None:
        """Hold *project* to its own settings: formatted, linted, typed, by the tools of the tests' environment."""
        for command in (
            ["ruff", "format", "--check", "."],
            ["ruff", "check", "."],
            ["mypy", "--python-executable", str(self.python)],
        ):
            self._run(sys.executable, "-m", *command, cwd=project)

    def _run(self, *command: str | Path, cwd: Path | None) -> str:
        where = self.folder.parent if cwd is None else cwd
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=BARE, cwd=where, check=False)
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout
