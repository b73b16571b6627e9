"""Commands of plugins: known by metadata, imported when called, and none disturbs another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.plugins import make_distribution

HELLO = """
    import click
    print("IMPORTED")
    from llamaforge import hookimpl

    @click.command(help="Says hello.")
    @click.argument("name")
    @click.option("--code", default=0)
    @click.pass_context
    def hello(ctx, name, code):
        click.echo(f"hello {name}")
        if code:
            ctx.exit(code)
        return 7

    @hookimpl
    def llamaforge_command():
        return hello
"""

BROKEN = {
    "raising": "import a_library_that_is_not_there",
    "exiting": "raise SystemExit('no licence')",
    "misspelt": "from llamaforge import hookimpl\n@hookimpl\ndef llamaforge_comand(): return None",
    "no-command": "from llamaforge import hookimpl\n@hookimpl\ndef llamaforge_command(): return 'a string'",
}


def make_command(folder: Path, name: str, source: str) -> None:
    module = f"command_{name.replace('-', '_')}"
    make_distribution(folder, f"dist-{name}", {"llamaforge.commands": {name: module}}, {module: source})


def make_all(folder: Path) -> None:
    make_command(folder, "hello", HELLO)
    for name, source in BROKEN.items():
        make_command(folder, name, source)


def test_help_lists_them_with_their_distributions_and_imports_none(llamaforge: Any) -> None:
    make_all(llamaforge.plugins)
    done = llamaforge("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "IMPORTED" not in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    for name in ("hello", *BROKEN):
        assert [name, "from", f"dist-{name}", "1.0"] in lines


def test_a_command_runs(llamaforge: Any) -> None:
    make_all(llamaforge.plugins)
    done = llamaforge("hello", "world", "--code", "9")
    assert (done.returncode, done.stdout, done.stderr) == (9, "hello world\n", "IMPORTED\n")


def test_what_a_command_returns_is_no_exit_code(quickly: Any) -> None:
    make_all(quickly.plugins)
    assert quickly.fine("hello", "world") == "hello world\n"
    assert quickly("hello").returncode == 2
    assert "Says hello." in quickly.fine("hello", "--help")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_says_so_when_it_is_called(quickly: Any, name: str) -> None:
    make_all(quickly.plugins)
    done = quickly(name)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"dist-{name}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in quickly("--debug", name).stderr
    assert quickly.fine("run", "--backend", "echo", "fine") == "fine\n"
    assert quickly("--help").returncode == 0


def test_none_replaces_one_of_ours(quickly: Any) -> None:
    make_command(quickly.plugins, "run", HELLO)
    assert quickly.fine("run", "--backend", "echo", "fine") == "fine\n"
    assert "dist-run" not in quickly.fine("--help")


def test_two_with_one_name(quickly: Any) -> None:
    make_command(quickly.plugins, "hello", HELLO)
    make_distribution(quickly.plugins, "dist-other", {"llamaforge.commands": {"hello": "other"}}, {"other": HELLO})
    assert "dist-hello 1.0 and dist-other 1.0" in quickly.fine("--help").replace(
        "dist-other 1.0 and dist-hello 1.0", "dist-hello 1.0 and dist-other 1.0"
    )
    done = quickly("hello", "world")
    assert done.returncode == 3
    assert "pip uninstall" in done.stderr


def test_completion_imports_none_and_survives_the_broken(llamaforge: Any) -> None:
    make_all(llamaforge.plugins)

    def completed(line: str, count: int) -> list[str]:
        words = {"_LLAMAFORGE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(count)}
        done = llamaforge(env=words)
        assert "Traceback" not in done.stderr
        return [row.partition(",")[2] for row in done.stdout.splitlines()]

    assert completed("llamaforge hel", 1) == ["hello"]
    assert "--code" not in completed("llamaforge raising --", 2)
    assert "--code" in completed("llamaforge hello --", 2)


def test_a_command_in_an_archive_is_found(llamaforge: Any, tmp_path: Path) -> None:
    import zipfile

    make_command(tmp_path / "packed", "hello", HELLO)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for file in (tmp_path / "packed").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "packed"))
    done = llamaforge("hello", "world", env={"PYTHONPATH": str(tmp_path / "packed.zip")})
    assert (done.returncode, done.stdout) == (0, "hello world\n")
