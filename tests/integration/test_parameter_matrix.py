"""For each canonical parameter and each backend of the project: honoured, as seen at its engine, or refused.

What is found is the matrix of the documentation. After a change of it::

    hatch test tests/integration/test_parameter_matrix.py --write-matrix
    hatch run docs:generate
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from llamaforge import list_backends
from llamaforge.backends.distributions import DISTRIBUTIONS
from llamaforge.errors import UnknownParameterError, UnsupportedError
from llamaforge.parameters import NAMES, UNIVERSAL
from support.boundaries import ASK, Boundary, open_boundary
from support.boundaries.base import PICTURE
from support.documents import ROOT

pytestmark = pytest.mark.engine

DATA = ROOT / "docs" / "data" / "parameter_matrix.json"
_PROJECTS = [tomllib.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("packages/*/pyproject.toml")]
_NAMES = {name for each in _PROJECTS for name in each["project"].get("entry-points", {}).get("llamaforge.backends", {})}
BACKENDS = ["echo", *(name for name in DISTRIBUTIONS if name in _NAMES), *sorted(_NAMES - set(DISTRIBUTIONS))]
"""Those that the packages of this repository contribute."""
ROWS = [*NAMES, "images", "unset"]
"""The canonical parameters, images in messages, and who chooses what is not set."""

Cells = dict[str, dict[str, str]]
"""Row -> backend -> what was found."""


@pytest.fixture(scope="module")
def boundaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Open each backend once."""
    opened: dict[str, Boundary] = {}
    with ExitStack() as stack:

        def get(name: str) -> Boundary:
            if name not in opened:
                opened[name] = stack.enter_context(open_boundary(name, tmp_path_factory.mktemp("boundary")))
            return opened[name]

        yield get


@pytest.fixture(scope="module")
def documented(request: pytest.FixtureRequest) -> Iterator[Cells]:
    """The documentation's data. With --write-matrix it is what the tests put into it."""
    cells: Cells = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    yield cells
    if request.config.getoption("--write-matrix", default=False):
        ordered = {row: {name: cells[row][name] for name in BACKENDS if name in cells[row]} for row in ROWS}
        DATA.parent.mkdir(exist_ok=True)
        DATA.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", BACKENDS)
def test_a_cell(row: str, name: str, boundaries: Any, documented: Cells, request: pytest.FixtureRequest) -> None:
    found = cell(boundaries(name), row)
    if request.config.getoption("--write-matrix", default=False):
        documented.setdefault(row, {})[name] = found
    assert documented.get(row, {}).get(name) == found, f"write {DATA.relative_to(ROOT)} anew (see the top of this file)"


def cell(boundary: Boundary, row: str) -> str:
    """What the backend does about *row*, after it was seen to."""
    able = boundary.backend.capabilities
    if row == "unset":
        return boundary.unset()
    if row == "images":
        if able.images:
            boundary.takes_images()
            return "honoured"
        with pytest.raises(UnsupportedError, match="images"):
            boundary.backend.chat_stream(PICTURE)
        return "refused"
    if row == "engine":
        if boundary.options is not None:
            boundary.honours_engine()
            return "honoured"
        assert not able.engine_options
        with pytest.raises(UnknownParameterError):
            boundary.backend.generate_stream("one two three", engine={"surely_unknown": 1})
        return "refused"
    if row == "on_unsupported":
        lacking = ASK.keys() - able.parameters
        if lacking:
            refused(boundary, min(lacking))
        else:
            nothing_to_drop(boundary)
        return "honoured"
    if row in UNIVERSAL or row in able.parameters:
        boundary.honours(row)
        return "honoured"
    refused(boundary, row)
    return boundary.condition(row) or "refused"


def refused(boundary: Boundary, name: str) -> None:
    """*name* is refused by the call itself, before the engine is asked for anything; or dropped, and reported."""
    boundary.answer()
    before = boundary.work()
    with pytest.raises(UnsupportedError, match=name):
        boundary.backend.generate_stream("one two three", ASK[name])
    assert boundary.work() == before
    result = boundary.answer(**ASK[name], on_unsupported="drop")
    assert name in result.dropped
    assert boundary.work() > before
    boundary.lacks(name, result)


def nothing_to_drop(boundary: Boundary) -> None:
    """A backend that honours every parameter drops none of them, though it may."""
    result = boundary.answer(**ASK["top_k"], on_unsupported="drop")
    assert not result.dropped
    assert result.parameters["top_k"] == ASK["top_k"]["top_k"]


def test_every_parameter_has_a_question() -> None:
    assert set(ASK) == set(NAMES) - UNIVERSAL


def test_every_backend_of_the_project_has_a_column() -> None:
    """Those of the packages here, and those that messages tell people to install."""
    assert set(DISTRIBUTIONS) <= set(BACKENDS)
    assert set(BACKENDS) - {"echo"} <= set(list_backends()), "install them into the environment of the tests"


def test_no_cell_is_empty(documented: Cells) -> None:
    assert set(documented) == set(ROWS)
    for row, columns in documented.items():
        assert set(columns) == set(BACKENDS), row
        assert all(columns.values()), row
