"""A loaded model: prompts in its words and tokens, and answers, one at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

from llamaforge.errors import (
    ContextOverflowError,
    EmptyPromptError,
    GenerationError,
    InvalidParameterError,
    NoChatTemplateError,
)
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, FinishReason, TextDelta, Timings, Usage
from llamaforge.text import TextAssembler

from .config import LlamaCppConfig
from .engine import Engine, EngineSequence
from .sampling import Sampler
from .templates import ChatTemplate, model_template, read_template
from .turns import CANCELLED, Turns

_TEMPLATE_KEY: Final = "tokenizer.chat_template"
"""Where GGUF files keep the default chat template; one for tools, say, stands under a longer key."""


class LoadedModel:
    """Engine, chat template and queue of one loaded model. Raises what :class:`Engine` raises."""

    def __init__(self, path: str, config: LlamaCppConfig) -> None:
        self.path = path
        self.seed = config.seed
        self._turns = Turns()
        self._engine = Engine(path, config)
        try:
            self._template = self._find_template(config)
        except BaseException:
            self._engine.close()
            raise

    def close(self) -> None:
        """Send everybody away and give the memory back."""
        self._turns.close()
        self._engine.close()

    def render(self, request: GenerationRequest) -> str:
        """The text that the model reads.

        A prompt is one user turn where there is a chat template. Without one a prompt stands for itself, and messages
        are refused with NoChatTemplateError: no template is ever guessed.
        """
        if request.prompt is not None and (request.raw or self._template is None):
            return request.prompt
        if self._template is None:
            raise NoChatTemplateError(self.path)
        return self._template.render(request.as_messages())

    def tokens(self, request: GenerationRequest) -> list[int]:
        """The tokens of the prompt.

        Raises ContextOverflowError where no room would be left for an answer, EmptyPromptError where there are none,
        and InvalidParameterError for a text that has no UTF-8 and for a bias on a token that there isn't.
        """
        try:
            text = self.render(request).encode()
        except UnicodeEncodeError as error:
            name = "messages" if request.messages else "prompt"
            expected = f"text without halves of surrogate pairs ({error.object[error.start]!r})"
            raise InvalidParameterError(name, None, expected, show_value=False) from None
        for token in request.logit_bias or ():
            if not 0 <= token < self._engine.vocabulary_size:
                expected = f"keyed by tokens of this model, 0 to {self._engine.vocabulary_size - 1}"
                raise InvalidParameterError("logit_bias", token, expected)
        tokens = self._engine.tokenize(text)
        if not tokens:
            raise EmptyPromptError("The prompt is empty: the model's tokenizer makes nothing of it.")
        if len(tokens) >= self._engine.n_ctx:
            advice = "Shorten the prompt, or load the model with a larger n_ctx."
            raise ContextOverflowError(len(tokens), self._engine.n_ctx, advice)
        return tokens

    def answer(self, request: GenerationRequest, prompt: Sequence[int], arrived: float) -> Iterator[Event]:
        """Generate from the tokens of *prompt*. *arrived* is the ``time.perf_counter()`` of the call."""
        answer = _Answer(self._engine, self._turns, request)
        control = request.control
        timer: threading.Timer | None = None
        control.on_cancel(answer.break_off)
        try:
            if (left := control.remaining()) is not None:
                timer = threading.Timer(left, answer.sequence.stop.set)
                timer.daemon = True
                timer.start()
            yield from answer.events(prompt, arrived)
        finally:
            if timer is not None:
                timer.cancel()
            answer.close()

    def _find_template(self, config: LlamaCppConfig) -> ChatTemplate | None:
        tokens = self._engine.special_tokens()
        if config.chat_template is not None:
            return ChatTemplate(read_template(config.chat_template), tokens)
        text = self._engine.metadata(_TEMPLATE_KEY)
        return model_template(text, tokens, self.path) if text else None


class _Answer:
    """One answer in the making."""

    def __init__(self, engine: Engine, turns: Turns, request: GenerationRequest) -> None:
        self.sequence = EngineSequence()
        self._engine = engine
        self._turns = turns
        self._request = request
        self._text = TextAssembler(request.stop or ())
        self._sampler: Sampler | None = None
        self._count = 0

    def break_off(self) -> None:
        """Stop, from any thread."""
        self.sequence.stop.set()
        self._turns.wake()

    def close(self) -> None:
        """Let the next one in, and give the memory back."""
        self._turns.leave(self)
        self._engine.release(self.sequence)
        if self._sampler is not None:
            self._sampler.close()

    def events(self, prompt: Sequence[int], arrived: float) -> Iterator[Event]:
        """All events. What is raised after the caller left or the deadline passed, core knows to take for that."""
        request, engine = self._request, self._engine
        room = engine.n_ctx - len(prompt)
        longest = min(request.max_tokens or room, room)
        self._take_turn()
        queued = time.perf_counter() - arrived
        engine.prefill(self.sequence, prompt, self._check)
        self._sampler = sampler = Sampler(request, engine.vocabulary_size, prompt, longest)
        reason: FinishReason = "length"
        while True:
            token = engine.sample(sampler)
            if engine.ends(token):
                reason = "stop"
                break
            self._count += 1
            logprobs = (engine.logprob(token, request.top_logprobs or 0),) if request.logprobs else ()
            piece = self._text.feed(engine.token_bytes(token))
            done = self._text.matched is not None or self._count == longest
            if done:
                self._turns.leave(self)
            if piece or logprobs:
                self._turns.rest(self)  # the reader may take its time, and others go on meanwhile
                yield TextDelta(piece, logprobs)
            if done:
                break
            self._take_turn()
            self._check()
            engine.step(self.sequence, token)
        self._turns.leave(self)
        if tail := self._text.finish():
            yield TextDelta(tail)
        yield Finished(
            finish_reason="stop" if self._text.matched is not None else reason,
            stop=self._text.matched,
            usage=Usage(prompt_tokens=len(prompt), completion_tokens=self._count),
            timings=Timings(queued=queued),
        )

    def _take_turn(self) -> None:
        self._turns.take(self, self._request.control, first=self.sequence.length > 0)

    def _check(self) -> None:
        if self._request.control.cancelled:
            raise GenerationError(CANCELLED)
        self._request.control.check()
