"""Three sabotaged plugins are installed, in every group: one can't be imported, one exits, one declares a wrong hook.

Every command and every other backend works as if they were not there; whoever asks for one of them is told what is
wrong with it and whose it is.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from llamaforge import BaseBackend, get_backend, list_backends
from llamaforge.backends.registry import match_backend
from llamaforge.cli.app import BUILT_IN
from llamaforge.errors import BrokenPluginError
from llamaforge.plugins import BACKENDS, COMMANDS, FORMATS, OBSERVERS, SOURCES
from support.boundaries import open_boundary
from support.gguf_files import make_tiny_gguf
from support.plugins import SABOTAGED, make_sabotaged

GROUPS = (
    "llamaforge.backends",
    "llamaforge.sources",
    "llamaforge.commands",
    "llamaforge.observers",
    "llamaforge.answer_formats",
)
KINDS = ("backend", "source", "command", "observer", "answer format")
SAYS = {
    "raises_import_error": "a_library_that_is_not_there",
    "exits": "no licence",
    "wrong_hook": "llamaforge_bakend",
}
"""What must be said of each."""


def distribution(name: str) -> str:
    """Whose it is."""
    return f"dist-{name}".replace("_", "-")


class Installation:
    """The command, as a user runs it who has those plugins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "site").mkdir()
        make_sabotaged(folder / "site", GROUPS)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LLAMAFORGE_", "OPENAI_"))},
            "LLAMAFORGE_CONFIG": str(folder / "models.toml"),
            "LLAMAFORGE_CACHE": str(folder / "cache"),
            "LLAMAFORGE_LOG": str(folder / "log.sqlite"),
            "PYTHONPATH": str(folder / "site"),
        }

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llamaforge", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self._environment | environment,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    made = Installation(tmp_path_factory.mktemp("installed"))
    done = made("models", "add", "parrot", "anything", "--backend", "echo")
    assert done.returncode == 0, done.stderr
    return made


WORKS = {
    "run": (["run", "-m", "parrot", "hello there"], "hello there\n"),
    "chat": (["chat", "-m", "parrot"], "hello\n"),
    "embed": (["embed", "-m", "parrot", "--load", "task=embed"], '"embedding":['),
    "rerank": (["rerank", "-m", "parrot", "--load", "task=rerank", "hello there"], "  hello\n"),
    "batch": (["batch", "-m", "parrot", "rows.jsonl"], ""),
    "logs on": (["logs", "on"], ""),
    "logs status": (["logs", "status"], "log.sqlite"),
    "logs list": (["logs", "list"], ""),
    "logs show": (["logs", "show"], "sea"),
    "logs search": (["logs", "search", "sea"], "sea"),
    "logs export": (["logs", "export"], "sea"),
    "logs delete": (["logs", "delete", "ID"], ""),
    "logs purge": (["logs", "purge", "--all"], ""),
    "logs off": (["logs", "off"], ""),
    "models": (["models"], "parrot"),
    "models list": (["models", "list"], "parrot"),
    "models show": (["models", "show", "parrot"], "echo"),
    "models add": (["models", "add", "another", "anything", "--backend", "echo"], ""),
    "models default": (["models", "default", "parrot"], ""),
    "models remove": (["models", "remove", "another"], ""),
    "models pull": (["models", "pull", "./model.bin"], "model.bin"),
    "backends": (["backends"], "exits"),
    "backends list": (["backends", "list"], "wrong_hook"),
    "backends show": (["backends", "show", "echo"], "n_ctx"),
    "backends schema": (["backends", "schema"], "llama.cpp"),
    "new-backend": (["new-backend", "fresh"], "fresh"),
    "doctor": (["doctor", "echo"], ""),
}
"""Every command, in an order in which they can follow each other; what it must print."""


def commands(path: str, command: click.Command) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield path
        return
    if command.invoke_without_command:
        yield path
    for name, each in command.commands.items():
        yield from commands(f"{path} {name}", each)


def test_no_command_is_forgotten() -> None:
    found = [
        each
        for name in BUILT_IN
        for each in commands(name, importlib.import_module(f"llamaforge.cli.{name.replace('-', '_')}").command)
    ]
    assert set(WORKS) == set(found)


@pytest.mark.parametrize("name", [name for name in WORKS if name != "doctor"])
def test_a_command_works(name: str, installed: Installation) -> None:
    arguments, expected = WORKS[name]
    (installed.folder / "model.bin").write_bytes(b"weights")
    body = {"messages": [{"role": "user", "content": "hello"}]}
    row = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (installed.folder / "rows.jsonl").write_text(json.dumps(row))
    if name == "logs list":
        assert installed("run", "-m", "parrot", "the sea").returncode == 0
    if "ID" in arguments:
        last = json.loads(installed("logs", "export").stdout.splitlines()[0])
        arguments = [last["id"] if each == "ID" else each for each in arguments]
    done = installed(*arguments, stdin="hello\n")
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert "Traceback" not in done.stderr


def test_help_lists_everything(installed: Installation) -> None:
    done = installed("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name in (*BUILT_IN, *SABOTAGED):
        assert name in done.stdout
    for name in BUILT_IN:
        assert installed(name, "--help").returncode == 0


def test_the_shell_still_completes(installed: Installation) -> None:
    done = installed(_LLAMAFORGE_COMPLETE="bash_complete", COMP_WORDS="llamaforge ", COMP_CWORD="1")
    assert {"run", "doctor", "exits"} <= set(done.stdout.replace(",", "\n").splitlines())


def test_doctor_names_the_culprits_and_nobody_else(installed: Installation) -> None:
    done = installed("doctor", "--json")
    assert done.returncode == 3
    found = json.loads(done.stdout)["plugins"]
    broken = {(one["kind"], one["name"].replace("-", "_")): one for one in found if one["problem"]}
    assert set(broken) == {(kind, name) for kind in KINDS for name in SABOTAGED}
    for (_, name), one in broken.items():
        assert SAYS[name] in one["problem"]
        assert "Traceback" in one["traceback"]
        assert [each["name"] for each in one["distributions"]] == [distribution(name)]
    shown = installed("doctor", *SABOTAGED).stdout
    assert shown.count("BROKEN") >= len(SABOTAGED)
    for says in SAYS.values():
        assert says in shown


@pytest.mark.parametrize("name", SABOTAGED)
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--backend", "{}", "-m", "x", "hi"],
        ["run", "-m", "{address}:x", "hi"],
        ["{}"],
        ["backends", "show", "{}"],
    ],
)
def test_who_asks_for_one_is_told(name: str, arguments: list[str], installed: Installation) -> None:
    done = installed(*(each.format(name, address=name.replace("_", "-")) for each in arguments))
    assert done.returncode == 3, done.stdout + done.stderr
    assert SAYS[name] in done.stderr
    assert distribution(name) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_backend_is_still_found_by_the_model(installed: Installation) -> None:
    """Every plugin is asked whether the model suits it, the broken ones too."""
    model = make_tiny_gguf(installed.folder / "tiny.gguf")
    done = installed("run", "-m", str(model), "--max-tokens", "4", "--seed", "1", "--json", "hello")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usage"]["completion_tokens"] > 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same plugins for this process."""
    make_sabotaged(tmp_path, GROUPS)
    monkeypatch.syspath_prepend(tmp_path)
    for group in (BACKENDS, SOURCES, COMMANDS, OBSERVERS, FORMATS):
        group.refresh()
    yield
    monkeypatch.undo()
    for group in (BACKENDS, SOURCES, COMMANDS, OBSERVERS, FORMATS):
        group.refresh()
    for name in SABOTAGED:
        sys.modules.pop(name, None)


@pytest.mark.engine
@pytest.mark.parametrize("name", [name for name in ["echo", *list_backends()] if name not in SABOTAGED])
def test_every_other_backend_works(name: str, here: None, tmp_path: Path) -> None:
    for sabotaged in SABOTAGED:
        with pytest.raises(BrokenPluginError):
            get_backend(sabotaged)
    assert set(SABOTAGED) < set(list_backends())
    assert match_backend("model.gguf") == "llama.cpp"
    backend = get_backend(name)
    assert issubclass(backend, BaseBackend)
    with open_boundary(name, tmp_path) as boundary:
        assert type(boundary.backend) is backend
        result = boundary.answer(max_tokens=3)
        assert result.usage is not None
        assert result.usage.completion_tokens > 0
