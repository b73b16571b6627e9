"""Defects that a plain request doesn't show: they take a form, a repetition, a second caller, or a switch."""

from __future__ import annotations

import asyncio
import decimal
import random
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

from msgspec.structs import replace

from ...backends.memory import MemoryUsage
from ...cancellation import CancellationToken
from ...errors import ContextOverflowError
from ...messages import Message
from ...requests import GenerationRequest
from ...results import Event, Finished, TextDelta, Usage
from ..fakes import AsyncToyBackend, ToyBackend
from .entry import ASYNC, Defect, defects_of
from .planting import Moment, in_chats, plant, usage
from .reading import RENDERED, WORDS

SHAPES: Final = "test_stop_strings_of_every_shape"
ASKED: Final = "test_requests_leave_the_process_as_it_was"
PRINTED: Final = "test_nothing_is_printed_on_any_way"
FORMS: Final = "test_different_forms_leave_nothing_behind"
COUNTED: Final = "test_a_form_is_no_part_of_the_prompt"
MANY_TURNS: Final = "test_each_turn_of_a_long_conversation_counts"
UNREAD: Final = "test_an_asynchronous_stream_that_nobody_reads_stops_nobody"
MEMORY: Final = "test_a_models_memory_is_told_in_bytes"
KEPT: Final = 300_000
"""Bytes."""

Request = GenerationRequest


class _Searches(ToyBackend):
    """Looks for stop strings in the text so far, by a rule of its own."""

    def stream(self, request: Request, cancellation: CancellationToken) -> Iterator[Event]:
        """Ends where the rule finds one."""
        stops, text, tokens = list(request.stop or ()), "", 0
        for event in super().stream(replace(request, stop=None), cancellation):
            if not isinstance(event, TextDelta) or not stops:
                yield TextDelta(text) if isinstance(event, Finished) and text else TextDelta("")
                yield event
                continue
            text, tokens = text + event.text, tokens + 1
            met = [stop for stop in stops if stop in text]
            if met:
                chosen = self.chosen(text, met)
                yield TextDelta(text[: text.index(chosen)])
                counts = Usage(prompt_tokens=1, completion_tokens=tokens)
                yield Finished(finish_reason="stop", stop=chosen, usage=counts)
                return

    def chosen(self, text: str, met: list[str]) -> str:
        """Which of those that have come."""
        raise NotImplementedError


class StopsAtTheFirstBeginning(_Searches):
    """Takes the one that begins first."""

    def chosen(self, text: str, met: list[str]) -> str:
        """Even if another one is complete before it."""
        return min(met, key=text.index)


class StopsAtTheLongest(_Searches):
    """Takes the longest."""

    def chosen(self, text: str, met: list[str]) -> str:
        """Wherever it is."""
        return max(met, key=len)


class TakesAnyEngineOption(ToyBackend):
    """Takes options for its engine, and does nothing with them."""

    def check_engine_options(self, options: Mapping[str, object]) -> None:
        """All are fine."""


class KnowsSomeEngineOptions(ToyBackend):
    """Checks the options that it knows, and no other."""

    def check_engine_options(self, options: Mapping[str, object]) -> None:
        """They must be numbers."""
        if not all(isinstance(value, int) for value in options.values()):
            super().check_engine_options(options)


class CutsOnlyWhatDoesNotFitAlone(ToyBackend):
    """Cuts prompts that leave no room at all, and no other."""

    def prompt(self, request: Request) -> tuple[list[int], int]:
        """Whole, where there is room for a token."""
        tokens, truncated = super().prompt(request)
        whole = self.tokenize(self.render_request(request), bool(request.raw or request.parse_special))
        return (whole, 0) if truncated and len(whole) < self.settings.n_ctx else (tokens, truncated)


class StartsATaskAtTheCall(AsyncToyBackend):
    """Has a task that fills a queue, from the call on."""

    def astream(self, request: Request, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """Reads the queue."""
        queue: asyncio.Queue[Event | Exception] = asyncio.Queue()

        async def fill() -> None:
            try:
                async for event in AsyncToyBackend.astream(self, request, cancellation):
                    queue.put_nowait(event)
            except Exception as error:  # noqa: BLE001 - it is the reader's
                queue.put_nowait(error)

        task = asyncio.get_running_loop().create_task(fill())

        async def read() -> AsyncIterator[Event]:
            try:
                while True:
                    event = await queue.get()
                    if isinstance(event, Exception):
                        raise event
                    yield event
                    if isinstance(event, Finished):
                        return
            finally:
                task.cancel()

        return read()


class _HasPlaces(AsyncToyBackend):
    """Has so many places for asynchronous answers."""

    places = 1
    _all: ClassVar[dict[Any, asyncio.Semaphore]] = {}

    async def astream(self, request: Request, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """When there is one, until the reader has all."""
        loop = asyncio.get_running_loop()
        async with self._all.setdefault((self, loop), asyncio.Semaphore(self.places)):
            async for event in super().astream(request, cancellation):
                yield event


class HasOnePlace(_HasPlaces):
    """For one reader."""


class HasTwoPlaces(_HasPlaces):
    """For two readers."""

    places = 2


class ShowsItsKeyWhereItOverflows(ToyBackend):
    """Notes its secrets at errors of prompts that are too long."""

    def steps(self, request: Request, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """For whoever reads them."""
        try:
            yield from super().steps(request, cancellation)
        except ContextOverflowError as error:
            secrets = [self.settings.api_key, *self.settings.headers.values()]
            error.add_note(f"The key was {[each.reveal() for each in secrets if each is not None]}.")
            raise


class ShowsItsKeyWithForms(ToyBackend):
    """Complains of forms, with its secrets."""

    def steps(self, request: Request, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """In a warning."""
        if request.response_format is not None:
            secrets = [self.settings.api_key, *self.settings.headers.values()]
            warnings.warn(f"{[each.reveal() for each in secrets if each is not None]}", stacklevel=2)
        return super().steps(request, cancellation)


class TellsMegabytes(ToyBackend):
    """Tells its memory in megabytes."""

    def memory(self) -> MemoryUsage | None:
        """Few."""
        return MemoryUsage(host=-(-len(self._weights) // 2**20)) if self.is_model_loaded() else None


class TellsNoBytes(ToyBackend):
    """Tells a memory that it didn't measure."""

    def memory(self) -> MemoryUsage | None:
        """Nothing at all."""
        return MemoryUsage() if self.is_model_loaded() else None


_UNPLANNED: Final = defects_of(
    "unplanned",
    ("StopsAtTheFirstBeginning", "takes the stop string that begins first", (SHAPES,)),
    ("StopsAtTheLongest", "takes the longest stop string", (SHAPES,)),
    ("TakesAnyEngineOption", "takes any engine option", ("test_engine_options_are_checked",)),
    ("KnowsSomeEngineOptions", "takes engine options that it doesn't know", ("test_engine_options_are_checked",)),
    (
        "CutsOnlyWhatDoesNotFitAlone",
        "makes no room for max_tokens",
        ("test_a_text_loses_its_beginning_on_request",),
    ),
    (
        "StartsATaskAtTheCall",
        "starts asynchronous streams at the call",
        ("test_an_asynchronous_stream_starts_when_it_is_read",),
        {"sound": ASYNC},
    ),
    ("HasOnePlace", "waits for an asynchronous reader", (UNREAD,), {"sound": ASYNC, "patience": 1.0}),
    ("HasTwoPlaces", "waits for two asynchronous readers", (UNREAD,), {"sound": ASYNC, "patience": 1.0}),
    ("ShowsItsKeyWhereItOverflows", "shows its key where it overflows", ("test_no_way_shows_a_secret",)),
    ("ShowsItsKeyWithForms", "shows its key with forms", ("test_no_way_shows_a_secret",)),
    ("TellsMegabytes", "tells megabytes", (MEMORY,)),
    ("TellsNoBytes", "tells no bytes", (MEMORY,)),
)


def _also(work: Callable[[Request], object]) -> Callable[[Request], Request]:
    """The same request; something else happens."""

    def change(request: Request) -> Request:
        work(request)
        return request

    return change


def _has_form(moment: Moment) -> bool:
    return moment.request.response_format is not None


def _once(role: str) -> Callable[[Request], Request]:
    """Turns of that role are left out where they come again."""

    def change(request: Request) -> Request:
        turns: list[Message] = []
        for turn in request.messages:
            if turn.role != role or turn not in turns:
                turns.append(turn)
        return replace(request, messages=tuple(turns)) if turns else request

    return change


def _keeping() -> Callable[[Any], None]:
    kept: dict[str, bytearray] = {}

    def keep(key: Any) -> None:
        if key:
            kept.setdefault(str(key), bytearray(KEPT))

    return keep


def _first_paragraphs(request: Request) -> Request:
    turns = (
        replace(turn, content=turn.text.partition("\n\n")[0]) if turn.role == "assistant" else turn
        for turn in request.messages
    )
    return replace(request, messages=tuple(turns))


def _last_twenty(request: Request) -> Request:
    return replace(request, messages=request.messages[-20:])


def _precise(_: Request) -> None:
    decimal.getcontext().prec += 1


_keep_format, _keep_tools = _keeping(), _keeping()

DEFECTS: Final[tuple[Defect, ...]] = (
    *_UNPLANNED,
    plant("leaves out replies that come again", WORDS, change=_once("assistant")),
    plant("leaves out questions that come again", WORDS, change=_once("user")),
    plant("reads the last twenty turns", MANY_TURNS, change=_last_twenty),
    plant("reads a reply's first paragraph", WORDS, change=_first_paragraphs),
    plant("strips begun answers", RENDERED, reads=lambda text, request: text if request.raw else text.rstrip()),
    plant("computes forms with more digits for all", ASKED, where=_has_form, change=_also(_precise)),
    plant(
        "seeds everybody in sampled conversations",
        ASKED,
        where=lambda moment: in_chats(moment) and moment.request.seed is not None,
        change=_also(lambda request: random.seed(request.seed)),
    ),
    plant(
        "prints where a form is asked for",
        PRINTED,
        where=_has_form,
        change=_also(lambda _: sys.stdout.write("compiling\n")),
    ),
    plant(
        "complains of log-probabilities",
        PRINTED,
        where=lambda moment: bool(moment.request.top_logprobs),
        change=_also(lambda _: sys.stdout.write("this is slow\n")),
    ),
    plant(
        "counts no tools",
        COUNTED,
        where=lambda moment: bool(moment.request.tools),
        end=usage(prompt_tokens=lambda count, _: max(1, count - 40)),
    ),
    plant("keeps every form", FORMS, change=_also(lambda request: _keep_format(request.response_format))),
    plant("keeps every tool", FORMS, change=_also(lambda request: _keep_tools(request.tools))),
)
