"""Both in-process engines in a forked child: a typed error, and models of its own; the parent goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.gguf_files import make_tiny_gguf
from support.hf_models import make_tiny_model
from support.small_tokenizers import byte_level

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROGRAM = """
import os, signal, sys
from llamaforge import LlamaForge
from llamaforge.errors import ModelNotLoadedError

kind, path, folder = sys.argv[1:]
forge = LlamaForge(config_path=os.path.join(folder, "models.toml"))
forge.add_model("tiny", path, backend=kind, parameters={"n_threads": 1} if kind == "llama.cpp" else {"device": "cpu"})
forge.load_model("tiny")
ask = {"max_tokens": 8, "raw": True, "temperature": 0}
before = forge.generate("hello", **ask)
stream = forge.generate_stream("hello", max_tokens=200, raw=True)
next(stream)
child = os.fork()
if child == 0:
    signal.alarm(120)
    render = forge.backend("tiny").render
    for call in (lambda: forge.generate("hello", **ask), lambda: render("x", parameters={"raw": True})):
        try:
            call()
        except ModelNotLoadedError as error:
            assert "fork" in str(error)
        else:
            sys.exit("it was answered")
    forge.load_model("tiny")
    assert forge.generate("hello", **ask) == before
    forge.close()
    sys.exit(0)  # with all that runs when an interpreter ends
_, status = os.waitpid(child, 0)
assert status == 0, status
assert len("".join(stream)) > 0
assert forge.generate("hello", **ask) == before
forge.close()
"""


@pytest.mark.parametrize("kind", ["llama.cpp", "huggingface"])
def test_a_child_loads_a_model_of_its_own(kind: str, tmp_path: Path) -> None:
    if kind == "llama.cpp":
        model = make_tiny_gguf(tmp_path / "tiny.gguf")
    else:
        model = make_tiny_model(tmp_path / "tiny", byte_level())
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, model, tmp_path], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
