"""What observers hear of a request, and how they are told. Imported once somebody observes."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from .messages import Message, ToolCall
from .results import Timings, Usage

_logger = logging.getLogger("llamaforge")

Operation = Literal["generate", "chat", "embed", "rerank"]
"""What was called: ``generate`` for a prompt, ``chat`` for a conversation."""

Outcome = Literal["finished", "failed", "cancelled", "abandoned", "refused"]
"""How a request ended.

``finished``: with its whole answer; ``failed``: with an error; ``cancelled``: its caller stopped it; ``abandoned``: its
stream was dropped without being read to its end or closed; ``refused``: with an error before any work was done, because
of the request itself, or since no model is loaded or the queue is full."""

MOST_TEXTS: Final = 2048
"""Texts of an ``embed`` call that are kept as content: a call may have any number."""


@dataclass(eq=False, slots=True, kw_only=True)
class ObservedRequest:
    """A request, as an observer sees it. The same object is passed at its start and at its end.

    What is called content is empty for observers that don't ask for it.
    """

    id: str
    """Unique among all requests of this process and its children."""
    operation: Operation
    backend: str
    """The backend's name. Empty if none was reached: no such model is loaded, or the request can't be read."""
    model: str
    """The model's name; for a model without one its path, or its name at its server. Empty if none is loaded. Of a
    request that reached no backend: as the caller gave it."""
    server: str | None = None
    """The address of the server that computes the answer; None for engines in this process."""
    started: float = 0.0
    """When the call was made, in seconds since the epoch."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """The parameters in effect, as far as they are known at the start. Of a refused request: the caller's."""
    headers: dict[str, str] = field(default_factory=dict)
    """An observer may add HTTP headers in ``on_start``: a backend that asks a server sends them with the request. That
    is how a trace goes on in the server (``traceparent``)."""
    incoming: Mapping[str, str] = field(default_factory=dict)
    """Of a request that came to a server of ours: those of its HTTP headers that carry a trace (``traceparent``,
    ``tracestate``, ``baggage`` and the like), by their names in lower case. No other header is here."""
    prompt: str | None = None
    """Content: the prompt of ``generate``, or the query of ``rerank``."""
    messages: tuple[Message, ...] = ()
    """Content: the conversation."""
    texts: list[str | tuple[int, ...]] = field(default_factory=list)
    """Content: the texts of ``embed``, or the documents of ``rerank``; the first 2,048 of them, as they are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnd:
    """How a request ended."""

    outcome: Outcome
    error: BaseException | None = None
    """What the caller got, if the request failed or was refused."""
    finish_reason: str | None = None
    """Why the answer ended (see :data:`~llamaforge.results.FinishReason`); None for requests that have no answer."""
    usage: Usage | None = None
    """Token counts, as far as they are known."""
    timings: Timings
    """``total`` is always set."""
    pieces: int = 0
    """How many events of an answer, or batches of vectors, its reader got."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """The parameters in effect."""
    dropped: tuple[str, ...] = ()
    """What of the request had no effect."""
    text: str | None = None
    """Content: the answer, as far as it was read."""
    reasoning: str | None = None
    """Content: the model's reasoning."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Content: the calls of tools."""


class Observer:
    """Hears of each request's start and of its one end. Override what you need.

    The methods are called in whichever thread or event loop runs the request, so they must be quick and thread-safe.
    The end of an abandoned request comes from the garbage collector, at any moment of any thread: take no lock there
    that the same thread may hold already, and start no thread (``queue.SimpleQueue`` is safe). Whatever a method
    raises is logged and reaches no caller. Requests that an observer makes itself are not observed.
    """

    content: bool = False
    """Whether it wants prompts, conversations and answers."""

    def on_start(self, request: ObservedRequest) -> None:
        """A request has been made. For a refused one, this is called right before :meth:`on_end`."""

    def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
        """The request has ended. Called exactly once for each one whose start this observer heard of."""

    def close(self) -> None:
        """The observer was detached, or the process ends: write what is still to be written."""


Calls = list[tuple["Observer", Callable[[], None]]]
"""Calls of observers' methods, and whose they are."""


class _Telling(threading.local):
    """Whether this thread is inside an observer, and what it is to tell afterwards."""

    def __init__(self) -> None:
        self.now = False
        self.later: deque[Calls] = deque()


telling: Final = _Telling()


def tell(calls: Calls) -> None:
    """Make *calls*. Nothing that they raise gets further, but Ctrl+C, once all have heard.

    Inside an observer they are made afterwards: the garbage collector may end a request just while an observer holds a
    lock that it needs for telling of it.
    """
    telling.later.append(calls)
    if telling.now:
        return
    interrupt: BaseException | None = None
    telling.now = True
    try:
        while telling.later:
            for observer, call in telling.later.popleft():
                try:
                    call()
                except (Exception, SystemExit) as error:  # noqa: BLE001 - no caller pays for an observer
                    _report(observer, error)
                except BaseException as error:  # noqa: BLE001 - raised below
                    interrupt = error
    finally:
        telling.now = False
    if interrupt is not None:
        raise interrupt


_failed: set[tuple[type, type]] = set()


def _report(observer: Observer, error: BaseException) -> None:
    """Log an observer's failure: the first of each kind with its traceback, since each request may have one."""
    kind = (type(observer), type(error))
    if kind not in _failed:
        _failed.add(kind)
        _logger.warning(
            "The observer %s failed; requests go on without it: %s: %s. Later failures are logged at level DEBUG.",
            type(observer).__qualname__,
            type(error).__name__,
            error,
            exc_info=error,
        )
    else:
        _logger.debug("The observer %s failed: %s: %s", type(observer).__qualname__, type(error).__name__, error)
