"""Each distribution works from its wheel, in an environment that has nothing else."""

from __future__ import annotations

import email
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.environments import BARE, PACKAGES, CleanEnvironment
from support.servers import LiveServer

pytestmark = [pytest.mark.engine, pytest.mark.wheel, pytest.mark.timeout(1500)]

Environment = Callable[..., Path]


@pytest.fixture
def environment(tmp_path: Path, wheels: dict[str, Path]) -> Environment:
    """Make a bare virtual environment, install what is named, and give its interpreter."""

    def make(*requirements: str) -> Path:
        made = CleanEnvironment(tmp_path / "env", next(iter(wheels.values())).parent)
        made.install(*requirements)
        return made.python

    return make


def run(python: Path, code: str) -> str:
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, env=BARE, cwd=python.parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_has_what_it_needs(name: str, wheels: dict[str, Path]) -> None:
    package = PACKAGES[name]
    with zipfile.ZipFile(wheels[name]) as wheel:
        names = set(wheel.namelist())
        info = next(each for each in names if each.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(info))
    assert f"{package}/py.typed" in names
    assert info.replace("METADATA", "licenses/LICENSE") in names
    assert all(each.startswith((f"{package}/", info.rpartition("/")[0])) for each in names)
    assert metadata["Version"] == "2.0.0"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert len(metadata.get_payload()) > 200, "the README is missing"
    siblings = [each for each in metadata.get_all("Requires-Dist", []) if each.startswith("forge-")]
    if name == "forge-serve":
        assert "forge_serve/static/index.html" in names, "the page is missing"
    if name != "forge-core":
        assert siblings, "a plugin requires core"
        assert all("<3" in each and ">=2.0" in each for each in siblings)


def test_core_alone(environment: Environment, wheels: dict[str, Path]) -> None:
    python = environment(str(wheels["forge-core"]))
    out = run(
        python,
        """
import llamaforge
from llamaforge.errors import BackendNotInstalledError
print(llamaforge.__version__, llamaforge.list_backends())
try:
    from llamaforge.backends.llama_cpp import LlamaCppBackend
except BackendNotInstalledError as error:
    print(error.command)
with llamaforge.LlamaForge() as forge:
    forge.add_model("m", "anything", backend="echo")
    forge.load_model("m")
    print(forge.generate("it works"))
""",
    )
    command = f'pip install --find-links {wheels["forge-core"].parent} "forge-llamacpp>=2.0,<3"'
    assert out.splitlines() == ["2.0.0 []", command, "it works"]
    command = python.parent / "llamaforge"
    shown = subprocess.run([str(command), "--version"], capture_output=True, text=True, check=True)
    assert "2.0.0" in shown.stdout


def test_core_with_llamacpp(environment: Environment, wheels: dict[str, Path], gguf_model: Path) -> None:
    python = environment(str(wheels["forge-core"]), str(wheels["forge-llamacpp"]))
    out = run(
        python,
        f"""
from llamaforge import LlamaForge, get_backend, list_backends
from llamaforge.errors import BackendNotInstalledError
with LlamaForge() as forge:
    forge.load_model({str(gguf_model)!r}, {{"n_ctx": 512}})
    print(list_backends(), forge.backend().name)
    print(forge.generate("The capital of France is", raw=True, temperature=0, max_tokens=6))
try:
    get_backend("llama-server")
except BackendNotInstalledError as error:
    print(error.command)
""",
    )
    assert out.splitlines()[0] == "['llama.cpp', 'llama-server'] llama.cpp"
    assert "Paris" in out
    assert out.splitlines()[-1] == (
        f'pip install --find-links {wheels["forge-core"].parent} "forge-llamacpp[server]>=2.0,<3"'
    )


def test_core_with_hf(environment: Environment, wheels: dict[str, Path], hf_model: Path) -> None:
    python = environment("torch==2.13.0", str(wheels["forge-core"]), str(wheels["forge-hf"]))
    out = run(
        python,
        f"""
from llamaforge import LlamaForge, list_backends
with LlamaForge() as forge:
    forge.load_model({str(hf_model)!r}, {{"device": "cpu"}})
    print(list_backends(), forge.backend().name)
    print(forge.generate("The capital of France is", raw=True, temperature=0, max_tokens=6))
""",
    )
    assert out.splitlines()[0] == "['huggingface'] huggingface"
    assert "Paris" in out


def test_core_with_openai(environment: Environment, wheels: dict[str, Path], openai_server: object) -> None:
    python = environment(str(wheels["forge-core"]), str(wheels["forge-openai"]))
    server = openai_server
    out = run(
        python,
        f"""
from llamaforge import LlamaForge, list_backends
with LlamaForge() as forge:
    parameters = {{"api_key": {server.api_key!r}, "api_base": {server.base_url!r}}}
    forge.add_model("m", {server.model!r}, backend="openai", parameters=parameters)
    forge.load_model("m")
    print(list_backends(), forge.backend().name)
    print(forge.generate("The capital of France is", raw=True, temperature=0, max_tokens=6))
""",
    )
    assert out.splitlines()[0] == "['openai'] openai"
    assert "Paris" in out


def test_core_with_the_servers(environment: Environment, wheels: dict[str, Path], openai_server: LiveServer) -> None:
    python = environment(*(str(wheels[name]) for name in ("forge-core", "forge-openai", "forge-vllm", "forge-tgi")))
    parameters = {"endpoint": openai_server.base_url, "api_key": openai_server.api_key}
    out = run(
        python,
        f"""
from llamaforge import get_backend, list_backends
from llamaforge.errors import ServerProgramNotFoundError
print(list_backends())
for name in ("vllm", "tgi"):
    backend = get_backend(name)()
    backend.load_model({openai_server.model!r}, {parameters!r})
    print(name, backend.generate("The capital of France is", raw=True, temperature=0, max_tokens=6))
    backend.close()
    try:
        backend.load_model("m")
    except ServerProgramNotFoundError as error:
        print(error.program)
""",
    )
    assert out.splitlines()[0] == "['openai', 'vllm', 'tgi']"
    assert out.count("Paris") == 2
    assert "text-generation-launcher" in out
