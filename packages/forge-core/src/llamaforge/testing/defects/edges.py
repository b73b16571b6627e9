"""Defects at the context's edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...errors import ContextOverflowError
from ...messages import Message
from ...requests import GenerationRequest
from ...results import Event, Finished
from ..fakes import ToyBackend
from ..fakes.backends import ToyConfig


class _Ends(ToyBackend):
    """Tells another end."""

    def end(self, end: Finished) -> Finished:
        """What is told in its place."""
        raise NotImplementedError

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The answer, with that end."""
        for event in super().stream(request, cancellation):
            yield self.end(event) if isinstance(event, Finished) else event


class CallsAFullContextStop(ToyBackend):
    """Says "stop" where the context ended the answer."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without max_tokens, "length" is never said."""
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished) and event.finish_reason == "length":
                full = event.usage is not None and event.usage.total_tokens >= self.settings.n_ctx
                yield replace(event, finish_reason="stop") if full else event
            else:
                yield event


class LeavesATokenFree(ToyBackend):
    """Never uses the last token of the context."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """One token less."""
        super().load(model_path, replace(config, n_ctx=config.n_ctx - 1))


class SwapsTheCounts(ToyBackend):
    """Mixes up the counts of an overflow."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """The error has them the wrong way round."""
        tokens, truncated = super().prompt(request)
        if len(tokens) >= self.settings.n_ctx:
            raise ContextOverflowError(self.settings.n_ctx + 1, self.settings.n_ctx)
        return tokens, truncated


class IgnoresTruncation(ToyBackend):
    """Declares truncation and cuts nothing."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """As if it were not asked for."""
        return super().prompt(replace(request, truncation=None))


class TruncatesUnasked(ToyBackend):
    """Cuts every prompt that is too long."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """As if it were always asked for."""
        return super().prompt(replace(request, truncation="auto"))


class KeepsTheBeginning(ToyBackend):
    """Leaves out the end of a text."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """The same number of tokens from the beginning."""
        tokens, truncated = super().prompt(request)
        if not truncated or not request.raw:
            return tokens, truncated
        return self.tokenize(request.prompt or "")[: len(tokens)], truncated


class CountsWhatWasLeftOut(_Ends):
    """Counts truncated tokens among the prompt's."""

    def end(self, end: Finished) -> Finished:
        """Both together."""
        usage = end.usage
        if usage is None:
            return end
        return replace(end, usage=replace(usage, prompt_tokens=usage.prompt_tokens + usage.truncated_tokens))


class HidesWhatWasLeftOut(_Ends):
    """Tells no truncated tokens."""

    def end(self, end: Finished) -> Finished:
        """0 of them."""
        return replace(end, usage=end.usage and replace(end.usage, truncated_tokens=0))


class InventsWhatWasLeftOut(_Ends):
    """Tells of truncated tokens always."""

    def end(self, end: Finished) -> Finished:
        """7 more of them."""
        return replace(end, usage=end.usage and replace(end.usage, truncated_tokens=end.usage.truncated_tokens + 7))


class DropsSystemTurns(ToyBackend):
    """Leaves out the system turn first."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """As if there were none, where turns have to go."""
        tokens, truncated = super().prompt(request)
        system = [turn for turn in request.messages if turn.role == "system"]
        if not truncated or not system:
            return tokens, truncated
        turns: tuple[Message, ...] = tuple(turn for turn in request.messages if turn.role != "system")
        shorter, _ = super().prompt(replace(request, messages=turns))
        return shorter, truncated + len(tokens) - len(shorter)


class SharesItsContext(ToyBackend):
    """Keeps its load parameters in the class, for all instances."""

    shared: Any = None

    def load(self, model_path: str, config: ToyConfig) -> None:
        """The last one's hold for all."""
        type(self).shared = config
        super().load(model_path, config)

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """By the shared ones."""
        self.settings = msgspec.structs.replace(self.settings, n_ctx=type(self).shared.n_ctx)
        return super().prompt(request)


class KeepsItsFirstContext(ToyBackend):
    """Keeps the load parameters of the first load."""

    first: ToyConfig | None = None

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Whatever comes later."""
        self.first = self.first or config
        super().load(model_path, self.first)
