"""What ``llamaforge new-backend`` writes, unedited: it installs, is listed, and passes the kit and its own lint."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.environments import ROOT, CleanEnvironment, build_wheel

pytestmark = [pytest.mark.engine, pytest.mark.wheel, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("forge-core", "forge-openai"):
        build_wheel(ROOT / "packages" / name, folder)
    return folder


@pytest.mark.parametrize("kind", ["in-process", "connectable", "openai-server"])
def test_it_works_as_it_was_written(kind: str, wheels: Path, tmp_path: Path) -> None:
    environment = CleanEnvironment(tmp_path / "env", wheels)
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

    said = environment.run("-m", "pytest", "-p", "no:cacheprovider", cwd=project)
    assert " passed" in said
    assert "skipped" not in said
    environment.lint(project)
    if kind == "in-process":
        model = project / "tests" / "sample.txt"
        answer = environment.llamaforge("run", "-m", model, "--temperature", "0", "--max-tokens", "3", "The river")
        assert len(answer.split()) == 3
