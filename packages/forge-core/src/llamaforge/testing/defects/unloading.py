"""Defects of unloading under readers, of loads that fail, of health, and of what one instance shares with another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar

from ...awaitables import AwaitableResult
from ...backends.memory import MemoryUsage
from ...backends.spec import Capabilities
from ...cancellation import CancellationToken
from ...errors import ContextOverflowError, InvalidModelError
from ...requests import GenerationRequest, ResolvedRequest
from ...results import Event, Finished, GeneratedText
from ..fakes import AsyncToyBackend, ToyBackend
from ..fakes.backends import ToyConfig


class IgnoresWait(ToyBackend):
    """Unloads at once, whatever it is asked."""

    def unload_model(self, *, wait: bool | float = False) -> None:
        """Never waits."""
        super().unload_model(wait=False)


class WaitsWithoutLimit(ToyBackend):
    """Takes a number of seconds for True."""

    def unload_model(self, *, wait: bool | float = False) -> None:
        """Waits to the end."""
        super().unload_model(wait=wait if isinstance(wait, bool) else True)


class AdmitsRequestsWhileItWaits(ToyBackend):
    """Goes on taking requests in while it waits for the last one."""

    def unload_model(self, *, wait: bool | float = False) -> None:
        """With a loop of its own."""
        if wait is True:
            gate = self._in_flight
            with gate._changed:
                while gate.count:
                    gate._changed.wait(0.01)
        super().unload_model(wait=wait)


class _IsCut(ToyBackend):
    """Its answers end where the model is unloaded, as if they were complete."""

    reason: ClassVar[Any] = "stop"

    def cuts(self, request: GenerationRequest) -> bool:
        """Whether this one."""
        return True

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """Up to the end of the model."""
        for events in super().steps(request, cancellation):
            if not self.is_model_loaded() and self.cuts(request):
                yield [Finished(finish_reason=self.reason)]
                return
            yield events


class EndsWithItsModel(_IsCut):
    """Says "stop"."""


class EndsAtALimitWithItsModel(_IsCut):
    """Says "length"."""

    reason = "length"


class EndsConversationsWithItsModel(_IsCut):
    """Only conversations."""

    def cuts(self, request: GenerationRequest) -> bool:
        """Where there are messages."""
        return bool(request.messages)


class EndsWithItsModelInLoops(AsyncToyBackend):
    """Only what is read in an event loop."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """Up to the end of the model."""
        async for event in super().astream(request, cancellation):
            if not self.is_model_loaded():
                yield Finished(finish_reason="stop")
                return
            yield event


class FailsWithItsModel(ToyBackend):
    """Raises what its engine raises where the model is gone."""

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """AttributeError of None."""
        for events in super().steps(request, cancellation):
            if not self._weights:
                raise AttributeError("'NoneType' object has no attribute 'decode'")
            yield events


class SettlesBeforeItLooks(ToyBackend):
    """Takes the load parameters of a model that it then refuses."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """Settings first."""
        self.settings = config
        super().check_model(model_path, config)


class OpensBeforeItLooks(ToyBackend):
    """Finds only in ``load`` that a model is missing, after the old one has gone."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """Nothing."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Too late."""
        super().check_model(model_path, config)
        super().load(model_path, config)


class NamesTheWrongModel(ToyBackend):
    """Keeps the name of a model that could not be loaded."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """Remember it, then look."""
        self._model_path = model_path
        super().check_model(model_path, config)


class ForgetsItsLanguage(ToyBackend):
    """Starts with a short language before it looks whether the model is there."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """Clear, then look."""
        if model_path != "toy":
            self.settings = ToyConfig(n_ctx=2)
            raise InvalidModelError(model_path, "there is no such model")


class _KeepsContexts(ToyBackend):
    """Has the context of the first load for some calls."""

    first: int | None = None

    def keeps(self, request: GenerationRequest) -> bool:
        """Whether for this one."""
        raise NotImplementedError

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Remember the first."""
        super().load(model_path, config)
        self.first = self.first or config.n_ctx

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """By the old limit."""
        tokens, truncated = super().prompt(request)
        if self.keeps(request) and self.first is not None and len(tokens) >= self.first:
            raise ContextOverflowError(len(tokens), self.first)
        return tokens, truncated


class KeepsContextsOfRawPrompts(_KeepsContexts):
    """For raw prompts."""

    def keeps(self, request: GenerationRequest) -> bool:
        """Raw ones."""
        return bool(request.raw)


class KeepsContextsOfConversations(_KeepsContexts):
    """For conversations."""

    def keeps(self, request: GenerationRequest) -> bool:
        """With messages."""
        return bool(request.messages)


class SharesItsDefaults(ToyBackend):
    """Keeps default parameters on the class."""

    shared: ClassVar[Any] = None

    def set_defaults(self, parameters: Mapping[str, Any], **more: Any) -> None:
        """For all instances."""
        super().set_defaults(parameters, **more)
        type(self).shared = self._named

    def _resolve(self, prompt: Any, messages: Any, parameters: Any) -> ResolvedRequest:
        self._named = type(self).shared
        return super()._resolve(prompt, messages, parameters)


class AddsItsDefaultsUp(ToyBackend):
    """Adds to the defaults that were set before."""

    def __init__(self) -> None:
        super().__init__()
        self._all: dict[str, Any] = {}

    def set_defaults(self, parameters: Mapping[str, Any], **more: Any) -> None:
        """All of them together."""
        self._all |= parameters
        super().set_defaults(self._all, **more)


class ForgetsDefaultsInConversations(ToyBackend):
    """Applies defaults to prompts alone."""

    def _resolve(self, prompt: Any, messages: Any, parameters: Any) -> ResolvedRequest:
        kept, self._named = self._named, self._named if messages is None else None
        try:
            return super()._resolve(prompt, messages, parameters)
        finally:
            self._named = kept


_SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


class LeavesAChild(ToyBackend):
    """Starts a process with the model, and forgets it."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """With a process."""
        super().load(model_path, config)
        self.child = subprocess.Popen(_SLEEP)


class LeavesAGrandchild(ToyBackend):
    """Ends its process, but not that one's own, which has left the session."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Through another one, which ends at once."""
        super().load(model_path, config)
        code = f"import subprocess; subprocess.Popen({_SLEEP!r}, start_new_session=True)"
        subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


class LeavesAChildWhenItFails(ToyBackend):
    """Starts its process before it looks for the model."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """Start, then look."""
        child = subprocess.Popen(_SLEEP)
        super().check_model(model_path, config)
        child.kill()
        child.wait()


class IsAlwaysWell(ToyBackend):
    """Says that it is healthy without a model."""

    def health(self) -> AwaitableResult[bool]:
        """Always."""
        return AwaitableResult(lambda: True)


class IsWellForEver(ToyBackend):
    """Says that it is healthy once it was."""

    _was = False

    def health(self) -> AwaitableResult[bool]:
        """Remembers."""
        self._was = self._was or self.is_model_loaded()
        return AwaitableResult(lambda: self._was)


class IsUnwellWhenBusy(ToyBackend):
    """Says that it is unhealthy while it answers."""

    def health(self) -> AwaitableResult[bool]:
        """Only where nothing is asked."""
        return AwaitableResult(lambda: self.is_model_loaded() and not self.requests_in_flight)


class IsUnwellAfterErrors(ToyBackend):
    """Says that it is unhealthy after a refused request."""

    _failed = False

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """Remembers failures."""
        try:
            return super().generate(prompt, parameters, **more)
        except Exception:
            self._failed = True
            raise

    def health(self) -> AwaitableResult[bool]:
        """Until then."""
        return AwaitableResult(lambda: self.is_model_loaded() and not self._failed)


class KnowsItsHealthAtOnce(ToyBackend):
    """Gives its health as a plain value."""

    def health(self) -> Any:
        """Nothing to await."""
        return self.is_model_loaded()


class AsksItsModelWhatItCan(ToyBackend):
    """Knows what it can do only with a model."""

    @property
    def capabilities(self) -> Capabilities:
        """Nothing without one."""
        return super().capabilities if self._weights else Capabilities()


class CanDoNothingWithoutAModel(ToyBackend):
    """Fails where capabilities are asked for too early."""

    model: Any = None

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Now it knows."""
        super().load(model_path, config)
        self.model = self

    @property
    def capabilities(self) -> Capabilities:
        """Of the model's."""
        spec = self.model.spec
        return spec.capabilities  # type: ignore[no-any-return]


class RemembersWhatItCould(ToyBackend):
    """Keeps a model's capabilities after unloading."""

    learnt: Capabilities | None = None

    def load(self, model_path: str, config: ToyConfig) -> None:
        """This model reads images."""
        super().load(model_path, config)
        self.learnt = Capabilities(
            parameters=super().capabilities.parameters, images=False, engine_options=frozenset("x")
        )

    @property
    def capabilities(self) -> Capabilities:
        """What was learnt."""
        return self.learnt or super().capabilities


class RemembersItsMemory(ToyBackend):
    """Tells the memory of the model that has gone."""

    taken: MemoryUsage | None = None

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Measure it."""
        super().load(model_path, config)
        self.taken = MemoryUsage(host=len(self._weights))

    def memory(self) -> MemoryUsage | None:
        """What was measured."""
        return self.taken


class LosesCount(ToyBackend):
    """Doesn't count streams that are left."""

    def generate_stream(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """Past the base class's count."""
        stream = super().generate_stream(prompt, parameters, **more)
        self._in_flight.__enter__()
        return stream


class StaysOpenInLoops(ToyBackend):
    """Forgets to unload at the end of ``async with``."""

    async def __aexit__(self, *exception: object) -> None:
        """Nothing."""
