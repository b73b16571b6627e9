"""A long text that one caller's thread tokenizes holds up nobody else's answer."""

from __future__ import annotations

import threading

from forge_hf.tokenizer import Vocabulary
from support.small_tokenizers import byte_level


def test_tokens_become_text_while_another_thread_tokenizes() -> None:
    vocabulary = Vocabulary(byte_level())
    tokens = vocabulary.encode("Hello there")
    vocabulary._bytes.clear()
    tokenizes, enough = threading.Event(), threading.Event()

    def tokenize() -> None:
        with vocabulary.lock:
            tokenizes.set()
            enough.wait()

    found: list[bytes] = []
    other = threading.Thread(target=tokenize)
    engine = threading.Thread(target=lambda: found.extend(map(vocabulary.token_bytes, tokens)), daemon=True)
    other.start()
    tokenizes.wait()
    engine.start()
    engine.join(30)
    enough.set()
    other.join()
    assert b"".join(found) == b"Hello there"
