"""Defects of what is kept, changed, or left out: requests, parameters, messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from ...backends.spec import Capabilities
from ...cancellation import CancellationToken
from ...messages import Message
from ...parameters import NAMES, UNIVERSAL, canonical
from ...requests import GenerationRequest, ResolvedRequest
from ...results import Event, GeneratedText
from ..fakes import SPEC, BasicToyBackend, ToyBackend
from .specs import respecified


class RemembersRequests(ToyBackend):
    """Its cache gives an answer that depends on the request before."""

    def __init__(self) -> None:
        super().__init__()
        self._before = ""

    def render_request(self, request: GenerationRequest) -> str:
        """With the last words of the request before."""
        shown = super().render_request(request)
        remembered, self._before = self._before, shown[-20:]
        return remembered + shown


class KeepsTheConversation(ToyBackend):
    """Keeps a history of its own, and puts it before each conversation."""

    def __init__(self) -> None:
        super().__init__()
        self._history: tuple[Message, ...] = ()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With all that was said before."""
        if request.messages:
            self._history += request.messages
            request = replace(request, messages=self._history)
        return super().stream(request, cancellation)


class KeepsParameters(ToyBackend):
    """Sets the engine's biases and never takes them back."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[int, float] = {}

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With the biases of all requests so far."""
        self._kept.update(request.logit_bias or {})
        return super().stream(replace(request, logit_bias=dict(self._kept)), cancellation)


class ChangesTheCallersParameters(ToyBackend):
    """Takes what it needs out of the caller's mapping."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """With ``pop``."""
        if isinstance(parameters, dict):
            more["max_tokens"] = parameters.pop("max_tokens", None)
        return super().generate(prompt, parameters, **more)


class ChangesTheCallersMessages(ToyBackend):
    """Puts a system turn of its own into the caller's list."""

    def chat(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> GeneratedText:
        """With ``insert``."""
        if isinstance(messages, list) and messages:
            messages.insert(0, {"role": "system", "content": "Be kind."})
        return super().chat(messages, parameters, **more)


class SendsTheLastTurn(ToyBackend):
    """Sends the last turn of a conversation alone."""

    def render_request(self, request: GenerationRequest) -> str:
        """One turn."""
        return super().render_request(replace(request, messages=request.messages[-1:]))


class LeavesOutSystemTurns(ToyBackend):
    """Leaves system turns out."""

    def render_request(self, request: GenerationRequest) -> str:
        """Without them."""
        kept = tuple(message for message in request.messages if message.role != "system")
        return super().render_request(replace(request, messages=kept))


class ShowsSomethingElse(ToyBackend):
    """Shows a nicer text than the one that it sends."""

    def render(
        self,
        prompt: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, Any]] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt as it stands; of a conversation the first turn."""
        if prompt is not None:
            return prompt
        return super().render(prompt, messages=list(messages or ())[:1], parameters=parameters)


class TemplatesRawText(ToyBackend):
    """Puts raw text into the chat template, too."""

    def render_request(self, request: GenerationRequest) -> str:
        """As if it were not raw."""
        return super().render_request(replace(request, raw=None)) + " "


class SendsPromptsRaw(ToyBackend):
    """Uses the chat template for messages alone."""

    def render_request(self, request: GenerationRequest) -> str:
        """A prompt as it stands."""
        return request.prompt if request.prompt is not None else super().render_request(request)


class ClosesBegunAnswers(ToyBackend):
    """Ends the assistant's last turn, and begins a new one."""

    def render_request(self, request: GenerationRequest) -> str:
        """With the end of the turn, and another assistant."""
        shown = super().render_request(request)
        return f"{shown}</>\n<assistant>" if request.as_messages()[-1].role == "assistant" else shown


class ReadsContentAsText(ToyBackend):
    """Knows messages whose content is a string."""

    def render_request(self, request: GenerationRequest) -> str:
        """Nothing for content in parts."""
        plain = tuple(
            message if isinstance(message.content, str | None) else replace(message, content="")
            for message in request.messages
        )
        return super().render_request(replace(request, messages=plain))


class AcceptsAnything(ToyBackend):
    """Leaves out, before the base class sees them, the parameters that it doesn't know."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """With what is known."""
        given = {**(parameters or {}), **more}
        return super().generate(prompt, {name: value for name, value in given.items() if name in NAMES})


@respecified(capabilities=Capabilities(parameters=SPEC.capabilities.parameters - {"seed", "min_p"}))
class DropsSilently(ToyBackend):
    """Leaves out what it doesn't declare, and says nothing."""

    def _resolve(self, prompt: Any, messages: Any, parameters: Any) -> ResolvedRequest:
        able = self.capabilities.parameters | UNIVERSAL
        given = {name: value for name, value in canonical(parameters).items() if name in able}
        return super()._resolve(prompt, messages, given)


@respecified(capabilities=Capabilities(parameters=SPEC.capabilities.parameters - {"seed", "min_p"}))
class DropsWithoutSaying(ToyBackend):
    """Drops what it doesn't declare on request, and doesn't report it."""

    def _resolve(self, *given: Any) -> ResolvedRequest:
        return super()._resolve(*given)._replace(dropped=())


@respecified(capabilities=Capabilities(parameters=SPEC.capabilities.parameters | {"temprature"}))
class DeclaresAMisspeltName(ToyBackend):
    """Declares a parameter that there isn't."""


@respecified(
    capabilities=Capabilities(parameters=SPEC.capabilities.parameters, embedding=frozenset({"normalise"})),
)
class DeclaresAMisspeltOption(ToyBackend):
    """Declares an option of embed() that there isn't."""


class ReportsItsOwnParameters(ToyBackend):
    """Reports what the engine calls its parameters."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With parameters of its own."""
        for event in super().stream(request, cancellation):
            yield replace(event, parameters={"n_predict": 1}) if hasattr(event, "parameters") else event


class TakesNoneForAValue(ToyBackend):
    """Refuses parameters that are None."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """Where one is None, fail."""
        for name, value in (parameters or {}).items():
            if value is None:
                raise TypeError(f"{name} is None")
        return super().generate(prompt, canonical(parameters or {}), **more)


class ChangesItsParameters(BasicToyBackend):
    """A basic backend that fills in the caller's mapping."""

    def generate_stream(self, prompt: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """With ``setdefault``."""
        if isinstance(parameters, dict):
            parameters.setdefault("temperature", 0)
        return super().generate_stream(prompt, parameters)
