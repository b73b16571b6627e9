"""Every plugin, looked at in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ...installing import install_command, reinstall_command
from ...observers import BUILT_IN as BUILT_IN_OBSERVERS
from ...plugins import GROUPS, Contribution
from ...sources.resolve import BUILT_IN as BUILT_IN_SOURCES
from ..app import BUILT_IN as BUILT_IN_COMMANDS
from . import distributions
from .child import ENGINE_STEP

_TAIL: Final = 30
_AT_ONCE: Final = 2
OWN: Final = {
    "backend": frozenset({"echo"}),
    "source": frozenset(BUILT_IN_SOURCES),
    "command": frozenset(BUILT_IN_COMMANDS),
    "observer": frozenset(BUILT_IN_OBSERVERS),
    "answer format": frozenset[str](),
}
"""Names that are core's own, by kind: what a plugin contributes under them is never used."""


def look_at_plugins(timeout: float, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What there is to tell of each plugin, backends first.

    ``problem`` says what is broken, ``mend`` the command that mends it; ``install`` is the command for a backend that
    is an extra of its distribution, and isn't installed.

    Args:
        timeout: seconds for each.
        names: look at the plugins of these names alone; left out: at all.
    """
    asked = [
        (group.kind, name, group.contributions(name))
        for group in GROUPS.values()
        for name in group.names()
        if not names or name in names
    ]
    asked += [
        (kind, name, [])
        for kind, own in OWN.items()
        for name in sorted(own.intersection(names))
        if (kind, name) not in {each[:2] for each in asked}
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda one: _look_at(one[0], one[1], one[2], timeout), asked))


def _look_at(kind: str, name: str, found: list[Contribution], timeout: float) -> dict[str, Any]:
    owner = found[0].distribution if found else "forge-core"
    about: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "distributions": [distributions.describe(each) for each in [each.distribution for each in found] or [owner]],
        "problem": None,
        "traceback": None,
        "mend": None,
        "install": None,
    }
    if found and name in OWN[kind]:
        about["problem"] = f"LlamaForge has a {kind} {name!r} of its own, so the one of {found[0].owner} is never used."
        about["mend"] = f"pip uninstall {owner}"
        return about
    answer, failed_at = _ask_child(kind, name, timeout)
    repair = answer.pop("repair", None)
    about |= answer
    engine = about.get("engine")
    required = distributions.requirement(owner, engine) if engine and about["engine_version"] is None else None
    if required is not None:
        about["problem"] = about["problem"] or f"Its engine, the distribution {engine}, is not installed."
        about["mend"] = repair or install_command(required)
    elif failed_at == ENGINE_STEP and engine:
        about["mend"] = about["mend"] or repair or f"pip install --force-reinstall --no-cache-dir --no-deps {engine}"
    elif failed_at is not None and owner is not None:
        about["mend"] = about["mend"] or reinstall_command(owner)
    return about


def _ask_child(kind: str, name: str, timeout: float) -> tuple[dict[str, Any], str | None]:
    """What the child found out, and the step at which it failed, if it did."""
    # -P and the same path: the child sees just what this process sees, whichever folder it was started in.
    command = [sys.executable, "-P", "-m", f"{__package__}.child", kind, name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, env=environment, check=False
        )
        said, noise, ended = done.stdout, done.stderr, _ended(done.returncode)
    except subprocess.TimeoutExpired as error:
        said, noise, ended = error.stdout or b"", error.stderr or b"", f"gave no answer within {timeout:g} s"
    answer: dict[str, Any] = {}
    step = "starting"
    for line in said.decode("utf-8", errors="replace").splitlines():
        found = _read(line)
        step = found.pop("begins", step)
        failed, complete = found.pop("failed", None), found.pop("complete", False)
        answer |= found
        if failed or complete:  # what happens as it leaves is no concern of ours
            return answer, failed
    tail = noise.decode("utf-8", errors="replace").splitlines()[-_TAIL:]
    return {
        **answer,
        "problem": f"The process that checked it {ended} while {step}.",
        "traceback": "\n".join(tail),
    }, step


def _read(line: str) -> dict[str, Any]:
    """The JSON object in *line*; what a plugin managed to say in between is passed over."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ended(code: int) -> str:
    """How a process ended that was not done, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"was ended by signal {-code}"
