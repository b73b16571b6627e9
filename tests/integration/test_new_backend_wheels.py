"""What ``llamaforge new-backend`` writes, unedited: it installs, is listed, and passes the kit and its own lint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llamaforge.scaffold import KINDS, derive, render, write
from llamaforge.scaffold.names import LONGEST
from support.environments import CleanEnvironment, build_wheel
from support.skips import unexplained_skips

pytestmark = [pytest.mark.engine, pytest.mark.wheel, pytest.mark.timeout(900)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "package"),
    [("4" * LONGEST, None), ("a-" * (LONGEST // 2 - 1) + "bc", None), ("z", "a"), ("a", "z" * LONGEST)],
)
def test_every_name_is_formatted(kind: str, name: str, package: str | None, tmp_path: Path) -> None:
    """Lines are as long, and imports as sorted, as names make them."""
    write(tmp_path / "new", render(kind, derive(name, package)))
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=tmp_path / "new", capture_output=True)
        assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_it_works_as_it_was_written(kind: str, wheels: dict[str, Path], tmp_path: Path) -> None:
    environment = CleanEnvironment(tmp_path / "env", wheels["forge-core"].parent)
    environment.install("forge-core>=2")
    typed = environment.llamaforge("new-backend", "my-engine", "--kind", kind, cwd=tmp_path)
    assert typed.splitlines() == ["cd forge-my-engine", 'python -m pip install -e ".[test]"', "python -m pytest"]
    project = tmp_path / "forge-my-engine"
    assert "my-engine" not in environment.llamaforge("backends")

    wheel = build_wheel(project, tmp_path / "built")
    environment.install(f"{wheel}[test]")
    listed = [line.split() for line in environment.llamaforge("backends").splitlines()]
    assert ["my-engine", "installed", "forge-my-engine", "0.1.0"] in listed
    assert "Load parameters" in environment.llamaforge("backends", "show", "my-engine")
    where = environment.run("-c", "import forge_my_engine; print(forge_my_engine.__file__)")
    assert Path(where.strip()).is_relative_to(environment.folder)

    said = environment.run("-m", "pytest", "-rs", "-p", "no:cacheprovider", cwd=project)
    assert " passed" in said
    assert not unexplained_skips(said)
    environment.lint(project)
    if kind == "in-process":
        model = project / "tests" / "sample.txt"
        answer = environment.llamaforge("run", "-m", model, "--temperature", "0", "--max-tokens", "3", "The river")
        assert len(answer.split()) == 3
