"""Defects that show when there are more requests than the engine computes at once, or when a prompt comes again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...errors import GenerationError
from ...requests import GenerationRequest
from ...results import Event, Finished, TextDelta
from ..fakes import QueueingToyBackend, ToyBackend
from ..fakes.queueing import Job


class TurnsCrowdsAway(QueueingToyBackend):
    """Has a queue of eight."""

    def enqueue(self, job: Job) -> None:
        """Raises where it is full."""
        if len(self._waiting) >= 8:
            raise GenerationError("The queue is full.")
        super().enqueue(job)


class LosesTheLatecomers(QueueingToyBackend):
    """Has a queue that forgets the oldest when it is full."""

    def enqueue(self, job: Job) -> None:
        """Nobody tells the one that is forgotten."""
        super().enqueue(job)
        del self._waiting[:-8]


class HasTenPlaces(ToyBackend):
    """Keeps the requests under way in a table of ten places, and gives them out in turn."""

    def __init__(self) -> None:
        super().__init__()
        self._number = itertools.count()
        self._places: dict[int, GenerationRequest] = {}

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With the words of whoever has the place now."""
        place = next(self._number) % 10
        self._places[place] = request
        for event in super().stream(request, cancellation):
            holder = self._places[place]
            taken = isinstance(event, TextDelta) and holder is not request
            yield TextDelta(f" {(holder.prompt or '')[-5:]}") if taken else event


class WaitsDeafly(QueueingToyBackend):
    """Sees whether a request is still wanted when its turn has come."""

    def read(self, job: Job) -> Iterator[Event]:
        """By the worker's first word at the earliest."""
        deaf = Job(job.request, CancellationToken())
        self._replace(job, deaf)
        try:
            for event in deaf.events():
                if job.cancellation.stopped:
                    return
                yield event
        finally:
            deaf.leave()

    def _replace(self, job: Job, other: Job) -> None:
        with self._change:
            for jobs in (self._waiting, self._at_work):
                jobs[:] = [other if each is job else each for each in jobs]


class WaitsBeyondTheDeadline(QueueingToyBackend):
    """Looks at the clock when an event has come, and not while it waits for one."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With a deadline that only the base class knows."""
        untimed = CancellationToken()
        cancellation.on_cancel(untimed.cancel)
        return super().stream(request, untimed)


class PrefersTheFamiliar(QueueingToyBackend):
    """Takes first whoever asks what was asked last, as that is in its cache."""

    def __init__(self) -> None:
        super().__init__()
        self._last: str | None = None

    def choose(self, waiting: list[Job]) -> Job:
        """However long the others have waited."""
        familiar = (number for number, job in enumerate(waiting) if job.request.prompt == self._last)
        job = waiting.pop(next(familiar, 0))
        self._last = job.request.prompt
        return job


class DropsARowTooMany(QueueingToyBackend):
    """Takes a step away from its neighbour when it clears up after a request that was left."""

    def __init__(self) -> None:
        super().__init__()
        self._owed = 0

    def read(self, job: Job) -> Iterator[Event]:
        """One row too many goes, where the end was not read."""
        ended = False
        try:
            for event in super().read(job):
                ended = isinstance(event, Finished)
                yield event
        finally:
            self._owed += not ended

    def emit(self, job: Job, events: list[Event]) -> None:
        """Without the row."""
        if self._owed and events and not isinstance(events[-1], Finished):
            self._owed -= 1
            events = []
        super().emit(job, events)


class TrustsItsCacheTooFar(ToyBackend):
    """Takes prompts that begin alike for the same."""

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[str, list[int]] = {}

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """What it has for the first hundred characters."""
        return self._cache.setdefault(text[:100], super().tokenize(text, special))


class CachesMoreThanThereIs(ToyBackend):
    """Counts what it saved over and over."""

    def __init__(self) -> None:
        super().__init__()
        self._saved = 0

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With all that was ever saved."""
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished) and event.usage is not None:
                self._saved += event.usage.prompt_tokens
                event = replace(event, usage=replace(event.usage, cached_tokens=self._saved))
            yield event
