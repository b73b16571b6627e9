"""Texts that need a deep stack to be made tokens of.

For many models llama.cpp splits a text into words by ``std::regex``, which calls itself once for every character of a
match. A run of some ten thousand characters without a break overflows the stack of an ordinary thread, and ends the
process. The run can't be cut, since that would change its tokens. So such a text is tokenized in a thread whose stack
is large enough, and a run that would need too large a one is refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from llamaforge.forks import ForkSafeLock

T = TypeVar("T")

_SHALLOW: Final = 2048
"""Bytes of a run that every thread's stack holds."""
LONGEST_RUN: Final = 2**20
"""Bytes of a run that is still tokenized. It takes 320 MiB of stack for that moment."""
LONGEST_TEXT: Final = 2**30
"""Bytes of a text that is still tokenized: llama.cpp counts them in 32 bits."""
_STACK_PER_BYTE: Final = 1024
"""Bytes of stack for each byte of a run: 320 are used, measured with GCC 12 for all of llama.cpp's pre-tokenizers."""
_STACK_BEYOND: Final = 2**21

_ACROSS_SPACES: Final = frozenset({"exaone-moe"})
"""Pre-tokenizers (``tokenizer.ggml.pre``) with words that single spaces don't end."""


class UntokenizableTextError(ValueError):
    """A text that llama.cpp can't make tokens of; the message says what is expected of it instead."""


class DeepStack:
    """Gives tokenizing the stack that it needs.

    Args:
        pre_tokenizer: its name in the model's metadata, or None.
    """

    def __init__(self, pre_tokenizer: str | None) -> None:
        self._across_spaces = pre_tokenizer in _ACROSS_SPACES
        self._slow = _SLOW.get(pre_tokenizer or "")

    def call(self, text: bytes, tokenize: Callable[[], T]) -> T:
        """What *tokenize* returns, which makes tokens of *text*: called in this thread or in one of its own.

        Raises UntokenizableTextError.
        """
        if len(text) <= _SHALLOW:
            return tokenize()
        if len(text) > LONGEST_TEXT:
            raise UntokenizableTextError(f"it has {len(text):,} bytes, and at most {LONGEST_TEXT:,} are allowed")
        if self._slow is not None:
            kind, limit, what = self._slow
            if (length := _longest(_OTHER_SPACES.sub(b" ", text), kind)) > limit:
                raise UntokenizableTextError(
                    f"it has a run of {length:,} {what}, and at most {limit:,} are allowed, because the time of this "
                    "model's tokenizer grows with the square of the run"
                )
        run = longest_run(text, across_spaces=self._across_spaces)
        if run <= _SHALLOW:
            return tokenize()
        if run > LONGEST_RUN:
            raise UntokenizableTextError(
                f"it has a run of about {run:,} bytes without white space, or of white space alone, and at most "
                f"{LONGEST_RUN:,} bytes are allowed"
            )
        return _in_thread(tokenize, _STACK_BEYOND + run * _STACK_PER_BYTE)


def longest_run(text: bytes, *, across_spaces: bool = False) -> int:
    """The bytes that one match of a pre-tokenizer can have at most in *text*, in UTF-8.

    A match is part of a word with the white space around it. Some go on where lines are broken beside slashes; and
    some, with *across_spaces*, are part of a line.
    """
    words = max(map(len, text.split(b"\n" if across_spaces else None)), default=0)
    return words + _longest(_OTHER_SPACES.sub(b" ", text), _SPACES) + _longest(text, _BREAKS)


def _longest(text: bytes, kind: bytes) -> int:
    """The longest run of the bytes that the table *kind* keeps."""
    return max(map(len, text.translate(kind).split()), default=0)


def _table(kept: bytes) -> bytes:
    """For ``bytes.translate``: *kept* bytes become an x, others a space."""
    return bytes(ord("x" if byte in kept else " ") for byte in range(256))


_SPACES: Final = _table(b" \t\n\v\f\r")
"""The white space of ASCII, where ``bytes.split`` splits, too."""
_OTHER_SPACES: Final = re.compile(
    rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
)
"""All other white space that llama.cpp knows (unicode-data.cpp), in UTF-8. It may be part of words as well."""
_BREAKS: Final = _table(b"\r\n/")
_DIGITS: Final = _table(b"0123456789")
_SLOW: Final = {"superbpe": (_DIGITS, 2_000, "digits"), "jais-2": (_SPACES, 20_000, "white space characters")}
"""Pre-tokenizers that look again and again to the end of such a run: its longest one takes 0.2 seconds, measured."""

_stack_size = ForkSafeLock()


def _in_thread(work: Callable[[], T], stack: int) -> T:
    """What *work* returns, called in a new thread with so many bytes of stack."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            done.set_exception(error)

    thread = threading.Thread(target=run, name="llamaforge-tokenizer", daemon=True)
    with _stack_size:  # it holds for the whole process
        before = threading.stack_size(stack)
        try:
            thread.start()
        except RuntimeError as error:
            raise UntokenizableTextError(
                f"its long runs of characters need {stack >> 20:,} MiB of stack, which the system refuses ({error})"
            ) from None
        finally:
            threading.stack_size(before)
    try:
        return done.result()
    except KeyboardInterrupt:  # the model must not go while the thread reads its vocabulary
        thread.join()
        raise
