"""Text to tokens, and tokens to bytes."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Final

from llama_cpp import llama_cpp as lib

from llamaforge.chat import ControlToken, ControlTokens, RenderedPrompt
from llamaforge.engine import TokenTable

from .deep_stack import DeepStack, UntokenizableTextError

_UNKNOWN, _CONTROL, _LSTRIP, _RSTRIP = 1 << 0, 1 << 3, 1 << 7, 1 << 8
"""``llama_token_attr``, as far as it matters here."""
_SPACE: Final = "\u2581"
"""How sentencepiece writes a space."""


_SPECIAL_TOKENS: Final = {
    "bos_token": ("bos", lib.llama_vocab_bos),
    "eos_token": ("eos", lib.llama_vocab_eos),
    "unk_token": ("unknown", None),
    "sep_token": ("seperator", lib.llama_vocab_sep),  # as the format spells it
    "pad_token": ("padding", lib.llama_vocab_pad),
    "mask_token": ("mask", lib.llama_vocab_mask),
}
"""Special tokens by the names that chat templates use: what the metadata calls each, and what llama.cpp says."""


class Vocabulary:
    """The tokenizer of a loaded model. Safe in any thread while the model is loaded.

    Args:
        pointer: llama.cpp's vocabulary.
        metadata: reads an entry of the model's metadata; None where it isn't there.
    """

    def __init__(self, pointer: int, metadata: Callable[[str], str | None]) -> None:
        self._vocab = pointer
        self._metadata = metadata
        self.size: int = lib.llama_vocab_n_tokens(pointer)
        self._named = {name: self._find_special(name) for name in _SPECIAL_TOKENS}
        self.bos = self._named["bos_token"]
        self.adds_bos = bool(lib.llama_vocab_get_add_bos(pointer)) and self.bos is not None
        self._bytes: dict[int, bytes] = {}
        self._stack = DeepStack(metadata("tokenizer.ggml.pre"))

    @functools.cached_property
    def end_tokens(self) -> frozenset[int]:
        """Every token that ends an answer; not one that llama.cpp only assumes (see :meth:`_find_special`)."""
        ends = {token for token in range(self.size) if lib.llama_vocab_is_eog(self._vocab, token)}
        if self._named["eos_token"] is None:
            ends.discard(lib.llama_vocab_eos(self._vocab))
        return frozenset(ends)

    @functools.cached_property
    def token_table(self) -> TokenTable:
        """What each token means."""
        table = [self.token_bytes(token) for token in range(self.size)]
        return TokenTable(table, {token: self.token_text(token) for token, data in enumerate(table) if not data})

    @functools.cached_property
    def special(self) -> dict[int, str]:
        """The tokens that add no text, with how they are spelled."""
        return {token: self._spelling(token) for token in range(self.size) if self._is_control(token)}

    @property
    def control_tokens(self) -> list[ControlToken]:
        """The tokens that llama.cpp makes of their spelling only where it is told to."""
        attributes = ((text, lib.llama_vocab_get_attr(self._vocab, token)) for token, text in self.special.items())
        return [ControlToken(text, bool(flags & _LSTRIP), bool(flags & _RSTRIP)) for text, flags in attributes]

    @functools.cached_property
    def _controls(self) -> ControlTokens:
        return ControlTokens(self.control_tokens)

    def tokenize(self, prompt: RenderedPrompt) -> list[int]:
        """The tokens of *prompt*: control tokens are recognised but for those that are to be plain text, and one BOS
        comes first where the model wants it."""
        pieces = self._controls.pieces(prompt) if prompt.literal_spans else None
        if pieces is None:
            tokens = self._tokenize(prompt.text)
        else:
            tokens = [token for piece in pieces for token in self._tokenize(piece.text, parse=piece.parse_special)]
        if self.adds_bos and self.bos is not None and tokens[:1] != [self.bos]:
            tokens.insert(0, self.bos)
        return tokens

    def tokenize_text(self, text: str) -> list[int]:
        """The tokens of a plain text: no token of its own is put before it, and spellings of control tokens are text.

        Raises UntokenizableTextError.
        """
        return self._tokenize(text, parse=False)

    def frame(self) -> tuple[list[int], list[int]]:
        """The tokens that the model wants before and after a text, as llama.cpp adds them."""
        text = b"a"
        plain = self._tokenize_bytes(text, parse=False)
        whole = self._tokenize_bytes(text, parse=False, special=True)
        begin = next(at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
        return whole[:begin], whole[begin + len(plain) :]

    def raw_text(self, text: str) -> str:
        """What :meth:`tokenize` makes tokens of, written out: with the BOS that it puts before *text*."""
        begin = self.token_text(self.bos) if self.adds_bos and self.bos is not None else ""
        return text if text.startswith(begin) else begin + text

    def token_bytes(self, token: int) -> bytes:
        """What *token* adds to the text; a control token adds nothing."""
        data = self._bytes.get(token)
        if data is None:
            data = self._bytes[token] = self._piece(token, special=False)
        return data

    def token_text(self, token: int) -> str:
        """How *token* looks, control tokens too. Half a character shows as U+FFFD."""
        return self._piece(token, special=True).decode("utf-8", "replace")

    def named_tokens(self) -> dict[str, str]:
        """The texts of the special tokens that there are, by the names that chat templates use."""
        return {name: self._spelling(token) for name, token in self._named.items() if token is not None}

    def _find_special(self, name: str) -> int | None:
        """The special token of that name.

        Where a file names none, llama.cpp assumes the one that is usual for the type of tokenizer. For byte-pair
        encoding that is token 11, an ordinary one in most vocabularies: it counts only if the file says that it is
        special.
        """
        key, find = _SPECIAL_TOKENS[name]
        told = self._metadata(f"tokenizer.ggml.{key}_token_id")
        named = int(told) if told is not None and told.isdecimal() else None
        token: int | None = named if find is None else find(self._vocab)
        if token is None or not 0 <= token < self.size:
            return None
        return token if token == named or self._is_control(token) else None

    def _spelling(self, token: int) -> str:
        text: str = lib.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace")
        return text

    def _is_control(self, token: int) -> bool:
        return bool(lib.llama_vocab_get_attr(self._vocab, token) & (_CONTROL | _UNKNOWN))

    @functools.cached_property
    def _writable(self) -> frozenset[str] | None:
        """The characters that have tokens; None where every one has, at least by its bytes.

        With a sentencepiece vocabulary that lacks tokens for bytes, llama.cpp ends the process at any other character.
        """
        if lib.llama_vocab_type(self._vocab) != lib.LLAMA_VOCAB_TYPE_SPM:
            return None
        texts = {self._spelling(token) for token in range(self.size)}
        if all(f"<0x{byte:02X}>" in texts for byte in range(256)):
            return None
        known = {text for text in texts if len(text) == 1}
        return frozenset(known | {" "} if _SPACE in known else known)

    def _check_writable(self, text: str, *, parse: bool) -> None:
        if self._writable is None:
            return
        plain = self._controls.replace(text, lambda _: "") if parse else text
        unknown = sorted(set(plain) - self._writable)
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise UntokenizableTextError(f"the model has no tokens for {shown}")

    def _tokenize(self, text: str, *, parse: bool = True) -> list[int]:
        self._check_writable(text, parse=parse)
        return self._tokenize_bytes(text.encode(), parse=parse)

    def _tokenize_bytes(self, text: bytes, room: int | None = None, *, parse: bool, special: bool = False) -> list[int]:
        room = len(text) + 8 if room is None else room
        buffer = (lib.llama_token * room)()
        count: int = self._stack.call(
            text, lambda: lib.llama_tokenize(self._vocab, text, len(text), buffer, room, special, parse)
        )
        if count < 0:
            return self._tokenize_bytes(text, -count, parse=parse, special=special)
        return buffer[:count]

    def _piece(self, token: int, *, special: bool, room: int = 64) -> bytes:
        buffer = ctypes.create_string_buffer(room)
        length = lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
        if length < 0:
            return self._piece(token, special=special, room=-length)
        return buffer.raw[:length]
