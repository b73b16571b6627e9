"""Look at one plugin in a process of its own: ``python -m llamaforge.cli.doctor.child KIND NAME``.

Writes a line of JSON to standard output before and after each step and at the end, so that whoever reads it knows which
step a crash interrupted.
"""

from __future__ import annotations

import faulthandler
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

from ...errors import (
    BackendNotInstalledError,
    BrokenPluginError,
    ContractVersionError,
    DuplicatePluginError,
    LlamaForgeError,
)
from ...installing import install_command, reinstall_command
from ...plugins import BACKENDS, FORMATS, GROUPS, SOURCES, PluginGroup, guarded, import_object
from ...sources.resolve import BUILT_IN as BUILT_IN_SOURCES
from ..output import seal, text_output
from . import distributions

Step = tuple[str, Callable[[], dict[str, Any]]]

ENGINE_STEP: Final = "asking its engine"

_LISTS: Final = ("compiled", "visible", "used", "advice")


def main(kind: str, name: str) -> None:
    """Take each step, and stop at the first that fails."""
    steps = {
        "backend": _backend,
        "source": _source,
        "command": _command,
        "observer": _observer,
        "answer format": _answer_format,
    }[kind]
    group = GROUPS[kind]
    faulthandler.enable()
    with text_output() as output:
        for title, act in steps(name):
            output.json({"begins": title})
            try:
                found = act()
            except BackendNotInstalledError as error:  # an extra of its distribution, which nobody has to have
                output.json({"install": error.command, "complete": True})
                return
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is what is asked for
                output.json({"failed": title, **_failure(error, group, name)})
                return
            output.json(found)
        output.json({"complete": True})


def _backend(name: str) -> Iterator[Step]:
    from ...backends.registry import get_backend, get_config, get_spec

    def spec() -> dict[str, Any]:
        found = get_spec(name)
        return {
            "summary": found.summary,
            "api_version": found.api_version,
            "engine": found.engine,
            "engine_version": distributions.version(found.engine) if found.engine else None,
            "repair": found.repair,
        }

    def classes() -> dict[str, Any]:
        get_config(name)
        get_backend(name)
        return {}

    def probe() -> dict[str, Any]:
        target = get_spec(name).probe
        if target is None:
            return {}
        with guarded("backend", name, BACKENDS.owner(name)):
            found = import_object(target)()
            return {key: [str(each) for each in found.get(key, ())] for key in _LISTS}

    yield "loading the plugin", spec
    yield "importing its classes", classes
    yield ENGINE_STEP, probe


def _source(name: str) -> Iterator[Step]:
    def load() -> dict[str, Any]:
        spec = BUILT_IN_SOURCES[name] if name in BUILT_IN_SOURCES else SOURCES.load(name)
        with guarded("source", name, SOURCES.owner(name)):
            import_object(spec.target)
            return {"summary": str(spec.description)}

    yield "loading the plugin", load


def _answer_format(name: str) -> Iterator[Step]:
    from ...chat import OutputFormat

    def load() -> dict[str, Any]:
        form = FORMATS.load(name)
        with guarded(FORMATS.kind, name, FORMATS.owner(name)):
            if not isinstance(form, OutputFormat):
                raise TypeError(f"its hook returned {type(form).__name__}, not an OutputFormat")
        return {"summary": f"how {form.name} models write reasoning and calls"}

    yield "loading the plugin", load


def _command(name: str) -> Iterator[Step]:
    import click

    from ..app import BUILT_IN, cli
    from ..plugin_commands import load_plugin_command

    def load() -> dict[str, Any]:
        command = (
            cli.get_command(click.Context(cli), name) if name in BUILT_IN else load_plugin_command(name, quiet=False)
        )
        return {"summary": command.get_short_help_str() if command is not None else ""}

    yield "loading the plugin", load


def _observer(name: str) -> Iterator[Step]:
    from ...observers import find

    def load() -> dict[str, Any]:
        made = find(name)
        return {"summary": str(made.__doc__ or "").partition("\n")[0]}

    yield "loading the plugin", load


def _failure(error: BaseException, group: PluginGroup, name: str) -> dict[str, Any]:
    whole = "".join(traceback.format_exception(error))
    return {
        "type": type(error).__name__,
        "problem": _problem(error),
        "traceback": error.traceback if isinstance(error, BrokenPluginError) and error.traceback else whole,
        "mend": _mend(error, group, name),
    }


def _problem(error: BaseException) -> str:
    if isinstance(error, BrokenPluginError):
        return f"It is installed, but can't be used: {error.reason}"
    return str(error) if isinstance(error, LlamaForgeError) else f"{type(error).__name__}: {error}"


def _mend(error: BaseException, group: PluginGroup, name: str) -> str | None:
    """The command that mends just this error; None: none is known."""
    if isinstance(error, DuplicatePluginError):
        return f"pip uninstall {group.contributions(name)[-1].distribution}"
    if isinstance(error, ContractVersionError) and error.plugin_version > error.core_version:
        return reinstall_command("forge-core")
    owner = group.owner(name)
    missing = distributions.missing_requirements(owner)
    if missing:
        return install_command(*missing)
    package = group.contributions(name)[0].target.partition(".")[0]
    lacks_own = any(_top(each) == package for each in _chain(error) if isinstance(each, ModuleNotFoundError))
    return reinstall_command(owner, damaged=True) if lacks_own and owner is not None else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _top(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
    seal()
