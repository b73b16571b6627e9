"""Write the parts of docs/ that are made of the code: tables of parameters, errors, options, exit codes.

A page holds them between two comments::

    <!-- generated: errors -->
    ...
    <!-- end -->

Run it after a change of those: ``hatch run docs:generate``. With ``--check`` it writes nothing, names the pages that
are out of date, and ends with exit code 1 if there are any; a test does that.

Which backend honours which parameter is not for the code to say: tests find it out, and write it to docs/data/.

The backends of this repository are read from their folders, so that no engine needs to be installed: a plugin's spec
and the class of its load parameters import none.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from llamaforge import errors
from llamaforge.backends.config import FieldInfo, describe_config
from llamaforge.backends.distributions import DISTRIBUTIONS
from llamaforge.backends.echo import SPEC as ECHO
from llamaforge.backends.spec import BackendSpec
from llamaforge.cli import exit_codes
from llamaforge.cli.app import BUILT_IN
from llamaforge.parameters import ALIASES, DEFAULTS, NAMES, Parameters
from llamaforge.plugins import import_object

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MATRIX = DOCS / "data" / "parameter_matrix.json"

_REGION = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.S)
_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):`~?\.?([^`]+)`")
_ADVICE = "What to do: "
_FIND_OUT = "run `hatch test tests/integration/test_parameter_matrix.py --write-matrix`."
_MORE_ROWS = {"images": "images in messages", "unset": "what is not set"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check every page; the exit code."""
    parser = argparse.ArgumentParser(description="Write the generated parts of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a page is out of date")
    check: bool = parser.parse_args(arguments).check
    sys.path[:0] = [str(folder / "src") for folder in sorted((ROOT / "packages").iterdir())]
    stale = []
    for page in sorted(DOCS.glob("**/*.md")):
        old = page.read_text(encoding="utf-8")
        new = fill(old)
        if new != old:
            stale.append(page.relative_to(ROOT).as_posix())
            if not check:
                page.write_text(new, encoding="utf-8")
    if stale:
        print(f"{'Out of date' if check else 'Wrote'}: {', '.join(stale)}")
    return 1 if check and stale else 0


def fill(text: str) -> str:
    """*text* with every generated region made anew. Raises KeyError for a region that nothing makes."""
    return _REGION.sub(lambda found: f"{found[1]}\n{REGIONS[found[2]]().strip()}\n\n{found[4]}", text)


def backend_specs() -> list[BackendSpec]:
    """The backends of this repository: echo, then those that people know by name, then any others."""
    found = {}
    for project in sorted((ROOT / "packages").glob("*/pyproject.toml")):
        entry_points = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("entry-points", {})
        for name, module in entry_points.get("llamaforge.backends", {}).items():
            found[name] = importlib.import_module(module).llamaforge_backend()
    order = [*(name for name in DISTRIBUTIONS if name in found), *sorted(set(found) - set(DISTRIBUTIONS))]
    return [ECHO, *(found[name] for name in order)]


def _parameters() -> str:
    described = {field.name: field for field in describe_config(Parameters)}
    aliases = {name: [alias for alias, meant in ALIASES.items() if meant == name] for name in NAMES}
    rows = []
    for name in NAMES:
        field = described[name]
        also = f" Also called `{'`, `'.join(aliases[name])}`." if aliases[name] else ""
        default = f"`{_plain(DEFAULTS[name])}`" if name in DEFAULTS else "not set"
        rows.append((f"`{name}`{_number(name)}", field.type or "any value", default, field.description + also))
    return _table(("Name", "Value", "Default", "Meaning"), rows)


def _number(parameter: str) -> str:
    """The mark of the promise that a parameter is."""
    from llamaforge.testing.promises import PROMISES

    ids = [each.id for each in PROMISES.values() if each.id.startswith("P") and each.capability == parameter]
    return "".join(f'<sup id="{number.lower()}">{number}</sup>' for number in ids)


def _checks() -> str:
    """Promises with their checks, and then each check. Raises ValueError for a check that says too little."""
    from llamaforge.testing import BackendConformance, EmbeddingConformance, RerankConformance
    from llamaforge.testing.promises import BY_CHECK, PAGES, PROMISES

    parts = []
    for letter, page in PAGES.items():
        rows = []
        for promise in PROMISES.values():
            if promise.id[0] == letter:
                checks = [f"[{name}](#{name})" for name in promise.checks]
                own = [f"LlamaForge's own tests: `{file}`" for file in promise.own]
                rows.append((f"[{promise.id}]({promise.link})", promise.says, "<br>".join([*checks, *own])))
        parts.append(f"### In [{page}]({page})\n\n{_table(('', 'Promise', 'Held by'), rows)}\n")
    parts.append("## The checks\n")
    suites = (BackendConformance, EmbeddingConformance, RerankConformance)
    checks = {name: check for suite in suites for name, check in suite.checks().items()}
    for name, check in checks.items():
        text, _, advice = _code(" ".join((check.__doc__ or "").split())).partition(" Why: ")
        why, _, look = advice.partition(" Look at: ")
        if not look:
            raise ValueError(f"The docstring of {name} does not say why, or what to look at")
        kept = ", ".join(f"[{promise.id}]({promise.link})" for promise in BY_CHECK[name])
        parts.append(f"### {name}\n\n{text}\n")
        parts.append(f"* Promises: {kept}\n* Why: {why}\n* Look at: {look.partition(' Promises: ')[0]}\n")
    return "\n".join(parts)


def _matrix() -> str:
    """What the tests found. Raises ValueError where they did not look at a parameter or at a backend."""
    found: dict[str, dict[str, str]] = json.loads(MATRIX.read_text(encoding="utf-8"))
    backends = [spec.name for spec in backend_specs()]
    rows = []
    for name in [*NAMES, *_MORE_ROWS]:
        columns = found.get(name, {})
        missing = [backend for backend in backends if not columns.get(backend)]
        if missing:
            raise ValueError(f"No test found what {', '.join(missing)} makes of {name}: {_FIND_OUT}")
        rows.append((_MORE_ROWS.get(name, f"`{name}`"), *(columns[backend] for backend in backends)))
    return _table(("", *(f"`{name}`" for name in backends)), rows)


def _matrix_counts() -> str:
    found: dict[str, dict[str, str]] = json.loads(MATRIX.read_text(encoding="utf-8"))
    counts = Counter(cell for columns in found.values() for cell in columns.values())
    return _table(("A cell says", "cells"), [(cell or "nothing", str(count)) for cell, count in counts.most_common()])


def _load_parameters() -> str:
    parts = []
    for spec in backend_specs():
        parts.append(f"### {spec.name}\n\n{spec.summary}.\n")
        fields: list[FieldInfo] = describe_config(import_object(spec.config))
        rows = [(f"`{one.name}`", one.type or "any value", _default(one), one.description) for one in fields]
        parts.append(_table(("Name", "Value", "Default", "Meaning"), rows) + "\n")
    return "\n".join(parts)


def _default(field: FieldInfo) -> str:
    return field.default if field.default in ("not set", "required") else f"`{field.default}`"


def _errors() -> str:
    return "\n".join(_error(kind, depth=2) for kind in _children(errors.LlamaForgeError))


def _error(kind: type[Exception], depth: int) -> str:
    summary, details, advice = _docstring(kind)
    children = list(_children(kind))
    lines = [f"{'#' * depth} {kind.__name__}", ""]
    if not children or advice:
        own = [base.__name__ for base in kind.__mro__[1:] if base.__module__ == "builtins"]
        article = "an" if own[0][0] in "AEIOU" else "a"
        builtin = f"Also {article} `{own[0]}`. " if own[0] != "Exception" else ""
        lines += [f"{builtin}Exit code {_exit_code(kind)}.", ""]
    lines += [summary, ""]
    for text in details:
        lines += [text, ""]
    if advice:
        lines += [f"**What to do:** {advice}", ""]
    return "\n".join([*lines, *(_error(child, depth + 1) for child in children)])


def _docstring(kind: type[Exception]) -> tuple[str, list[str], str | None]:
    """Summary, what else there is, and the advice. Raises ValueError where an error that is raised has no advice."""
    paragraphs = [" ".join(part.split()) for part in inspect.getdoc(kind).split("\n\n")]  # type: ignore[union-attr]
    advice = next((part.removeprefix(_ADVICE) for part in paragraphs if part.startswith(_ADVICE)), None)
    if advice is None and not list(_children(kind)):
        raise ValueError(f"The docstring of {kind.__name__} does not say what to do: a last paragraph {_ADVICE!r}.")
    details = [_code(part) for part in paragraphs[1:] if not part.startswith(_ADVICE)]
    return _code(paragraphs[0]), details, _sentence(_code(advice)) if advice else None


def _children(kind: type[Exception]) -> Iterator[type[Exception]]:
    every = (getattr(errors, name) for name in errors.__all__)
    public = [each for each in every if isinstance(each, type)]
    tree = errors.__doc__ or ""  # drawn there in the order that people should read them
    for each in sorted(public, key=lambda one: _place(one.__name__, tree)):
        if each.__mro__[1] is kind:
            yield each


def _place(name: str, text: str) -> int:
    """Where the word *name* first is in *text*; at its end where it is not."""
    found = re.search(rf"\b{name}\b", text)
    return found.start() if found else len(text)


def _exit_code(kind: type[Exception]) -> int:
    solid: Any = kind  # the builtin that an instance is laid out as; its __new__ is the one that may be called
    while solid.__module__ != "builtins":
        solid = solid.__base__
    return exit_codes.exit_code(solid.__new__(kind))


def _tree() -> str:
    drawn = re.search(r"\n( +LlamaForgeError\n.*)", errors.__doc__ or "", re.S)
    if drawn is None:
        raise ValueError("llamaforge.errors does not draw its tree any more")
    return f"```text\n{inspect.cleandoc(drawn[1])}\n```"


def _exit_codes() -> str:
    rows = [(str(code), meaning) for code, meaning in exit_codes.MEANINGS.items()]
    return _table(("Code", "Meaning"), rows)


def _commands() -> str:
    parts = []
    for name in BUILT_IN:
        command = importlib.import_module(f"llamaforge.cli.{name.replace('-', '_')}").command
        parts.append(_command(f"llamaforge {name}", command))
    return "\n".join(parts)


def _command(path: str, command: click.Command, depth: int = 3) -> str:
    """Usage, help and options, put together here: click's own layout differs between its versions."""
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    arguments = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
    usage = [path, *(["[OPTIONS]"] if options else []), *arguments]
    if isinstance(command, click.Group):
        usage.append("[COMMAND] ...")
    lines = [f"{'#' * depth} {path}", "", f"`{' '.join(usage)}`", "", _help(command), ""]
    asks = any(option.name == "max_tokens" for option in options)  # doctor's --timeout is no generation parameter
    generates = [each for each in options if asks and each.name in NAMES and each.name != "engine"]
    rows = [(f"`{_option(each)}`", _meaning(each)) for each in options if each not in generates]
    if rows:
        lines += [_table(("Option", "Meaning"), rows), ""]
    generation = [f"`{_option(each)}`" for each in generates]
    if generation:
        text = "and an option for each [generation parameter](parameters.md#generation-parameters)"
        lines += [f"{text}: {', '.join(generation)}.", ""]
    if isinstance(command, click.Group):
        lines += [_command(f"{path} {name}", command.commands[name], depth + 1) for name in sorted(command.commands)]
    return "\n".join(lines)


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or str(argument.name).upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(option: click.Option) -> str:
    names = ", ".join(option.opts)
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {'|'.join(map(str, option.type.choices))}"
    return f"{names} {option.metavar or option.type.name.upper().replace(' RANGE', '')}"


def _meaning(option: click.Option) -> str:
    return f"{option.help or ''} Default: {option.default}." if option.show_default else option.help or ""


def _help(command: click.Command) -> str:
    """The help as Markdown: what click leaves unwrapped is code."""
    paragraphs = []
    for part in inspect.cleandoc(command.help or "").split("\n\n"):
        if part.startswith("\b\n"):
            paragraphs.append("\n".join(f"    {line}" for line in part.splitlines()[1:]))
        else:
            paragraphs.append(" ".join(part.split()))
    return "\n\n".join(paragraphs)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _plain(value: object) -> str:
    return "[]" if value == () else f"{value}"


def _code(text: str) -> str:
    """reStructuredText's literals and roles as Markdown's."""
    return _ROLE.sub(r"`\1`", text).replace("``", "`")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


REGIONS: dict[str, Callable[[], str]] = {
    "parameters": _parameters,
    "matrix": _matrix,
    "matrix-counts": _matrix_counts,
    "load-parameters": _load_parameters,
    "errors": _errors,
    "error-tree": _tree,
    "exit-codes": _exit_codes,
    "commands": _commands,
    "checks": _checks,
}


if __name__ == "__main__":
    sys.exit(main())
