"""One step of the model after another, for all requests under way."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from .. import forks
from ..backends.inflight import InFlight
from ..errors import GenerationError, ModelNotLoadedError, QueueFullError
from .constraints import Constraints, Masked, MaskFiller, next_guesses
from .event_queue import ThreadEventQueue
from .interface import BatchEntry, Engine, InterruptedStepError, OutOfRoomError, StepResult
from .prompt_lookup import PromptLookup
from .sampling import checked_result, outside_vocabulary
from .sequence import SequenceState
from .slots import Slots
from .token_budget import split_budget

_logger = logging.getLogger("llamaforge")

_WORTH_WAITING: Final = 32
"""A request waits until another one has computed at least so many tokens that both begin with."""
_LOOKED_AT: Final = 32
"""Waiting requests, beyond those that fit, among which is looked for one that need not wait."""
_PATIENCE: Final = 30.0
"""Seconds that closing waits for what can't be broken off."""
FORKED: Final = (
    "The model was loaded before this process was forked, and only the parent process can use it. Load it after the "
    "fork, in each process, or start the processes with multiprocessing's 'spawn'."
)
_left_behind: Final[list[Scheduler]] = []
"""In a forked child, the parent's: neither their memory nor their devices are the child's to give back."""
UNLOADED: Final = "The model was unloaded before this answer was complete."


class Scheduler:
    """Runs an engine for any number of callers.

    Requests wait in order of arrival. Between two steps those that fit join the running ones; a step computes one token
    of each answer under way and, within the engine's ``n_batch``, parts of the prompts
    (see :func:`.token_budget.split_budget`).
    Where the engine's memory is full, kept prefixes go first, then the newest request goes back to the queue; its text
    goes on later where it was.

    It is made in the thread that owns the engine, which then calls :meth:`run`. :mod:`.engine_thread` has it.

    Args:
        engine: the model. The scheduler closes it.
        parallel: requests that are computed at once.
        max_queue: requests that may wait.
        keep: finished texts whose computed state is kept.
        lookup: tokens to guess at a time; 0 is off.
    """

    def __init__(self, engine: Engine[Any], *, parallel: int, max_queue: int, keep: int = 0, lookup: int = 0) -> None:
        for name in ("n_ctx", "n_slots", "n_batch", "vocab_size"):
            if getattr(engine, name) < 1:
                raise ValueError(f"{type(engine).__name__}.{name} must be at least 1, not {getattr(engine, name)!r}.")
        self.engine = engine
        # Half of a step is left for prompts: answers under way could fill all of it, and newcomers would starve.
        self._parallel = min(parallel, engine.n_slots, max(1, engine.n_batch // 2))
        self._max_queue = max_queue
        self._lookup = lookup if engine.can_trim else 0
        self._end_tokens = engine.end_tokens
        self._vocab_size = engine.vocab_size
        self.constraints = Constraints(engine)
        """Callers' threads make matchers here; the scheduler's thread owns them afterwards."""
        self._masks = MaskFiller()
        self._slots = Slots(engine, keep)
        self.stop_tokens: dict[tuple[str, ...], Mapping[int, str]] = {}
        """Lists of stop strings, with the special tokens that they spell: callers' threads keep them here."""
        self.users = InFlight()
        """Callers' threads that use the engine itself, to make tokens of a text, say: it is closed after they left."""
        self._thread = threading.current_thread()
        self._changed = threading.Condition()
        # Under the condition's lock:
        self._waiting: deque[SequenceState] = deque()
        self._computing: list[SequenceState] = []
        self._numbers = 0
        self._end_error: Exception | None = None  # why it takes no more requests, once it doesn't
        # The scheduler's thread alone:
        self._running: list[SequenceState] = []  # in order of arrival
        self._full = False
        self._left_behind = False
        forks.watch(self)

    def after_fork(self) -> None:
        """The thread stayed in the parent: whoever reads here gets an error, and nothing is given back."""
        _left_behind.append(self)
        self._left_behind = True
        self._end_error = ModelNotLoadedError(FORKED)
        self._changed = forks.renewed(self._changed, threading.Condition)
        for sequence in {*self._running, *self._waiting, *self._computing}:
            if isinstance(sequence.event_queue, ThreadEventQueue):  # an event loop does not outlive a fork
                sequence.fail_like(self._end_error)

    # Any thread.

    def check(self) -> None:
        """Raises ModelNotLoadedError after :meth:`close`, and GenerationError after a failure of the scheduler."""
        if self._end_error is not None:
            raise type(self._end_error)(str(self._end_error))

    def submit(self, sequence: SequenceState) -> None:
        """Let *sequence* wait for its turn. Raises QueueFullError, or what :meth:`check` raises."""
        with self._changed:
            self.check()
            if sequence.dropped:  # its caller left before it came here, and has been told the end
                return
            waiting = len(self._waiting) - max(0, self._parallel - len(self._running))
            if waiting >= self._max_queue:
                raise QueueFullError(waiting, self._max_queue)
            sequence.number = self._numbers
            self._numbers += 1
            self._waiting.append(sequence)
            self._changed.notify_all()

    def drop(self, sequence: SequenceState) -> None:
        """The caller of *sequence* has left: it stops after this step; a step with nobody else in it is interrupted."""
        if sequence.over:
            return
        with self._changed:
            if sequence.over or sequence.dropped:
                return
            sequence.dropped = True
            if sequence.slot < 0:  # it waits: its reader need not
                sequence.cancel()
                if (
                    sequence.sampling is None and sequence in self._waiting
                ):  # what has a state to give back, the thread removes
                    self._waiting.remove(sequence)
            elif self._computing and all(each.dropped for each in self._computing):
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
                _logger.warning(
                    "A step of the engine could not be interrupted. The model stays in memory until the step ends."
                )

    # The scheduler's thread.

    def run(self) -> None:
        """Work until :meth:`close`, then close the engine. Called once."""
        error: Exception | None = None
        try:
            while self._has_work():
                self._retire()
                self._admit()
                if self._running:
                    self._step()
        except BaseException as failure:
            _logger.exception("The scheduler failed. Load the model again.")
            error = GenerationError(f"The scheduler failed ({type(failure).__name__}). Load the model again.")
        finally:
            self._end(error)

    def _has_work(self) -> bool:
        """Wait until there is some; False once it is closed."""
        if self._running and self._end_error is None:
            return True
        with self._changed:
            while self._end_error is None and not (self._waiting or self._running):
                self._changed.wait()
            return self._end_error is None

    def _end(self, failure: Exception | None) -> None:
        with self._changed:
            error = self._end_error = failure or self._end_error or ModelNotLoadedError(UNLOADED)
            left = [*self._running, *self._waiting]
            self._waiting.clear()
        for sequence in left:
            sequence.fail_like(error)
        for sequence in left:
            self._close_sampling(sequence)
        self._running.clear()
        self._close_engine()

    def _close_engine(self) -> None:
        self._masks.close()
        if self.users.drain(_PATIENCE):
            self.engine.close()
        else:
            _logger.warning("A text is still being tokenized. The model stays in memory until that ends.")

    def _retire(self) -> None:
        """Let those go whose callers have left or whose deadlines have passed."""
        for sequence in [sequence for sequence in self._running if sequence.dropped or sequence.cancellation.stopped]:
            self._leave(sequence, keep=True)
            sequence.cancel()

    def _admit(self) -> None:
        """Let waiting requests join, in order of arrival."""
        if not self._waiting:
            return
        with self._changed:
            looked_at = list(itertools.islice(self._waiting, _LOOKED_AT + self._parallel))
        for sequence in looked_at:
            if sequence.dropped or sequence.cancellation.stopped:
                self._forget(sequence)
            elif self._full or len(self._running) >= self._parallel:
                return
            elif self._slots.promised(sequence.tokens) < _WORTH_WAITING:
                slot, held = self._slots.take(
                    sequence
                )  # it may copy; if the engine fails at it, the sequence is still known
                with self._changed:
                    sequence.begin(slot, held)
                    if sequence in self._waiting:
                        self._waiting.remove(sequence)
                self._join(sequence)

    def _forget(self, sequence: SequenceState) -> None:
        with self._changed:
            if sequence in self._waiting:
                self._waiting.remove(sequence)
        self._close_sampling(sequence)
        sequence.cancel()

    def _join(self, sequence: SequenceState) -> None:
        self._running.append(sequence)
        self._running.sort(key=_arrival)
        if sequence.sampling is not None:  # it is back, after it had to make room
            return
        try:
            sequence.sampling = self.engine.sampling(sequence.request, sequence.tokens, sequence.max_new_tokens)
            if sequence.sampling is None:
                raise GenerationError(f"{type(self.engine).__name__}.sampling() returned None.")
            if self._lookup:
                sequence.lookup = PromptLookup(sequence.tokens, self._lookup)
            done = sequence.take_forced()
        except Exception as error:  # noqa: BLE001 - an engine may raise anything
            self._leave(sequence, keep=False)
            sequence.fail(error)
            return
        if done:  # nothing was left to be chosen
            self._leave(sequence, keep=True)
            sequence.finish()

    def _step(self) -> None:
        sequences, entries, masked = self._plan()
        with self._changed:
            self._computing = sequences
            if self._end_error is not None or all(sequence.dropped for sequence in sequences):
                self._computing = []
                return
        try:
            self._slots.settle()
            if masked:
                self._masks.begin(masked)
            try:
                results = self.engine.compute(entries)
            finally:
                self._masks.settle()
            if len(results) != len(entries):
                raise GenerationError(
                    f"The engine returned {len(results)} results for {len(entries)} entries of a step."
                )
        except OutOfRoomError:
            self._make_room()
        except InterruptedStepError:
            for sequence in sequences:
                self._requeue(sequence)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the callers
            self._fail(error)
        else:
            for sequence, entry, result in zip(sequences, entries, results, strict=True):
                self._advance(sequence, entry, result)
        finally:
            with self._changed:
                self._computing = []
                self.engine.interrupt(False)

    def _plan(self) -> tuple[list[SequenceState], list[BatchEntry[Any]], Masked]:
        budget = self.engine.n_batch
        shares = split_budget([sequence.pending for sequence in self._running], budget)
        spare = budget - sum(shares)
        sequences, entries, masked = [], [], []
        for sequence, count in zip(self._running, shares, strict=True):
            if not count:
                continue
            start = sequence.computed
            tokens = sequence.tokens[start : start + count]
            chosen = start + count == len(sequence.tokens)
            draft = 0
            if chosen and sequence.lookup is not None:
                room = min(spare, sequence.room - 1, self.engine.n_ctx - len(sequence.tokens))
                guesses = next_guesses(sequence, min(room, self._lookup))
                draft = len(guesses)
                spare -= draft
                tokens += guesses
            entry = BatchEntry(sequence.slot, start, tokens, sequence.sampling if chosen else None, draft)
            sequences.append(sequence)
            entries.append(entry)
            if chosen and sequence.matcher is not None:
                masked.append((entry, sequence.matcher))
        return sequences, entries, masked

    def _advance(self, sequence: SequenceState, entry: BatchEntry[Any], result: StepResult) -> None:
        if entry.sampling is not None and (type(result) is not list or len(result) != 1):  # one is always right
            result = checked_result(result, entry)
        if isinstance(result, Exception):
            self._leave(sequence, keep=False)
            sequence.fail(result)
            return
        computed = sequence.computed = entry.start + len(entry.tokens) - entry.draft
        if entry.sampling is None:
            return
        done, right, matcher = False, -1, sequence.matcher
        try:
            if matcher is not None:
                matcher.check()
            for choice in result:
                right += 1
                if not 0 <= choice.token < self._vocab_size:
                    raise outside_vocabulary(choice.token, self._vocab_size)
                done = sequence.take(choice, ends=choice.token in self._end_tokens)
                if done or sequence.is_diverted:
                    break
            if matcher is not None:
                done = done or sequence.take_forced()
        except Exception as error:  # noqa: BLE001 - its tokens make no text: that is no other request's fault
            self._leave(sequence, keep=False)
            sequence.fail(error)
            return
        sequence.computed = computed + right
        if entry.draft:
            if sequence.lookup is not None and not sequence.forced:
                sequence.lookup.learn(entry.draft, right)
            if right < entry.draft:
                sequence.computed = self.engine.trim(sequence.slot, sequence.computed)
        if done:
            self._leave(sequence, keep=True)
            sequence.finish()  # last, so that whoever asks again as soon as it is told finds the place free

    def _make_room(self) -> None:
        """The engine's memory is full: a kept prefix goes, else the newest request goes back to wait."""
        if self._slots.make_room():
            return
        newest = self._running[-1]
        if len(self._running) > 1:
            self._requeue(newest)
            self._full = True
        else:
            self._leave(newest, keep=False)
            newest.fail(GenerationError("The engine has too little memory for this request, even alone."))

    def _requeue(self, sequence: SequenceState) -> None:
        """*sequence* loses its slot and waits again, before those that came after it."""
        self._give_up_slot(sequence, keep=False)
        with self._changed:
            sequence.slot, sequence.computed = -1, 0
            later = next((index for index, other in enumerate(self._waiting) if other.number > sequence.number), None)
            self._waiting.insert(len(self._waiting) if later is None else later, sequence)

    def _fail(self, error: BaseException) -> None:
        """A step failed: nobody knows for whom, so it failed for all that were in it; their slots are given up."""
        for sequence in self._running:
            sequence.fail_like(error)
        for sequence in list(self._running):
            self._leave(sequence, keep=False)

    def _leave(self, sequence: SequenceState, *, keep: bool) -> None:
        """*sequence* is over."""
        self._give_up_slot(sequence, keep=keep)
        self._close_sampling(sequence)

    def _close_sampling(self, sequence: SequenceState) -> None:
        if sequence.sampling is not None:
            sampling, sequence.sampling = sequence.sampling, None
            try:
                sampling.close()
            except Exception:
                _logger.exception("close() of a sampling state failed; its memory may be lost.")

    def _give_up_slot(self, sequence: SequenceState, *, keep: bool) -> None:
        self._slots.release(sequence.slot, keep=keep)
        self._running.remove(sequence)  # last: if the engine fails at it, the sequence is still known
        self._full = False


def _arrival(sequence: SequenceState) -> int:
    return sequence.number
