"""Backends on the toy model: written with ``stream``, with ``astream``, and with the four basic methods."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from ...backends.base import BaseBackend
from ...backends.config import BackendConfig
from ...backends.spec import BackendSpec, Capabilities
from ...cancellation import CancellationToken
from ...errors import ContextOverflowError, InvalidModelError, InvalidParameterError, NoChatTemplateError
from ...parameters import NAMES, UNIVERSAL
from ...requests import GenerationRequest, read_request
from ...results import Event, Finished, TextDelta, TokenLogprob, ToolCallDelta, Usage
from ...secrets import Secret
from ...text import TextAssembler
from .constraint import Constraint, from_grammar, from_response_format, from_schema
from .language import ToyLanguage
from .sampling import ToySampler, log_softmax

MODEL = "toy"
"""The one model there is."""
INSTRUCTIONS: Final = ("system", "developer")
"""Roles whose turns are never left out."""


class ToyConfig(BackendConfig, frozen=True, kw_only=True):
    """Load parameters of the toy backends."""

    n_ctx: Annotated[int, Meta(ge=2, description="Context length, in tokens.")] = 2048
    delay: Annotated[float, Meta(ge=0, description="Seconds that each token takes.")] = 0.0
    length: Annotated[int, Meta(ge=1, description="About how many tokens an answer has.")] = 48
    template: Annotated[bool, Meta(description="Whether the model has a chat template.")] = True
    weights: Annotated[int, Meta(ge=0, description="Bytes that the loaded model takes.")] = 1_000_000
    api_key: Annotated[Secret, Meta(description="A key that nothing needs.")] | None = None
    headers: Annotated[dict[str, Secret], Meta(description="More secrets that nothing needs.")] = msgspec.field(
        default_factory=dict
    )


SPEC = BackendSpec(
    name="toy",
    target="llamaforge.testing.fakes:ToyBackend",
    config="llamaforge.testing.fakes:ToyConfig",
    summary="A model of a few hundred tokens, for tests",
    capabilities=Capabilities(parameters=frozenset(NAMES) - UNIVERSAL),
)


class ToyBackend(BaseBackend):
    """The sound reference: honours every canonical parameter, on a model with a real distribution."""

    spec = SPEC
    config_class: ClassVar[type[BackendConfig]] = ToyConfig

    settings: ToyConfig
    language: ToyLanguage
    _weights: bytes

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """There is one model."""
        if model_path != MODEL:
            raise InvalidModelError(model_path, f"the one model here is {MODEL!r}")

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Take the memory."""
        self.settings, self.language = config, ToyLanguage(config.length)
        self._weights = bytes(config.weights)

    def unload(self) -> None:
        """Give it back."""
        self._weights = b""

    def render_request(self, request: GenerationRequest) -> str:
        """Roles in angle brackets. A last turn of the assistant stays open."""
        if request.prompt is not None and (request.raw or not self.settings.template):
            return request.prompt
        if not self.settings.template:
            raise NoChatTemplateError(MODEL)
        if request.chat_template_kwargs:
            name, value = min(request.chat_template_kwargs.items())
            expected = "left out: this template reads no variables"
            raise InvalidParameterError(f"chat_template_kwargs[{name!r}]", value, expected)
        tools = f"<tools>{json.dumps(request.tools)}</tools>\n" if request.tools else ""
        turns = [f"<{message.role}>{message.text}" for message in request.as_messages()]
        if request.as_messages()[-1].role != "assistant":
            turns.append("<assistant>")
        return tools + "</>\n".join(turns)

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Token by token."""
        for events in self.steps(request, cancellation):
            time.sleep(self.settings.delay)
            yield from events

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """What each token brings."""
        prompt, truncated = self.prompt(request)
        room = self.settings.n_ctx - len(prompt)
        if room < 1:
            raise ContextOverflowError(len(prompt), self.settings.n_ctx)
        called = self._called(request)
        constraint = _constraint(request) if called is None else called[1]
        text = TextAssembler(request.stop or () if called is None else ())
        limit = min(request.max_tokens or room, room)
        sampler = self.sampler(request, prompt)
        fingerprint = self.language.fingerprint(prompt)
        answer: list[int] = []
        said: list[str] = []
        reason = "length"
        while len(answer) < limit and not cancellation.stopped:
            logits = self.language.logits(fingerprint, answer)
            token = sampler.choose(logits, self._mask(constraint))
            if token == self.language.end:
                reason = "stop"
                break
            answer.append(token)
            data = self.language.tokens[token]
            if constraint is not None:
                constraint.take(data)
            piece = text.feed(data)
            said.append(piece)
            logprobs = self._logprobs(token, logits, request)
            yield [TextDelta(piece, logprobs)] if called is None and (piece or logprobs) else []
            if text.matched is not None:
                reason = "stop"
                break
        tail = text.finish()
        events: list[Event] = [TextDelta(tail)] if tail and called is None else []
        if called is not None and reason == "stop":
            reason = "tool_calls"
            arguments = "".join([*said, tail])
            events.append(ToolCallDelta(index=0, id="call_0", name=called[0], arguments=arguments))
        usage = Usage(prompt_tokens=len(prompt), completion_tokens=len(answer), truncated_tokens=truncated)
        ended: Any = reason
        yield [*events, Finished(finish_reason=ended, usage=usage, stop=text.matched)]

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """The tokens of the prompt, and how many were left out, where that was asked for."""
        special = bool(request.raw or request.parse_special)
        tokens = self.tokenize(self.render_request(request), special)
        n_ctx = self.settings.n_ctx
        most = n_ctx - max(1, min(request.max_tokens or n_ctx // 4, n_ctx // 2))
        if request.truncation != "auto" or len(tokens) <= most:
            return tokens, 0
        if request.prompt is not None and (request.raw or not self.settings.template):
            return tokens[-most:], len(tokens) - most
        turns = list(request.as_messages())
        while sum(turn.role not in INSTRUCTIONS for turn in turns) > 1:
            oldest = next(place for place, turn in enumerate(turns) if turn.role not in INSTRUCTIONS)
            del turns[oldest]
            if turns[oldest].role == "assistant" and oldest < len(turns) - 1:  # the answer to the turn that has gone
                del turns[oldest]
            shorter = self.tokenize(self.render_request(replace(request, messages=tuple(turns))), special)
            if len(shorter) <= most:
                return shorter, len(tokens) - len(shorter)
        raise ContextOverflowError(len(tokens), n_ctx)

    def sampler(self, request: GenerationRequest, prompt: list[int]) -> ToySampler:
        """What chooses the tokens of one answer."""
        return ToySampler(request, prompt, self.language.size)

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The tokens of *text*. Raises InvalidParameterError for text that UTF-8 can't hold."""
        try:
            return self.language.tokenize(text, special)
        except UnicodeEncodeError as error:
            raise InvalidParameterError("prompt", text, f"text that UTF-8 can hold ({error})") from None

    def _mask(self, constraint: Constraint | None) -> Any:
        if constraint is None:
            return None
        end, tokens = self.language.end, self.language.tokens
        return lambda token: constraint.allows(b"" if token == end else tokens[token])

    def _logprobs(self, token: int, logits: list[float], request: GenerationRequest) -> tuple[TokenLogprob, ...]:
        if not request.logprobs:
            return ()
        every = log_softmax(logits)
        best = sorted(range(len(every)), key=lambda each: (-every[each], each))[: request.top_logprobs or 0]
        top = tuple(TokenLogprob(self._shown(each), every[each], each) for each in best)
        return (TokenLogprob(self._shown(token), every[token], token, top),)

    def _shown(self, token: int) -> str:
        return "" if token == self.language.end else self.language.tokens[token].decode("utf-8", "replace")

    @staticmethod
    def _called(request: GenerationRequest) -> tuple[str, Constraint] | None:
        """The function that must be called, and its possible arguments. Left to itself, the model calls none."""
        choice = request.tool_choice
        if not request.tools or choice in (None, "auto", "none"):
            return None
        functions = [tool["function"] for tool in request.tools]
        name = choice["function"]["name"] if isinstance(choice, Mapping) else functions[0]["name"]
        place = next(place for place, function in enumerate(functions) if function["name"] == name)
        schema = {} if functions[place].get("strict") is False else functions[place].get("parameters", {})
        return name, from_schema(schema, f"/{place}/function/parameters")


def _constraint(request: GenerationRequest) -> Constraint | None:
    if request.grammar is not None:
        return from_grammar(request.grammar)
    if request.response_format is not None:
        return from_response_format(request.response_format)
    return None


class AsyncToyBackend(ToyBackend):
    """The same, written with ``astream`` alone."""

    stream = BaseBackend.stream

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """Token by token."""
        for events in self.steps(request, cancellation):
            await asyncio.sleep(self.settings.delay)
            for event in events:
                yield event


class BasicToyBackend(BaseBackend):
    """The same model with just the four basic methods."""

    def __init__(self) -> None:
        super().__init__()
        self._toy: ToyBackend | None = None

    def load_model(self, model_path: Any, parameters: Mapping[str, Any] | None = None) -> None:
        """Load the toy model."""
        toy = ToyBackend()
        toy.load_model(model_path, parameters)
        self._toy = toy

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The whole answer."""
        return "".join(self.generate_stream(prompt, parameters))

    def generate_stream(self, prompt: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The answer, piece by piece: always the greedy one, unless a temperature is given."""
        if self._toy is None:
            raise RuntimeError("No model is loaded.")
        request = read_request(prompt, None, {"temperature": 0, **(parameters or {})})
        for events in self._toy.steps(request, CancellationToken()):
            yield from (event.text for event in events if isinstance(event, TextDelta) and event.text)

    def is_model_loaded(self) -> bool:
        """Whether the toy is there."""
        return self._toy is not None
