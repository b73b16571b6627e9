"""Python functions that a model at the terminal may call: ``--tools module:function``, asked about before a call."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click

from ..backends.tool_loop import ToolStep
from ..errors import InvalidParameterError
from ..functions import Tool, as_tool
from ..messages import ToolCall
from .failures import say

_SHOWN: Final = 300
"""Characters of a result that are shown."""


def tool_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--tools`` and ``--yes``."""
    for option in (
        click.option("--yes", "-y", is_flag=True, help="Carry out the model's calls of --tools without asking."),
        click.option(
            "--tools",
            "tools",
            metavar="MODULE:FUNCTION",
            multiple=True,
            help="A Python function that the model may call, of a module or a file (tools.py:get_weather). Before each "
            "call you are asked. Repeatable.",
        ),
    ):
        function = option(function)
    return function


def read_functions(references: Sequence[str]) -> list[Tool]:
    """The functions that the values of ``--tools`` name. Their modules are imported.

    Raises UsageError for what can't be imported, isn't there, or can't be a tool.
    """
    return [_read(reference) for reference in references]


def _read(reference: str) -> Tool:
    name, colon, attribute = reference.rpartition(":")
    if not colon or not name or not attribute:
        raise click.UsageError(f"--tools {reference}: name a module and a function in it, such as tools:get_weather.")
    found: Any = _module(name, reference)
    owner = name
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise click.UsageError(f"--tools {reference}: there is no {part!r} in {owner}.") from None
        owner = f"{owner}.{part}"
    try:
        return as_tool(found)
    except InvalidParameterError as error:
        raise click.UsageError(f"--tools {reference}: it must be {error.expected}.") from None


def _module(name: str, reference: str) -> ModuleType:
    """The module *name*: one that can be imported, also from the current folder; or a file."""
    path = Path(name).expanduser()
    try:
        if name.endswith(".py") or path.name != name:
            spec = importlib.util.spec_from_file_location(path.stem, path)
            if spec is None or spec.loader is None:
                raise ImportError(f"{path} is no Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, module)  # types in signatures are looked for there
            spec.loader.exec_module(module)
            return module
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)  # as `python -m` has it; an installed command doesn't
        return importlib.import_module(name)
    except Exception as error:
        raise click.UsageError(
            f"--tools {reference}: {name} can't be imported: {type(error).__name__}: {error}"
        ) from error


def shown_call(call: ToolCall) -> str:
    """*call* as Python would write it."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        return f"{call.function.name}({call.function.arguments})"
    written = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())
    return f"{call.function.name}({', '.join(written)})"


def confirm_with(ask: Callable[[str], str] | None) -> Callable[[ToolCall], bool]:
    """What is asked before a call. *ask* reads a line after a prompt; None: every call is carried out, and told."""

    def confirm(call: ToolCall) -> bool:
        if ask is None:
            say(f"Calling {shown_call(call)}")
            return True
        say(f"The model wants to call {shown_call(call)}")
        try:
            return ask("Call it? [y/N] ").strip().casefold() in ("y", "yes")
        except EOFError:
            return False

    return confirm


def tell_step(step: ToolStep) -> None:
    """Tell what the calls of a round returned."""
    for result in step.results:
        text = result.content if len(result.content) <= _SHOWN else f"{result.content[:_SHOWN]}..."
        say(f"{result.call.function.name}: {text}")
