"""Constraints on the answers of one engine: matchers for requests, and masks for steps."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, overload

import msgspec

from ..errors import UnsupportedError
from ..requests import GenerationRequest
from .interface import BatchEntry, Engine

if TYPE_CHECKING:
    from ..constraints import Grammar
    from ..constraints.matcher import Matcher
    from ..constraints.vocabulary import Vocabulary
    from .answers import AnswerPlan, Answers
    from .sequence import SequenceState

_A_FEW: Final = 3
"""More masks than this are filled in parallel: handing one to another thread takes as long as filling it."""
_KNOWN: Final = 256

Masked = list[tuple[BatchEntry[Any], "Matcher"]]
"""Entries of a step that choose a token within a grammar, with their matchers."""


class Constraints:
    """Makes a matcher for each constrained request. Callers' threads use it; the vocabulary is made with the first.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._vocabulary: Vocabulary | None = None
        self._lock = threading.Lock()
        self._prepared: set[bytes] = set()
        self._answers: Answers | None = None

    def is_prepared(self, request: GenerationRequest) -> bool:
        """Whether the constraint of *request*, if any, was compiled before, so that :meth:`matcher` is quick."""
        if request.response_format is None and request.grammar is None and not request.tools:
            return True
        return _key(request) in self._prepared

    def plan(self, request: GenerationRequest, prompt: Sequence[int]) -> AnswerPlan:
        """The plan for the answer to *request*, whose *prompt* has these tokens; see :meth:`.answers.Answers.plan`."""
        if self._answers is None:
            from .answers import Answers

            self._answers = Answers(self._engine, self)
        return self._answers.plan(request, prompt)

    def matcher(self, request: GenerationRequest, grammar: Grammar | None) -> Matcher | None:
        """A matcher for the answer to *request*, whose *grammar* is this one; None where it may be any text.

        Raises ConstraintError, MissingDependencyError, and UnsupportedError where the engine can't apply masks.
        """
        if grammar is None:
            return None
        made = self.vocabulary(grammar.parameter).matcher(grammar)
        if len(self._prepared) >= _KNOWN:
            self._prepared.clear()
        self._prepared.add(_key(request))
        return made

    def vocabulary(self, parameter: str) -> Vocabulary:
        """The engine's vocabulary. Raises as :meth:`matcher`; *parameter* is named then."""
        with self._lock:
            if self._vocabulary is None:
                engine = self._engine
                table = engine.token_table() if engine.can_mask else None
                if table is None:
                    why = "its tokens have no bytes of their own" if engine.can_mask else "it can't mask tokens"
                    raise UnsupportedError(f"the parameter {parameter}", type(engine).__name__, f"The reason: {why}.")
                from ..constraints.vocabulary import Vocabulary

                self._vocabulary = Vocabulary(table.token_bytes, table.special, engine.end_tokens, engine.tokenize_text)
            return self._vocabulary


def next_guesses(sequence: SequenceState, room: int) -> list[int]:
    """What may follow the last certain token of *sequence*, at most *room* tokens.

    It is what the grammar forces, or else what stood there before, as far as the grammar allows it.
    """
    matcher, lookup = sequence.matcher, sequence.lookup
    if matcher is None or room < 1:
        return [] if lookup is None else lookup.guess(room)
    forced = matcher.forced()
    sequence.forced = bool(forced)
    if forced:
        return forced[:room]
    guesses = [] if lookup is None else lookup.guess(room)
    return guesses[: matcher.valid(guesses)] if guesses else []


def _key(request: GenerationRequest) -> bytes:
    tools = (request.tools, request.tool_choice, request.parallel_tool_calls) if request.tools else ()
    return msgspec.json.encode((request.response_format, request.grammar, tools))


class MaskFiller:
    """Fills the masks of a step in a thread of its own, while the engine computes the step.

    Used in the scheduler's thread. :meth:`fill` begins, the masks wait when they are read, and :meth:`settle` waits
    for what nobody read.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[list[tuple[Matcher, int, list[int]]], int, threading.Lock] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._pending: threading.Lock | None = None
        self._buffer = bytearray()
        self._address = 0
        self._executor: Any = None

    def fill(self, wanted: Sequence[tuple[Matcher, Sequence[int]]]) -> list[Masks]:
        """The masks for each matcher: one for its state, and one after each of its guesses, which must be valid."""
        mask_bytes = wanted[0][0].mask_bytes
        rows = sum(len(guesses) + 1 for _, guesses in wanted)
        if rows * mask_bytes > len(self._buffer):
            import ctypes

            self._buffer = bytearray(rows * mask_bytes)
            self._address = ctypes.addressof((ctypes.c_char * len(self._buffer)).from_buffer(self._buffer))
        view = memoryview(self._buffer)
        ready = threading.Lock()
        ready.acquire()
        jobs: list[tuple[Matcher, int, list[int]]] = []
        filled: list[Masks] = []
        row = 0
        for matcher, guesses in wanted:
            jobs.append((matcher, row, list(guesses)))
            count = len(guesses) + 1
            own = [view[each * mask_bytes : (each + 1) * mask_bytes] for each in range(row, row + count)]
            filled.append(Masks(own, ready))
            row += count
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="llamaforge-masks", daemon=True)
            self._thread.start()
        self._pending = ready
        self._work.put((jobs, mask_bytes, ready))
        return filled

    def begin(self, masked: Masked) -> None:
        """Begin to fill the masks of the entries that choose a token within a grammar."""
        filled = self.fill([(matcher, entry.guesses) for entry, matcher in masked])
        for (entry, _), masks in zip(masked, filled, strict=True):
            entry.masks = masks

    def settle(self) -> None:
        """Wait until no matcher is in use."""
        pending, self._pending = self._pending, None
        if pending is not None:
            with pending:
                pass

    def close(self) -> None:
        """End the thread."""
        self.settle()
        if self._thread is not None:
            self._work.put(None)
            self._thread = None

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            jobs, mask_bytes, ready = work
            try:
                self._fill(jobs, mask_bytes)
            finally:
                ready.release()
            del work, jobs, ready

    def _fill(self, jobs: list[tuple[Matcher, int, list[int]]], mask_bytes: int) -> None:
        address = self._address
        if len(jobs) > _A_FEW:
            if self._executor is None:
                from ..constraints.library import llguidance

                self._executor = llguidance().LLExecutor(max(1, min(8, os.cpu_count() or 1)))
            rows = len(self._buffer) // mask_bytes
            plain = [(matcher.native, row) for matcher, row, guesses in jobs if not guesses]
            guessed = [(matcher.native, row, guesses) for matcher, row, guesses in jobs if guesses]
            if plain:
                self._executor.unsafe_compute_mask_ptr(plain, address, mask_bytes, rows)
            if guessed:
                self._executor.unsafe_compute_mask_ptr_with_draft_token(guessed, address, mask_bytes, rows)
            return
        for matcher, row, guesses in jobs:
            matcher.fill(address + row * mask_bytes, mask_bytes, guesses)


class Masks(Sequence[memoryview]):
    """The masks of one entry of a step (:attr:`.interface.BatchEntry.masks`). Reading one waits until it is filled."""

    __slots__ = ("_ready", "_rows")

    def __init__(self, rows: list[memoryview], ready: threading.Lock) -> None:
        self._rows = rows
        self._ready: threading.Lock | None = ready

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> memoryview: ...

    @overload
    def __getitem__(self, index: slice) -> list[memoryview]: ...

    def __getitem__(self, index: int | slice) -> memoryview | list[memoryview]:
        if self._ready is not None:
            with self._ready:
                self._ready = None
        return self._rows[index]
