"""What is shown before any work: help, version, the list of commands, completion. None of it costs an import."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import llamaforge as package
from llamaforge import __version__
from llamaforge.cli.app import BUILT_IN
from llamaforge.cli.exit_codes import MEANINGS
from llamaforge.plugins import COMMANDS
from support.plugins import make_distribution


def test_help_lists_every_command_and_every_exit_code(llamaforge: Any) -> None:
    shown = llamaforge.fine("--help")
    for name, summary in BUILT_IN.items():
        assert f"  {name} " in shown
        assert summary in shown
    for code in MEANINGS:
        assert f"\n  {code} " in shown
    assert llamaforge.fine("-h") == shown


def test_every_command_has_help(quickly: Any) -> None:
    for name in BUILT_IN:
        assert f"Usage: llamaforge {name}" in quickly.fine(name, "--help")


def test_version(llamaforge: Any) -> None:
    assert llamaforge.fine("--version") == f"llamaforge {__version__}\n"


def test_the_script_and_the_module_are_the_same(llamaforge: Any) -> None:
    script = shutil.which("llamaforge", path=str(sys.executable).rpartition("/")[0])
    assert script is not None
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True, env=llamaforge.environment)
    assert done.stdout == llamaforge.fine("--help")


def imports(told: str) -> set[str]:
    """The modules that a process has imported, from what ``-X importtime`` tells."""
    return {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}


@pytest.fixture
def without_plugin_commands(tmp_path: Path) -> Path:
    """A folder with all that is installed here, but for distributions that contribute a command."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for place in {Path(module.__file__ or "").parents[1] for module in (click, package)}:
        for entry in place.iterdir():
            points = entry / "entry_points.txt"
            contributes = points.is_file() and "llamaforge.commands" in points.read_text(encoding="utf-8")
            if not contributes and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_imports_next_to_nothing(llamaforge: Any, without_plugin_commands: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-S", "-X", "importtime", "-m", "llamaforge", *arguments]
    environment = llamaforge.environment | {"PYTHONPATH": str(without_plugin_commands)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=llamaforge.folder)
    imported = imports(done.stderr)
    assert "click" in imported
    assert "Commands of plugins" not in done.stdout + done.stderr
    heavy = {"msgspec", "pluggy", "rich", "importlib_metadata", "importlib.metadata", "email", "tomllib", "asyncio"}
    assert not heavy & imported
    ours = {name for name in imported if name.startswith("llamaforge")}
    assert ours == {"llamaforge", "llamaforge._version", "llamaforge.cli", "llamaforge.cli.app"} | {
        f"llamaforge.cli.{name}" for name in ("exit_codes", "output", "plugin_commands")
    }


def test_commands_of_plugins_cost_help_the_metadata_and_no_more(llamaforge: Any) -> None:
    make_distribution(
        llamaforge.plugins, "dist-hello", {"llamaforge.commands": {"hello": "helloing"}}, {"helloing": ""}
    )
    done = llamaforge("--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert "from dist-hello 1.0" in done.stdout
    imported = imports(done.stderr)
    assert "llamaforge.plugins" in imported
    heavy = {"msgspec", "pluggy", "rich", "asyncio", "helloing", "llamaforge.forge", "llamaforge.backends"}
    assert not heavy & imported


def test_an_unknown_command_names_the_closest(llamaforge: Any) -> None:
    done = llamaforge("modles")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "There is no command 'modles'. Did you mean 'models'?" in done.stderr


def test_an_unknown_option_is_a_usage_error(quickly: Any) -> None:
    for arguments in (["--nonsense"], ["run", "--nonsense"], ["run", "--max-tokens", "many", "hi"], ["run", "a", "b"]):
        done = quickly(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr


def test_shell_completion(quickly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def completed(line: str, count: int) -> set[str]:
        monkeypatch.setenv("_LLAMAFORGE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(count))
        return {row.partition(",")[2] for row in quickly.fine().splitlines()}

    installed = set(COMMANDS.names())
    assert completed("llamaforge ", 1) == set(BUILT_IN) | installed
    assert completed("llamaforge mo", 1) == {"models"}
    assert completed("llamaforge models ", 2) == {"list", "show", "add", "remove", "default", "pull"}
    assert "--max-tokens" in completed("llamaforge run --max", 2)
    assert completed("llamaforge run -m smol", 3) == {"smollm2-135m-instruct"}
    assert completed("llamaforge run --backend ec", 3) == {"echo"}


def test_shells_get_their_scripts(llamaforge: Any) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_LLAMAFORGE_COMPLETE" in llamaforge.fine(env={"_LLAMAFORGE_COMPLETE": f"{shell}_source"})


def test_completion_in_a_real_shell(llamaforge: Any) -> None:
    script = """
        eval "$(_LLAMAFORGE_COMPLETE=bash_source llamaforge)"
        COMP_WORDS=(llamaforge mo) COMP_CWORD=1
        _llamaforge_completion llamaforge
        echo "${COMPREPLY[@]}"
    """
    path = f"{sys.executable.rpartition('/')[0]}:{llamaforge.environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=llamaforge.environment | {"PATH": path}, check=True
    )
    assert done.stdout == "models\n"
