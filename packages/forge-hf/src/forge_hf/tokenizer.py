"""A tokenizer's two directions: text to tokens, and tokens to the exact bytes that they add to a text.

The text of an answer is what its tokens add to the prompt's: a space with which the first token begins belongs to it,
as it does in other engines. Special tokens add nothing. transformers' optional clean-up of spaces before punctuation is
not applied, since it would change code.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from llamaforge.chat import ControlToken, Piece
from llamaforge.engine import BytesDetokenizer, Detokenizer, TokenTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["bytes", "settled", "whole"]
"""How tokens become text: each by itself; with a look at its neighbours; or only all of them together."""

_SAMPLE: Final = (
    "The quick brown fox doesn't jump over 3.14 lazy dogs, does it?\n\tif (a == b) { return [1, 2]; }  // two  spaces\n"
    "Grüße aus Köln, à bientôt! Привет, мир. 你好,世界。こんにちは 안녕하세요 שלום नमस्ते "
    "👩‍👩‍👧 🇫🇷 é ﬁ ½ … “quoted” <tag> e-mail@x.org"
)
"""Text on which a tokenizer's kind is verified when it is loaded."""
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_CONTEXT = 8
"""Tokens of the prompt that a detokenizer looks at before the first token of the answer."""


class Vocabulary:
    """A transformers tokenizer, safe to use from any thread.

    Attributes:
        tokenizer: the tokenizer itself; use it under :attr:`lock`, because it keeps settings that calls change.
        kind: how its tokens become text.
        added: tokens that stand outside the tokenizer's own vocabulary, such as ``<|im_end|>``.
        special: tokens that add no text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer: Any = tokenizer
        self.lock = threading.RLock()
        self.added = frozenset(getattr(tokenizer, "added_tokens_decoder", {}))
        self.special = frozenset(tokenizer.all_special_ids) | {
            token for token in self.added if tokenizer.added_tokens_decoder[token].special
        }
        self._bytes: dict[int, bytes] = {}
        self._table: TokenTable | None = None
        self._bos: int | None = tokenizer.bos_token_id
        self._adds_bos = self._bos is not None and self._encode("a", special=True)[:1] == [self._bos]
        decoder = _decoder(tokenizer)
        self._is_byte_level = decoder == [{"type": "ByteLevel"}]
        self._has_byte_tokens = any(step["type"] == "ByteFallback" for step in decoder or ())
        self._anchor = (self._encode("a") or [0])[-1:]
        self._anchor_text = self._decode(self._anchor)
        self.kind: Kind = self._find_kind(decoder)

    def encode(self, text: str) -> list[int]:
        """Tokens of *text* as it stands; special tokens that it spells are recognised."""
        with self.lock:
            return self._encode(text)

    def encode_plain(self, text: str) -> list[int]:
        """Tokens of a plain *text*, in which no special token is recognised. It takes no lock where the tokenizer is
        one of the library tokenizers."""
        plain = self._plain
        if plain is None:
            with self.lock:
                return self._encode(text, parse=False)
        tokens: list[int] = plain.encode(text, add_special_tokens=False).ids
        return tokens

    @functools.cached_property
    def _plain(self) -> Any:
        """A copy of the library tokenizers' object, whose settings nobody changes; None for one written in Python."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        with self.lock:
            copied = type(backend).from_str(backend.to_str())
        copied.no_truncation()
        copied.no_padding()
        copied.encode_special_tokens = True
        return copied

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[int]:
        """Tokens of a text that was cut at control tokens; some pieces' spellings of such tokens are plain text."""
        with self.lock:
            return [token for piece in pieces for token in self._encode_piece(piece)]

    @property
    def control_tokens(self) -> list[ControlToken]:
        """The tokens that are special to the tokenizer."""
        tokens = self.tokenizer.added_tokens_decoder
        return [
            ControlToken(token.content, lstrip=token.lstrip, rstrip=token.rstrip)
            for number, token in tokens.items()
            if number in self.special
        ]

    def encode_raw(self, text: str) -> list[int]:
        """Likewise, after the token that begins a text, where the tokenizer adds one and *text* doesn't."""
        tokens = self.encode(text)
        if self._adds_bos and tokens and tokens[0] != self._bos and self._bos is not None:
            return [self._bos, *tokens]
        return tokens

    def raw_text(self, text: str) -> str:
        """What :meth:`encode_raw` makes tokens of, written out."""
        tokens = self.encode(text)
        if self._adds_bos and tokens and tokens[0] != self._bos:
            return f"{self.tokenizer.bos_token}{text}"
        return text

    def token_bytes(self, token: int) -> bytes:
        """The bytes that *token* adds to a text by itself."""
        known = self._bytes.get(token)
        if known is None:
            # A name takes no lock: answers go on while another thread tokenizes a long text.
            with contextlib.nullcontext() if self._is_byte_level else self.lock:
                known = self._bytes[token] = self._find_bytes(token)
        return known

    def token_table(self, vocab_size: int) -> TokenTable | None:
        """What tokens 0 to *vocab_size* - 1 mean; None where a token's text depends on its neighbours."""
        if self.kind != "bytes":
            return None
        if self._table is None or len(self._table.token_bytes) != vocab_size:
            table = [self.token_bytes(token) for token in range(vocab_size)]
            special = {token: text for token, text in self.special_texts.items() if token < vocab_size}
            self._table = TokenTable(table, special)
        return self._table

    @functools.cached_property
    def special_texts(self) -> dict[int, str]:
        """Tokens that add no text, with how they are spelled."""
        return {token: self.token_text(token) for token in sorted(self.special)}

    def token_text(self, token: int) -> str:
        """The token for people: its text, or its name where it is special. Part of a character becomes U+FFFD."""
        if token in self.special:
            return str(self.tokenizer.convert_ids_to_tokens(token))
        return self.token_bytes(token).decode("utf-8", "replace")

    def detokenizer(self, prompt: Sequence[int]) -> Detokenizer:
        """For one answer to *prompt*."""
        if self.kind == "bytes":
            return BytesDetokenizer(self.token_bytes)
        context = list(prompt[-_CONTEXT:])
        return _Settled(self, context) if self.kind == "settled" else _Whole(self, context)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of *tokens*, all at once."""
        with self.lock:
            return self._decode(tokens)

    def _encode_piece(self, piece: Piece) -> list[int]:
        return self._encode(piece.text, parse=piece.parse_special)

    def _encode(self, text: str, *, special: bool = False, parse: bool = True) -> list[int]:
        text.encode()  # UnicodeEncodeError for half a surrogate pair; tokenizers raise a TypeError about something else
        tokens: list[int] = self.tokenizer(
            text,
            add_special_tokens=special,
            split_special_tokens=not parse,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return tokens

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _added(self, tokens: Sequence[int]) -> str:
        """What *tokens* add to a text, by the tokenizer's own decoder."""
        return self._decode([*self._anchor, *tokens])[len(self._anchor_text) :]

    def _find_bytes(self, token: int) -> bytes:
        if token in self.special:
            return b""
        name = self.tokenizer.convert_ids_to_tokens(token)
        if name is None:  # the model's vocabulary may be larger than the tokenizer's
            return b""
        if self._is_byte_level:
            alphabet = _byte_alphabet()
            if all(character in alphabet for character in name):
                return bytes(alphabet[character] for character in name)
            return str(name).encode()
        if self._has_byte_tokens and (byte := _BYTE_TOKEN.fullmatch(name)):
            return bytes([int(byte[1], 16)])
        return self._added([token]).encode("utf-8", "replace")

    def _find_kind(self, decoder: list[dict[str, Any]] | None) -> Kind:
        tokens = self._encode(_SAMPLE)
        if decoder is not None and all(_is_local(step) for step in _after_fuse_is_strip(decoder)):
            together = b"".join(map(self._find_bytes, tokens)).decode("utf-8", "replace")
            if together == self._added(tokens):
                return "bytes"
        pieces = _Settled(self, self._anchor)
        streamed = b"".join([*map(pieces.feed, tokens), pieces.finish()]).decode("utf-8", "replace")
        return "settled" if streamed == self._added(tokens) else "whole"


class _Settled:
    """A token's text shows beside the one before it; characters that are not whole yet wait for the next token."""

    def __init__(self, vocabulary: Vocabulary, context: Sequence[int]) -> None:
        self._vocabulary = vocabulary
        self._window = list(context)
        self._shown = vocabulary.decode(self._window)
        self._settled = len(self._window)

    def feed(self, token: int) -> bytes:
        self._window.append(token)
        text = self._vocabulary.decode(self._window)
        if text.endswith("\ufffd") or len(text) <= len(self._shown):
            return b""
        return self._show(text)

    def finish(self) -> bytes:
        return self._show(self._vocabulary.decode(self._window))

    def _show(self, text: str) -> bytes:
        new = text[len(self._shown) :]
        self._window = self._window[self._settled :]
        self._settled = len(self._window)
        self._shown = self._vocabulary.decode(self._window)
        return new.encode("utf-8", "replace")


class _Whole:
    """The text is known only at the end."""

    def __init__(self, vocabulary: Vocabulary, context: Sequence[int]) -> None:
        self._vocabulary = vocabulary
        self._context = list(context)
        self._tokens: list[int] = []

    def feed(self, token: int) -> bytes:
        self._tokens.append(token)
        return b""

    def finish(self) -> bytes:
        before = self._vocabulary.decode(self._context)
        return self._vocabulary.decode([*self._context, *self._tokens])[len(before) :].encode("utf-8", "replace")


def _decoder(tokenizer: Any) -> list[dict[str, Any]] | None:
    """The steps of the tokenizer's decoder, each with what matters of it; None where it can't be known."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    if backend.decoder is None:
        return []
    try:
        described = json.loads(backend.decoder.__getstate__())
    except (TypeError, ValueError):  # written in Python
        return None
    steps = described["decoders"] if described["type"] == "Sequence" else [described]
    return [{"type": "ByteLevel"} if step["type"] == "ByteLevel" else step for step in steps]


def _after_fuse_is_strip(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps that look at one token at a time; behind a Fuse there is only one, the whole text."""
    kinds = [step["type"] for step in steps]
    if "Fuse" not in kinds:
        return steps
    fuse = kinds.index("Fuse")
    after = steps[fuse + 1 :]
    # The beginning of the whole text is the prompt's, so stripping there touches no answer.
    harmless = all(step["type"] == "Strip" and step["stop"] == 0 for step in after)
    return steps[:fuse] if harmless else [{"type": "unknown"}]


def _is_local(step: dict[str, Any]) -> bool:
    """Whether the step makes text of each token by itself, the first one of a text aside."""
    if step["type"] == "Replace":
        return "String" in step["pattern"]
    return step["type"] in {"ByteLevel", "ByteFallback", "Metaspace", "WordPiece", "Strip"}


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """The characters with which byte-level tokenizers write bytes: printable ones stand for themselves (GPT-2)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return alphabet | {chr(256 + index): byte for index, byte in enumerate(others)}
