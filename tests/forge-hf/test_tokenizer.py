"""Tokens become exactly the text that they add, for every kind of tokenizer."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_hf.tokenizer import Vocabulary
from llamaforge.engine import BatchEntry
from llamaforge.requests import read_request
from support.small_tokenizers import KINDS, byte_level

pytestmark = pytest.mark.engine

QUICK = settings(max_examples=80, deadline=None)


@functools.cache
def vocabulary(kind: str) -> Vocabulary:
    return Vocabulary(KINDS[kind][0]())


def streamed(using: Vocabulary, prompt: list[int], answer: list[int]) -> str:
    pieces = using.detokenizer(prompt)
    return b"".join([*map(pieces.feed, answer), pieces.finish()]).decode("utf-8", "replace")


def added(using: Vocabulary, prompt: list[int], answer: list[int]) -> str:
    """The tokenizer's own word for it: what the answer adds to the prompt's text."""
    before = using.decode(prompt)
    whole = using.decode([*prompt, *answer])
    assert whole.startswith(before)
    return whole[len(before) :]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_recognised(kind: str) -> None:
    assert vocabulary(kind).kind == KINDS[kind][1]


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(data=st.data())
def test_any_tokens_become_the_text_that_the_tokenizer_decodes(kind: str, data: st.DataObject) -> None:
    using = vocabulary(kind)
    size = len(using.tokenizer)
    # Runs of byte tokens that are no UTF-8 are told apart below.
    some = st.integers(0, size - 1).filter(lambda token: "<0x" not in using.tokenizer.convert_ids_to_tokens(token))
    prompt = using.encode("the dogs")
    answer = data.draw(st.lists(some, max_size=25))
    assert streamed(using, prompt, answer) == added(using, prompt, answer)


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(text=st.text(alphabet="the dogs.,!?'nt(){}=12 éüПр你🎉\n", max_size=40))
def test_text_comes_back_as_the_tokenizer_decodes_it(kind: str, text: str) -> None:
    using = vocabulary(kind)
    prompt, answer = using.encode("the"), using.encode(text)
    assert streamed(using, prompt, answer) == added(using, prompt, answer)


@QUICK
@given(text=st.text(max_size=60))
def test_byte_level_text_comes_back_exactly(text: str) -> None:
    using = vocabulary("byte_level")
    text = text.encode("utf-8", "replace").decode()
    assert streamed(using, using.encode("x"), using.encode(text)) == text


@QUICK
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=20))
def test_byte_fallback_text_comes_back_exactly(text: str) -> None:
    using = vocabulary("unigram_with_bytes")
    answer = using.encode(text)
    assert streamed(using, using.encode("x"), answer) == (f" {text}" if text else "")


def test_byte_tokens_that_are_no_character_become_one_mark_a_piece() -> None:
    using = vocabulary("unigram_with_bytes")
    token = using.tokenizer.convert_tokens_to_ids
    party = [token(f"<0x{byte:02X}>") for byte in "🎉".encode()]
    assert streamed(using, [], [*party, *party]) == "🎉🎉"
    assert streamed(using, [], [*party, token("<0xFF>")]) == "🎉\ufffd"
    assert streamed(using, [], party[:2]) == "\ufffd"


def test_text_is_not_held_back_without_need() -> None:
    using = vocabulary("word_ends")
    pieces = using.detokenizer(using.encode("Hello"))
    shown = [pieces.feed(token) for token in using.encode("the quick brown fox")]
    assert all(shown[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_add_nothing(kind: str) -> None:
    using = vocabulary(kind)
    prompt, answer = using.encode("Hello"), using.encode("the dogs")
    special = using.tokenizer.convert_tokens_to_ids("</s>")
    assert using.token_bytes(special) == b""
    assert using.token_text(special) == "</s>"
    assert streamed(using, prompt, [special, *answer, special]) == streamed(using, prompt, answer)


def test_a_token_that_the_tokenizer_lacks_adds_nothing() -> None:
    assert vocabulary("byte_level").token_bytes(10**6) == b""


class Backwards:
    """A tokenizer in Python whose every token changes the whole text: as bad as can be."""

    added_tokens_decoder: dict[int, Any] = {1: SimpleNamespace(special=True)}  # noqa: RUF012
    all_special_ids = (1,)
    bos_token_id = None
    bos_token = None

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) for character in text]}

    def decode(self, tokens: list[int], **options: Any) -> str:
        return "".join(chr(token) for token in reversed(tokens) if token != 1)

    def convert_ids_to_tokens(self, token: int) -> str:
        return chr(token)


def test_a_tokenizer_that_settles_nothing_is_read_at_the_end() -> None:
    using = Vocabulary(Backwards())
    assert using.kind == "whole"
    pieces = using.detokenizer([])
    assert [pieces.feed(ord(character)) for character in "abc"] == [b"", b"", b""]
    assert pieces.finish() == b"cba"


def test_the_beginning_of_a_text_is_marked_once() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_level()
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", bos), ("</s>", 2)]
    )
    using = Vocabulary(tokenizer)
    plain = using.encode("the dogs")
    assert bos not in plain
    assert using.encode_raw("the dogs") == [bos, *plain]
    assert using.encode_raw("<s>the dogs") == [bos, *plain]
    assert using.raw_text("the dogs") == "<s>the dogs" == using.raw_text("<s>the dogs")


def test_no_beginning_is_added_where_the_tokenizer_adds_none() -> None:
    using = vocabulary("byte_level")
    assert using.encode_raw("the dogs") == using.encode("the dogs")
    assert using.raw_text("the dogs") == "the dogs"


class TestTheRealOne:
    @pytest.fixture
    def using(self, engine: Any) -> Vocabulary:
        return engine.vocabulary

    def test_its_kind(self, using: Vocabulary) -> None:
        assert using.kind == "bytes"

    def test_real_text(self, using: Vocabulary) -> None:
        text = Path(__file__).read_text(encoding="utf-8") + "👩‍👩‍👧 🇫🇷 é नमस्ते שלום \ufffd \u200b"
        assert streamed(using, [], using.encode(text)) == text

    def test_any_tokens(self, using: Vocabulary) -> None:
        @QUICK
        @given(st.lists(st.integers(0, len(using.tokenizer) - 1), max_size=40))
        def check(answer: list[int]) -> None:
            assert streamed(using, [], answer) == using.tokenizer.decode(answer, skip_special_tokens=True)

        check()

    def test_any_text(self, using: Vocabulary) -> None:
        @QUICK
        @given(st.text(max_size=60))
        def check(text: str) -> None:
            answer = using.encode(text.encode("utf-8", "replace").decode())
            assert streamed(using, [], answer) == using.tokenizer.decode(answer, skip_special_tokens=True)

        check()


def test_the_engines_table_has_the_bytes_of_every_token(engine: Any) -> None:
    table = engine.token_table()
    assert len(table.token_bytes) == engine.vocab_size
    text = "Grüße, 你好! 👩‍👩‍👧\n\tdef f(x):  return x"
    tokens = engine.tokenize(read_request(text, None, {"raw": True})).token_ids
    assert b"".join(table.token_bytes[token] for token in tokens).decode() == text
    assert {table.special[token] for token in engine.end_tokens} >= {engine.vocabulary.tokenizer.eos_token}
    assert all(table.token_bytes[token] == b"" for token in table.special)


def test_the_engine_chooses_by_masks_where_requests_share_a_step(engine: Any) -> None:
    """One entry has a mask for each choice, the other one is free."""
    bits = np.zeros((2, -(-engine.vocab_size // 8) * 8), dtype=np.bool_)
    bits[0, 300] = bits[1, 400] = True
    masks = [np.packbits(row, bitorder="little").tobytes() for row in bits]
    greedy = read_request("x", None, {"temperature": 0})
    make = [engine.sampling(greedy, [5, 6], 3) for _ in range(3)]
    held, free = engine.compute(
        [BatchEntry(0, 0, [5, 6, 300], make[0], draft=1, masks=masks), BatchEntry(1, 0, [5, 6], make[1])]
    )
    alone = engine.compute([BatchEntry(2, 0, [5, 6], make[2])])
    for slot in range(3):
        engine.trim(slot, 0)
    assert [choice.token for choice in held] == [300, 400]
    assert [choice.token for choice in free] == [choice.token for choice in alone[0]]
