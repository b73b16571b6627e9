"""``llamaforge new-backend``: the distribution of a new backend, complete and working."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

import click

from ..backends.distributions import DISTRIBUTIONS
from ..installing import find_distribution, install_command
from ..plugins import BACKENDS
from ..scaffold import KINDS, Names, derive, render, write
from ..scaffold.names import normalized
from .failures import say
from .output import text_output

_OURS = {"forge-core", *DISTRIBUTIONS.values()}
_BASE = "forge_openai"
_KINDS = "\n    ".join(f"{name:14} {kind.summary}" for name, kind in KINDS.items())


@click.command(
    "new-backend",
    short_help="Create the package of a new backend",
    help=f"""Create the package of a new backend. NAME is what users will type.

    It works as it is: it installs, is listed, and passes the conformance kit. Its README says what to replace.

    \b
    {_KINDS}
    """,
)
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(list(KINDS)), default="in-process", show_default=True, help="What the backend uses."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder to create. Default: the name of the distribution.",
)
@click.option("--package", metavar="NAME", help="Its import package. Default: forge_ and the backend's name.")
@click.option("--force", is_flag=True, help="Write it even if its names are taken.")
def command(name: str, kind: str, output: Path | None, package: str | None, force: bool) -> None:
    """Render, check, write, and say what to type next."""
    try:
        names = derive(name, package)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    taken = None if force else _taken(names)
    if taken is not None:
        raise click.UsageError(f"{taken} Choose another name, or pass --force to write it anyway.")
    if kind == "openai-server" and names.package == _BASE:
        raise click.UsageError(f"{_BASE} is the package that this one builds on. Give it another name with --package.")
    folder = output if output is not None else Path(names.distribution)
    _write(folder, kind, names)
    if kind == "openai-server" and importlib.util.find_spec(_BASE) is None:
        say(f"Note: it builds on forge-openai, which is not installed here. First: {install_command('forge-openai')}")
    with text_output() as out:
        out.line(f"cd {shlex.quote(str(folder))}")
        out.line('python -m pip install -e ".[test]"')
        out.line("python -m pytest")


def _write(folder: Path, kind: str, names: Names) -> None:
    rendered = render(kind, names)
    try:
        write(folder, rendered)
    except (FileExistsError, NotADirectoryError) as error:
        raise click.UsageError(f"{error} Nothing is overwritten: name another folder with --output.") from None
    except OSError as error:
        raise click.UsageError(
            f"{folder} can't be written: {error.strerror or error}. Name another folder with --output."
        ) from None
    say(f"Wrote {len(rendered)} files to {folder}. Next:")


def _taken(names: Names) -> str | None:
    """Who has one of *names* already, in words; None: nobody here."""
    for known in (*BACKENDS.names(), *DISTRIBUTIONS, "echo"):
        if normalized(known) == normalized(names.name):
            owners = " and ".join(each.owner for each in BACKENDS.contributions(known))
            owner = owners or DISTRIBUTIONS.get(known, "forge-core")
            return f"The backend's name {names.name!r} is taken: {owner} has the backend {known!r}."
    if names.distribution in _OURS or _is_installed(names.distribution):
        return f"The distribution's name {names.distribution!r} is taken."
    if _is_importable(names.package):
        return f"The package's name {names.package!r} is taken: such a package can be imported here already."
    return None


def _is_installed(distribution: str) -> bool:
    return find_distribution(distribution) is not None


def _is_importable(package: str) -> bool:
    """Whether a package of that name can be imported. A mere folder on the path doesn't count."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
