"""A model's vocabulary as llguidance needs it, and the grammars that were compiled for it."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from .grammar import Grammar
from .library import compile_grammar, llguidance
from .matcher import Matcher

_KEPT: Final = 64
"""Compiled grammars that are kept for each vocabulary, each some 100 kB."""
_KEPT_TEXTS: Final = 4096
"""Forced texts whose tokens are remembered."""

Encode = Callable[[str], Sequence[int] | None]
"""Makes tokens of a plain text, in which no special token is recognised; None where it can't."""


class Vocabulary:
    """The tokens of one model, for any number of grammars. Safe in any thread.

    Args:
        token_bytes: the bytes that each token adds to a text, by token id.
        special: special tokens with their spellings.
        end_tokens: every token that ends an answer.
        encode: the model's tokenizer, so that a text which the grammar forces gets the tokens that the model would
            expect. Without it, the longest tokens that fit are taken.

    Raises MissingDependencyError.
    """

    def __init__(
        self,
        token_bytes: Sequence[bytes],
        special: Mapping[int, str],
        end_tokens: Collection[int],
        encode: Encode | None = None,
    ) -> None:
        self.size = len(token_bytes)
        self.ids: Mapping[str, int] = {text: token for token, text in special.items()}
        """Special tokens by their spellings."""
        wrapper = _Tokens(token_bytes, special, end_tokens, encode)
        ends = sorted(end_tokens)
        self._end_tokens = frozenset(end_tokens)
        library = llguidance()
        self.tokenizer: Any = library.LLTokenizer(wrapper, eos_token=ends or None)
        wrapper.greedy = self.tokenizer.greedy_tokenize
        # The tokenizer and what it reads hold each other, which the garbage collector can't see: it isn't Python's.
        weakref.finalize(self, wrapper.release).atexit = False
        self.mask_bytes: int = (self.tokenizer.vocab_size + 31) // 32 * 4
        """The length of a mask."""
        self._compiled: OrderedDict[Grammar, Any] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, grammar: Grammar) -> bool:
        """Whether *grammar* is compiled already."""
        return grammar in self._compiled

    def matcher(self, grammar: Grammar) -> Matcher:
        """A matcher at the beginning of an answer. The first one for a grammar compiles it, which may take a while.

        Raises ConstraintError for a grammar that can't be compiled.
        """
        with self._lock:
            compiled = self._compiled.get(grammar)
            if compiled is not None:
                self._compiled.move_to_end(grammar)
        if compiled is None:
            compiled, reason = compile_grammar(self.tokenizer, grammar.resolved(self.ids))
            if compiled is None:
                raise grammar.error(reason)
            with self._lock:
                self._compiled[grammar] = compiled
                while len(self._compiled) > _KEPT:
                    self._compiled.popitem(last=False)
        return Matcher(compiled.deep_copy(), self._end_tokens, self.mask_bytes, grammar.error, grammar.notes)


class _Tokens:
    """What ``LLTokenizer`` reads of a vocabulary."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(
        self,
        token_bytes: Sequence[bytes],
        special: Mapping[int, str],
        end_tokens: Collection[int],
        encode: Encode | None,
    ) -> None:
        marked = {*special, *end_tokens}
        self.tokens = [
            (special.get(token) or f"<token {token}>").encode("utf-8", "replace") if token in marked else data
            for token, data in enumerate(token_bytes)
        ]
        self.special_token_ids = sorted(marked)
        self.eos_token_id = min(end_tokens, default=None)
        self.greedy: Callable[[str], list[int]] | None = None
        self._token_bytes = token_bytes
        self._encode = encode
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """The tokens of a text that the grammar forces. It is called amid llguidance's work and must not raise."""
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= _KEPT_TEXTS:
                self._known.clear()
            known = self._known[text] = self._find(text)
        return known

    def release(self) -> None:
        """Forget the model's tokenizer, and with it the engine, and llguidance's."""
        self.greedy = self._encode = None

    def _find(self, text: str) -> list[int]:
        encode, greedy = self._encode, self.greedy
        try:
            tokens = None if encode is None else encode(text)
        except Exception:  # noqa: BLE001 - a tokenizer may raise anything; the text's tokens are found without it
            tokens = None
        # Some tokenizers put a space before a text, or change it.
        if tokens and b"".join(self._token_bytes[token] for token in tokens) == text.encode():
            return list(tokens)
        return [] if greedy is None else greedy(text)
