"""Long runs of characters, over which llama.cpp's pre-tokenizers recurse: they must not end the process, or hang it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_llamacpp import LlamaCppBackend, deep_stack
from llamaforge.errors import ContextOverflowError, InvalidParameterError
from support.gguf_files import make_tiny_gguf
from support.llama_engine import engine_of, tokens_of

# A pre-tokenizer for each kind of regular expression that llama.cpp has.
PRE_TOKENIZERS = [
    "gpt-4o",
    "deepseek-v3",
    "deepseek-llm",
    "tekken",
    "falcon",
    "default",
    "exaone-moe",
    "bloom",
    "youtu",
]

PROGRAM = """
import sys
from forge_llamacpp import LlamaCppBackend
from llamaforge.errors import LlamaForgeError

texts = [unit * (60_000 // len(unit)) for unit in (
    "a", "A", "aB", " ", "\\t", "\\n", "\\r\\n", "!", "/", "!\\n/", "7", "\\0", "é", "Ж", "中", "か", "😀", "\\u0301",
    "\\u00a0 ", "\\u3000\\u2003", "a ", "ab cd ", "'", "$", "“", "\\x1c", "_a",
)]
for path in sys.argv[1:]:
    with LlamaCppBackend() as backend:
        backend.load_model(path, {"n_threads": 1})
        for text in texts:
            try:
                backend.generate(text, {"raw": True})
            except LlamaForgeError as error:
                print(path, repr(text[:2]), type(error).__name__, flush=True)
"""


@pytest.mark.parametrize("group", [PRE_TOKENIZERS[::2], PRE_TOKENIZERS[1::2]], ids=" ".join)
def test_no_text_ends_the_process(group: list[str], tmp_path: Path) -> None:
    files = [make_tiny_gguf(tmp_path / f"{name}.gguf", tokenizer__ggml__pre=name) for name in group]
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *files], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-300:] + ended.stderr[-300:]
    assert {line.split()[-1] for line in ended.stdout.splitlines()} == {"ContextOverflowError"}


def test_no_conversation_ends_the_process(tmp_path: Path) -> None:
    program = PROGRAM.replace("generate(text, {", "chat([{'role': 'user', 'content': 'x' + text}], {").replace(
        '"raw": True', ""
    )
    path = make_tiny_gguf(tmp_path / "tiny.gguf", tokenizer__ggml__pre="tekken")
    ended = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-300:] + ended.stderr[-300:]
    assert {line.split()[-1] for line in ended.stdout.splitlines()} == {"ContextOverflowError"}


@pytest.fixture(scope="module")
def gpt_4o(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = make_tiny_gguf(tmp_path_factory.mktemp("gpt-4o") / "tiny.gguf", tokenizer__ggml__pre="gpt-4o")
    with LlamaCppBackend() as backend:
        backend.load_model(path, {"n_threads": 1})
        yield backend


def test_a_run_that_needs_a_deep_stack_is_counted_exactly(gpt_4o: LlamaCppBackend) -> None:
    with pytest.raises(ContextOverflowError) as raised:
        gpt_4o.generate("x" * 100_000, {"raw": True})
    assert raised.value.prompt_tokens == 100_000


@given(st.text(st.sampled_from("aA1! \n\r/'é中😀\u00a0\t"), min_size=1, max_size=60))
def test_the_tokens_are_those_of_an_ordinary_call(gpt_4o: LlamaCppBackend, text: str) -> None:
    plain = tokens_of(gpt_4o, text)
    threads: list[str] = []
    vocabulary = engine_of(gpt_4o)._vocabulary
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep_stack, "_SHALLOW", 0)
        call = vocabulary._stack.call
        patch.setattr(
            vocabulary._stack,
            "call",
            lambda data, work: call(data, lambda: (threads.append(threading.current_thread().name), work())[1]),
        )
        assert tokens_of(gpt_4o, text) == plain
    assert threads == ["llamaforge-tokenizer"]


def test_a_run_beyond_every_stack_is_refused_by_name(gpt_4o: LlamaCppBackend) -> None:
    text = "a " + "b" * (deep_stack.LONGEST_RUN + 10)
    with pytest.raises(InvalidParameterError, match="at most 1,048,576 bytes are allowed") as raised:
        gpt_4o.generate(text, {"raw": True})
    assert raised.value.name == "prompt"
    with pytest.raises(InvalidParameterError) as raised:
        gpt_4o.chat([{"role": "user", "content": text}])
    assert raised.value.name == "messages"


@pytest.mark.parametrize(("pre", "text"), [("superbpe", "7" * 100_000), ("jais-2", "\u2003 " * 100_000)])
def test_a_run_that_would_take_minutes_is_refused(pre: str, text: str, tmp_path: Path) -> None:
    with LlamaCppBackend() as backend:
        backend.load_model(make_tiny_gguf(tmp_path / "tiny.gguf", tokenizer__ggml__pre=pre), {"n_threads": 1})
        with pytest.raises(InvalidParameterError, match="square"):
            backend.generate(text, {"raw": True})
        assert tokens_of(backend, text[:1_000])


def test_a_system_without_memory_for_the_stack_refuses(
    gpt_4o: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = threading.stack_size()
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(InvalidParameterError, match="stack"):
        tokens_of(gpt_4o, "y" * 5_000)
    assert threading.stack_size() == before


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", " ", "\n", "/", "é", "\u00a0", "中", "!"]), st.integers(1, 40)), max_size=8
    )
)
def test_the_run_is_never_underestimated(parts: list[tuple[str, int]]) -> None:
    """Every stretch that a pattern may match is as long at most: a word between white space, or white space."""
    text = "".join(unit * count for unit, count in parts)
    words = max(map(len, text.replace("\u00a0", " ").split(" ")), default=0)
    spaces = max((len(run) for run in "".join(" " if c.isspace() else "x" for c in text).split("x")), default=0)
    assert deep_stack.longest_run(text.encode()) >= max(words if "\n" not in text else 0, spaces)
    assert deep_stack.longest_run(text.encode(), across_spaces=True) >= max(map(len, text.split("\n")), default=0)
