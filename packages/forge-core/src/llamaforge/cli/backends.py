"""``llamaforge backends``: which there are, and the parameters of one; no engine is imported."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from ..backends.config import describe_config
from ..backends.distributions import DISTRIBUTIONS, install_command
from ..backends.registry import get_config, get_spec
from ..backends.spec import Capabilities
from ..installing import find_distribution, is_installed
from ..parameters import NAMES, UNIVERSAL, Parameters
from ..plugins import BACKENDS
from .failures import say
from .options import complete_backend
from .output import Output, text_output
from .tables import write_table

_ANSWERS: Final = {
    "response_format": ("response_format",),
    "grammar": ("grammar",),
    "tools": ("tools",),
    "reasoning": ("reasoning_effort", "max_reasoning_tokens"),
}
"""What can be asked of an answer's form, and the parameters for it."""
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("backends", short_help="List backends; show the parameters of one", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """The engines that models run on. Without a command, list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_command)


@command.command("list", short_help="List installed and known backends")
@_JSON
def list_command(as_json: bool = False) -> None:
    """List the backends that are installed, and those that are known. Imports none of them."""
    rows = [*_installed(), *_known()]
    with text_output() as output:
        if as_json:
            output.json(rows)
            return
        write_table(
            output,
            ("NAME", "STATE", "DISTRIBUTION"),
            [(row["name"], row["state"], " and ".join(_owners(row)) or row["install"]) for row in rows],
        )


def _installed() -> list[dict[str, Any]]:
    rows = [_row("echo", "built in", [("forge-core", _core_version())])]
    for name in _in_order():
        if _lacks_extra(name):
            continue
        found = BACKENDS.contributions(name)
        state = "installed" if len(found) == 1 else "claimed by several"
        rows.append(_row(name, state, [(each.distribution, each.version) for each in found]))
    return rows


def _known() -> list[dict[str, Any]]:
    absent = [name for name in DISTRIBUTIONS if not BACKENDS.contributions(name) or _lacks_extra(name)]
    return [{**_row(name, "not installed", []), "install": install_command(name)} for name in absent]


def _lacks_extra(name: str) -> bool:
    """Whether the backend is an extra of its distribution that isn't installed."""
    requirement = DISTRIBUTIONS.get(name, "")
    return "[" in requirement and not is_installed(requirement)


def _row(name: str, state: str, owners: list[tuple[str | None, str | None]]) -> dict[str, Any]:
    distributions = [{"name": owner, "version": version} for owner, version in owners]
    return {"name": name, "state": state, "distributions": distributions, "install": None}


def _owners(row: dict[str, Any]) -> list[str]:
    return [f"{each['name']} {each['version']}" if each["name"] else "unnamed" for each in row["distributions"]]


def _in_order() -> list[str]:
    """Installed names in the order of list_backends(), without what a program registered."""
    names = BACKENDS.names()
    usual = [name for name in DISTRIBUTIONS if name in names]
    return [*usual, *(name for name in names if name not in usual)]


def _core_version() -> str:
    from .._version import __version__

    return __version__


@command.command("schema", short_help="Print the JSON schema of load parameters")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_backend)
def schema_command(names: tuple[str, ...]) -> None:
    """Print the JSON schema of the load parameters of the backends NAME, by default of all installed ones.

    The field `type` has the name of the backend.
    """
    from ..backends.config_schema import config_classes, config_schema

    with text_output() as output:
        output.json(config_schema(names or None))
    if not names:
        for name, failure in config_classes()[1].items():
            say(f"Left out: {name}. {failure}")


@command.command("show", short_help="Show the parameters of a backend")
@click.argument("name", shell_complete=complete_backend)
@_JSON
def show_command(name: str, as_json: bool) -> None:
    """Show what a backend runs, its load parameters, and the generation parameters that it supports."""
    with text_output() as output:
        described = _described(name)
        if as_json:
            output.json(described)
        else:
            _write_described(output, described)


def _described(name: str) -> dict[str, Any]:
    spec = get_spec(name)
    able = spec.capabilities
    owner = BACKENDS.contributions(name)
    generation = [
        {"name": each.name, "type": each.type, "description": each.description}
        for each in describe_config(Parameters)
        if each.name in able.parameters or (each.name in UNIVERSAL and (each.name != "engine" or able.engine_options))
    ]
    return {
        "name": name,
        "summary": spec.summary,
        "distribution": owner[0].distribution if owner else "forge-core",
        "version": owner[0].version if owner else _core_version(),
        "class": spec.target,
        "engine": spec.engine,
        "engine_version": _engine_version(spec.engine),
        "api_version": spec.api_version,
        "images": able.images,
        "server_defaults": able.server_defaults,
        "answers": {name: _answers(able, parameters) for name, parameters in _ANSWERS.items()},
        "load_parameters": msgspec.to_builtins(describe_config(get_config(name))),
        "generation_parameters": generation,
        "engine_options": sorted(able.engine_options),
        "refused": [each for each in NAMES if each not in able.parameters and each not in UNIVERSAL],
    }


def _answers(able: Capabilities, parameters: tuple[str, ...]) -> str:
    if not able.parameters.intersection(parameters):
        return "refused"
    return "the server's; what comes back is checked" if able.server_defaults else "enforced"


def _engine_version(distribution: str | None) -> str | None:
    found = find_distribution(distribution) if distribution is not None else None
    return str(found.version) if found is not None else None


def _write_described(output: Output, described: dict[str, Any]) -> None:
    output.line(f"{described['name']}: {described['summary']}")
    output.line(f"from {described['distribution']} {described['version']}, {described['class']}")
    if described["engine"]:
        output.line(f"engine: {described['engine']} {described['engine_version'] or '(not installed)'}")
    output.line()
    output.line("Form of answers")
    for form, word in described["answers"].items():
        output.line(f"  {form}: {word}")
    output.line()
    output.line("Load parameters (-p NAME=VALUE)")
    rows = [(each["name"], each["type"], each["default"], each["description"]) for each in described["load_parameters"]]
    write_table(output, ("NAME", "TYPE", "DEFAULT", "MEANING"), rows)
    output.line()
    output.line("Generation parameters")
    write_table(
        output,
        ("NAME", "TYPE", "MEANING"),
        [(each["name"], each["type"], each["description"]) for each in described["generation_parameters"]],
    )
    for title, names in (
        ("Engine options (-e NAME=VALUE)", described["engine_options"]),
        ("Refused", described["refused"]),
    ):
        if names:
            output.line()
            output.line(f"{title}: {', '.join(names)}")
    if described["server_defaults"]:
        say("The server chooses what is not set.")
