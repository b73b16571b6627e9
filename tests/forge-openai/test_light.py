"""What the package costs before a model is loaded, and how the registry sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import forge_openai
from forge_openai.plugin import SPEC
from llamaforge.backends import get_backend
from support.scripted import ScriptedServer

HEAVY = ("openai", "httpx", "httpx2", "httpcore2", "pydantic", "numpy")
LIGHT = ("forge_openai", "forge_openai.plugin", "forge_openai.config", "forge_openai.backend", "forge_openai.probe")


@pytest.mark.parametrize("module", LIGHT)
def test_importing_brings_in_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nor_does_making_a_backend_or_reading_its_capabilities() -> None:
    code = f"""
import sys
from forge_openai import OpenAIBackend
backend = OpenAIBackend()
backend.capabilities, backend.name, repr(backend)
backend.config_class.read({{"api_key": "sk-1"}})
print([name for name in {HEAVY!r} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_plugin_names_the_class() -> None:
    assert get_backend("openai") is forge_openai.OpenAIBackend
    assert SPEC.name == "openai"
    assert SPEC.match("gpt-4") == 0, "it must be named: any text could be a remote model"


def test_unknown_names_of_the_package() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        forge_openai.Nonsense  # noqa: B018
    assert {"OpenAIBackend", "OpenAIConfig"} <= set(dir(forge_openai))


def test_a_missing_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from llamaforge.errors import EngineNotAvailableError

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EngineNotAvailableError, match="pip install") as caught:
        forge_openai.OpenAIBackend().load_model("gpt-4", {"api_key": "sk-1"})
    assert caught.value.module == "openai"


USE = """
import asyncio, sys
from forge_openai import OpenAIBackend
backend = OpenAIBackend()
backend.load_model("m-1", {"api_key": "sk-1", "api_base": sys.argv[1]})
assert backend.generate("Hi") == "Hello"
assert asyncio.run(backend.agenerate("Hi")) == "Hello"
backend.close()
"""
WHOLE = """
import importlib.util, types
import openai
from forge_openai.wire.sdk import sdk
assert openai.OpenAI is sdk.OpenAI
assert type(openai) is types.ModuleType and openai.__spec__ is importlib.util.find_spec("openai")
from openai.types.chat import ChatCompletion
assert openai.types.chat.ChatCompletion is ChatCompletion
"""


@pytest.mark.parametrize("program", [USE + WHOLE, "import openai\n" + USE + WHOLE], ids=["before", "after"])
def test_the_sdk_is_imported_as_every_library(program: str, server: ScriptedServer) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program, server.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_the_modules_of_the_host_are_left_alone() -> None:
    """No code of the package touches the table of modules, which is the host program's."""
    sources = sorted(Path(forge_openai.__file__).parent.rglob("*.py"))
    assert len(sources) > 30, "the walk itself must not break"
    assert [path.name for path in sources if "sys.modules" in path.read_text(encoding="utf-8")] == []
