"""What core sees before a model is loaded: light, and true."""

from __future__ import annotations

import subprocess
import sys

import pytest

from forge_llamacpp import LlamaCppBackend, LlamaCppConfig
from forge_llamacpp.plugin import SPEC, match
from llamaforge.backends import get_backend, list_backends
from llamaforge.backends.config import describe_config
from llamaforge.backends.llama_cpp import LlamaCppBackend as FromTheReference
from llamaforge.errors import EngineNotAvailableError, ModelNotLoadedError

HEAVY = ("llama_cpp", "numpy", "jinja2", "ctypes")


def test_importing_the_package_imports_no_engine() -> None:
    code = (
        "import sys, forge_llamacpp, forge_llamacpp.plugin, forge_llamacpp.config, forge_llamacpp.backend\n"
        "forge_llamacpp.LlamaCppBackend().is_model_loaded()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_entry_point_leads_to_the_class() -> None:
    assert "llama.cpp" in list_backends()
    assert get_backend("llama.cpp") is LlamaCppBackend is FromTheReference
    assert LlamaCppBackend.spec is SPEC
    assert LlamaCppBackend.config_class is LlamaCppConfig


@pytest.mark.parametrize(
    ("location", "suits"),
    [
        ("model.gguf", 90),
        ("/models/Model.Q4_K_M.GGUF", 90),
        ("org/repo", 0),
        ("model.gguf.part", 0),
        ("model.safetensors", 0),
        ("", 0),
    ],
)
def test_it_claims_gguf_files_and_nothing_else(location: str, suits: int) -> None:
    assert match(location) == suits


def test_every_load_parameter_is_described() -> None:
    for field in describe_config(LlamaCppConfig):
        assert field.description, field.name
        assert field.type, field.name


def test_nothing_works_before_a_model_is_loaded(empty: LlamaCppBackend) -> None:
    assert not empty.is_model_loaded()
    for call in (lambda: empty.generate("x"), lambda: empty.render("x"), lambda: empty.generate_stream("x")):
        with pytest.raises(ModelNotLoadedError):
            call()
    empty.unload_model()


def test_an_engine_that_is_missing_is_told_with_what_to_do(
    empty: LlamaCppBackend, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(EngineNotAvailableError, match="pip install") as caught:
        empty.load("model.gguf", LlamaCppConfig())
    assert caught.value.backend == "llama.cpp"
    assert isinstance(caught.value, ImportError)
