"""One step of the model after another, for all requests under way."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from typing import Final

from ..backends.gate import Gate
from ..errors import GenerationError, ModelNotLoadedError, QueueFullError
from .interface import Engine, Feed, InterruptedStepError, Outcome, OutOfRoomError
from .jobs import Job
from .lookup import PromptLookup
from .planning import share
from .slots import Slots

_logger = logging.getLogger("llamaforge")

_WORTH_WAITING: Final = 32
"""A request waits until another one has computed at least so many tokens that both begin with."""
_LOOKED_AT: Final = 32
"""Waiting requests, beyond those that fit, among which one is looked for that need not wait for another one."""
_PATIENCE: Final = 30.0
"""Seconds that closing waits for what can't be broken off."""
UNLOADED: Final = "The model was unloaded while this answer was being written."


class Scheduler:
    """Runs an engine for any number of callers.

    Requests wait in order of arrival. Between two steps those that fit join the running ones; a step computes one token
    of each answer under way and, within the engine's ``n_batch``, parts of the prompts (see :func:`.planning.share`).
    Where the engine's memory is full, kept prefixes go first, then the newest request goes back to the queue; its text
    goes on later where it was.

    It is made in the thread that owns the engine, which then calls :meth:`run`. :mod:`.owner` has it.

    Args:
        engine: the model. The scheduler closes it.
        parallel: requests that are computed at once.
        max_queue: requests that may wait.
        keep: finished texts whose computed state is kept.
        lookup: tokens to guess at a time; 0 is off.
    """

    def __init__(self, engine: Engine, *, parallel: int, max_queue: int, keep: int = 0, lookup: int = 0) -> None:
        self.engine = engine
        # Half of a step is left for prompts: answers under way could fill all of it, and newcomers would starve.
        self._parallel = min(parallel, engine.n_slots, max(1, engine.n_batch // 2))
        self._max_queue = max_queue
        self._lookup = lookup if engine.can_trim else 0
        self._slots = Slots(engine, keep)
        self.users = Gate()
        """Callers' threads that use the engine itself, to make tokens of a text, say: it is closed after they left."""
        self._thread = threading.current_thread()
        self._changed = threading.Condition()
        # Under the condition's lock:
        self._waiting: deque[Job] = deque()
        self._computing: list[Job] = []
        self._numbers = 0
        self._end_error: Exception | None = None  # why it takes no more requests, once it doesn't
        # The scheduler's thread alone:
        self._running: list[Job] = []  # in order of arrival
        self._full = False

    # Any thread.

    def check(self) -> None:
        """Raises ModelNotLoadedError after :meth:`close`, and GenerationError after a failure of the scheduler."""
        if self._end_error is not None:
            raise type(self._end_error)(str(self._end_error))

    def submit(self, job: Job) -> None:
        """Let *job* wait for its turn. Raises QueueFullError, or what :meth:`check` raises."""
        with self._changed:
            self.check()
            if job.dropped:  # its caller left before it came here, and has been told the end
                return
            # Those that the next step will take don't count as waiting.
            if len(self._waiting) - max(0, self._parallel - len(self._running)) >= self._max_queue:
                raise QueueFullError(len(self._waiting), self._max_queue)
            job.number = self._numbers
            self._numbers += 1
            self._waiting.append(job)
            self._changed.notify_all()

    def drop(self, job: Job) -> None:
        """The caller of *job* has left: it stops with the step that is under way, or breaks it off if it is alone."""
        if job.over:
            return
        with self._changed:
            if job.over or job.dropped:
                return
            job.dropped = True
            if job.slot < 0:  # it waits: its reader need not
                job.cancel()
                if job.sampling is None and job in self._waiting:  # what has a state to give back, the thread removes
                    self._waiting.remove(job)
            elif self._computing and all(each.dropped for each in self._computing):
                self.engine.interrupt(True)
            self._changed.notify_all()

    def close(self) -> None:
        """End: what is under way fails with ModelNotLoadedError, and the engine's memory is given back."""
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
                    "A step of the engine could not be broken off: its model stays in memory until it ends."
                )

    # The scheduler's thread.

    def run(self) -> None:
        """Work until :meth:`close`, then close the engine. To be called once, in the thread that owns it."""
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
        for job in left:
            job.fail_like(error)
        for job in left:
            self._close_sampling(job)
        self._running.clear()
        self._close_engine()

    def _close_engine(self) -> None:
        if self.users.drain(_PATIENCE):
            self.engine.close()
        else:
            _logger.warning("A text is still being made tokens of: the model stays in memory.")

    def _retire(self) -> None:
        """Let those go whose callers have left or whose deadlines have passed."""
        for job in [job for job in self._running if job.dropped or job.request.control.stopped]:
            self._leave(job, keep=True)
            job.cancel()

    def _admit(self) -> None:
        """Let waiting requests join, in order of arrival."""
        if not self._waiting:
            return
        with self._changed:
            looked_at = list(itertools.islice(self._waiting, _LOOKED_AT + self._parallel))
        for job in looked_at:
            if job.dropped or job.request.control.stopped:
                self._forget(job)
            elif self._full or len(self._running) >= self._parallel:
                return
            elif self._slots.promised(job.tokens) < _WORTH_WAITING:
                slot, held = self._slots.take(job)  # it may copy; if the engine fails at it, the job is still known
                with self._changed:
                    job.begin(slot, held)
                    if job in self._waiting:
                        self._waiting.remove(job)
                self._join(job)

    def _forget(self, job: Job) -> None:
        """*job* waits for nothing any more."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
        self._close_sampling(job)
        job.cancel()

    def _join(self, job: Job) -> None:
        self._running.append(job)
        self._running.sort(key=_arrival)
        if job.sampling is not None:  # it is back, after it had to make room
            return
        try:
            job.sampling = self.engine.sampling(job.request, job.tokens, job.longest)
            if self._lookup:
                job.lookup = PromptLookup(job.tokens, self._lookup)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything
            self._leave(job, keep=False)
            job.fail(error)

    def _step(self) -> None:
        jobs, feeds = self._plan()
        with self._changed:
            self._computing = jobs
            if self._end_error is not None or all(job.dropped for job in jobs):
                self._computing = []
                return
        try:
            self._slots.settle()
            outcomes = self.engine.compute(feeds)
        except OutOfRoomError:
            self._make_room()
        except InterruptedStepError:
            for job in jobs:
                self._requeue(job)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the callers
            self._fail(error)
        else:
            for job, feed, outcome in zip(jobs, feeds, outcomes, strict=True):
                self._advance(job, feed, outcome)
        finally:
            with self._changed:
                self._computing = []
                self.engine.interrupt(False)

    def _plan(self) -> tuple[list[Job], list[Feed]]:
        """Who computes what in the next step."""
        budget = self.engine.n_batch
        shares = share([job.pending for job in self._running], budget)
        spare = budget - sum(shares)
        jobs, feeds = [], []
        for job, count in zip(self._running, shares, strict=True):
            if not count:
                continue
            tokens = job.tokens[job.computed : job.computed + count]
            chosen = job.computed + count == len(job.tokens)
            guesses: list[int] = []
            if chosen and job.lookup is not None:
                room = min(spare, job.room - 1, self.engine.n_ctx - len(job.tokens))
                guesses = job.lookup.guess(room)
                spare -= len(guesses)
            jobs.append(job)
            feeds.append(
                Feed(job.slot, job.computed, tokens + guesses, job.sampling if chosen else None, draft=len(guesses))
            )
        return jobs, feeds

    def _advance(self, job: Job, feed: Feed, outcome: Outcome) -> None:
        """*outcome* is what came of *feed*."""
        if isinstance(outcome, Exception):
            self._leave(job, keep=False)
            job.fail(outcome)
            return
        job.computed = feed.start + feed.certain
        if feed.sampling is None:
            return
        done, right = False, -1
        try:
            for choice in outcome:
                right += 1
                done = job.take(choice, ends=self.engine.ends(choice.token))
                if done:
                    break
        except Exception as error:  # noqa: BLE001 - its tokens make no text: that is no other request's fault
            self._leave(job, keep=False)
            job.fail(error)
            return
        job.computed += right
        if feed.draft:
            if job.lookup is not None:
                job.lookup.learn(feed.draft, right)
            if right < feed.draft:
                job.computed = self.engine.trim(job.slot, job.computed)
        if done:
            self._leave(job, keep=True)
            job.finish()  # last, so that whoever asks again as soon as it is told finds the place free

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
            newest.fail(GenerationError("The engine's memory can't hold this request, though nothing else is in it."))

    def _requeue(self, job: Job) -> None:
        """*job* loses its slot and waits again, before those that came after it."""
        self._give_up_slot(job, keep=False)
        with self._changed:
            job.slot, job.computed = -1, 0
            later = next((index for index, other in enumerate(self._waiting) if other.number > job.number), None)
            self._waiting.insert(len(self._waiting) if later is None else later, job)

    def _fail(self, error: BaseException) -> None:
        """A step failed: nobody knows for whom, so it failed for all that were in it; their slots are given up."""
        for job in self._running:
            job.fail_like(error)
        for job in list(self._running):
            self._leave(job, keep=False)

    def _leave(self, job: Job, *, keep: bool) -> None:
        """*job* is over."""
        self._give_up_slot(job, keep=keep)
        self._close_sampling(job)

    def _close_sampling(self, job: Job) -> None:
        if job.sampling is not None:
            sampling, job.sampling = job.sampling, None
            sampling.close()

    def _give_up_slot(self, job: Job, *, keep: bool) -> None:
        self._slots.release(job.slot, keep=keep)
        self._running.remove(job)  # last: if the engine fails at it, the job is still known
        self._full = False


def _arrival(job: Job) -> int:
    return job.number
