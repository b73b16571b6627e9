"""Checks a backend's events against the contract. Without I/O, so that sync and async streams share one definition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from .cancellation import CancellationToken
from .errors import ContractError, GenerationError, InvalidAnswerError, LlamaForgeError, RequestError
from .functions import chosen_tool
from .requests import GenerationRequest
from .results import Event, Finished, ReasoningDelta, TextDelta, Timings, ToolCallDelta
from .text import TextBuffer

if TYPE_CHECKING:
    from .constraints.reading import AnswerReader

T = TypeVar("T")

_DELTAS: Final = (TextDelta, ReasoningDelta, ToolCallDelta)


def engine_failure(backend: str, error: BaseException) -> GenerationError:
    """The error for whatever the code of *backend* raised that isn't typed."""
    return GenerationError(f"The backend {backend!r} failed: {type(error).__name__}: {error}")


def engine_call(
    backend: str, say_where: Callable[[RequestError], None] | None, work: Callable[..., T], *given: Any
) -> T:
    """What *work*, a plugin's function, returns for *given*.

    Raises our errors as they are, those about the request with where the wrong value was set, and GenerationError for
    all others.
    """
    try:
        return work(*given)
    except LlamaForgeError as error:
        if say_where is not None and isinstance(error, RequestError):
            say_where(error)
        raise
    except Exception as error:
        raise engine_failure(backend, error) from error


class EventValidator:
    """Checks the events of one request, in order, and decides what the caller gets.

    Args:
        backend: its name, for messages.
        request: the request.
        cancellation: its cancellation token.
        dropped: parameters that were dropped because of ``on_unsupported="drop"``.
        say_where: says in an error about the request where a wrong value was set, unless the caller did it.
        reader: reads the whole answer, if the request sets a format for it.
    """

    def __init__(
        self,
        backend: str,
        request: GenerationRequest,
        cancellation: CancellationToken,
        dropped: tuple[str, ...],
        say_where: Callable[[RequestError], None] | None = None,
        reader: AnswerReader | None = None,
    ) -> None:
        self._backend = backend
        self._request = request
        self._cancellation = cancellation
        self._dropped = dropped
        self.say_where = say_where
        self.reader = reader
        self._called: list[str] | None = None
        """The functions that were called, where the request says something of them."""
        if request.tools and (request.tool_choice not in (None, "auto") or request.parallel_tool_calls is False):
            self._called = []
        self._keeps_text = reader is not None or cancellation.deadline is not None or self._called is not None
        self._started = cancellation.started
        self._first: float | None = None
        self._text = TextBuffer()
        self._end: Finished | None = None

    @property
    def at_end(self) -> bool:
        """Whether the terminal event has come."""
        return self._end is not None

    def see(self, event: object) -> Event | None:
        """The next event, checked; None once the terminal event has come (:meth:`terminal` has it then).

        *event* is None where the stream ended. Raises GenerationTimeoutError or ContractError.
        """
        if self._cancellation.cancelled:
            known = event if isinstance(event, Finished) else None
            self._end = Finished(finish_reason="cancelled", usage=known.usage if known else None)
            return None
        if self._cancellation.deadline is not None:
            self._check_deadline()
        if self._keeps_text and isinstance(event, TextDelta):
            self._text.write(event.text)
        if isinstance(event, _DELTAS):
            if self._first is None:
                self._first = time.perf_counter() - self._started
            if self._called is not None and isinstance(event, ToolCallDelta) and event.name:
                self._called.append(event.name)
            return event
        if isinstance(event, Finished):
            self._end = event
            return None
        if event is None:
            raise ContractError(self._backend, "its stream ended without a terminal event")
        raise ContractError(self._backend, f"its stream yielded {type(event).__name__}, which is not an event")

    def see_failure(self, error: BaseException) -> None:
        """The stream raised *error*: raise what the caller gets. After a cancellation, it is not a failure.

        Raises GenerationTimeoutError, *error* itself where it is typed, else GenerationError.
        """
        if self._cancellation.cancelled:
            self._end = Finished(finish_reason="cancelled")
            return
        self._check_deadline()
        if self.say_where is not None and isinstance(error, RequestError):
            self.say_where(error)
        try:
            if isinstance(error, LlamaForgeError):
                raise error
            raise engine_failure(self._backend, error) from error
        finally:
            del error  # its traceback has this frame, which would keep it alive

    def release(self) -> None:
        """No further event comes."""
        self._cancellation.release()

    def _check_deadline(self) -> None:
        if self._cancellation.expired:  # so that the text is put together once, not for every event
            self._cancellation.check(str(self._text))

    @property
    def looks_further(self) -> bool:
        """Whether what comes after the terminal event matters: not of an engine that was told to stop."""
        return self._end is not None and not self._cancellation.cancelled

    def see_more(self, event: object) -> None:
        """What came after the terminal event. Raises ContractError if anything did."""
        if event is not None and not self._cancellation.cancelled:
            raise ContractError(self._backend, "its stream continued after the terminal event")

    def cancelled(self) -> Finished:
        """The terminal event of a stream that its reader leaves early."""
        return Finished(finish_reason="cancelled", parameters=self._request.parameters(), dropped=self._dropped)

    def terminal(self) -> Finished:
        """The terminal event, completed: timings, the parameters in effect, what was dropped.

        Raises InvalidAnswerError for a whole answer that breaks its format, ``tool_choice`` or ``parallel_tool_calls``.
        """
        end = self._end or Finished(finish_reason="cancelled")
        if self._called is not None and end.finish_reason in ("stop", "tool_calls"):
            self._check_calls(self._called)
        if self.reader is not None and end.finish_reason == "stop":
            self.reader.finish(str(self._text))
        queued = end.timings.queued if end.timings else None
        return msgspec.structs.replace(
            end,
            timings=Timings(first_token=self._first, total=time.perf_counter() - self._started, queued=queued),
            parameters=end.parameters or self._request.parameters(),
            dropped=(*self._dropped, *end.dropped),
        )

    def _check_calls(self, called: list[str]) -> None:
        """Servers may ignore ``tool_choice`` and ``parallel_tool_calls``. Raises InvalidAnswerError."""
        choice = self._request.tool_choice
        name = chosen_tool(choice)
        reason = ""
        if choice == "none":
            reason = f"it calls {called[0]!r}, and tool_choice allows no call." if called else ""
        elif not called and choice not in (None, "auto"):
            reason = f"it calls no function, and tool_choice wants a call{f' of {name!r}' if name else ''}."
        elif name is not None and set(called) != {name}:
            other = next(each for each in called if each != name)
            reason = f"it calls {other!r}, and tool_choice wants a call of {name!r}."
        elif len(called) > 1 and name is not None:
            reason = f"it has {len(called)} calls, and tool_choice wants one of {name!r}."
        elif len(called) > 1 and self._request.parallel_tool_calls is False:
            reason = f"it has {len(called)} calls, and parallel_tool_calls=False allows one."
        if reason:
            raise InvalidAnswerError(str(self._text), reason)


def validated(source: Iterator[Event], checker: EventValidator) -> Iterator[Event]:
    """The events of *source*, held to the contract; the last one is the completed terminal event."""
    events = iter(source)
    try:
        while not checker.at_end:
            try:
                event = next(events, None)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - an engine may raise anything
                checker.see_failure(error)
                break
            passed = checker.see(event)
            if passed is not None:
                yield passed
            elif checker.looks_further:
                try:
                    more = next(events, None)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - an engine may raise anything
                    checker.see_failure(error)
                else:
                    checker.see_more(more)
    finally:
        close: Any = getattr(events, "close", None)
        if close is not None:
            close()
        checker.release()
    yield checker.terminal()


async def avalidated(source: AsyncIterator[Event], checker: EventValidator) -> AsyncIterator[Event]:
    """Like :func:`validated`, for an asynchronous *source*."""
    events = aiter(source)
    try:
        while not checker.at_end:
            try:
                event = await anext(events, None)
            except asyncio.CancelledError:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001 - an engine may raise anything
                checker.see_failure(error)
                break
            passed = checker.see(event)
            if passed is not None:
                yield passed
            elif checker.looks_further:
                try:
                    more = await anext(events, None)
                except asyncio.CancelledError:
                    raise
                except (Exception, SystemExit) as error:  # noqa: BLE001 - an engine may raise anything
                    checker.see_failure(error)
                else:
                    checker.see_more(more)
    finally:
        close: Any = getattr(events, "aclose", None)
        if close is not None:
            await close()
        checker.release()
    yield checker.terminal()
