"""``llamaforge logs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def logged(llamaforge: Any, tmp_path: Path) -> Any:
    """The command, with a log of its own."""
    llamaforge.environment["LLAMAFORGE_LOG"] = str(tmp_path / "logs" / "log.db")
    return llamaforge


def ask(command: Any, prompt: str) -> None:
    assert command.fine("run", "--backend", "echo", "--no-stdin", prompt) == f"{prompt}\n"


def test_nothing_is_logged_until_it_is_turned_on(logged: Any, tmp_path: Path) -> None:
    ask(logged, "before")
    assert not (tmp_path / "logs").exists()
    logged.fine("logs", "on")
    ask(logged, "during")
    logged.fine("logs", "off")
    ask(logged, "after")
    (found,) = map(json.loads, logged.fine("logs", "export").splitlines())
    assert (found["prompt"], found["answer"], found["model"], found["outcome"]) == (
        *("during", "during", "echo", "finished"),
    )
    assert found["parameters"]["temperature"] == 1.0
    said = logged.fine("logs", "status")
    assert "Logging is off" in said
    assert "1 entries" in said


def test_looking_at_it(quickly: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamaforge.response_log.store import COLUMNS, ResponseLog

    path = tmp_path / "log.db"
    monkeypatch.setenv("LLAMAFORGE_LOG", str(path))
    with ResponseLog(path) as log:
        for number, prompt in enumerate(("the tide", "a dog")):
            values: dict[str, Any] = dict.fromkeys(COLUMNS)
            values |= {"id": f"{prompt[:1]}1", "started": float(number), "operation": "generate", "backend": "echo"}
            values |= {"model": "m", "outcome": "finished", "parameters": "{}", "prompt": prompt, "answer": prompt}
            log.add([values])
    assert "a dog" in quickly.fine("logs", "show")
    assert "the tide" in quickly.fine("logs", "show", "t")
    assert json.loads(quickly.fine("logs", "show", "--json"))["prompt"] == "a dog"
    lines = quickly.fine("logs", "list").splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "a1", "t1"]
    (found,) = quickly.fine("logs", "search", "TIDE", "--json").splitlines()
    assert json.loads(found)["id"] == "t1"
    assert quickly.fine("logs", "list", "--since", "1d") == ""
    missing = quickly("logs", "show", "nothing")
    assert missing.returncode == 2
    assert "No entry has the ID" in missing.stderr
    assert quickly("logs", "purge").returncode == 2
    assert quickly("logs", "purge", "--older-than", "soon").returncode == 2
    quickly.fine("logs", "delete", "a1")
    assert json.loads(quickly.fine("logs", "export"))["id"] == "t1"
    quickly.fine("logs", "purge", "--older-than", "30d")
    assert quickly.fine("logs", "export") == ""
    for listing in (("list",), ("search", "x")):
        nothing = quickly("logs", *listing)
        assert (nothing.returncode, nothing.stdout) == (0, "")
        assert "The log is empty." in nothing.stderr
    empty = quickly("logs", "show")
    assert empty.returncode == 2
    assert "logs on" in empty.stderr


def test_a_file_that_is_no_log(quickly: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "letter"
    path.write_text("Dear all, this is no database, but it is long enough to look like something.")
    monkeypatch.setenv("LLAMAFORGE_LOG", str(path))
    done = quickly("logs", "list")
    assert done.returncode == 2
    assert "can't be used" in done.stderr
