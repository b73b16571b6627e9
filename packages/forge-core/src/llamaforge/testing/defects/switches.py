"""Defects of an engine's load parameters: places, the queue, and the cache of what was read before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, Final

from msgspec.structs import replace

from ...backends.echo import EchoBackend
from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, Finished
from .entry import Defect, defects_of

ECHO: Final = "llamaforge.backends.echo:EchoBackend"
OFF: Final = "test_a_cache_that_is_off_reuses_nothing"
REUSED: Final = "test_a_beginning_that_comes_again_is_reused"
FULL: Final = "test_more_than_the_queue_holds_is_refused"
BESIDE: Final = "test_requests_are_computed_side_by_side"
SLOW_ECHO: Final = {"sound": ECHO, "parameters": {"delay": 0.002}}


class ComputesOneAtATime(EchoBackend):
    """Doesn't pass ``n_parallel`` on."""

    def load(self, model_path: str, config: Any) -> None:
        """For one at a time."""
        super().load(model_path, replace(config, n_parallel=1))


class AnswersOneAtATime(EchoBackend):
    """Has a lock around each asynchronous answer."""

    _locks: ClassVar[dict[Any, asyncio.Lock]] = {}

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """When the one before it is complete."""
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            async for event in super().astream(request, cancellation):
                yield event


class ReusesThoughItIsOff(EchoBackend):
    """Takes a ``prefix_cache`` of 0 for the default."""

    def load(self, model_path: str, config: Any) -> None:
        """``or``."""
        super().load(model_path, replace(config, prefix_cache=config.prefix_cache or 8))


class CountsWhatItDoesNotReuse(EchoBackend):
    """Says that it reuses whatever it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """A count, and nothing behind it."""
        text = str(request.prompt)
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished) and event.usage is not None and text in self._seen:
                event = replace(event, usage=replace(event.usage, cached_tokens=event.usage.prompt_tokens))
            yield event
        self._seen.add(text)


class ReusesNothing(EchoBackend):
    """Doesn't pass ``prefix_cache`` on."""

    def load(self, model_path: str, config: Any) -> None:
        """Without."""
        super().load(model_path, replace(config, prefix_cache=0))


class TellsNoReuse(EchoBackend):
    """Doesn't tell what it reuses."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """As if there were nothing."""
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished) and event.usage is not None:
                event = replace(event, usage=replace(event.usage, cached_tokens=0))
            yield event


class LetsEverybodyWait(EchoBackend):
    """Doesn't pass ``max_queue`` on."""

    def load(self, model_path: str, config: Any) -> None:
        """With its default."""
        super().load(model_path, replace(config, max_queue=1024))


class TakesNoQueueForTheDefault(EchoBackend):
    """Takes a ``max_queue`` of 0 for the default."""

    def load(self, model_path: str, config: Any) -> None:
        """``or``."""
        super().load(model_path, replace(config, max_queue=config.max_queue or 1024))


DEFECTS: Final[tuple[Defect, ...]] = defects_of(
    "switches",
    (
        "ComputesOneAtATime",
        "passes n_parallel on to nobody",
        (BESIDE,),
        SLOW_ECHO,
    ),
    ("AnswersOneAtATime", "locks each asynchronous answer", (BESIDE,), SLOW_ECHO),
    ("ReusesThoughItIsOff", "reuses without a cache", (OFF,), {"sound": ECHO}),
    ("CountsWhatItDoesNotReuse", "counts as reused what isn't", (OFF,), {"sound": ECHO}),
    ("ReusesNothing", "passes prefix_cache on to nobody", (REUSED,), {"sound": ECHO}),
    ("TellsNoReuse", "tells nothing of what it reuses", (REUSED,), {"sound": ECHO}),
    ("LetsEverybodyWait", "passes max_queue on to nobody", (FULL,), SLOW_ECHO),
    ("TakesNoQueueForTheDefault", "takes no queue for the default", (FULL,), SLOW_ECHO),
)
