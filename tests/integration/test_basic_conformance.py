"""The reference's custom backend, with its four methods, passes the kit at the level it declares.

Its class is the document's own text. Its engine is small, but one: a chain of words, learnt from the model's file.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from llamaforge import BaseBackend
from llamaforge.testing import BackendConformance

DOCUMENT = Path(__file__).parents[2] / "docs" / "backends-reference.md"
ENGINE = '''
import itertools
import re
from pathlib import Path


def load_your_model(path, order=2):
    """Which word follows after that many, in the text at *path*; read in a circle, so that there always is one."""
    words = re.findall(r"\\s*\\S+", Path(path).read_text(encoding="utf-8"))
    circle = words + words[: order + 1]
    return {tuple(circle[at : at + order]): circle[at + order] for at in range(len(words))}


def your_streaming_function(model, prompt, max_tokens=40):
    """From a place in the text that the prompt decides, go on and on."""
    places = list(model)
    place = places[sum(prompt.encode()) % len(places)]
    for _ in range(max_tokens):
        word = model[place]
        yield word
        place = (*place[1:], word)


def your_generation_function(model, prompt, **parameters):
    return "".join(your_streaming_function(model, prompt, **parameters))
'''
TEXT = """
The keeper lights the lamp when the sun goes down, and the dog lies down beside the door. All night the light turns over
the sea, the fog comes in from the west, and the boats that nobody sees sound their horns. In the morning he puts out
the lamp, gives the dog its bread, and writes in his book what the night was like: wind, waves, fog, birds.
"""


def make_backend(folder: Path) -> type[BaseBackend]:
    """The document's class, in a module of its own beside its engine."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    (shown,) = [block for block in blocks if "class MyCustomBackend" in block]
    file = folder / "my_custom.py"
    file.write_text(ENGINE + shown, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("my_custom", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: type[BaseBackend] = module.MyCustomBackend
    return made


class TestMyCustomBackend(BackendConformance):
    parameters: ClassVar = {"order": 2}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def from_the_document(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("custom")
        model = folder / "keeper.txt"
        model.write_text(TEXT, encoding="utf-8")
        cls.backend, cls.model = make_backend(folder), model
