"""Options that several commands share. Those for generation are built from the canonical parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import click
import msgspec.inspect as mi

from ..backends.config import FieldInfo, describe_config
from ..parameters import NAMES, Parameters
from .formats import GrammarType
from .values import JsonType, TextType, parse_pairs

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_OWN: Final = frozenset({"engine"})
"""Parameters whose option has another form."""


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a model, its backend and its load parameters."""
    for option in (
        click.option("--offline", is_flag=True, help="Download nothing: use only what is on this machine."),
        click.option(
            "-p",
            "--load",
            "load",
            metavar="NAME=VALUE",
            multiple=True,
            callback=parse_pairs,
            help="A load parameter, such as n_ctx=4096; `llamaforge backends show NAME` lists them. Repeatable.",
        ),
        click.option(
            "--server",
            metavar="URL",
            envvar="LLAMAFORGE_SERVER",
            help="Ask a running server, such as http://127.0.0.1:8080. LLAMAFORGE_API_KEY may hold its key.",
        ),
        click.option(
            "--backend",
            metavar="NAME",
            shell_complete=complete_backend,
            help="The backend. Default: chosen by the model.",
        ),
        click.option(
            "-m",
            "--model",
            metavar="MODEL",
            shell_complete=complete_model,
            help="A model's name, or a reference: a path, pypi:..., hf:... Default: the default model.",
        ),
    ):
        function = option(function)
    return function


def generation_options(*, without: Collection[str] = ()) -> Decorator:
    """An option for each canonical generation parameter except those in *without*, and ``-e``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = click.option(
            "-e",
            "--engine",
            metavar="NAME=VALUE",
            multiple=True,
            callback=parse_pairs,
            help="An engine-specific option. Repeatable.",
        )(function)
        kinds = {field.name: field.type for field in mi.type_info(Parameters).fields}  # type: ignore[attr-defined]
        for info in reversed(describe_config(Parameters)):
            if info.name not in _OWN and info.name not in without:
                function = _option(info, _inner(kinds[info.name]))(function)
        return function

    return decorate


def given_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """The generation parameters among a command's *options* that were passed."""
    return {name: options[name] for name in NAMES if options.get(name) not in (None, (), {})}


def _option(info: FieldInfo, kind: Any) -> Decorator:
    flag = f"--{info.name.replace('_', '-')}"
    if isinstance(kind, mi.BoolType):
        return click.option(flag, info.name, is_flag=True, default=None, help=info.description)
    settings: dict[str, Any] = {"help": f"{info.description} [{info.type}]"}
    if isinstance(kind, mi.IntType):
        settings["type"] = click.INT
    elif isinstance(kind, mi.FloatType):
        settings["type"] = click.FLOAT
    elif isinstance(kind, mi.LiteralType):
        settings = {"help": info.description, "type": click.Choice([str(value) for value in kind.values])}
    elif isinstance(kind, mi.VarTupleType) and isinstance(_inner(kind.item_type), mi.StrType):
        settings = {"help": f"{info.description} Repeatable.", "multiple": True, "metavar": "TEXT"}
    elif info.name == "grammar":
        settings["help"] = f"{info.description} A file, or the grammar itself."
        settings["type"], settings["metavar"] = GrammarType(), "FILE|TEXT"
    else:
        settings["help"] = f"{info.description} @FILE reads it from a file."
        mixed = isinstance(kind, mi.UnionType)
        settings["type"] = TextType() if isinstance(kind, mi.StrType) else JsonType(or_text=mixed)
        settings["metavar"] = "TEXT" if isinstance(kind, mi.StrType) else "TEXT|JSON" if mixed else "JSON"
    return click.option(flag, info.name, **settings)


def _inner(kind: Any) -> Any:
    """The type without None and without msgspec's wrappers."""
    if isinstance(kind, mi.Metadata):
        return _inner(kind.type)
    if isinstance(kind, mi.UnionType):
        others = [each for each in kind.types if not isinstance(each, mi.NoneType)]
        return _inner(others[0]) if len(others) == 1 else kind
    return kind


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of models, for a shell that completes a line."""
    from ..errors import LlamaForgeError
    from ..models import BUILT_IN, ModelFile

    try:
        names = {*BUILT_IN, *ModelFile().load()}
    except LlamaForgeError:
        names = {*BUILT_IN}
    return sorted(name for name in names if name.startswith(incomplete))


def complete_backend(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of backends, for a shell that completes a line."""
    from ..backends import list_backends

    return [name for name in [*list_backends(), "echo"] if name.startswith(incomplete)]
