"""Options of the tests that cross distributions."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.environments import build_wheels

pytest.register_assert_rewrite("support.boundaries")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-matrix",
        action="store_true",
        help="write what test_parameter_matrix.py finds to docs/data/, for tools/generate_docs.py",
    )


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> dict[str, Path]:
    """The wheel of each distribution, in one folder; workers of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    return build_wheels((base.parent if hasattr(pytestconfig, "workerinput") else base) / "wheels")
