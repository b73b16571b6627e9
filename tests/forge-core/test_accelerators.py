"""What a probe learns of NVIDIA cards from a driver's tool that works, fails, hangs, or isn't there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llamaforge.backends import accelerators

LISTED = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-12)\\nGPU 1: NVIDIA L4 (UUID: GPU-34)\\n"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tool is a shell script here")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``nvidia-smi`` goes; no card is known otherwise."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(accelerators, "_CARDS", tmp_path / "gpus")
    return tmp_path / "nvidia-smi"


def write(tool: Path, script: str) -> None:
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_the_cards_that_the_driver_lists(tool: Path) -> None:
    write(tool, f"printf '{LISTED}'")
    assert accelerators.nvidia_cards() == ["NVIDIA H100 80GB HBM3", "NVIDIA L4"]


@pytest.mark.parametrize("script", ["exit 9", "printf 'No devices were found'", "exec sleep 30"])
def test_a_tool_that_tells_of_none(tool: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "_TIMEOUT", 0.2)
    write(tool, script)
    assert accelerators.nvidia_cards() == []


def test_a_tool_that_can_not_be_run(tool: Path) -> None:
    tool.write_bytes(b"\x7fELF")
    tool.chmod(0o755)
    assert accelerators.nvidia_cards() == []


def test_linux_knows_of_cards_where_the_tool_is_not_there(tool: Path, tmp_path: Path) -> None:
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    write(tool, "exit 1")
    assert accelerators.nvidia_cards() == ["the card 0000:01:00.0"]


def test_what_hides_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert accelerators.hidden_nvidia_cards() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert accelerators.hidden_nvidia_cards() == "CUDA_VISIBLE_DEVICES=-1"
