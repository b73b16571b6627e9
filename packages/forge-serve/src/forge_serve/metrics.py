"""What is counted: what models were asked for comes from core's observers; only HTTP requests are counted here."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from llamaforge.arriving import arriving
from llamaforge.observation import ObservedRequest, Observer, RequestEnd
from llamaforge.pool import ModelPool

if TYPE_CHECKING:
    from .figures import Figures


class Counted:
    """One HTTP request, as it is counted."""

    def __init__(self, metrics: Metrics, dialect: str) -> None:
        self.metrics = metrics
        self.dialect = dialect
        self.model = ""
        """The model's name; empty while it isn't known. Nothing that a client invents gets here."""
        self.ending = "finished"
        self.arrival: arriving | None = None
        """The same request, as observers see it while it has reached no model."""
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def asks_for(self, model: str) -> None:
        """The client asks for that model, whether or not there is one of that name."""
        if self.arrival is not None:
            self.arrival.model = model


_current: Final[contextvars.ContextVar[Counted | None]] = contextvars.ContextVar("counted", default=None)
"""The HTTP request for which a model is asked: by it an observer knows its own server's."""


class Metrics(Observer):
    """The observer of one server's requests. Others of the same process are left out.

    Observers are called in any thread, and by the garbage collector, where no lock may be taken; so they only put what
    they hear into a queue. The figures are made at the end of each HTTP request, and when they are asked for.

    Args:
        pool: the loaded models.
        waiting: the requests that wait for each model to be loaded.
    """

    def __init__(self, pool: ModelPool, waiting: Callable[[], Mapping[str, int]]) -> None:
        self._pool = pool
        self._waiting = waiting
        self._heard: queue.SimpleQueue[Callable[[Figures], None]] = queue.SimpleQueue()
        self._ours: dict[str, Counted] = {}

    @functools.cached_property
    def _figures(self) -> Figures:
        from .figures import Figures  # with the first request: Prometheus' library is not needed to start

        return Figures(self._pool, self._waiting)

    @contextlib.contextmanager
    def request(self, dialect: str) -> Iterator[Counted]:
        """Count an HTTP request from its beginning to its end, and what models are asked for meanwhile."""
        counted = Counted(self, dialect)
        start = time.perf_counter()
        self._heard.put(lambda figures: figures.request_began())
        entered = _current.set(counted)
        try:
            yield counted
        finally:
            _current.reset(entered)
            seconds = time.perf_counter() - start
            self._heard.put(lambda figures: figures.request_ended(dialect, counted.model, counted.ending, seconds))
            self._work_off()

    def on_start(self, request: ObservedRequest) -> None:
        """A model was asked for something, perhaps by this server."""
        counted = _current.get()
        if counted is not None and counted.metrics is self:
            self._ours[request.id] = counted
            model = counted.model
            self._heard.put(lambda figures: figures.began(model))

    def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
        """It has ended."""
        counted = self._ours.pop(request.id, None)
        if counted is None:
            return
        if end.usage is not None:
            counted.prompt_tokens += end.usage.prompt_tokens
            counted.completion_tokens += end.usage.completion_tokens
        operation, model = request.operation, counted.model
        self._heard.put(lambda figures: figures.ended(operation, model, end))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        self._work_off()
        return self._figures.text()

    def _work_off(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._heard.get_nowait()(self._figures)
