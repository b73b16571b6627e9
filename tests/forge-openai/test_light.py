"""What the package costs before a model is loaded, and how the registry sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import forge_openai
from forge_openai.plugin import SPEC
from llamaforge.backends import get_backend
from support.scripted import ScriptedServer

HEAVY = ("openai", "httpx", "httpx2", "httpcore2", "pydantic", "numpy")
LIGHT = ("forge_openai", "forge_openai.plugin", "forge_openai.config", "forge_openai.backend", "forge_openai.doctor")


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
backend.load_model("m-1", {"api_key": "sk-1", "azure_endpoint": sys.argv[1], "api_version": "1", "check_model": False})
backend.close()
"""
LEFT_OUT = """
heavy = [name for name in sys.modules if name.startswith(("openai.resources", "openai.types.", "openai.lib."))]
needed = {"openai.types.shared", "openai.types.shared.oauth_error_code", "openai.lib._client_auth", "openai.lib.azure"}
assert set(heavy) <= needed, heavy
"""
WHOLE = """
import openai
from forge_openai.wire.sdk import sdk
assert openai.OpenAI is sdk.OpenAI and openai.__version__ and "OpenAI" in openai.__all__
from openai import *
from openai.types.chat import ChatCompletion
assert openai.types.chat.ChatCompletion is ChatCompletion
import openai.lib, openai.resources.chat
assert openai.lib.pydantic_function_tool is openai.pydantic_function_tool
assert openai.RateLimitError.__module__ == "openai"
assert isinstance(openai.OpenAI(api_key="x").chat, openai.resources.chat.Chat)
"""
NEWER = """
import forge_openai.wire.sdk as ours
ours._OURS += ("openai._gone_in_a_newer_release",)
"""


@pytest.mark.parametrize(
    "program",
    [USE + LEFT_OUT, USE + WHOLE, "import openai\n" + USE + WHOLE, WHOLE + USE, NEWER + USE + WHOLE],
    ids=["a third of it", "the whole of it afterwards", "the whole of it before", "before use", "a newer release"],
)
def test_as_much_of_the_sdk_as_is_needed_and_the_rest_when_it_is(program: str, server: ScriptedServer) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program, server.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_what_a_thread_imports_meanwhile_is_whole() -> None:
    code = """
import sys, threading
from forge_openai.wire.sdk import load_sdk
found = []
def look():
    import openai
    found.append(openai.OpenAI)
threads = [threading.Thread(target=work) for work in [load_sdk, look] * 4]
for thread in threads: thread.start()
for thread in threads: thread.join()
import openai
assert found == [openai.OpenAI] * 4, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
