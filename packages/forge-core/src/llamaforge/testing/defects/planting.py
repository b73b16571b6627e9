"""Defects made of parts: what goes wrong, and on which of the paths or in which state it does."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, Finished, TextDelta, TokenLogprob, Usage
from ..fakes import ToyBackend
from ..fakes.sampling import ToySampler
from .entry import Defect


@dataclass(frozen=True)
class Moment:
    """How a request came, and when."""

    request: GenerationRequest
    in_loop: bool
    is_streamed: bool
    is_new: bool
    """Whether this prompt was never read before."""
    number: int
    """Which of the instance's requests it is, from 1 on."""
    at_once: int
    """How many are at work."""


Where = Callable[[Moment], bool]
Change = Mapping[str, Any] | Callable[[GenerationRequest], GenerationRequest]


def always(moment: Moment) -> bool:
    """On every path."""
    return True


def in_loops(moment: Moment) -> bool:
    """In asynchronous calls."""
    return moment.in_loop


def in_chats(moment: Moment) -> bool:
    """Where there are messages."""
    return bool(moment.request.messages)


def in_chats_in_loops(moment: Moment) -> bool:
    """In ``achat`` and its stream."""
    return moment.in_loop and in_chats(moment)


def in_raw_prompts(moment: Moment) -> bool:
    """Where the prompt is raw."""
    return bool(moment.request.raw)


def in_streams(moment: Moment) -> bool:
    """In ``generate_stream``."""
    return moment.is_streamed


def when_cold(moment: Moment) -> bool:
    """Where the prompt is new."""
    return moment.is_new


def when_warm(moment: Moment) -> bool:
    """Where the prompt was read before."""
    return not moment.is_new


def in_crowds(moment: Moment) -> bool:
    """Where more than one request is at work."""
    return moment.at_once > 1


def at_first(moment: Moment) -> bool:
    """In an instance's first request."""
    return moment.number == 1


def when_sampled(moment: Moment) -> bool:
    """Above temperature 0."""
    return moment.request.temperature != 0


class Planted(ToyBackend):
    """The toy, with what the class attributes say going wrong."""

    where: ClassVar[Where]
    change: ClassVar[Change] = {}
    end: ClassVar[Callable[[Finished, GenerationRequest], Finished] | None] = None
    entry: ClassVar[Callable[[TokenLogprob, GenerationRequest], TokenLogprob | None] | None] = None
    shows: ClassVar[Callable[[str, GenerationRequest], str] | None] = None
    reads: ClassVar[Callable[[str, GenerationRequest], str] | None] = None
    kind: ClassVar[type[ToySampler]] = ToySampler

    def __init__(self) -> None:
        super().__init__()
        self._way = threading.local()
        self._read: set[str] = set()
        self._count = self._working = 0

    def generate_stream(self, *given: Any, **more: Any) -> Any:
        """Remembered to be one."""
        self._way.name = "stream"
        try:
            return super().generate_stream(*given, **more)
        finally:
            self._way.name = ""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The answer, or what is made of it."""
        return self._answer(request, cancellation, self._moment(request, in_loop=False))

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """The same."""
        import asyncio

        for event in self._answer(request, cancellation, self._moment(request, in_loop=True)):
            await asyncio.sleep(self.settings.delay)
            yield event

    def render_request(self, request: GenerationRequest) -> str:
        """What is shown in place of the prompt."""
        text = super().render_request(request)
        return text if type(self).shows is None else type(self).shows(text, request)  # type: ignore[misc]

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """What is read in place of what is shown."""
        tokens, truncated = super().prompt(request)
        if type(self).reads is None:
            return tokens, truncated
        text = type(self).reads(self.render_request(request), request)  # type: ignore[misc]
        return self.tokenize(text, bool(request.raw or request.parse_special)), truncated

    def sampler(self, request: GenerationRequest, prompt: list[int]) -> ToySampler:
        """Of another kind."""
        return type(self).kind(request, prompt, self.language.size)

    def _moment(self, request: GenerationRequest, in_loop: bool) -> Moment:
        is_streamed = getattr(self._way, "name", "") == "stream"
        key = f"{request.prompt}{request.messages}"
        is_new = key not in self._read
        self._read.add(key)
        self._count += 1
        return Moment(request, in_loop, is_streamed, is_new, self._count, self._working + 1)

    def _answer(self, request: GenerationRequest, cancellation: CancellationToken, moment: Moment) -> Iterator[Event]:
        wrong = type(self).where(moment)
        change = type(self).change
        asked = request
        if wrong:
            asked = change(request) if callable(change) else replace(request, **change)
        self._working += 1
        try:
            for event in ToyBackend.stream(self, asked, cancellation):
                yield self._told(event, request) if wrong else event
        finally:
            self._working -= 1

    def _told(self, event: Event, request: GenerationRequest) -> Event:
        cls = type(self)
        if isinstance(event, Finished) and cls.end is not None:
            return cls.end(event, request)
        if isinstance(event, TextDelta) and cls.entry is not None and event.logprobs:
            entries = (cls.entry(entry, request) for entry in event.logprobs)
            return TextDelta(event.text, tuple(entry for entry in entries if entry is not None))
        return event


def plant(
    name: str, *checks: str, where: Where = always, parameters: Mapping[str, Any] | None = None, **parts: Any
) -> Defect:
    """A defect of these parts: ``change``, ``end``, ``entry``, ``shows``, ``reads``, ``kind``; or of parameters."""
    own = {part: parts.pop(part) for part in ("change", "end", "entry", "shows", "reads", "kind") if part in parts}
    members: dict[str, Any] = {
        key: staticmethod(value) if callable(value) and key != "kind" else value for key, value in own.items()
    }
    if parts:
        members["change"] = parts

    def make() -> type[Planted]:
        return type("Planted", (Planted,), {"__doc__": f"{name}.", "where": staticmethod(where), **members})

    return Defect(name=name, made=make, checks=checks, parameters=parameters or {})


def usage(**values: Any) -> Callable[[Finished, GenerationRequest], Finished]:
    """An end with other counts. A callable gets the count that it replaces and the sound usage."""

    def end(event: Finished, request: GenerationRequest) -> Finished:
        told: Usage | None = event.usage
        if told is None:
            return event
        new = {key: value(getattr(told, key), told) if callable(value) else value for key, value in values.items()}
        return replace(event, usage=replace(told, **new))

    return end
