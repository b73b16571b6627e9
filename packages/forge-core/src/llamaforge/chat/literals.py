"""Control tokens that somebody spelled in a message: plain text to the model, though they look like the real ones.

A prompt is made of the template's words and the messages' words. A control token such as ``<|im_end|>`` ends a turn
where the template writes it. Where a message spells it, it must not, or whoever writes a message could write turns in
another's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

_PRIVATE: Final = (range(0xF0000, 0xFFFFE), range(0xE000, 0xF900), range(0x100000, 0x10FFFE))
"""Code points for private use. Texts hardly ever have them; those that a conversation has are not taken."""


_NOTHING: Final = "(?!)"


@dataclass(frozen=True, slots=True)
class ControlToken:
    """A token that the tokenizer recognises by its spelling, anywhere in a text."""

    text: str
    """Its spelling."""
    lstrip: bool = False
    """Whether it includes white space before it."""
    rstrip: bool = False
    """Whether it includes white space after it."""


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """The text that a model reads."""

    text: str
    literal_spans: tuple[tuple[int, int], ...] = ()
    """Ranges of characters (begin, end), in order, that spell a control token but are plain text."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt that is tokenized separately."""

    text: str
    parse_special: bool
    """Whether control tokens in it are read as control tokens; otherwise they are plain text."""


class ControlTokens:
    """The control tokens of a model.

    Args:
        tokens: all control tokens. Those that consist of white space are ignored, because they occur in ordinary text.
    """

    def __init__(self, tokens: Iterable[ControlToken] = ()) -> None:
        self._tokens = {token.text: token for token in tokens if token.text.strip()}
        self._pattern = re.compile(_alternatives(self._tokens) if self._tokens else _NOTHING)

    def spelled_in(self, text: str) -> set[str]:
        """The control tokens that *text* spells."""
        return set(self._pattern.findall(text))

    def replace(self, text: str, replacement: Callable[[str], str]) -> str:
        """*text* with each spelling replaced by what *replacement* makes of it."""
        return self._pattern.sub(lambda match: replacement(match[0]), text)

    def pieces(self, prompt: RenderedPrompt) -> list[Piece]:
        """Cut *prompt* at control tokens that are real, so that what spells one is in a piece without real ones.

        Tokenizers never look across a control token, so that the pieces' tokens together are those of the whole.
        """
        if not prompt.literal_spans:
            return [Piece(prompt.text, parse_special=True)]
        pieces: list[Piece] = []
        begin = 0  # of what is not in a piece yet
        for start, end in self._literal_stretches(prompt):
            if begin < start:
                pieces.append(Piece(prompt.text[begin:start], parse_special=True))
            pieces.append(Piece(prompt.text[start:end], parse_special=False))
            begin = end
        if begin < len(prompt.text):
            pieces.append(Piece(prompt.text[begin:], parse_special=True))
        return pieces

    def _literal_stretches(self, prompt: RenderedPrompt) -> Iterator[tuple[int, int]]:
        """The stretches between real control tokens that hold a literal span."""
        spans = iter([*prompt.literal_spans, None])
        span = next(spans)
        begin = 0
        for real_begin, real_end in [*self._real(prompt), (len(prompt.text), len(prompt.text))]:
            if span is not None and span[0] < real_begin:
                yield begin, real_begin
                while span is not None and span[0] < real_begin:
                    span = next(spans)
            begin = real_end

    def _real(self, prompt: RenderedPrompt) -> Iterator[tuple[int, int]]:
        """Where the control tokens are that the template wrote, with the white space that belongs to them."""
        text = prompt.text
        at = 0
        for begin, end in [*prompt.literal_spans, (len(text), len(text))]:
            # A spelling that begins in the template's words may end in a message's; it counts as the template's.
            while (match := self._pattern.search(text, at)) is not None and match.start() < begin:
                token = self._tokens[match[0]]
                start, stop = match.span()
                while token.lstrip and start > at and text[start - 1].isspace():
                    start -= 1
                while token.rstrip and stop < len(text) and text[stop].isspace():
                    stop += 1
                yield start, stop
                at = max(stop, match.end())
            at = max(at, end)


class Placeholders:
    """Stand-ins for spelled control tokens while a template runs, so that their places in its output are known.

    Args:
        tokens: the model's control tokens.
        texts: every text of the conversation; characters that they have are not taken.
    """

    def __init__(self, tokens: ControlTokens, texts: Iterable[str]) -> None:
        used = set().union(*texts)
        self._free = (chr(code) for codes in _PRIVATE for code in codes if chr(code) not in used)
        self._tokens = tokens
        self._spelling: dict[str, str] = {}

    def put(self, text: str, only: set[str]) -> str:
        """*text* with placeholders for those spellings."""
        return self._tokens.replace(
            text, lambda spelling: self._placeholder(spelling) if spelling in only else spelling
        )

    def restore(self, text: str) -> RenderedPrompt:
        """*text* with the spellings in their places, also where a template wrote JSON with ASCII alone."""
        back = self._spelling | {_ascii(placeholder): _ascii(text) for placeholder, text in self._spelling.items()}
        if not back:
            return RenderedPrompt(text)
        pieces: list[str] = []
        spans: list[tuple[int, int]] = []
        length = 0
        for piece in re.split(f"({'|'.join(map(re.escape, back))})", text):
            written = back.get(piece, piece)
            if piece in back and self._tokens.spelled_in(written):
                spans.append((length, length + len(written)))
            pieces.append(written)
            length += len(written)
        return RenderedPrompt("".join(pieces), tuple(spans))

    def _placeholder(self, spelling: str) -> str:
        for placeholder, known in self._spelling.items():
            if known == spelling:
                return placeholder
        placeholder = next(self._free)
        self._spelling[placeholder] = spelling
        return placeholder


def _ascii(text: str) -> str:
    return json.dumps(text)[1:-1]


def every_text(value: Any) -> Iterator[str]:
    """Every text in lists and mappings; keys are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from every_text(item)
    elif isinstance(value, list):
        for item in value:
            yield from every_text(item)


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of *value* with every text in its lists and mappings changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    return value


def _alternatives(spellings: Iterable[str]) -> str:
    """A regular expression for any of *spellings*, longer ones first, with common beginnings written once.

    Vocabularies have thousands of control tokens that begin alike; tried one by one, they would take their time.
    """
    tree: dict[str, Any] = {}
    for spelling in spellings:
        node = tree
        for character in spelling:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branch(tree)


def _branch(node: dict[str, Any]) -> str:
    prefix = ""
    while len(node) == 1 and "" not in node:
        ((character, node),) = node.items()
        prefix += re.escape(character)
    ends = "" in node
    branches: Sequence[str] = [re.escape(first) + _branch(rest) for first, rest in sorted(node.items()) if first]
    if not branches:
        return prefix
    return f"{prefix}(?:{'|'.join(branches)}){'?' if ends else ''}"
