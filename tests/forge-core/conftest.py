"""Every core test has its own model file and cache, and knows only the plugins that it makes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamaforge import plugins


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path for made-up distributions; discovery is told to look anew before and after."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    groups = plugins.GROUPS.values()
    for group in groups:
        group.refresh()
    before = set(sys.modules)
    yield folder
    monkeypatch.undo()
    for name in set(sys.modules) - before:  # another test may make a module of the same name
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    for group in groups:
        group.refresh()
