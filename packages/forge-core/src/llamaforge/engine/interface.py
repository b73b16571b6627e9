"""The interface between the scheduler and a model."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ..backends.memory import MemoryUsage
from ..chat import ChatTemplate
from ..requests import GenerationRequest
from ..results import TokenLogprob


class OutOfRoomError(Exception):
    """The engine's memory can't hold this step. Nothing was computed; the scheduler frees memory and tries again."""


class InterruptedStepError(Exception):
    """The step was interrupted by :meth:`Engine.interrupt`. The content of its slots is unknown."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens of one request's prompt."""

    token_ids: list[int]
    """Its tokens, in order. Prompts with equal ids mean the same to the model, so prefixes are reused by their ids."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """The tokens of a model as bytes, for text and for constraints on answers."""

    token_bytes: Sequence[bytes]
    """The bytes that each token adds to a text, by token id; ``vocab_size`` entries. Empty for special tokens."""
    special: Mapping[int, str] = field(default_factory=dict)
    """Tokens that add no text, such as ``<|im_end|>``, with their spellings."""


class Sampling(Protocol):
    """The state of one request's sampling: random numbers, and the tokens that penalties count."""

    def close(self) -> None:
        """Free its memory. Called once, in the scheduler's thread."""


SamplingT = TypeVar("SamplingT", bound=Sampling)
"""An engine's own kind of :class:`Sampling`."""


@dataclass(slots=True)
class Choice:
    """A chosen token, with its log-probability if the request asks for it."""

    token: int
    logprob: TokenLogprob | None = None


@dataclass(slots=True)
class BatchEntry(Generic[SamplingT]):
    """One slot's share of a step: tokens to compute after those that the slot holds.

    With a ``draft``, the last tokens are guesses. A token is chosen after the last certain one; if it equals the next
    guess, another one is chosen after that guess, and so on (:func:`.sampling.choose_while_guessed`). Each choice sees
    exactly what it would see without guesses, so the answer is the same.
    """

    slot: int
    """The slot's number, from 0."""
    start: int
    """Tokens that the slot holds already: the position of the first of ``tokens``."""
    tokens: Sequence[int]
    """The tokens to compute; at least one."""
    sampling: SamplingT | None = None
    """The result of :meth:`Engine.sampling` for the request; None within a prompt, where no token is chosen yet."""
    draft: int = 0
    """The number of guesses at the end of ``tokens``."""
    masks: Sequence[bytes | bytearray | memoryview] | None = None
    """Allowed tokens: a mask for each of the ``draft + 1`` choices; None allows every token.

    A mask has one bit for each token id, 1 if the token is allowed; the lowest bit of the first byte is token 0. It has
    at least ``vocab_size`` bits. An engine applies it to the logits first (:func:`.sampling.apply_mask`).
    """

    @property
    def certain(self) -> int:
        """The number of ``tokens`` that are not guesses."""
        return len(self.tokens) - self.draft

    @property
    def guesses(self) -> Sequence[int]:
        """The last ``draft`` of ``tokens``."""
        return self.tokens[len(self.tokens) - self.draft :]

    @property
    def rows(self) -> int:
        """The number of rows of logits needed, for its last tokens: 0 if no token is to be chosen."""
        return 0 if self.sampling is None else self.draft + 1


StepResult = list[Choice] | Exception
"""The result of an entry: its choices (none without ``sampling``), or the exception that fails this request alone."""


class Detokenizer(Protocol):
    """Converts the tokens of one answer to bytes, as they arrive."""

    def feed(self, token: int) -> bytes:
        """The bytes that are certain after this token."""

    def finish(self) -> bytes:
        """The remaining bytes, after the last token."""


class BytesDetokenizer:
    """For tokens that are bytes each by itself, whatever stands beside them.

    Args:
        token_bytes: says the bytes of a token.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self.feed = token_bytes  # called for every token: a method around it would cost as much again

    def finish(self) -> bytes:
        """Nothing is ever held back."""
        return b""


class Engine(abc.ABC, Generic[SamplingT]):
    """A loaded model with room for several sequences.

    A *slot* holds the computed state (keys and values) of one sequence of tokens. The scheduler assigns slots to
    requests and calls everything under "one thread" below only in its own thread, so that an engine needs no locks
    there. Callers' threads call everything under "any thread" at the same time.

    An author must write the attributes without a value and the abstract methods. The others have defaults.
    """

    n_ctx: int
    """The maximum length of a sequence, prompt and answer together, in tokens."""
    n_slots: int
    """The number of sequences that can be held at once."""
    n_batch: int
    """The maximum number of tokens in a step, all slots together."""
    vocab_size: int
    """The number of logits: token ids are 0 to ``vocab_size - 1``."""
    end_tokens: frozenset[int]
    """Every token that ends an answer."""
    chat_template: ChatTemplate | None = None
    """The model's chat template. Tools and reasoning are found with it; None: answers are plain text."""
    generation_defaults: Mapping[str, object] = {}
    """Canonical parameters that the model's makers recommend. They apply before core's defaults, unless the model is
    loaded with ``generation_defaults="core"``."""
    can_trim: bool = False
    """Whether :meth:`trim` can cut a sequence anywhere. Guesses need it."""
    can_copy: bool = False
    """Whether :meth:`copy` is supported."""
    can_mask: bool = False
    """Whether :meth:`compute` applies :attr:`BatchEntry.masks`; otherwise none are sent."""

    # Any thread.

    @abc.abstractmethod
    def render(self, request: GenerationRequest) -> str:
        """The text that the model reads: messages formatted with its chat template, a raw prompt unchanged.

        Raises NoChatTemplateError for messages if the model has no template.
        """

    @abc.abstractmethod
    def tokenize(self, request: GenerationRequest) -> Prompt:
        """The tokens of the rendered text, with exactly the special tokens that the model expects."""

    @abc.abstractmethod
    def token_table(self) -> TokenTable | None:
        """The bytes of each token; None if tokens have no bytes of their own, which rules out constraints on answers.

        The first call may be slow; the engine caches the result.
        """

    def special_tokens(self) -> Mapping[int, str]:
        """Tokens that add no text, with how they are spelled: an answer ends at one where a stop string spells it. By
        default the table's; override it where that is quicker."""
        table = self.token_table()
        return {} if table is None else table.special

    def tokenize_text(self, text: str) -> Sequence[int] | None:
        """The tokens of a plain *text* amid an answer: nothing is put before it, and no special token is recognised.

        Where a constraint forces a text, the answer gets these tokens, which the model knows best. The default, None,
        leaves it to core, which takes the longest tokens that fit.
        """
        return None

    def check(self, request: GenerationRequest) -> None:
        """Refuse a request that this model can't answer. Core has checked ``logit_bias``.

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
        """The memory that the model and its slots take; None if unknown."""
        return None

    def interrupt(self, wanted: bool) -> None:
        """Interrupt the current step, or (False) withdraw that.

        An engine that can't do that ends its step as usual. :meth:`compute` raises InterruptedStepError if it was
        interrupted.
        """

    # One thread.

    @abc.abstractmethod
    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> SamplingT:
        """The sampling state of a new request whose answer to *prompt* has at most *max_new_tokens* tokens.

        :meth:`.sampling.SamplingParams.of` reads its parameters.
        """

    @abc.abstractmethod
    def compute(self, entries: Sequence[BatchEntry[SamplingT]]) -> list[StepResult]:
        """Compute the tokens of every entry, and choose tokens where required. Returns one result for each entry.

        The entries have different slots and at most *n_batch* tokens together. A chosen token is not computed: it
        arrives in the next step. After a step with guesses the slot holds all of them; the scheduler trims it.

        Raises OutOfRoomError or InterruptedStepError. Any other exception fails all running requests.
        """

    @abc.abstractmethod
    def trim(self, slot: int, length: int) -> int:
        """Cut *slot* to its first *length* tokens; 0 empties it and frees its memory.

        Returns the number of tokens that it holds now: *length*, or 0 if the engine could not cut there and emptied
        it.
        """

    def copy(self, source: int, target: int, length: int) -> int:
        """Copy the first *length* tokens of *source* to the empty slot *target*.

        Returns the number of tokens that *target* holds now: *length*, or 0 if it can't be copied.
        """
        return 0

    def swap_out(self, slot: int) -> bool:
        """Move the content of *slot*, which is only cached, to where it costs running requests neither time nor memory.

        Do nothing if there is no such place or moving is expensive.

        Returns whether it was moved. Until :meth:`swap_in`, the slot may be the source of :meth:`copy`, or be emptied
        by :meth:`trim`.
        """
        return False

    def swap_in(self, slot: int) -> bool:
        """*slot* rested and is wanted again. Returns whether it holds what it held; where there is no room for that, it
        is empty."""
        return True

    def close(self) -> None:
        """Give all memory back. Nobody is in any method, and none is called afterwards."""
