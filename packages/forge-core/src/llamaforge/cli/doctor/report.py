"""What the doctor found, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..output import Output
from ..progress import readable_size

_LAST_LINES = 10
_FROZEN = '  File "<frozen importlib'
_KINDS = {"backend": "Backends", "source": "Model sources of plugins", "command": "Commands of plugins"}


def write_report(output: Output, found: dict[str, Any], *, verbose: bool) -> None:
    """Write all of it."""
    for title, lines in _sections(output, found, verbose):
        output.line(output.styled(title, bold=True))
        for line in lines:
            output.line(f"  {line}")
        output.line()
    if found["python"]["pip"] and "pip install" in str((found["plugins"], found["not_installed"])):
        output.line(f"In this environment, use this pip: {found['python']['pip']}")
    broken = found["broken"]
    if broken:
        output.line(output.styled(f"{broken} thing{'s are' if broken > 1 else ' is'} broken.", fg="red", bold=True))
    else:
        output.line(output.styled("All is well.", fg="green", bold=True))


def _sections(output: Output, found: dict[str, Any], verbose: bool) -> Iterator[tuple[str, list[str]]]:
    python = found["python"]
    yield (
        "System",
        [
            f"Python      {python['version']} ({python['implementation']}), {python['executable']}",
            f"platform    {found['platform']}, {found['processors']} processors",
            f"forge-core  {_origin(found['core'])}",
        ],
    )
    for kind, title in _KINDS.items():
        plugins = [plugin for plugin in found["plugins"] if plugin["kind"] == kind]
        lines = [line for plugin in plugins for line in _plugin(output, plugin, verbose)]
        if kind == "backend":
            lines += [f"{name}: not installed. {command}" for name, command in found["not_installed"].items()]
        if lines:
            yield title, lines
    if found["damaged"]:
        yield (
            "Damaged installations, which may hide plugins: delete the folder, then install it again",
            [f"{one['path']}: {one['problem']}" for one in found["damaged"]],
        )
    yield "Model file", list(_model_file(output, found["model_file"]))
    yield "Cache of models", list(_cache(output, found["cache"]))
    if found["environment"]:
        yield "Environment", [f"{name}={value}" for name, value in found["environment"].items()]


def _plugin(output: Output, plugin: dict[str, Any], verbose: bool) -> Iterator[str]:
    broken = plugin["problem"] is not None
    state = output.styled("BROKEN", fg="red", bold=True) if broken else output.styled("ok", fg="green")
    yield f"{plugin['name']}: {state}"
    for one in plugin["distributions"]:
        yield f"  {one['name'] or 'an unnamed distribution'} {_origin(one)}"
    if plugin.get("engine"):
        yield f"  engine: {plugin['engine']} {plugin['engine_version'] or '(not installed)'}"
    for key in ("compiled", "visible", "used"):
        if plugin.get(key):
            yield f"  {key}: {', '.join(plugin[key])}"
    for advice in plugin.get("advice") or ():
        yield f"  note: {advice}"
    if broken:
        yield f"  {plugin['problem']}"
        lines = [line for line in (plugin["traceback"] or "").splitlines() if line and not line.startswith(_FROZEN)]
        if not verbose and len(lines) > _LAST_LINES:
            lines = ["... (--verbose shows all of it)", *lines[-_LAST_LINES:]]
        for line in lines:
            yield f"  | {line}"
        if plugin["mend"]:
            yield f"  repair it with: {output.styled(plugin['mend'], bold=True)}"


def _origin(about: dict[str, Any]) -> str:
    if about["version"] is None:
        return "(not installed as a distribution)"
    if about["editable"]:
        return f"{about['version']}, editable, from {about['location']}"
    source = f", installed from {about['source']}" if about["source"] else ""
    return f"{about['version']}, in {about['location']}{source}"


def _model_file(output: Output, about: dict[str, Any]) -> Iterator[str]:
    if not about["exists"]:
        state = "doesn't exist yet; `llamaforge models add` creates it"
    else:
        state = f"{len(about['models'])} model{'s' if len(about['models']) != 1 else ''}"
    yield f"{about['path']}: {state}"
    yield from _problem(output, about)
    if about["note"]:
        yield f"note: {about['note']}"


def _cache(output: Output, about: dict[str, Any]) -> Iterator[str]:
    held = f"{readable_size(about['bytes'])} in {about['files']} files" if about["exists"] else "empty"
    yield f"{about['path']}: {held}"
    yield from _problem(output, about)


def _problem(output: Output, about: dict[str, Any]) -> Iterator[str]:
    if about["problem"]:
        yield f"{output.styled('BROKEN', fg='red', bold=True)}: {about['problem']}"
