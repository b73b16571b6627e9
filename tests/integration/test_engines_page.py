"""The engine that docs/engines.md shows is a whole one: its backend passes the kit."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from llamaforge.testing import BackendConformance
from support.documents import blocks

PAGE = "docs/engines.md"
TEXT = "The tide comes in twice a day.\nThe moon pulls the water, and the water follows the moon.\n"


@pytest.fixture(scope="module")
def letters() -> Any:
    """A module with the page's engine and backend."""
    engine, backend = [block.text for block in blocks(PAGE) if block.kind == "python"][:2]
    module = types.ModuleType("letters_of_the_page")
    sys.modules[module.__name__] = module
    exec(engine + "\n" + backend.split('Path("tides.txt")')[0], module.__dict__)
    yield module
    del sys.modules[module.__name__]


class TestLetters(BackendConformance):
    """The model is a text."""

    prompt = "The t"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def given(cls, letters: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The page's backend, and its model."""
        model: Path = tmp_path_factory.mktemp("letters") / "tides.txt"
        model.write_text(TEXT, encoding="utf-8")
        cls.backend, cls.model = letters.LetterBackend, model
