"""One answer: prompt, prefill, and a token at a time until something ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch import Tensor

from llamaforge.errors import ContextOverflowError, EmptyPromptError
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, FinishReason, TextDelta, Timings, TokenLogprob, Usage
from llamaforge.text import TextAssembler

from .engine import Engine, Row
from .sampling import Choice, Sampler
from .turns import Ticket


def render(engine: Engine, request: GenerationRequest) -> str:
    """The text that the model sees for *request*: in the chat template's words, or as it stands."""
    if request.prompt is not None and (request.raw or not engine.template.exists):
        return engine.vocabulary.raw_text(request.prompt)
    return engine.template.render(request.as_messages())


def tokenize(engine: Engine, request: GenerationRequest) -> list[int]:
    """The tokens of what :func:`render` shows."""
    if request.prompt is not None and (request.raw or not engine.template.exists):
        return engine.vocabulary.encode_raw(request.prompt)
    return engine.tokenize(engine.template.render(request.as_messages()))


def answer(engine: Engine, request: GenerationRequest) -> Iterator[Event]:
    """Generate: text events, then one ``Finished``."""
    return _Answer(engine, request).events()


class _Answer:
    def __init__(self, engine: Engine, request: GenerationRequest) -> None:
        self._engine = engine
        self._request = request
        self._control = request.control
        self._tokens = 0
        self._prompt: list[int] = []
        self._started = 0.0
        self._began: float | None = None

    def events(self) -> Iterator[Event]:
        engine, request = self._engine, self._request
        self._started = time.perf_counter()
        self._prompt = tokenize(engine, request)
        limit = self._room()
        if request.max_tokens is not None:
            limit = min(limit, request.max_tokens)
        text = TextAssembler(request.stop or ())
        pieces = engine.vocabulary.detokenizer(self._prompt)
        ticket = engine.turns.ticket(self._control)
        row = engine.open()
        try:
            logits = self._prefill(ticket, row)
            sampler: Sampler | None = None
            while logits is not None:
                if sampler is None:
                    sampler = Sampler(request, self._prompt, logits.numel(), logits.device)
                choice = sampler.choose(logits)
                if choice.token in engine.end_tokens:
                    yield from _tail(text, pieces.finish())
                    yield self._finished("stop", text.matched)
                    return
                self._tokens += 1
                piece = text.feed(pieces.feed(choice.token))
                if piece or request.logprobs:
                    yield TextDelta(piece, self._logprobs(choice))
                if text.matched is not None or self._tokens == limit:
                    yield from _tail(text, pieces.finish())
                    yield self._finished("length" if text.matched is None else "stop", text.matched)
                    return
                logits = self._compute(ticket, row, (choice.token,))
            yield self._finished("cancelled", None)
        finally:
            engine.release(row)

    def _room(self) -> int:
        """Tokens that the context leaves for the answer."""
        if not self._prompt:
            raise EmptyPromptError("The prompt has no tokens: there is nothing to continue.")
        room = self._engine.n_ctx - len(self._prompt)
        if room < 1:
            raise ContextOverflowError(len(self._prompt), self._engine.n_ctx)
        return room

    def _prefill(self, ticket: Ticket, row: Row) -> Tensor | None:
        size, logits = self._engine.n_batch, None
        for start in range(0, len(self._prompt), size):
            logits = self._compute(ticket, row, self._prompt[start : start + size])
            if logits is None:
                return None
        return logits

    def _compute(self, ticket: Ticket, row: Row, tokens: list[int] | tuple[int, ...]) -> Tensor | None:
        """One forward pass, once it is our turn; None where the caller has left, or the deadline has passed."""
        if self._control.stopped:
            self._control.check()
            return None
        with ticket.turn() as ours:
            if ours:
                if self._began is None:
                    self._began = time.perf_counter()
                return self._engine.prefill(row, tokens)
        self._control.check()
        return None

    def _finished(self, reason: FinishReason, stop: str | None) -> Finished:
        queued = None if self._began is None else self._began - self._started
        usage = Usage(prompt_tokens=len(self._prompt), completion_tokens=self._tokens)
        return Finished(finish_reason=reason, stop=stop, usage=usage, timings=Timings(queued=queued))

    def _logprobs(self, choice: Choice) -> tuple[TokenLogprob, ...]:
        if not self._request.logprobs:
            return ()
        name = self._engine.vocabulary.token_text
        top = tuple(TokenLogprob(name(token), logprob, token) for token, logprob in choice.top)
        return (TokenLogprob(name(choice.token), choice.logprob, choice.token, top),)


def _tail(text: TextAssembler, rest: bytes) -> Iterator[TextDelta]:
    """What was held back."""
    piece = text.feed(rest) + text.finish()
    if piece:
        yield TextDelta(piece)
