"""What costs nothing until a model is loaded, and what never reaches standard output."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from forge_hf import HuggingFaceBackend
from forge_hf.plugin import SPEC, llamaforge_backend, match
from forge_hf.probe import probe


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import forge_hf",
        "import forge_hf.plugin",
        "import forge_hf.config",
        "import forge_hf.backend",
        "from forge_hf import HuggingFaceBackend; HuggingFaceBackend()",
        "from llamaforge import get_backend; get_backend('huggingface')()",
        "from llamaforge.backends.huggingface import HuggingFaceBackend",
        "from forge_hf.plugin import match; match('org/name'); match('a.gguf'); match('.')",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    heavy = ["torch", "transformers", "numpy", "huggingface_hub", "tokenizers", "safetensors", "gguf", "jinja2"]
    ran = python(f"{code}\nimport sys\nprint(*[name for name in {heavy} if name in sys.modules])")
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "", "")


def test_the_backend_is_found_by_name() -> None:
    from llamaforge.backends import get_backend, list_backends

    assert "huggingface" in list_backends()
    assert get_backend("huggingface") is HuggingFaceBackend
    assert HuggingFaceBackend.spec is SPEC is llamaforge_backend()


def test_how_well_it_suits_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    Path("empty").mkdir()
    Path("org/name").mkdir(parents=True)
    expected = {
        "model": 90,
        str(tmp_path / "model"): 90,
        "HuggingFaceTB/SmolLM2-135M-Instruct": 80,
        "a/b": 80,
        "models/llama.gguf": 50,
        "/there/is/none.GGUF": 50,
        "org/name": 5,
        "empty": 5,
        "gpt-4": 0,
        "a/b/c": 0,
        "a/model.safetensors": 0,
        "a//b": 0,
        "a/b--c": 0,
        "../b": 0,
        "http://host/x": 0,
        "": 0,
        "x\0y": 0,
        "ü" * 5000: 0,
        "~nobody-here/x": 0,
    }
    assert {location: match(location) for location in expected} == expected


@pytest.mark.engine
def test_the_doctor_hears_what_there_is(capfd: pytest.CaptureFixture[str]) -> None:
    import torch

    found = probe()
    assert set(found) == {"compiled", "visible", "advice"}
    assert torch.__version__ in found["compiled"][0]
    assert found["visible"][0] == "cpu"
    assert capfd.readouterr() == ("", "")


@pytest.mark.engine
def test_the_doctor_survives_a_broken_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open')\n")
    code = "from forge_hf.probe import probe; print(probe())"
    ran = python(code, PYTHONPATH=str(tmp_path))
    assert ran.returncode == 0
    assert "libtorch.so" in ran.stdout
    assert "pip install" in ran.stdout


@pytest.mark.engine
def test_a_broken_torch_is_named_when_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open')\n")
    ran = python(
        "from forge_hf import HuggingFaceBackend\n"
        "try: HuggingFaceBackend().load_model('.')\n"
        "except ImportError as error: print(type(error).__name__, error, type(error.__cause__).__name__)",
        PYTHONPATH=str(tmp_path),
    )
    assert ran.stdout.startswith("EngineNotAvailableError")
    assert "torch: OSError: libtorch.so" in ran.stdout
    assert ran.stdout.strip().endswith("OSError")


def test_nothing_is_printed(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    with HuggingFaceBackend() as backend:
        backend.load_model(tiny_model, {"device": "cpu"})
        backend.generate("word " * 100, raw=True, seed=1, max_tokens=3)
        backend.generate("Hello", seed=1, max_tokens=3)
    assert capfd.readouterr() == ("", "")


def settings() -> tuple[Any, ...]:
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers import modeling_gguf_pytorch_utils
    from transformers.utils import logging as library

    level = logging.getLogger("transformers").level
    return level, library.is_progress_bar_enabled(), are_progress_bars_disabled(), modeling_gguf_pytorch_utils.tqdm


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.CRITICAL])
@pytest.mark.parametrize("bars", [False, True])
def test_the_hosts_settings_come_back(tiny_model: Path, level: int, bars: bool) -> None:
    from transformers.utils import logging as library

    before = library.get_verbosity(), library.is_progress_bar_enabled()
    try:
        library.set_verbosity(level)
        (library.enable_progress_bar if bars else library.disable_progress_bar)()
        own = settings()
        with HuggingFaceBackend() as backend:
            backend.load_model(tiny_model, {"device": "cpu"})
            assert settings() == own
        with pytest.raises(ValueError, match="can't be loaded"):
            HuggingFaceBackend().load_model(tiny_model.parent, {"device": "cpu"})
        assert settings() == own
    finally:
        library.set_verbosity(before[0])
        (library.enable_progress_bar if before[1] else library.disable_progress_bar)()


@pytest.mark.engine
def test_loads_that_overlap_leave_the_settings_as_the_first_found_them() -> None:
    from forge_hf.log_control import quiet

    own = settings()
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with quiet():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    with quiet():
        leave.set()
        thread.join(10)
        assert logging.getLogger("transformers").level == logging.ERROR
    assert settings() == own
