"""One request under way: its tokens, its text, its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from ..cancellation import CancellationToken
from ..errors import GenerationError, ModelNotLoadedError
from ..requests import GenerationRequest
from ..results import Finished, FinishReason, TextDelta, Timings, Usage
from ..text import TextAssembler
from .event_queue import EventQueue
from .interface import Choice, Detokenizer, Sampling
from .prompt_lookup import PromptLookup

if TYPE_CHECKING:
    from ..constraints.matcher import Matcher
    from .answers import ParsedAnswer

CANCELLED: Final = "The request was cancelled before the answer was complete."


class SequenceState:
    """A request between its caller and the scheduler.

    The caller makes it and reads its event_queue; everything else is the scheduler's.

    Args:
        request: the checked request.
        cancellation: whether it is still wanted.
        prompt: its tokens.
        truncated: tokens of the prompt that were left out, as asked.
        max_new_tokens: tokens that the answer may have, at most.
        detokenizer: makes text of the answer's tokens.
        event_queue: where its events go.
        arrived: the ``time.perf_counter()`` of the call.
        stop_tokens: special tokens that end the answer, with the stop strings that spell them.
        matcher: where the answer stands in its grammar; None where it may be any text.
        parsed: takes the answer apart; None where all of it is content.
    """

    def __init__(
        self,
        request: GenerationRequest,
        cancellation: CancellationToken,
        prompt: list[int],
        *,
        truncated: int,
        max_new_tokens: int,
        detokenizer: Detokenizer,
        event_queue: EventQueue,
        arrived: float,
        stop_tokens: Mapping[int, str],
        matcher: Matcher | None = None,
        parsed: ParsedAnswer | None = None,
    ) -> None:
        self.request = request
        self.cancellation = cancellation
        self.tokens = list(prompt)
        """Prompt and answer. The last one is not computed yet."""
        self.computed: int
        """How many of them the slot holds, once it has one."""
        self.count = 0
        """Tokens of the answer."""
        self.cached = 0
        """Tokens of the prompt that the slot held already."""
        self.max_new_tokens = max_new_tokens
        self.event_queue = event_queue
        self.number: int
        """Its place in the order of arrival; the scheduler sets it."""
        self.slot = -1
        self.sampling: Sampling | None = None
        self.lookup: PromptLookup | None = None
        self.matcher = matcher
        self.is_diverted = False
        """Whether it got tokens that nobody chose, so that what was computed after the last choice is wrong."""
        self.forced = False
        """Whether its guesses in this step are what its grammar forces."""
        self.dropped = False
        """Whether its caller has left."""
        self.over = False
        """Whether its last item is in the event_queue."""
        self._prompt_length = len(prompt)
        self._truncated = truncated
        self._text = TextAssembler(request.stop or ())
        self._parsed = parsed
        self._detokenizer = detokenizer
        self._logprobs = bool(request.logprobs)
        penalized = request.presence_penalty or request.frequency_penalty or request.repetition_penalty not in (None, 1)
        self._takes_forced = not (penalized or self._logprobs)
        self._arrived = arrived
        self._began: float | None = None
        self._reason: FinishReason  # once it is complete
        self._stop_tokens = stop_tokens
        self._stop: str | None = None

    @property
    def pending(self) -> int:
        """Tokens that still have to be computed: one, or amid the prompt more."""
        return len(self.tokens) - self.computed

    @property
    def room(self) -> int:
        """Tokens that the answer may still have."""
        return self.max_new_tokens - self.count

    def begin(self, slot: int, held: int) -> None:
        """It has a slot that holds the first *held* of its tokens. After it had to make room it begins again."""
        self.slot, self.computed = slot, held
        if self._began is None:
            self._began = time.perf_counter()
        if not self.count:
            self.cached = held

    def take(self, choice: Choice, *, ends: bool) -> bool:
        """The answer goes on with *choice*; *ends* where that token ends it.

        Returns whether the answer is complete: it still has to be told so, with :meth:`finish`. Raises GenerationError
        where its grammar allows no such token.
        """
        token = choice.token
        matcher = self.matcher
        if ends or token in self._stop_tokens:
            self._stop = self._stop_tokens.get(token)
            if matcher is not None and not matcher.may_end:
                raise GenerationError("The engine ended the answer where its constraint doesn't allow that.")
            self._complete("stop")
            return True
        if matcher is not None:
            matcher.accept(token)
        self.tokens.append(token)
        self.count += 1
        if self._parsed is not None:
            return self._take_parsed(self._parsed, choice)
        text = self._text
        piece = text.feed(self._detokenizer.feed(token))
        if piece or self._logprobs:
            self.event_queue.put(TextDelta(piece, (choice.logprob,) if choice.logprob is not None else ()))
        if text.matched is not None or (matcher is not None and matcher.is_complete):
            self._complete("stop")
            return True
        if self.count >= self.max_new_tokens:
            self._complete("length")
            return True
        if self.lookup is not None:
            self.lookup.add(token)
        return False

    def _take_parsed(self, parsed: ParsedAnswer, choice: Choice) -> bool:
        """:meth:`take` for an answer with parts."""
        self.is_diverted = False
        matcher = self.matcher
        token: int | None = choice.token
        logprob = choice.logprob
        forced: Iterator[int] = iter(())
        while token is not None:
            for event in parsed.feed(token, self._detokenizer.feed(token), logprob):
                self.event_queue.put(event)
            if parsed.matched is not None or (matcher is not None and matcher.is_complete):
                self._complete("stop")
                return True
            if self.count >= self.max_new_tokens:
                self._complete("length")
                return True
            if self.lookup is not None:
                self.lookup.add(token)
            if more := parsed.forced():
                forced = iter(more)
                self.is_diverted = True
            token, logprob = next(forced, None), None
            if token is not None:
                if matcher is not None:
                    matcher.accept(token)
                self.tokens.append(token)
                self.count += 1
        return False

    def take_forced(self) -> bool:
        """The answer goes on with the tokens that its grammar forces, which need not be chosen: they are computed
        together, like a part of the prompt.

        Not where penalties count tokens or log-probabilities are wanted: the engine then chooses them, each from a mask
        that allows nothing else. Returns whether the answer is complete.
        """
        if self.matcher is None or not self._takes_forced:
            return False
        while tokens := self.matcher.forced():
            for token in tokens:
                if self.take(Choice(token), ends=False):
                    return True
        return False

    def finish(self) -> None:
        """The answer is complete: its reader gets the end."""
        if not self.over:
            self.over = True
            self.event_queue.put(self._end(self._reason))

    def cancel(self) -> None:
        """Its caller has left: whoever still reads gets the end."""
        if not self.over:
            self.over = True
            self.event_queue.put(self._end("cancelled"))

    def fail(self, error: Exception) -> None:
        """End with *error*."""
        if not self.over:
            self.over = True
            self.event_queue.put(error)

    def fail_like(self, error: BaseException) -> None:
        """End with what went wrong for several requests: each caller gets an exception of its own."""
        kind = next((kind for kind in (ModelNotLoadedError, GenerationError) if isinstance(error, kind)), None)
        own = kind(str(error)) if kind is not None else GenerationError(f"{type(error).__name__}: {error}")
        own.__cause__ = error
        self.fail(own)

    def _complete(self, reason: FinishReason) -> None:
        if self._parsed is not None:
            for event in self._parsed.finish(self._detokenizer.finish(), cut=reason == "length"):
                self.event_queue.put(event)
            if reason == "stop" and self._parsed.matched is None and self._parsed.has_calls:
                reason = "tool_calls"
            self._reason = "stop" if self._parsed.matched is not None else reason
            return
        text = self._text
        tail = text.feed(self._detokenizer.finish()) + text.finish()
        if tail:
            self.event_queue.put(TextDelta(tail))
        self._reason = "stop" if text.matched is not None else reason

    def _end(self, reason: FinishReason) -> Finished:
        parsed = self._parsed
        matched = self._text.matched if parsed is None else parsed.matched
        queued = None if self._began is None else self._began - self._arrived
        return Finished(
            finish_reason=reason,
            stop=matched or self._stop,
            usage=Usage(
                prompt_tokens=self._prompt_length,
                completion_tokens=self.count,
                cached_tokens=self.cached,
                reasoning_tokens=0 if parsed is None else parsed.reasoning_tokens,
                truncated_tokens=self._truncated,
            ),
            timings=Timings(queued=queued),
            dropped=() if self.matcher is None else self.matcher.notes,
        )
