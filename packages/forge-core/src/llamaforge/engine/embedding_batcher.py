"""One computation after another, for the texts of all callers."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Final

from .. import forks
from ..backends.inflight import InFlight
from ..cancellation import CancellationToken
from ..errors import ContractError, GenerationError, LlamaForgeError, ModelNotLoadedError, QueueFullError
from .embedding import EmbeddingEngine, TokenizedText
from .interface import InterruptedStepError, OutOfRoomError
from .scheduler import FORKED

_logger = logging.getLogger("llamaforge")

_PATIENCE: Final = 30.0
"""Seconds that closing waits for what can't be broken off."""
_BYTES: Final = 4
UNLOADED: Final = "The model was unloaded before these texts were computed."


class EmbeddingCall:
    """The texts of one request under way."""

    def __init__(self, texts: Sequence[TokenizedText], dimensions: int, cancellation: CancellationToken) -> None:
        self.texts = texts
        self.waiting = deque(sorted(range(len(texts)), key=lambda index: -len(texts[index])))
        """Positions of texts that are yet to be computed, the longest first."""
        self.unfinished = len(texts)
        self.rows = bytearray(len(texts) * dimensions * _BYTES)
        self.future: Future[bytearray] = Future()
        self.future.set_running_or_notify_cancel()  # so that a task which waits for it, and is cancelled, leaves it
        self.cancellation = cancellation
        self.served = 0
        """The number of the computation in which it last had a text."""

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done() or self.cancellation.stopped

    def fail(self, error: Exception) -> None:
        """End with *error*, if it hasn't ended."""
        self.waiting.clear()
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def finish(self) -> None:
        """End with the rows, if it hasn't ended."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(self.rows)


Item = tuple[EmbeddingCall, int]
"""A text of a call, by its position."""


class EmbeddingBatcher:
    """Computes the texts of any number of callers together.

    A computation begins with the longest text of the caller that has waited longest for one; all callers in turn then
    add their longest text that fits, up to the engine's ``n_batch`` tokens. So a call's texts are computed by length,
    and nobody waits for more computations than there are callers.

    If a computation with texts of several callers fails, each caller's texts are tried by themselves.

    It is made in the thread that owns the engine, which then calls :meth:`run`. :mod:`.engine_thread` has it.

    Args:
        engine: the model. The batcher closes it.
        max_queue: calls that may wait.
    """

    def __init__(self, engine: EmbeddingEngine, *, max_queue: int) -> None:
        for name in ("n_ctx", "n_batch", "dimensions", "n_sequences"):
            if getattr(engine, name) < 1:
                raise ValueError(f"{type(engine).__name__}.{name} must be at least 1, not {getattr(engine, name)!r}.")
        self.engine = engine
        self.users = InFlight()
        """Callers' threads that use the engine itself, to make tokens of a text: it is closed after they left."""
        self._max_queue = max_queue
        self._thread = threading.current_thread()
        self._changed = threading.Condition()
        # Under the condition's lock:
        self._calls: list[EmbeddingCall] = []
        self._computing: list[EmbeddingCall] = []
        self._steps = 0
        self._most = engine.n_sequences
        self._end_error: Exception | None = None
        self._left_behind = False
        forks.watch(self)

    def after_fork(self) -> None:
        """The thread stayed in the parent: whoever waits here gets an error, and nothing is given back."""
        _left_behind.append(self)
        self._left_behind = True
        self._end_error = ModelNotLoadedError(FORKED)
        self._changed = forks.renewed(self._changed, threading.Condition)
        for call in self._calls:
            call.fail(self._end_error)

    # Any thread.

    def check(self) -> None:
        """Raises ModelNotLoadedError after :meth:`close`, and GenerationError after a failure of the batcher."""
        if self._end_error is not None:
            raise type(self._end_error)(str(self._end_error))

    def submit(self, texts: Sequence[TokenizedText], cancellation: CancellationToken) -> EmbeddingCall:
        """Let *texts* wait for their turn. Raises QueueFullError, or what :meth:`check` raises."""
        call = EmbeddingCall(texts, self.engine.dimensions, cancellation)
        if not texts:
            call.finish()
            return call
        with self._changed:
            self.check()
            waiting = sum(1 for other in self._calls if other.served == 0 and not other.over)
            if waiting > self._max_queue:
                raise QueueFullError(waiting, self._max_queue)
            self._calls.append(call)
            self._changed.notify_all()
        known = weakref.ref(call)  # strong, it would be a cycle, and its rows would wait for the garbage collector

        def cancelled() -> None:
            call = known()
            if call is not None:
                self.drop(call)

        cancellation.on_cancel(cancelled)
        return call

    def drop(self, call: EmbeddingCall) -> None:
        """The caller has left: its texts that wait are not computed; a computation for nobody else is interrupted."""
        if call.future.done():
            return
        with self._changed:
            call.fail(GenerationError("The call was cancelled."))
            if self._computing and all(each.over for each in self._computing):
                self.engine.interrupt(True)
            self._changed.notify_all()

    def close(self) -> None:
        """End: what is under way fails with ModelNotLoadedError, and the engine's memory is given back."""
        if self._left_behind:
            return
        with self._changed:
            if self._end_error is None:
                self._end_error = ModelNotLoadedError(UNLOADED)
                if self._computing:
                    self.engine.interrupt(True)
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                _logger.warning("A computation could not be interrupted. The model stays in memory until it ends.")

    # The engine's thread.

    def run(self) -> None:
        """Work until :meth:`close`, then close the engine. To be called once, in the thread that owns it."""
        error: Exception | None = None
        try:
            while items := self._next_items():
                self._compute(items)
        except BaseException as failure:
            _logger.exception("The batcher failed. Load the model again.")
            error = GenerationError(f"The batcher failed ({type(failure).__name__}). Load the model again.")
        finally:
            self._end(error)

    def _next_items(self) -> list[Item]:
        """Wait for texts, and choose those of the next computation; none once it is closed."""
        with self._changed:
            while True:
                self._calls = [call for call in self._calls if call.unfinished and not call.over]
                if self._end_error is not None:
                    return []
                if self._calls:
                    break
                self._changed.wait()
            items = choose(self._calls, self.engine, self._most)
            self._steps += 1
            for call, _ in items:
                call.served = self._steps
            self._computing = list({id(call): call for call, _ in items}.values())
            self.engine.interrupt(False)
            return items

    def _compute(self, items: list[Item]) -> None:
        try:
            rows = self._matrix(items)
        except InterruptedStepError:
            self._put_back(items)
        except OutOfRoomError:
            self._out_of_room(items)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything
            self._failed(items, error)
        else:
            self._deliver(items, rows)
        finally:
            with self._changed:
                self._computing = []

    def _matrix(self, items: list[Item]) -> memoryview:
        computed = self.engine.compute([call.texts[index] for call, index in items])
        rows = memoryview(computed)
        rows = rows if rows.ndim == 1 and rows.format == "B" else rows.cast("B")
        expected = len(items) * self.engine.dimensions * _BYTES
        if rows.nbytes != expected:
            raise ContractError(type(self.engine).__name__, f"compute() gave {rows.nbytes} bytes instead of {expected}")
        return rows

    def _deliver(self, items: list[Item], rows: memoryview) -> None:
        width = self.engine.dimensions * _BYTES
        for number, (call, index) in enumerate(items):
            call.rows[index * width : (index + 1) * width] = rows[number * width : (number + 1) * width]
            call.unfinished -= 1
            if not call.unfinished:
                call.finish()

    def _put_back(self, items: list[Item]) -> None:
        """Those whose callers have left are forgotten; the others wait again, before what is shorter."""
        for call, index in reversed(items):
            if not call.over:
                call.waiting.appendleft(index)

    def _out_of_room(self, items: list[Item]) -> None:
        if len(items) > 1:
            self._most = max(1, len(items) // 2)
            self._put_back(items)
            return
        items[0][0].fail(GenerationError("The engine has too little memory for this text, even alone."))

    def _failed(self, items: list[Item], error: Exception) -> None:
        """Of several callers, each is tried by itself: the fault is one caller's, and the others go on."""
        calls = list({id(call): call for call, _ in items}.values())
        if len(calls) == 1:
            calls[0].fail(_typed(error))
            return
        for call in calls:
            if not call.over and self._end_error is None:
                self._compute([item for item in items if item[0] is call])

    def _end(self, failure: Exception | None) -> None:
        with self._changed:
            error = self._end_error = failure or self._end_error or ModelNotLoadedError(UNLOADED)
            left, self._calls = self._calls, []
        for call in left:
            call.fail(type(error)(str(error)))
        if self.users.drain(_PATIENCE):
            self.engine.close()
        else:
            _logger.warning("A text is still being tokenized. The model stays in memory until that ends.")


_left_behind: Final[list[EmbeddingBatcher]] = []
"""In a forked child, the parent's: neither their memory nor their devices are the child's to give back."""


def choose(calls: Sequence[EmbeddingCall], engine: EmbeddingEngine, most: int) -> list[Item]:
    """The texts of the next computation, taken from the calls' queues.

    The first one is the longest of the call that was served least recently, so every call gets its turn. The calls then
    take turns with the longest of their texts that fits.
    """
    order = sorted(calls, key=lambda call: call.served)
    lead = order[0]
    first = len(lead.texts[lead.waiting[0]])
    share = _Share(engine, first)
    items: list[Item] = [(lead, lead.waiting.popleft())]
    skipped: dict[int, list[int]] = {id(call): [] for call in order}
    taking = deque(order)
    while taking and len(items) < most:
        call = taking.popleft()
        while call.waiting and (length := len(call.texts[call.waiting[0]])) > first and not share.fits(length):
            skipped[id(call)].append(call.waiting.popleft())
        if call.waiting and share.fits(length := len(call.texts[call.waiting[0]])):
            share.add(length)
            items.append((call, call.waiting.popleft()))
            taking.append(call)
    for call in order:
        call.waiting.extendleft(reversed(skipped[id(call)]))
    return items


class _Share:
    """How full a computation is."""

    def __init__(self, engine: EmbeddingEngine, first: int) -> None:
        self._engine = engine
        self._texts, self._tokens = 1, first
        self._longest = first

    def fits(self, length: int) -> bool:
        """Whether another text of *length* tokens may join."""
        engine, tokens, longest = self._engine, self._tokens + length, max(self._longest, length)
        if not engine.padded or longest <= engine.packed_up_to:
            return tokens <= engine.n_batch
        places = longest * (self._texts + 1)
        return places <= engine.n_batch and places - tokens <= engine.start_cost

    def add(self, length: int) -> None:
        """It joins."""
        self._texts += 1
        self._tokens += length
        self._longest = max(self._longest, length)


def _typed(error: Exception) -> Exception:
    if isinstance(error, LlamaForgeError):
        return error
    typed = GenerationError(f"The engine failed: {type(error).__name__}: {error}")
    typed.__cause__ = error
    return typed
