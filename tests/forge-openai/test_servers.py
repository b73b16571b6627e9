"""The tests' own server: it is gone when it should be, whatever became of its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.servers import LiveServer, run_llama_server

OWNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support.servers import run_llama_server
with run_llama_server(Path(sys.argv[2]), Path(sys.argv[3])) as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not (status.exists() and "State:\tZ" in status.read_text())


def test_it_ends_with_its_block_and_when_its_owner_is_killed(gguf_model: Path, tmp_path: Path) -> None:
    with run_llama_server(gguf_model, tmp_path / "log") as server:
        assert server.call("/health") == {"status": "ok"}
        assert is_alive(server.pid)
    assert not is_alive(server.pid)
    support = str(Path(__file__).parents[1])
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, support, str(gguf_model), str(tmp_path / "log2")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert is_alive(pid)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    for _ in range(500):
        if not is_alive(pid):
            break
        time.sleep(0.01)
    assert not is_alive(pid)


def test_a_model_that_is_none_is_reported_with_the_log(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF nonsense")
    with pytest.raises(RuntimeError, match="did not start"), run_llama_server(bad, tmp_path / "log"):
        pass


def test_the_template_is_the_models_own_where_there_are_no_tools(openai_server: LiveServer) -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "Hu"},
    ]
    rendered = openai_server.call("/apply-template", {"messages": turns})["prompt"]
    assert rendered == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n<|im_start|>user\nHu<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
