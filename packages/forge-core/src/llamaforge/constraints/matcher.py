"""Where one answer stands in its grammar: what may come next, what must, and whether it may end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ..errors import ConstraintError, GenerationError
from .library import plain_reason

_NOT_ALLOWED = "doesn't satisfy the grammar"
"""What llguidance says of a token that it didn't allow; all its other errors are about the grammar."""


class Matcher:
    """The state of one answer. One thread at a time may use it.

    Args:
        native: llguidance's matcher, at the beginning of the answer.
        end_tokens: every token that ends an answer.
        mask_bytes: the length of a mask.
        error: makes the error of the request's grammar, for a reason.
        notes: what of the request's format is not enforced.
    """

    __slots__ = ("_end_tokens", "_error", "mask_bytes", "native", "notes")

    def __init__(
        self,
        native: Any,
        end_tokens: Collection[int],
        mask_bytes: int,
        error: Callable[[str], ConstraintError],
        notes: tuple[str, ...] = (),
    ) -> None:
        self._error = error
        self.notes = notes
        self.native = native
        self.mask_bytes = mask_bytes
        self._end_tokens = end_tokens

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole and nothing can be added to it."""
        return bool(self.native.is_stopped()) and not self.native.is_error()

    @property
    def may_end(self) -> bool:
        """Whether the answer is whole; it may be possible to add more."""
        return bool(self.native.is_accepting())

    def check(self) -> None:
        """Raise ConstraintError if the grammar turned out to need more than :mod:`.library` allows, at filling a mask,
        say."""
        if self.native.is_error():
            raise self._error(f"it can't be followed to the end of an answer: {plain_reason(self.native.get_error())}")

    def forced(self) -> list[int]:
        """The tokens that must come next; empty where there is a choice."""
        tokens: list[int] = self.native.compute_ff_tokens()
        return tokens

    def valid(self, tokens: Sequence[int]) -> int:
        """How many of *tokens*, in order, the answer may go on with. Tokens that end it don't count."""
        end = next((index for index, token in enumerate(tokens) if token in self._end_tokens), len(tokens))
        count: int = self.native.validate_tokens(list(tokens[:end]))
        return count

    def accept(self, token: int) -> None:
        """The answer goes on with *token*. Raises ConstraintError like :meth:`check`, GenerationError if it can't."""
        if not self.native.consume_token(token):
            if _NOT_ALLOWED not in (self.native.get_error() or ""):
                self.check()
            raise GenerationError("The engine chose a token that the constraint on this answer doesn't allow.")

    def fill(self, address: int, mask_bytes: int, guesses: Sequence[int]) -> None:
        """Write masks to memory at *address*: one for this state, and one after each of *guesses*, which are valid.

        A mask has a bit for each token, the lowest bit of the first byte for token 0.
        """
        native, taken = self.native, 0
        native.unsafe_compute_mask_ptr(address, mask_bytes)
        for row, token in enumerate(guesses, 1):
            if not native.try_consume_tokens([token]):
                break
            taken = row
            native.unsafe_compute_mask_ptr(address + row * mask_bytes, mask_bytes)
        if taken:
            native.rollback(taken)
