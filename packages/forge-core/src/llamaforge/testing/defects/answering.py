"""Defects of answers, of loading, of templates, and of what a backend declares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from msgspec.structs import replace

from ...backends.spec import Capabilities
from ...cancellation import CancellationToken
from ...errors import LlamaForgeError
from ...messages import Message
from ...requests import GenerationRequest
from ...results import Event, Finished, TextDelta
from ..fakes import SPEC, AsyncToyBackend, BasicToyBackend, ToyBackend
from .specs import respecified


class RefusesDefaults(ToyBackend):
    """Can't have defaults."""

    def set_defaults(self, *given: Any, **more: Any) -> None:
        """Raises."""
        raise RuntimeError("no defaults here")


class ReturnsOtherText(ToyBackend):
    """Returns text that is not what ``text`` says."""

    def generate(self, *given: Any, **more: Any) -> Any:
        """Of another type."""
        return str(super().generate(*given, **more).text)


class CountsWords(ToyBackend):
    """Counts words as tokens."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Of the answer."""
        text = ""
        for event in super().stream(request, cancellation):
            text += event.text if isinstance(event, TextDelta) else ""
            told = isinstance(event, Finished) and event.usage
            yield (
                replace(event, usage=replace(event.usage, completion_tokens=len(text.split())))  # type: ignore[union-attr,type-var]
                if told
                else event
            )


class ReplacesCharacters(ToyBackend):
    """Shows U+FFFD for every character of several bytes."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """In plain ASCII."""
        for event in super().stream(request, cancellation):
            if isinstance(event, TextDelta):
                yield TextDelta(event.text.encode("ascii", "replace").decode().replace("?", "\ufffd"), event.logprobs)
            else:
                yield event


class RaisesItsOwnTimeout(ToyBackend):
    """Raises a plain TimeoutError at the deadline."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without the text so far."""
        if request.timeout is not None and request.timeout < 1:
            raise TimeoutError("timed out")
        return super().stream(request, cancellation)


class SwallowsCancellation(AsyncToyBackend):
    """Goes on where its task is cancelled."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """As if nothing had happened, and fails the next request."""
        if getattr(self, "spoilt", False):
            raise RuntimeError("the last request was cancelled")
        try:
            async for event in super().astream(request, cancellation):
                yield event
        except (asyncio.CancelledError, GeneratorExit):
            self.spoilt = True
            raise


class CallsItStopWhenLeft(AsyncToyBackend):
    """Keeps a place for a stream that was left."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """One place, which is never given back by those who leave."""
        if getattr(self, "taken", False):
            raise RuntimeError("no place left")
        self.taken = True
        async for event in super().astream(request, cancellation):
            yield event
        self.taken = False


class TakesAHundred(ToyBackend):
    """Takes a hundred prompts of a batch ahead."""

    def generate_batch(self, prompts: Any, parameters: Any = None, **more: Any) -> Any:
        """Whatever its concurrency."""
        prompts = iter(prompts)
        first = [prompt for _, prompt in zip(range(100), prompts, strict=False)]
        return super().generate_batch([*first], parameters, **more)


class LosesItemErrors(ToyBackend):
    """Answers what fails in a batch with nothing."""

    def generate_batch(self, prompts: Any, parameters: Any = None, **more: Any) -> Any:
        """Leaves failures out."""
        return (item for item in super().generate_batch(prompts, parameters, **more) if not item.error)


class NeverLoaded(ToyBackend):
    """Says that nothing is loaded."""

    def is_model_loaded(self) -> bool:
        """Never."""
        return False


class SaysNothingInChats(ToyBackend):
    """Answers conversations with nothing."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The end alone."""
        for event in super().stream(request, cancellation):
            if not request.messages or isinstance(event, Finished):
                yield event


class BasicWithChat(BasicToyBackend):
    """Has four methods and a chat."""

    def chat(self, messages: Any, parameters: Any = None, **more: Any) -> Any:
        """Of its own."""
        return self.generate("Hello", parameters)


class BasicWithChatStream(BasicToyBackend):
    """Has four methods and a stream of chats."""

    def chat_stream(self, messages: Any, parameters: Any = None, **more: Any) -> Any:
        """Of its own."""
        return self.generate_stream("Hello", parameters)


class AddsASystemTurn(ToyBackend):
    """Puts a system turn before prompts, and not before messages."""

    def render_request(self, request: GenerationRequest) -> str:
        """With rules of its own."""
        text = super().render_request(request)
        return text if request.messages or request.raw else f"<system>Be brief.</>\n{text}"


class BeginsAnew(ToyBackend):
    """Takes a begun answer for a finished one."""

    def render_request(self, request: GenerationRequest) -> str:
        """And opens another."""
        text = super().render_request(request)
        begun = bool(request.messages) and request.messages[-1].role == "assistant"
        return f"{text}</>\n<assistant>" if begun else text


class GoesOnTalking(ToyBackend):
    """Puts the last conversation before the next."""

    before: tuple[Message, ...] = ()

    def render_request(self, request: GenerationRequest) -> str:
        """Both."""
        if not request.messages:
            return super().render_request(request)
        before, self.before = self.before, request.messages[-1:]
        return super().render_request(replace(request, messages=(*before, *request.messages)))


class UnloadsOnErrors(ToyBackend):
    """Unloads where loading fails."""

    def load_model(self, model_path: Any, parameters: Any = None) -> None:
        """Whatever the reason."""
        try:
            super().load_model(model_path, parameters)
        except LlamaForgeError:
            self.unload_model()
            raise


@respecified(capabilities=Capabilities(parameters=SPEC.capabilities.parameters | {"max_new_tokens"}))
class DeclaresAnAlias(ToyBackend):
    """Declares an alias."""


@respecified(match=lambda _: 250)
class MatchesTooWell(ToyBackend):
    """Matches more than fully."""


@respecified(probe="llamaforge.testing.defects.answering:probe")
class AnswersTheDoctorWithAList(ToyBackend):
    """Has a probe that returns a list."""


def probe() -> list[str]:
    """A list, and should be a mapping."""
    return ["cpu"]


class RendersAnyVariable(ToyBackend):
    """Ignores variables that the template doesn't read."""

    def render_request(self, request: GenerationRequest) -> str:
        """Without them."""
        return super().render_request(replace(request, chat_template_kwargs=None))


class RendersVariablesInChats(ToyBackend):
    """Ignores unknown variables in render alone."""

    def render(self, *given: Any, **more: Any) -> str:
        """Without them."""
        parameters = {k: v for k, v in (more.pop("parameters", None) or {}).items() if k != "chat_template_kwargs"}
        return super().render(*given, parameters=parameters, **more)


class ClampsUnknownTokens(ToyBackend):
    """Takes the last token for one that there is not."""

    def sampler(self, request: GenerationRequest, prompt: list[int]) -> Any:
        """The largest id."""
        bias = {min(token, self.language.end): value for token, value in (request.logit_bias or {}).items()}
        return super().sampler(replace(request, logit_bias=bias or None), prompt)


class WrapsUnknownTokens(ToyBackend):
    """Takes the remainder of a token that there is not."""

    def sampler(self, request: GenerationRequest, prompt: list[int]) -> Any:
        """Another token."""
        bias = {token % self.language.size: value for token, value in (request.logit_bias or {}).items()}
        return super().sampler(replace(request, logit_bias=bias or None), prompt)
