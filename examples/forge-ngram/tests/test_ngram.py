"""The conformance kit of LlamaForge on this backend, and what is this backend's own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from llamaforge import BaseBackend, LlamaForge, get_backend
from llamaforge.errors import NoChatTemplateError
from llamaforge.testing import BackendConformance


class TestNgram(BackendConformance):
    """All checks of the kit."""

    backend = "ngram"
    prompt = "when the boats come back"
    exceptions: ClassVar = {"test_every_character_counts": "the tokens are whole words: white space only parts them"}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def made_model(cls, model_file: Path) -> None:
        """The model is made while the tests run."""
        cls.model = model_file


@pytest.fixture
def backend(model_file: Path) -> BaseBackend:
    made = get_backend("ngram")()
    made.load_model(model_file)
    return made


def test_the_model_decides_for_this_backend(model_file: Path) -> None:
    with LlamaForge() as forge:
        forge.add_model("harbour", model_file)
        forge.load_model("harbour")
        assert forge.backend().name == "ngram"
        assert forge.generate("the old", temperature=0, max_tokens=1) == " keeper"


def test_it_continues_what_it_has_seen(backend: BaseBackend) -> None:
    answer = backend.generate("the dog of the old keeper barks at the", temperature=0)
    assert answer.startswith((" fog", " boats"))
    assert answer.finish_reason == "stop"


def test_lower_orders_know_less(model_file: Path) -> None:
    texts = set()
    for order in (1, 2, 3):
        with get_backend("ngram")() as backend:
            backend.load_model(model_file, {"order": order})
            texts.add(str(backend.generate("the fog comes in", temperature=0, max_tokens=6)))
    assert len(texts) == 3


def test_a_conversation_is_refused(backend: BaseBackend) -> None:
    with pytest.raises(NoChatTemplateError, match="knows no turns"):
        backend.chat([{"role": "user", "content": "the sea"}])
