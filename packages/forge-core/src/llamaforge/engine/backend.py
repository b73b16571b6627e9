"""The base class of backends with an in-process engine."""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from ..backends.memory import MemoryUsage
from ..backends.spec import Capabilities, Task
from ..cancellation import CancellationToken
from ..errors import InvalidParameterError, LlamaForgeError, ModelNotLoadedError
from ..event_validation import engine_failure
from ..requests import GenerationRequest
from ..results import Event, Finished
from .config import EngineConfig
from .embedding import EmbeddingEngine
from .embedding_backend import EmbeddingBackend
from .embedding_batcher import EmbeddingBatcher
from .engine_thread import open_worker
from .event_queue import LoopEventQueue, ThreadEventQueue
from .interface import Engine
from .preparation import Preparation
from .scheduler import FORKED, Scheduler
from .sequence import SequenceState

_CANCELLED: Final = Finished(finish_reason="cancelled")


class EngineBackend(EmbeddingBackend):
    """Base class of backends whose engine runs in this process.

    Set :attr:`spec` and :attr:`config_class` (derived from :class:`.config.EngineConfig`), and write
    :meth:`open_engine`. Any number of threads and event loops may use one loaded model at once.
    """

    config_class = EngineConfig
    enforces_formats = True

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine[Any] | EmbeddingEngine | None = None
        self._scheduler: Scheduler | None = None

    def open_engine(self, model_path: str, config: Any) -> Engine[Any] | EmbeddingEngine:
        """Load the model: an :class:`.interface.Engine` for text, with ``config.n_parallel + config.prefix_cache``
        slots, or as many as it can have; an :class:`.embedding.EmbeddingEngine` for vectors or scores.

        Called in the thread that will compute with it. On failure, free all memory and raise a ModelError.
        """
        raise NotImplementedError(f"{type(self).__name__} must override open_engine().")

    def load(self, model_path: str, config: EngineConfig) -> None:
        """Open the engine and start its scheduler, or its batcher."""

        def employ(engine: Engine[Any] | EmbeddingEngine) -> Scheduler | EmbeddingBatcher:
            if isinstance(engine, EmbeddingEngine):
                return EmbeddingBatcher(engine, max_queue=config.max_queue)
            return Scheduler(
                engine,
                parallel=config.n_parallel,
                max_queue=config.max_queue,
                keep=config.prefix_cache,
                lookup=config.prompt_lookup,
            )

        worker = open_worker(lambda: self.open_engine(model_path, config), employ)
        self._engine = worker.engine
        if isinstance(worker, EmbeddingBatcher):
            self._batcher = worker
        else:
            self._scheduler = worker
        # A backend that is dropped without being closed must not leave a thread with a model behind.
        self._closer = weakref.finalize(self, worker.close)

    def unload(self) -> None:
        """Free the memory. Running requests end with ModelNotLoadedError."""
        worker = self._scheduler or self._batcher
        self._engine = self._scheduler = self._batcher = None
        if worker is not None:
            self._closer.detach()
            worker.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the spec declares; a loaded model has one task."""
        declared, engine = super().capabilities, self._engine
        if engine is None:
            return declared
        task: Task = engine.task if isinstance(engine, EmbeddingEngine) else "generate"
        return dataclasses.replace(declared, tasks=frozenset({task}))

    def default_parameters(self) -> Mapping[str, object]:
        """The sampling that the model recommends, unless it was loaded with ``generation_defaults="core"``."""
        engine, config = self._engine, self._config
        if not isinstance(engine, Engine) or getattr(config, "generation_defaults", "model") == "core":
            return {}
        return engine.generation_defaults

    def memory(self) -> MemoryUsage | None:
        """The memory that the model and its slots take, according to the engine."""
        engine = self._engine
        try:
            return None if engine is None else engine.memory()
        except LlamaForgeError:
            raise
        except Exception as error:
            raise engine_failure(self.name, error) from error

    def after_fork(self) -> None:
        """The engine's thread stayed in the parent, and so did the model: this process may load one of its own."""
        super().after_fork()
        if self._scheduler is not None or self._batcher is not None:
            self._engine = self._scheduler = self._batcher = None
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

    def tokenize_request(self, request: GenerationRequest) -> Sequence[int]:
        """The tokens that the model reads."""
        engine, scheduler = self._loaded()
        with scheduler.users:
            return engine.tokenize(request).token_ids

    def token_text(self, token_ids: Sequence[int]) -> bytes:
        """The bytes of tokens, from the engine's table."""
        engine, scheduler = self._loaded()
        with scheduler.users:
            table = engine.token_table()
        if table is None:
            return super().token_text(token_ids)
        size = len(table.token_bytes)
        for place, token in enumerate(token_ids):
            if token >= size:
                raise InvalidParameterError(f"tokens[{place}]", token, f"less than {size}, this model's vocabulary")
        special = table.special
        return b"".join(
            special[token].encode() if token in special else table.token_bytes[token] for token in token_ids
        )

    @property
    def context_length(self) -> int | None:
        """The engine's."""
        engine = self._engine
        return None if engine is None else engine.n_ctx

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
        if not isinstance(engine, Engine) or scheduler is None:
            raise ModelNotLoadedError
        scheduler.check()
        return engine, scheduler
