"""From a request to a sequence: checks, tokens, stops. A long text is prepared beside its caller, who may leave."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..cancellation import CancellationToken
from ..errors import ContextOverflowError, InvalidParameterError
from ..requests import GenerationRequest
from .event_queue import EventQueue
from .interface import Engine
from .prompts import prompt_tokens
from .sampling import check_logit_bias
from .scheduler import Scheduler
from .sequence import SequenceState

_LONG: Final = 20_000
"""Characters from which on a request is prepared in a thread of its own: some ten milliseconds of work."""

_KNOWN: Final = 64
"""Lists of stop strings whose special tokens are remembered."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What it takes to make a sequence of a request."""

    engine: Engine[Any]
    scheduler: Scheduler
    request: GenerationRequest
    cancellation: CancellationToken
    event_queue: EventQueue
    arrived: float
    """The ``time.perf_counter()`` of the call."""

    def wait(self) -> SequenceState | None:
        """The sequence; None where the request was cancelled first.

        Raises a RequestError, and GenerationTimeoutError where the deadline passes first. What is under way then ends
        by itself; the engine is not closed before.
        """
        if not self._is_long():
            return self._make()
        made = self._begin()
        concurrent.futures.wait([made], self.cancellation.remaining())
        return self._outcome(made)

    async def await_it(self) -> SequenceState | None:
        """:meth:`wait` for event loops."""
        if not self._is_long():
            return self._make()
        made = self._begin()
        waited_for = asyncio.wrap_future(made)
        waited_for.add_done_callback(_retrieved)
        await asyncio.wait([waited_for], timeout=self.cancellation.remaining())
        return self._outcome(made)

    def _is_long(self) -> bool:
        """Whether it may take a while. Texts are measured, and whatever else a template may show; a new constraint
        has to be compiled."""
        request = self.request
        if not self.scheduler.constraints.is_prepared(request):
            return True
        length = sum(len(message.text) for message in request.as_messages())
        if length < _LONG and (request.tools or request.chat_template_kwargs):
            length += len(msgspec.json.encode((request.tools, request.chat_template_kwargs), enc_hook=str))
        return length >= _LONG

    def _begin(self) -> Future[SequenceState | None]:
        """Prepare in a thread. The future is done when that is, or when the request is cancelled."""
        made: Future[SequenceState | None] = Future()
        made.set_running_or_notify_cancel()  # so that a task which waits for it, and is cancelled, leaves it alone

        def work() -> None:
            try:
                sequence = self._make()
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
                with contextlib.suppress(concurrent.futures.InvalidStateError):
                    made.set_exception(error)
            else:
                _set(made, sequence)

        self.cancellation.on_cancel(lambda: _set(made, None))
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(work,), name="llamaforge-prepare", daemon=True).start()
        return made

    def _outcome(self, made: Future[SequenceState | None]) -> SequenceState | None:
        if not made.done():
            self.cancellation.check()
        return made.result()

    def _stop_tokens(self, stops: tuple[str, ...]) -> Mapping[int, str]:
        """Vocabularies have thousands of special tokens, and requests mostly the same stop strings."""
        known = self.scheduler.stop_tokens
        found = known.get(stops)
        if found is None:
            found = find_stop_tokens(self.engine.special_tokens(), stops)
            if len(known) >= _KNOWN:
                known.clear()
            known[stops] = found
        return found

    def _make(self) -> SequenceState:
        engine, request = self.engine, self.request
        with self.scheduler.users:
            check_logit_bias(request, engine.vocab_size)
            engine.check(request)
            stop_tokens = self._stop_tokens(tuple(request.stop)) if request.stop else {}
            prompt, truncated = prompt_tokens(engine, request)
            detokenizer = engine.detokenizer(request, prompt)
            plan = self.scheduler.constraints.plan(request, prompt)
            matcher = self.scheduler.constraints.matcher(request, plan.grammar)
            prompt = [*prompt, *plan.prefix]
        room = engine.n_ctx - len(prompt)
        if room < 1:
            raise ContextOverflowError(len(prompt), engine.n_ctx, "Shorten the prompt, or load with a larger n_ctx.")
        return SequenceState(
            request,
            self.cancellation,
            prompt,
            truncated=truncated,
            max_new_tokens=min(request.max_tokens or room, room),
            detokenizer=detokenizer,
            event_queue=self.event_queue,
            arrived=self.arrived,
            stop_tokens=stop_tokens,
            matcher=matcher,
            parsed=plan.parsed,
        )


def find_stop_tokens(special: Mapping[int, str], stops: Sequence[str]) -> Mapping[int, str]:
    """Those of the *special* tokens that a stop string spells.

    Such a token adds no text, so that its spelling never shows up in the answer.

    Raises InvalidParameterError for a stop string of which a special token is only a part: it could never be met.
    """
    found = {token: text for token, text in special.items() if text in stops}
    for stop in set(stops) - set(found.values()):
        # Words and signs that stand in ordinary texts, too, are not meant as a special token.
        parts = [text for text in special.values() if len(text) > 2 and not text.isalnum() and text in stop]
        if parts:
            part = max(parts, key=len)
            raise InvalidParameterError(
                "stop",
                stop,
                "a string without special tokens, or a special token alone",
                message=f"The stop string {stop!r} would never match: the special token {part!r} adds no text. Use "
                "that token alone as a stop string, or leave it out.",
            )
    return found


def _retrieved(future: asyncio.Future[SequenceState | None]) -> None:
    """Its error is raised from the other future: asyncio need not report it."""
    if not future.cancelled():
        future.exception()


def _set(made: Future[SequenceState | None], sequence: SequenceState | None) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        made.set_result(sequence)
