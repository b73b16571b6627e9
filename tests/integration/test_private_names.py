"""Each private name of a dependency that the packages use is listed in docs/architecture.md, beside its test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
STANDARD_LIBRARY = {"_current_frames", "_exit", "_typeshed"}
"""``sys._current_frames`` and ``os._exit`` are documented by Python; ``_typeshed`` exists for type checkers alone."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def own_names() -> set[str]:
    """Private names that the packages define themselves."""
    found: set[str] = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            ):
                found.add(node.attr)
    return found | {source.stem for source in SOURCES}


def used_names() -> Iterator[tuple[str, str]]:
    """Each private name that a source asks something else for, and the source."""
    for source in SOURCES:
        where = source.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                yield node.attr, where
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                yield from ((name, where) for name in names if is_private(name))
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("getattr", "hasattr", "setattr")
                and isinstance(node.args[1], ast.Constant)
                and is_private(str(node.args[1].value))
            ):
                yield str(node.args[1].value), where


def table() -> str:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found = re.search(r"## Private names of dependencies\n(.*?)\n## ", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_each_private_name_is_listed() -> None:
    own, listed = own_names() | STANDARD_LIBRARY, set(re.findall(r"\b_\w+", table()))
    missing = sorted({(name, where) for name, where in used_names() if name not in own and name not in listed})
    assert not missing


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"`(test_\w+)`", table())
    defined = {
        name
        for file in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert not set(named) - defined
