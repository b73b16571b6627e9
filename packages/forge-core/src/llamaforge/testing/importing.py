"""What importing a backend brings with it, found out in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from ..backends.base import BaseBackend

HEAVY: Final = (
    "torch",
    "transformers",
    "llama_cpp",
    "openai",
    "numpy",
    "rich",
    "tensorflow",
    "jax",
    "vllm",
    "onnxruntime",
    "pandas",
)
"""What must not be imported before a model is loaded."""

_CODE: Final = """
import importlib, importlib.util, json, os, sys

asked = json.loads(sys.argv[1])
sys.path[:] = asked["path"]
report = {"error": None, "listed": None, "imported_by_listing": [], "scores": []}


def plugin():
    from llamaforge import list_backends
    from llamaforge.backends.registry import get_backend, get_config, get_spec
    from llamaforge.plugins import BACKENDS

    before = set(sys.modules)
    installed = asked["name"] in list_backends()
    listed = set(sys.modules) - before
    if BACKENDS.contributions(asked["name"]):
        report["listed"] = installed
    spec = get_spec(asked["name"])
    owners = {spec.target.partition(":")[0], spec.config.partition(":")[0]}
    report["imported_by_listing"] = sorted(owners & listed)
    for location in asked["locations"]:
        score = spec.match(location)
        report["scores"].append([location, score if isinstance(score, int) else repr(score)])
    get_config(asked["name"])
    get_backend(asked["name"])()


def module():
    name, file = asked["module"], asked["file"]
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is not None and found.origin is not None and os.path.samefile(found.origin, file):
        importlib.import_module(name)
        return
    spec = importlib.util.spec_from_file_location(name.rpartition(".")[2], file)
    loaded = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)


try:
    plugin() if asked["name"] is not None else module()
except BaseException as error:
    report["error"] = f"{type(error).__name__}: {error}"
report["heavy"] = [name for name in asked["heavy"] if name in sys.modules]
with open(asked["report"], "w", encoding="utf-8") as file:
    json.dump(report, file)
"""

LOCATIONS: Final = (
    "",
    "model.gguf",
    "/no/such/folder",
    "org/name",
    "gpt-4",
    "weights.bin",
    "C:\\models\\x.gguf",
    "ü" * 300,
)
"""What a spec's ``match`` is asked about."""


class Imported(msgspec.Struct, kw_only=True):
    """What the other process saw."""

    error: str | None = None
    """What the import raised."""
    listed: bool | None = None
    """Whether ``list_backends()`` has it; None for a class, and for what no distribution contributes."""
    imported_by_listing: list[str] = []
    """Modules of the backend that listing imported."""
    scores: list[tuple[str, Any]] = []
    """What ``match`` said of each location."""
    heavy: list[str] = []
    """Which of :data:`HEAVY` were imported."""
    printed: str = ""
    """What went to standard output."""


def import_elsewhere(backend: str | type[BaseBackend], patience: float = 300.0) -> Imported:
    """Import *backend* in a new process: its plugin, its config and its class, or the module of the class.

    After *patience* seconds the process is ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        asked: dict[str, Any] = {
            "path": [entry or str(Path.cwd()) for entry in sys.path],
            "heavy": HEAVY,
            "report": str(report),
            "name": None,
            "locations": LOCATIONS,
        }
        if isinstance(backend, str):
            asked["name"] = backend
        else:
            module = sys.modules.get(backend.__module__)
            file = getattr(module, "__file__", None)
            if file is None:  # typed into an interpreter: there is nothing to import
                return Imported()
            asked.update(module=backend.__module__, file=file)
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CODE, json.dumps(asked)],
                capture_output=True,
                check=False,
                timeout=patience,
            )
        except subprocess.TimeoutExpired:
            return Imported(error=f"the process did not end within {patience:g} s (patience)")
        printed = done.stdout.decode("utf-8", "replace")
        if not report.exists():
            return Imported(
                error=f"the process died: {done.stderr.decode('utf-8', 'replace')[-2000:]}", printed=printed
            )
        imported = msgspec.json.decode(report.read_bytes(), type=Imported)
        imported.printed = printed
        return imported
