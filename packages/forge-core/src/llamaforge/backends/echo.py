"""The echo backend: answers with the prompt. For documents, tests and dry runs; and a complete example to read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta

from ..errors import ContextOverflowError, UnsupportedError
from ..requests import GenerationRequest
from ..results import Event, Finished, TextDelta, TokenLogprob, Usage
from ..text import TextAssembler
from .base import BaseBackend
from .config import BackendConfig
from .spec import BackendSpec, Capabilities

_TOKEN = re.compile(r"\s*\S+|\s+")


class EchoConfig(BackendConfig, frozen=True, kw_only=True):
    """Load parameters of the echo backend."""

    n_ctx: Annotated[int, Meta(ge=2, description="Context length, in tokens (words).")] = 4096
    delay: Annotated[float, Meta(ge=0, description="Seconds that each token takes.")] = 0.0


SPEC = BackendSpec(
    name="echo",
    target="llamaforge.backends.echo:EchoBackend",
    config="llamaforge.backends.echo:EchoConfig",
    summary="Answers with the prompt: for tests and dry runs",
    capabilities=Capabilities(
        # All probability is on one token, so whatever reshapes the distribution leaves the answer as it is.
        parameters=frozenset(
            {"max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "presence_penalty"}
            | {"frequency_penalty", "repetition_penalty", "logprobs", "top_logprobs"}
        )
    ),
)


class EchoBackend(BaseBackend):
    """Answers with the last user turn, word by word. The model path may be anything."""

    spec = SPEC
    config_class = EchoConfig

    def load(self, model_path: str, config: EchoConfig) -> None:
        """There is nothing to open."""
        self._n_ctx, self._delay = config.n_ctx, config.delay

    def render_request(self, request: GenerationRequest) -> str:
        """A user turn, and so a prompt, is its text; any other turn is a line of its own, after its role."""
        if request.prompt is not None:
            return request.prompt
        turns = ((message.role, message.text) for message in request.messages)
        return "\n".join(text if role == "user" else f"{role}: {text}" for role, text in turns)

    def stream(self, request: GenerationRequest) -> Iterator[Event]:
        """One event a word."""
        prompt_tokens = len(_TOKEN.findall(self.render_request(request)))
        room = self._n_ctx - prompt_tokens
        if room < 1:
            raise ContextOverflowError(prompt_tokens, self._n_ctx)
        said = [message.text for message in request.as_messages() if message.role == "user"]
        if not said:
            raise UnsupportedError("a conversation without a user turn", self.name)
        answer = _TOKEN.findall(said[-1])
        limit = min(request.max_tokens or room, room)
        text = TextAssembler(request.stop or ())
        done = 0
        for token in answer[:limit]:
            time.sleep(self._delay)
            done += 1
            piece = text.feed(token.encode())
            if piece or request.logprobs:
                yield TextDelta(piece, self._logprobs(token, request))
            if text.matched is not None:
                break
        tail = text.finish()
        if tail:
            yield TextDelta(tail)
        complete = text.matched is not None or done == len(answer)
        yield Finished(
            finish_reason="stop" if complete else "length",
            stop=text.matched,
            usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=done),
        )

    @staticmethod
    def _logprobs(token: str, request: GenerationRequest) -> tuple[TokenLogprob, ...]:
        if not request.logprobs:
            return ()
        alternatives: tuple[Any, ...] = (TokenLogprob(token, 0.0),) if request.top_logprobs else ()
        return (TokenLogprob(token, 0.0, top=alternatives),)
