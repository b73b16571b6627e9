"""What every engine does the same way when it chooses tokens: parameters, masks, and guesses that come true or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import GenerationError, InvalidParameterError
from ..requests import GenerationRequest
from .interface import BatchEntry, Choice

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen: a request's parameters, each with the value that stands for "off" where it is off.

    An engine applies them in this order: token masks, ``logit_bias``, penalties, ``temperature``, ``top_k``, ``top_p``,
    ``min_p``, then the draw.
    """

    temperature: float = 1.0
    """0 takes the most likely token; of equal ones, the one with the lowest id."""
    top_k: int = 0
    """Draw from so many of the most likely tokens; 0 is off."""
    top_p: float = 1.0
    """Draw from the most likely tokens that together have this probability; 1 is off."""
    min_p: float = 0.0
    """Draw from tokens with at least this part of the best one's probability; 0 is off."""
    repetition_penalty: float = 1.0
    """Divides the logits of tokens that prompt or answer hold (negative logits are multiplied); 1 is off."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time that the answer holds it."""
    presence_penalty: float = 0.0
    """Subtracted from a token's logit once if the answer holds it."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these tokens."""
    top_logprobs: int | None = None
    """None: no log-probabilities are wanted. Else how many of the best tokens are reported beside each chosen one."""
    seed: int | None = None
    """Where the random numbers begin. Core draws one for each sampled request that has none, so that None means that
    the backend doesn't declare the parameter ``seed``."""

    @classmethod
    def of(cls, request: GenerationRequest) -> SamplingParams:
        """The sampling parameters of *request*."""

        def given(value: float | None, off: float) -> float:
            return off if value is None else value

        return cls(
            temperature=given(request.temperature, 1.0),
            top_k=request.top_k or 0,
            top_p=given(request.top_p, 1.0),
            min_p=given(request.min_p, 0.0),
            repetition_penalty=given(request.repetition_penalty, 1.0),
            frequency_penalty=given(request.frequency_penalty, 0.0),
            presence_penalty=given(request.presence_penalty, 0.0),
            logit_bias=request.logit_bias or {},
            top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
            seed=request.seed,
        )

    @property
    def adjusts_logits(self) -> bool:
        """Whether a bias or a penalty changes logits."""
        return bool(self.logit_bias or self.frequency_penalty or self.presence_penalty) or self.repetition_penalty != 1


def check_logit_bias(request: GenerationRequest, vocab_size: int) -> None:
    """Raises InvalidParameterError where ``logit_bias`` names a token that the model doesn't have."""
    for token in request.logit_bias or ():
        if not 0 <= token < vocab_size:
            expected = f"a mapping from token ids of this model, 0 to {vocab_size - 1}"
            raise InvalidParameterError("logit_bias", token, expected)


def outside_vocabulary(token: int, vocab_size: int) -> GenerationError:
    """The error for a chosen token that the model doesn't have."""
    return GenerationError(f"The engine chose the token {token}; its vocabulary has 0 to {vocab_size - 1}.")


def checked_result(result: Any, entry: BatchEntry[Any]) -> list[Choice] | Exception:
    """*result*, or an error if it is neither an error nor a list with as many choices as *entry* may have.

    A request that got no choice would go on without end.
    """
    if isinstance(result, Exception) or (isinstance(result, list) and 0 < len(result) <= entry.draft + 1):
        return result
    found = f"{len(result)} choices" if isinstance(result, list) else type(result).__name__
    return GenerationError(f"The engine returned {found} for an entry that wants 1 to {entry.draft + 1} choices.")


def choose_while_guessed(entry: BatchEntry[Any], choose: Callable[[int], Choice]) -> list[Choice]:
    """The choices of *entry*: one after its last certain token, and one more after each guess that came true.

    *choose* chooses from a row of logits, counted from 0: row *n* follows the first *n* guesses. It is called in that
    order, and not again after a guess that proves wrong, so that random numbers and penalties see exactly the answer.
    Raises what *choose* raises.
    """
    choices = [choose(0)]
    for row, guess in enumerate(entry.guesses, 1):
        if choices[-1].token != guess:
            break
        choices.append(choose(row))
    return choices


def allowed_tokens(mask: bytes | bytearray | memoryview, vocab_size: int) -> npt.NDArray[np.bool_]:
    """Which tokens *mask* allows, as a boolean array of shape ``(vocab_size,)``.

    *mask* has one bit for each token id, the lowest bit of the first byte for token 0 (see
    :attr:`.interface.BatchEntry.masks`). Needs numpy. Raises GenerationError where it allows no token at all.
    """
    import numpy as np

    bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little", count=vocab_size)
    if not bits.any():
        raise GenerationError("The constraint allows no token here, so the answer can't continue.")
    allowed: npt.NDArray[np.bool_] = bits.view(np.bool_)
    return allowed


def only_token(mask: bytes | bytearray | memoryview) -> int | None:
    """The token that *mask* allows, if it allows no other one. There is nothing to draw then."""
    bits = int.from_bytes(mask, "little")
    return bits.bit_length() - 1 if bits and not bits & (bits - 1) else None


def apply_mask(logits: npt.NDArray[np.float32], mask: bytes | bytearray | memoryview) -> None:
    """Set the logits of all tokens that *mask* forbids to minus infinity, in place.

    *logits* has shape ``(vocab_size,)``. Needs numpy. Raises GenerationError where no token is allowed.
    """
    logits[~allowed_tokens(mask, len(logits))] = float("-inf")
