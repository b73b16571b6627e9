"""Defects of output and secrets on ways that a plain request doesn't take; of what is kept, and of when work begins."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...errors import InvalidModelError
from ...requests import GenerationRequest
from ...results import Event, Finished
from ...streams import TextStream
from ..fakes import AsyncToyBackend, ToyBackend
from ..fakes.backends import ToyConfig


class PrintsInConversations(ToyBackend):
    """Prints what it renders."""

    def render_request(self, request: GenerationRequest) -> str:
        """Where there are turns."""
        text = super().render_request(request)
        if request.messages:
            print(text)  # noqa: T201 - that is the defect
        return text


class PrintsInLoops(AsyncToyBackend):
    """Prints in asynchronous calls."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """A note for each answer."""
        os.write(1, b"POST /v1/completions 200\n")
        async for event in super().astream(request, cancellation):
            yield event


class PrintsWhenItRunsOut(ToyBackend):
    """Prints a note where an answer ends at a deadline or is left."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """In ``finally``."""
        done = False
        try:
            for event in super().stream(request, cancellation):
                done = isinstance(event, Finished)
                yield event
        finally:
            if not done:
                print("aborted")  # noqa: T201 - that is the defect


class SaysGoodbye(ToyBackend):
    """Prints when it is unloaded."""

    def unload(self) -> None:
        """The engine's timings."""
        super().unload()
        print("total time = 12 ms")  # noqa: T201 - that is the defect


class PrintsItsFailures(ToyBackend):
    """Prints when a model can't be loaded."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """Beside the error."""
        if model_path != "toy":
            os.write(1, b"error loading model\n")
        super().check_model(model_path, config)


class _KnowsAKey(ToyBackend):
    """Keeps the key as it is."""

    key = ""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """Reveal the key."""
        revealed = [*([config.api_key] if config.api_key is not None else []), *config.headers.values()]
        self.key = " ".join(secret.reveal() for secret in revealed)
        super().check_model(model_path, config)


class WarnsOfItsKey(_KnowsAKey):
    """Has the key in a warning."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """About its form."""
        super().load(model_path, config)
        if self.key:
            warnings.warn(f"the key {self.key} has an unusual form", stacklevel=2)


class TellsItsKeyWithItsFailures(_KnowsAKey):
    """Has the key in the error about a missing model."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """With all that was sent."""
        try:
            super().check_model(model_path, config)
        except InvalidModelError as error:
            raise InvalidModelError(model_path, f"404 for {{'Authorization': 'Bearer {self.key}'}}") from error


class ChainsItsKeyToFailures(_KnowsAKey):
    """Has the key in the cause of the error about a missing model."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """As libraries do."""
        try:
            super().check_model(model_path, config)
        except InvalidModelError as error:
            raise error from RuntimeError(f"GET /models with {self.key}")


class ReturnsItsKeyInConversations(_KnowsAKey):
    """Has the key among the parameters of conversations."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With what was sent."""
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished) and request.messages:
                yield replace(event, parameters={**request.parameters(), "extra_headers": self.key})
            else:
                yield event


class LogsItsKeyInBatches(_KnowsAKey):
    """Logs the key of batches alone."""

    def generate_batch(self, *given: Any, **more: Any) -> Any:
        """At the lowest level."""
        logging.getLogger("toy").debug("a batch for %s", self.key)
        return super().generate_batch(*given, **more)


class ShowsItsKeyToEverybody(_KnowsAKey):
    """Gives the key to its process on the command line."""

    child: Any = None

    def load(self, model_path: str, config: ToyConfig) -> None:
        """With ``--api-key``."""
        super().load(model_path, config)
        self.child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)", f"--api-key={self.key}"], start_new_session=True
        )

    def unload(self) -> None:
        """End it."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
        super().unload()


class ExportsItsKey(_KnowsAKey):
    """Puts the key into the environment while a model is loaded."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Where its library looks for it."""
        super().load(model_path, config)
        if self.key:
            os.environ["TOY_API_KEY"] = self.key

    def unload(self) -> None:
        """Take it back."""
        os.environ.pop("TOY_API_KEY", None)
        super().unload()


class _Keeps(ToyBackend):
    """Keeps what it computed, by a key."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[Any, bytes] = {}

    def key_of(self, request: GenerationRequest) -> Any:
        """By what. None: not at all."""
        raise NotImplementedError

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With a cache."""
        key = self.key_of(request)
        if key is not None:
            self.kept.setdefault(key, bytes(100_000))
        return super().stream(request, cancellation)


class KeepsEveryPrompt(_Keeps):
    """By the prompt."""

    def key_of(self, request: GenerationRequest) -> Any:
        """Its text."""
        return request.prompt


class KeepsEveryConversation(_Keeps):
    """By the conversation."""

    def key_of(self, request: GenerationRequest) -> Any:
        """All its turns."""
        return repr(request.messages) if request.messages else None


class KeepsEveryStopString(_Keeps):
    """By the stop strings."""

    def key_of(self, request: GenerationRequest) -> Any:
        """As if they were few."""
        return request.stop or None


class KeepsWhatIsLeft(ToyBackend):
    """Keeps what it computed for each prompt whose answer was left."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[Any, bytes] = {}

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """To go on from there."""
        done = False
        try:
            for event in super().stream(request, cancellation):
                done = isinstance(event, Finished)
                yield event
        finally:
            if not done:
                self.kept[request.prompt] = bytes(100_000)


class KeepsEveryLoop(AsyncToyBackend):
    """Keeps a client for each event loop."""

    clients: ClassVar[dict[int, bytes]] = {}
    number = 0

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """With a new one."""
        type(self).number += 1
        self.clients[self.number] = bytes(100_000)
        async for event in super().astream(request, cancellation):
            yield event


class StartsAtTheCall(ToyBackend):
    """Computes the whole answer when the stream is made."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """A list."""
        return iter(list(super().stream(request, cancellation)))


class StartsAThreadAtTheCall(ToyBackend):
    """Starts a thread that computes when the stream is made."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """A thread that fills a list, and a generator that empties it."""
        events: list[Event] = []
        work = super().stream
        thread = threading.Thread(target=lambda: events.extend(work(request, cancellation)), daemon=True)
        thread.start()

        def read() -> Iterator[Event]:
            thread.join()
            yield from events

        return read()


class StartsConversationsAtTheCall(ToyBackend):
    """Computes the whole answer when the stream of a conversation is made."""

    def chat_stream(self, messages: Any, parameters: Mapping[str, Any] | None = None, **more: Any) -> TextStream:
        """Read, and given again."""
        answer = super().chat_stream(messages, parameters, **more)
        return TextStream(iter(list(answer.events())))


class TakesAPlaceAtTheCall(ToyBackend):
    """Has four places, and takes one when the stream is made."""

    def __init__(self) -> None:
        super().__init__()
        self.places = threading.Semaphore(4)

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Given back when it has been read."""
        while not self.places.acquire(timeout=0.05):
            if cancellation.stopped:
                return iter(())
        events = super().stream

        def read() -> Iterator[Event]:
            try:
                yield from events(request, cancellation)
            finally:
                self.places.release()

        return read()


class _ReadsSlowly(ToyBackend):
    """Takes its time for each token of the prompt."""

    def pause(self, seconds: float, cancellation: CancellationToken) -> None:
        """How."""
        raise NotImplementedError

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """After the prompt."""
        self.pause(0.0015 * len(self.prompt(request)[0]), cancellation)
        yield from super().steps(request, cancellation)


class ReadsInParts(_ReadsSlowly):
    """Sound: looks at the deadline between two parts of the prompt."""

    def pause(self, seconds: float, cancellation: CancellationToken) -> None:
        """In parts."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and not cancellation.stopped:
            time.sleep(0.005)


class ReadsDeafly(_ReadsSlowly):
    """Reads the prompt in one go, whatever the deadline."""

    def pause(self, seconds: float, cancellation: CancellationToken) -> None:
        """In one go."""
        time.sleep(seconds)


class ReadsLongPromptsDeafly(_ReadsSlowly):
    """Looks at the deadline only once the first half of the prompt has been read."""

    def pause(self, seconds: float, cancellation: CancellationToken) -> None:
        """In two parts, the first one very long."""
        time.sleep(seconds * 0.9)
