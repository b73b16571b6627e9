"""The set-ups of clients in docs/serving-clients.md, as they are written there, but for the address."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llamaforge import LlamaForge
from support.documents import Block, blocks
from support.serving import Running, until

PAGE = "docs/serving-clients.md"
MODULES = Path(os.environ.get("LLAMAFORGE_TEST_NODE_MODULES", "/nowhere"))
"""A folder ``node_modules`` with the npm packages of the page, where somebody has installed them."""
OPTIONAL = ("langchain_openai",)


def setups(language: str) -> list[Block]:
    return [block for block in blocks(PAGE) if block.language == language]


def answer(server: Running, command: list[str], folder: Path, block: Block) -> str:
    file = folder / ("setup.mjs" if block.language == "javascript" else "setup.py")
    file.write_text(block.text.replace("http://127.0.0.1:8080", server.url))
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def echoing(forge: LlamaForge, server: Running) -> Running:
    forge.add_model("my-model", "echo", backend="echo")
    until(lambda: "my-model" in server.residency.entries())
    return server


@pytest.mark.parametrize("block", setups("python"), ids=lambda block: block.where)
def test_python(echoing: Running, tmp_path: Path, block: Block) -> None:
    absent = [name for name in OPTIONAL if name in block.text and importlib.util.find_spec(name) is None]
    if absent:
        pytest.skip(f"{absent[0]} isn't installed here")
    said = answer(echoing, [sys.executable], tmp_path, block)
    assert set(said.split()) == {"Hello"}


@pytest.mark.parametrize("block", setups("javascript"), ids=lambda block: block.where)
def test_javascript(echoing: Running, tmp_path: Path, block: Block) -> None:
    node = shutil.which("node")
    if node is None or not MODULES.is_dir():
        pytest.skip("LLAMAFORGE_TEST_NODE_MODULES names no folder with npm packages")
    (tmp_path / "node_modules").symlink_to(MODULES)
    assert "Hello" in answer(echoing, [node], tmp_path, block)
