"""Options of the tests that cross distributions."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("support.boundaries")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-matrix",
        action="store_true",
        help="write what test_parameter_matrix.py finds to docs/data/, for tools/generate_docs.py",
    )
