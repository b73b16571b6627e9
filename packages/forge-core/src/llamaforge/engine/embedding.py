"""The interface between the batcher and a model that makes vectors or scores."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..backends.memory import MemoryUsage
from ..errors import InvalidParameterError


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text as the model reads it, with the special tokens that it expects."""

    token_ids: Sequence[int]
    token_types: Sequence[int] | None = None
    """Which of two texts each token belongs to (BERT's segments), where the model distinguishes them."""

    def __len__(self) -> int:
        return len(self.token_ids)


class EmbeddingEngine(abc.ABC):
    """A loaded model that makes a vector of each text, or a score of each pair of texts.

    It has no slots and chooses no tokens: token lists in, a matrix out. The batcher computes the texts of all callers
    together, sorted by length. It calls everything under "one thread" only in its own thread; callers' threads call
    everything under "any thread" at the same time.

    An author must write the attributes without a value, :meth:`tokenize` and :meth:`compute`; for rerankers
    :meth:`tokenize_pair` instead of :meth:`tokenize`.
    """

    n_ctx: int
    """The most tokens of one text."""
    n_batch: int
    """The most tokens of one computation, all texts together; a longer text is computed alone."""
    dimensions: int
    """The length of each vector; 1 for a reranker."""
    n_sequences: int = 256
    """The most texts of one computation."""
    padded: bool = False
    """Whether :meth:`compute` fills all texts up to the longest. Then padding counts for :attr:`n_batch`, and texts are
    computed together where that fills up no more than :attr:`start_cost`."""
    packed_up_to: int = 0
    """Where texts are filled up: those of at most so many tokens are not, for several of them share a row."""
    start_cost: int = 32
    """What another computation costs besides its tokens, as a number of tokens: of a small encoder on a processor, of
    torch and its operators, about 30."""
    vocab_size: int | None = None
    """Token ids are 0 to ``vocab_size - 1``, where the engine knows it; callers' own ids are checked against it."""
    task: Literal["embed", "rerank"] = "embed"
    """What the model is for."""
    normalizes: bool = True
    """Whether the model's makers want vectors of length 1; a caller's ``normalize`` takes precedence."""
    prompts: Mapping[str, str] = {}
    """The model's prompts, by name."""
    default_prompt: str | None = None
    """The name of the prompt that is used if the caller names none."""
    matryoshka: Sequence[int] | None = None
    """The dimensions to which the model's vectors may be shortened, where its files list them. None: any."""

    # Any thread.

    def tokenize(self, text: str) -> TokenizedText:
        """The tokens of *text*, with exactly the special tokens that the model expects; not truncated."""
        raise NotImplementedError(f"{type(self).__name__} must override tokenize().")

    def tokenize_pair(self, query: str, document: str) -> TokenizedText:
        """The tokens of a query with a document, as a reranker reads them; not truncated."""
        raise NotImplementedError(f"{type(self).__name__} must override tokenize_pair().")

    def truncate(self, text: TokenizedText, length: int) -> TokenizedText:
        """The first *length* tokens of *text*. Override it where a special token must stay last: by default the last
        token takes the last place."""
        types = text.token_types
        return TokenizedText(
            [*text.token_ids[: length - 1], text.token_ids[-1]],
            None if types is None else [*types[: length - 1], types[-1]],
        )

    def memory(self) -> MemoryUsage | None:
        """The memory that the model takes; None if unknown."""
        return None

    def interrupt(self, wanted: bool) -> None:  # noqa: B027 - there may be nothing to do
        """Interrupt the current computation, or (False) withdraw that.

        An engine that can't do that ends it as usual. :meth:`compute` raises InterruptedStepError if it was
        interrupted.
        """

    # One thread.

    @abc.abstractmethod
    def compute(self, texts: Sequence[TokenizedText]) -> Any:
        """The vectors of *texts*, as the model gives them: not normalized, not shortened. For a reranker, the logits.

        Returns an object with the buffer protocol: ``len(texts)`` rows of :attr:`dimensions` 32-bit floats in C order.

        Raises OutOfRoomError if memory can't hold so many texts at once: the batcher tries with fewer. Any other
        exception fails the callers that it concerns.
        """

    def close(self) -> None:  # noqa: B027 - there may be nothing to do
        """Give all memory back. Nobody is in any method, and none is called afterwards."""

    # What every engine has.

    def prompt_of(self, name: str | None) -> str:
        """The prompt called *name*, or the default one. Raises InvalidParameterError with the names that there are."""
        chosen = self.default_prompt if name is None else name
        if chosen is None:
            return ""
        if chosen not in self.prompts:
            known = ", ".join(map(repr, sorted(self.prompts)))
            message = None if known else f"prompt_name can't be {name!r}: this model has no prompts."
            raise InvalidParameterError(
                "prompt_name", name, f"one of {known}" if known else "left out", message=message
            )
        return self.prompts[chosen]

    def check_dimensions(self, dimensions: int | None) -> None:
        """Raise InvalidParameterError for *dimensions* that this model's vectors can't be shortened to."""
        if dimensions is None:
            return
        if dimensions > self.dimensions:
            raise InvalidParameterError(
                "dimensions", dimensions, f"at most {self.dimensions}, the size of this model's vectors"
            )
        if self.matryoshka is not None and dimensions not in (*self.matryoshka, self.dimensions):
            known = ", ".join(map(str, sorted({*self.matryoshka, self.dimensions})))
            raise InvalidParameterError(
                "dimensions", dimensions, f"one of {known}, the sizes that this model was trained for"
            )
