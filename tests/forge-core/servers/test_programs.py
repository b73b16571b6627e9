"""Where a server's program is looked for, in which order, and what is said where it isn't."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llamaforge.errors import ServerProgramNotFoundError
from llamaforge.servers import find_program, variable


def program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_config_then_variable_then_path_then_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured, named, on_path = (program(tmp_path / each, "my-server") for each in ("a", "b", "c"))
    monkeypatch.setenv("PATH", str(tmp_path / "c"))
    monkeypatch.setenv("LLAMAFORGE_MY_ENGINE_EXECUTABLE", named)

    def find(configured: str | None = None) -> list[str]:
        return find_program("my-engine", "my-server", configured=configured, module="json.tool")

    assert find(configured) == [configured]
    assert find() == [named]
    monkeypatch.delenv("LLAMAFORGE_MY_ENGINE_EXECUTABLE")
    assert find() == [on_path]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find() == [sys.executable, "-m", "json.tool"]


def test_the_python_of_another_environment_runs_the_module(tmp_path: Path) -> None:
    for name in ("python", "python3", "python3.12"):
        path = program(tmp_path, name)
        assert find_program("x", "y", configured=path, module="m.n") == [path, "-m", "m.n"]
        assert find_program("x", "y", configured=path) == [path]
    path = program(tmp_path, "pythonic-server")
    assert find_program("x", "y", configured=path, module="m.n") == [path]


def test_what_is_configured_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerProgramNotFoundError, match="load parameter executable"):
        find_program("x", sys.executable, configured="/nowhere/server")
    monkeypatch.setenv("LLAMAFORGE_X_EXECUTABLE", "/nowhere/server")
    with pytest.raises(ServerProgramNotFoundError, match="LLAMAFORGE_X_EXECUTABLE"):
        find_program("x", sys.executable)


def test_the_error_says_where_it_looked_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerProgramNotFoundError, match="pip install it") as missing:
        find_program("my-engine", "no-such-server", module="no_such_module.main", advice="pip install it.")
    assert missing.value.program == "no-such-server"
    assert isinstance(missing.value, FileNotFoundError)
    assert len(missing.value.tried) == 4
    assert variable("my-engine") in str(missing.value)
