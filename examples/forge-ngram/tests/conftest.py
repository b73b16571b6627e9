"""A model that all tests share, made as a user would make it."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_ngram import arpa, training
from forge_ngram.model import NgramModel

SENTENCES = Path(__file__).with_name("sentences.txt")


@pytest.fixture(scope="session")
def model() -> NgramModel:
    """3-grams of a few sentences."""
    return training.train(SENTENCES.read_text(encoding="utf-8").splitlines(), 3)


@pytest.fixture(scope="session")
def model_file(model: NgramModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("model") / "harbour.arpa"
    with arpa.open_text(path, "w") as file:
        arpa.write(model, file)
    return path
