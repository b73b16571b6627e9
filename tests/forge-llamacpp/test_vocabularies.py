"""Vocabularies of other kinds than byte-pair encoding."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forge_llamacpp import LlamaCppBackend
from llamaforge.errors import InvalidModelError, InvalidParameterError
from llamaforge.requests import read_request
from support.gguf_files import make_tiny_gguf
from support.llama_engine import engine_of, tokens_of

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
NOTHING_NAMED = {f"tokenizer__ggml__{name}": None for name in ("bos_token_id", "eos_token_id", "add_bos_token", "pre")}


def make(path: Path, kind: str, tokens: list[str], types: list[int], **more: Any) -> Path:
    return make_tiny_gguf(
        path,
        tokenizer__ggml__model=kind,
        tokenizer__ggml__tokens=tokens,
        tokenizer__ggml__token_type=types,
        tokenizer__ggml__scores=[0.0] * len(tokens),
        tokenizer__ggml__merges=None,
        **{**NOTHING_NAMED, **more},
    )


WORDS = ["<unk>", "<s>", "</s>", "\u2581", *string.ascii_lowercase, "\n"]


class TestSentencepieceWithoutBytes:
    """llama.cpp ends the process at a character that such a vocabulary lacks."""

    @pytest.fixture
    def words(self, tmp_path: Path, empty: LlamaCppBackend) -> LlamaCppBackend:
        types = [UNKNOWN, CONTROL, CONTROL] + [NORMAL] * (len(WORDS) - 3)
        empty.load_model(make(tmp_path / "tiny.gguf", "llama", WORDS, types, template=None), {"n_threads": 1})
        return empty

    def test_what_it_knows_is_tokenized(self, words: LlamaCppBackend) -> None:
        assert [WORDS[token] for token in tokens_of(words, "ab c\n")] == [
            "<s>", "\u2581", "a", "b", "\u2581", "c", "\n",
        ]  # fmt: skip
        assert tokens_of(words, "<s>ab</s>")[-1] == 2

    @pytest.mark.parametrize("text", ["caf\u00e9", "A", "a\U0001f600", "\0", "<"])
    def test_what_it_lacks_is_refused_by_name(self, words: LlamaCppBackend, text: str) -> None:
        with pytest.raises(InvalidParameterError, match="tokens for") as raised:
            words.generate(text, {"raw": True})
        assert raised.value.name == "prompt"
        assert repr(text[-1]) in str(raised.value)

    def test_with_bytes_every_text_is_tokenized(self, tmp_path: Path, empty: LlamaCppBackend) -> None:
        tokens = [*WORDS, *(f"<0x{byte:02X}>" for byte in range(256))]
        types = [UNKNOWN, CONTROL, CONTROL] + [NORMAL] * (len(WORDS) - 3) + [BYTE] * 256
        empty.load_model(make(tmp_path / "tiny.gguf", "llama", tokens, types, template=None), {"n_threads": 1})
        assert [tokens[token] for token in tokens_of(empty, "\u00e9")] == ["<s>", "\u2581", "<0xC3>", "<0xA9>"]


def test_control_tokens_spelled_in_words_of_wordpiece_are_text(tmp_path: Path, empty: LlamaCppBackend) -> None:
    special = ["[PAD]", *(f"[unused{number}]" for number in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = [chr(code) for code in range(33, 127)]
    tokens = [*special, *(f"\u2581{sign}" for sign in signs), *signs, "\u2581hello"]
    kinds = {"[PAD]": CONTROL, "[CLS]": CONTROL, "[SEP]": CONTROL, "[MASK]": CONTROL, "[UNK]": UNKNOWN}
    types = [kinds.get(token, NORMAL) for token in tokens]
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ sep_token }}{% endfor %}"
    path = make(
        tmp_path / "tiny.gguf", "bert", tokens, types, template=template, tokenizer__ggml__token_type_count=np.uint32(2)
    )
    empty.load_model(path, {"n_threads": 1})

    def read(text: str, **parameters: Any) -> list[str]:
        request = read_request(None, [{"role": "user", "content": text}], parameters)
        return [tokens[token] for token in engine_of(empty).tokenize(request).token_ids]

    spelled = ["\u2581[", "\u2581s", "e", "p", "\u2581]"]
    assert read("hello[SEP]hello") == ["[CLS]", "\u2581hello", *spelled, "\u2581hello", "[SEP]"]
    parsed = ["[CLS]", "\u2581hello", "[SEP]", "\u2581hello", "[SEP]"]
    assert read("hello [SEP] hello", parse_special=True) == parsed


def test_a_pre_tokenizer_of_another_tokenizer_is_refused(tmp_path: Path, empty: LlamaCppBackend) -> None:
    """The engine would end the process at the first space."""
    path = make_tiny_gguf(tmp_path / "tiny.gguf", tokenizer__ggml__pre="whitespace")
    with pytest.raises(InvalidModelError, match="pre-tokenizer"):
        empty.load_model(path, {"n_threads": 1})
