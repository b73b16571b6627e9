"""The base class of backends with an in-process engine."""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

from ..backends.base import BaseBackend
from ..backends.memory import MemoryUsage
from ..cancellation import CancellationToken
from ..errors import ModelNotLoadedError
from ..requests import GenerationRequest
from ..results import Event, Finished
from .config import EngineConfig
from .engine_thread import open_scheduler
from .event_queue import LoopEventQueue, ThreadEventQueue
from .interface import Engine
from .preparation import Preparation
from .scheduler import FORKED, Scheduler
from .sequence import SequenceState

_CANCELLED: Final = Finished(finish_reason="cancelled")


class EngineBackend(BaseBackend):
    """Base class of backends whose engine runs in this process.

    Set :attr:`spec` and :attr:`config_class` (derived from :class:`.config.EngineConfig`), and write
    :meth:`open_engine`. Any number of threads and event loops may use one loaded model at once.
    """

    config_class = EngineConfig
    enforces_formats = True

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine[Any] | None = None
        self._scheduler: Scheduler | None = None

    def open_engine(self, model_path: str, config: Any) -> Engine[Any]:
        """Load the model with ``config.n_parallel + config.prefix_cache`` slots, or as many as it can have.

        Called in the thread that will compute with it. On failure, free all memory and raise a ModelError.
        """
        raise NotImplementedError(f"{type(self).__name__} must override open_engine().")

    def load(self, model_path: str, config: EngineConfig) -> None:
        """Open the engine and start its scheduler."""
        scheduler = open_scheduler(
            lambda: self.open_engine(model_path, config),
            parallel=config.n_parallel,
            max_queue=config.max_queue,
            keep=config.prefix_cache,
            lookup=config.prompt_lookup,
        )
        self._engine, self._scheduler = scheduler.engine, scheduler
        # A backend that is dropped without being closed must not leave a thread with a model behind.
        self._closer = weakref.finalize(self, scheduler.close)

    def unload(self) -> None:
        """Free the memory. Running requests end with ModelNotLoadedError."""
        scheduler, self._engine, self._scheduler = self._scheduler, None, None
        if scheduler is not None:
            self._closer.detach()
            scheduler.close()

    def default_parameters(self) -> Mapping[str, object]:
        """The sampling that the model recommends, unless it was loaded with ``generation_defaults="core"``."""
        engine, config = self._engine, self._config
        if engine is None or getattr(config, "generation_defaults", "model") == "core":
            return {}
        return engine.generation_defaults

    def memory(self) -> MemoryUsage | None:
        """The memory that the model and its slots take, according to the engine."""
        engine = self._engine
        return None if engine is None else engine.memory()

    def after_fork(self) -> None:
        """The engine's thread stayed in the parent, and so did the model: this process may load one of its own."""
        super().after_fork()
        if self._scheduler is not None:
            self._engine = self._scheduler = None
            self._model_path = self._config = None
            self._lost = FORKED

    @property
    def concurrency(self) -> int:
        """Twice the requests that are computed at once, so that one is always there to take a free place; fewer where
        the queue is shorter."""
        config = self._config
        if not isinstance(config, EngineConfig):
            return super().concurrency
        return config.n_parallel + min(config.n_parallel, config.max_queue)

    def render_request(self, request: GenerationRequest) -> str:
        """The text that the model reads."""
        engine, scheduler = self._loaded()
        with scheduler.users:
            return engine.render(request)

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Generate. What is wrong with the request is raised now; the engine starts with the first event."""
        arrived = time.perf_counter()
        engine, scheduler = self._loaded()
        event_queue = ThreadEventQueue()
        sequence = Preparation(engine, scheduler, request, cancellation, event_queue, arrived).wait()
        return iter([_CANCELLED]) if sequence is None else self._read(scheduler, sequence, event_queue)

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """Generate, for event loops."""
        arrived = time.perf_counter()
        engine, scheduler = self._loaded()
        event_queue = LoopEventQueue()
        sequence = await Preparation(engine, scheduler, request, cancellation, event_queue, arrived).await_it()
        if sequence is None:
            yield _CANCELLED
            return
        cancellation.on_cancel(lambda: scheduler.drop(sequence))
        scheduler.submit(sequence)
        try:
            while True:
                item = await event_queue.get(cancellation.remaining())
                if item is None:
                    cancellation.check()
                elif isinstance(item, Exception):
                    raise item
                else:
                    yield item
                    if isinstance(item, Finished):
                        return
        finally:
            scheduler.drop(sequence)

    def _read(self, scheduler: Scheduler, sequence: SequenceState, event_queue: ThreadEventQueue) -> Iterator[Event]:
        """The events of *sequence*. A method, so that a stream keeps its backend, whose model is unloaded with it."""
        cancellation = sequence.cancellation
        cancellation.on_cancel(lambda: scheduler.drop(sequence))
        scheduler.submit(sequence)
        try:
            while True:
                item = event_queue.get(cancellation.remaining())
                if item is None:
                    cancellation.check()
                elif isinstance(item, Exception):
                    raise item
                else:
                    yield item
                    if isinstance(item, Finished):
                        return
        finally:
            scheduler.drop(sequence)

    def _loaded(self) -> tuple[Engine[Any], Scheduler]:
        engine, scheduler = self._engine, self._scheduler
        if engine is None or scheduler is None:
            raise ModelNotLoadedError
        scheduler.check()
        return engine, scheduler
