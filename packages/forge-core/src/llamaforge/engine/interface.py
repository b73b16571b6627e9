"""What a model must be able to do so that the scheduler can run it for many callers at once."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ..backends.memory import MemoryUsage
from ..requests import GenerationRequest
from ..results import TokenLogprob


class OutOfRoomError(Exception):
    """The engine's memory can't hold this step. Nothing was computed; the scheduler makes room and tries again."""


class InterruptedStepError(Exception):
    """The step was broken off by :meth:`Engine.interrupt`. What the slots of this step hold is unknown."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads of one request."""

    token_ids: list[int]
    """Its tokens, in order. Two prompts with equal ids mean the same to the model: prefixes are reused by them."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """What the tokens of a model mean, for constraints on answers and for making text."""

    token_bytes: Sequence[bytes]
    """The bytes that each token adds to a text, by token id; ``vocab_size`` entries. Empty for special tokens."""
    special: Mapping[int, str] = field(default_factory=dict)
    """Tokens that add no text, such as ``<|im_end|>``, with how they are spelled."""


class Sampling(Protocol):
    """The state of one request's sampling: random numbers, and the tokens that penalties count."""

    def close(self) -> None:
        """Give its memory back. Called once, by the scheduler's thread."""


SamplingT = TypeVar("SamplingT", bound=Sampling)
"""An engine's own kind of :class:`Sampling`."""


@dataclass(slots=True)
class Choice:
    """A token that was chosen, with its log-probability where the request asks for it."""

    token: int
    logprob: TokenLogprob | None = None


@dataclass(slots=True)
class BatchEntry(Generic[SamplingT]):
    """One slot's share of a step: tokens to compute after those that the slot holds.

    With a ``draft``, the last tokens are guesses. A token is then chosen after the last one that is certain; while it
    is the next guess, another one after that guess; and so on (:func:`.sampling.choose_while_guessed`). Because each
    choice sees exactly what it would see without guesses, the answer is the same.
    """

    slot: int
    """Which slot, from 0."""
    start: int
    """Tokens that the slot holds already: the position of the first of ``tokens``."""
    tokens: Sequence[int]
    """What to compute; at least one."""
    sampling: SamplingT | None = None
    """What :meth:`Engine.sampling` made for the request; None where no token is wanted yet, amid a prompt."""
    draft: int = 0
    """How many of ``tokens``, at the end, are guesses."""
    masks: Sequence[bytes | bytearray | memoryview] | None = None
    """Which tokens may be chosen: a mask for each of the ``draft + 1`` choices; None allows every token. A mask has one
    bit for each token id, 1 where the token is allowed, the lowest bit of the first byte for token 0; it is at least
    ``vocab_size`` bits long. An engine applies it to the logits before anything else
    (:func:`.sampling.apply_mask`)."""

    @property
    def certain(self) -> int:
        """How many of ``tokens`` are no guesses."""
        return len(self.tokens) - self.draft

    @property
    def guesses(self) -> Sequence[int]:
        """The last ``draft`` of ``tokens``."""
        return self.tokens[len(self.tokens) - self.draft :]

    @property
    def rows(self) -> int:
        """Rows of logits that the engine needs for it, after its last tokens: 0 where no token is wanted."""
        return 0 if self.sampling is None else self.draft + 1


StepResult = list[Choice] | Exception
"""What an entry came to: its choices (none where no sampling was asked for), or why this request alone failed."""


class Detokenizer(Protocol):
    """Makes bytes of the tokens of one answer, as they come."""

    def feed(self, token: int) -> bytes:
        """What is certain after this token."""

    def finish(self) -> bytes:
        """The rest, once the last token has come."""


class BytesDetokenizer:
    """For tokens that are bytes each by itself, whatever stands beside them.

    Args:
        token_bytes: says the bytes of a token.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes

    def feed(self, token: int) -> bytes:
        """The bytes of *token*."""
        return self._token_bytes(token)

    def finish(self) -> bytes:
        """Nothing is ever held back."""
        return b""


class Engine(abc.ABC, Generic[SamplingT]):
    """A loaded model with room for several sequences.

    A *slot* holds the computed state (keys and values) of one sequence of tokens. The scheduler decides which request
    has which slot, and calls everything under "one thread" below from its own thread alone, so that an engine needs no
    locks there. What is under "any thread" is called by callers' threads, meanwhile.

    What a plugin's author writes: the attributes without a value, and the abstract methods. The others have defaults
    that do without.
    """

    n_ctx: int
    """Tokens that one sequence may have, prompt and answer together."""
    n_slots: int
    """Sequences that can be held at once."""
    n_batch: int
    """Tokens that a step may have, all slots together."""
    vocab_size: int
    """Length of the logits: token ids are 0 to ``vocab_size - 1``."""
    end_tokens: frozenset[int]
    """Every token that ends an answer."""
    generation_defaults: Mapping[str, object] = {}
    """Canonical parameters that the model's makers recommend. They apply before core's defaults, unless the model is
    loaded with ``generation_defaults="core"``."""
    can_trim: bool = False
    """Whether :meth:`trim` can cut a sequence anywhere. Guesses need it."""
    can_copy: bool = False
    """Whether :meth:`copy` works."""
    can_mask: bool = False
    """Whether :meth:`compute` applies :attr:`BatchEntry.masks`. Without it none are sent."""

    # Any thread.

    @abc.abstractmethod
    def render(self, request: GenerationRequest) -> str:
        """The text that the model reads for *request*: messages in the words of its chat template, a raw prompt as is.

        Raises NoChatTemplateError for messages where the model has no template.
        """

    @abc.abstractmethod
    def tokenize(self, request: GenerationRequest) -> Prompt:
        """The tokens of what :meth:`render` gives, with exactly the special tokens that the model wants."""

    @abc.abstractmethod
    def token_table(self) -> TokenTable | None:
        """What each token means; None where tokens have no bytes of their own, so that no constraint can be put on an
        answer. It may be slow the first time; the engine keeps what it returns."""

    def special_tokens(self) -> Mapping[int, str]:
        """Tokens that add no text, with how they are spelled: an answer ends at one where a stop string spells it. By
        default the table's; override it where that is quicker."""
        table = self.token_table()
        return {} if table is None else table.special

    def check(self, request: GenerationRequest) -> None:
        """Refuse what this model can't do with *request*. Core has checked ``logit_bias``.

        Raises a RequestError.
        """

    def detokenizer(self, request: GenerationRequest, prompt: Sequence[int]) -> Detokenizer:
        """What makes text of the tokens of one answer to *prompt*: by default each token's bytes, as the table has
        them. Override it where there is no table, or where the text of a token depends on its neighbours."""
        table = self.token_table()
        if table is None:
            raise NotImplementedError(f"{type(self).__name__} has no token_table(): it must override detokenizer().")
        return BytesDetokenizer(table.token_bytes.__getitem__)

    def memory(self) -> MemoryUsage | None:
        """The bytes that the model and its slots take; None where that isn't known."""
        return None

    def interrupt(self, wanted: bool) -> None:
        """Break off the step that is under way, or (False) forget that this was wanted.

        An engine that can't ends its step as usual. :meth:`compute` raises InterruptedStepError if it was broken off.
        """

    # One thread.

    @abc.abstractmethod
    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> SamplingT:
        """The sampling state of a new request whose answer to *prompt* has at most *max_new_tokens* tokens.

        :meth:`.sampling.SamplingParams.of` reads its parameters.
        """

    @abc.abstractmethod
    def compute(self, entries: Sequence[BatchEntry[SamplingT]]) -> list[StepResult]:
        """One step: compute the tokens of every entry, and choose where a choice is wanted. One result an entry.

        The entries have different slots, and at most *n_batch* tokens together. A chosen token is not computed: it
        comes back in the next step. After guesses the slot holds them all; the scheduler trims it.

        Raises OutOfRoomError, InterruptedStepError, or whatever the engine raises: then all requests under way fail.
        """

    @abc.abstractmethod
    def trim(self, slot: int, length: int) -> int:
        """Let *slot* keep its first *length* tokens; 0 empties it and gives its memory back.

        Returns the tokens that it holds now: *length*, or 0 where the engine could not cut there and emptied it.
        """

    def copy(self, source: int, target: int, length: int) -> int:
        """Let the empty slot *target* hold the first *length* tokens of *source*, too.

        Returns the tokens that *target* holds now: *length*, or 0 where that can't be.
        """
        return 0

    def swap_out(self, slot: int) -> bool:
        """Nobody computes in *slot* for now, but what it holds may be wanted again: put it where it costs the others
        neither time nor room, if there is such a place and going there is cheap.

        Returns whether it went there. Until :meth:`swap_in`, the slot may be the source of :meth:`copy`, or be emptied
        by :meth:`trim`.
        """
        return False

    def swap_in(self, slot: int) -> bool:
        """*slot* rested and is wanted again. Returns whether it holds what it held; where there is no room for that, it
        is empty."""
        return True

    def close(self) -> None:
        """Give all memory back. Nobody is in any method, and none is called afterwards."""
