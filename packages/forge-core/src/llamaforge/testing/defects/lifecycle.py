"""Defects of loading, unloading and what is left behind."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ...cancellation import CancellationToken
from ...errors import InvalidModelError
from ...requests import GenerationRequest
from ...results import Event, Finished, GeneratedText, TextDelta
from ...streams import TextStream
from ..fakes import AsyncToyBackend, BasicToyBackend, ToyBackend, ToyConfig


class GeneratesBeforeLoad(ToyBackend):
    """Answers without a model."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """Nothing, if there is no model."""
        if not self.is_model_loaded():
            return GeneratedText("")
        return super().generate(prompt, parameters, **more)


class StreamsBeforeLoad(ToyBackend):
    """Streams nothing without a model."""

    def generate_stream(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> TextStream:
        """Nothing, if there is no model."""
        if not self.is_model_loaded():
            return TextStream(iter([Finished(finish_reason="stop")]))
        return super().generate_stream(prompt, parameters, **more)


class LoadedForEver(ToyBackend):
    """Says that a model is loaded once there was one."""

    def __init__(self) -> None:
        super().__init__()
        self._was_loaded = False

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Remember it."""
        super().load(model_path, config)
        self._was_loaded = True

    def is_model_loaded(self) -> bool:
        """Whether there ever was one."""
        return self._was_loaded


class LoadedFromTheStart(ToyBackend):
    """Says that a model is loaded when it was just made."""

    def is_model_loaded(self) -> bool:
        """Always."""
        return True


class UnloadsOnce(ToyBackend):
    """Fails when there is nothing to unload."""

    def unload_model(self, *, wait: bool | float = False) -> None:
        """Raises without a model."""
        if self.model_path is None:
            raise RuntimeError("already closed")
        super().unload_model()


class LoadsOnce(ToyBackend):
    """Can't be loaded again."""

    def __init__(self) -> None:
        super().__init__()
        self._used = False

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Raises the second time."""
        if self._used:
            raise RuntimeError("the engine was initialized already")
        self._used = True
        super().load(model_path, config)


class SpoiltByAFailure(ToyBackend):
    """Can't be loaded after a load that failed."""

    def __init__(self) -> None:
        super().__init__()
        self._failed = False

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """Remembers a failure for ever."""
        if self._failed:
            raise InvalidModelError(model_path, "an earlier load failed")
        self._failed = True
        super().check_model(model_path, config)
        self._failed = False


class RaisesItsOwnErrors(ToyBackend):
    """Raises what its engine raises."""

    def load_model(self, model_path: Any, parameters: Mapping[str, Any] | None = None) -> None:
        """Raises KeyError for a model that it doesn't have."""
        {"toy": None}[os.fspath(model_path)]
        super().load_model(model_path, parameters)


class SharesOneModel(ToyBackend):
    """Keeps its model on the class."""

    _shared: ClassVar[list[str]] = []

    def load(self, model_path: str, config: ToyConfig) -> None:
        """For all instances."""
        super().load(model_path, config)
        self._shared.append(model_path)

    def unload(self) -> None:
        """Of all instances."""
        self._shared.clear()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With the one model that there is."""
        if not self._shared:
            raise RuntimeError("the model is gone")
        yield from super().stream(request, cancellation)


class LosesTheModelToATypingError(ToyBackend):
    """Gives the old model up before it looks at the parameters."""

    def load_model(self, model_path: Any, parameters: Mapping[str, Any] | None = None) -> None:
        """Unload, then check."""
        self.unload_model()
        super().load_model(model_path, parameters)


class AcceptsAnyLoadParameter(ToyBackend):
    """Leaves load parameters out that it doesn't know."""

    def load_model(self, model_path: Any, parameters: Mapping[str, Any] | None = None) -> None:
        """With what is known."""
        known = ToyConfig.__struct_fields__
        super().load_model(model_path, {name: value for name, value in (parameters or {}).items() if name in known})


class ChangesLoadParameters(ToyBackend):
    """Takes what it needs out of the caller's load parameters."""

    def load_model(self, model_path: Any, parameters: Mapping[str, Any] | None = None) -> None:
        """With ``pop``."""
        if isinstance(parameters, dict):
            parameters.pop("n_ctx", None)
        super().load_model(model_path, parameters)


class KeepsItsMemory(ToyBackend):
    """Keeps every model that was unloaded."""

    def __init__(self) -> None:
        super().__init__()
        self._attic: list[bytes] = []

    def unload(self) -> None:
        """Put the weights away."""
        self._attic.append(self._weights)
        super().unload()


class ForgetsTheFirst(ToyBackend):
    """Keeps the old model until the new one is there, and then, too."""

    def __init__(self) -> None:
        super().__init__()
        self._attic: list[bytes] = []

    def load_model(self, model_path: Any, parameters: Mapping[str, Any] | None = None) -> None:
        """Put the old weights away."""
        self._attic.append(self._weights)
        super().load_model(model_path, parameters)


class KeepsEveryRequest(ToyBackend):
    """Keeps what it computed for each request."""

    def __init__(self) -> None:
        super().__init__()
        self._caches: list[bytes] = []

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With a cache that nobody clears."""
        self._caches.append(bytes(200_000))
        return super().stream(request, cancellation)


class KeepsWhatWasLeft(ToyBackend):
    """Clears the cache of a request at the end of its answer, and only there."""

    def __init__(self) -> None:
        super().__init__()
        self._caches: list[bytes] = []

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without ``finally``."""
        cache = bytes(200_000)
        self._caches.append(cache)
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished):
                self._caches.remove(cache)
            yield event


class KeepsWhatFailed(ToyBackend):
    """Keeps the cache of a request that ran out of time."""

    def __init__(self) -> None:
        super().__init__()
        self._caches: list[bytes] = []

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Where the time is over already, the cache stays."""
        if request.timeout is not None:
            self._caches.append(bytes(200_000))
        return super().stream(request, cancellation)


class OpensFiles(ToyBackend):
    """Opens a file for each request and never closes it."""

    def __init__(self) -> None:
        super().__init__()
        self._files: list[int] = []

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With a log of its own."""
        self._files.append(os.open(os.devnull, os.O_RDONLY))
        return super().stream(request, cancellation)


class LeavesAThread(ToyBackend):
    """Starts a thread with the model, and doesn't end it."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """With a thread that waits for ever."""
        super().load(model_path, config)
        threading.Thread(target=threading.Event().wait, daemon=True).start()


class KeepsProgramsRunning(ToyBackend):
    """Has a worker from load to unload, for which the interpreter waits."""

    def __init__(self) -> None:
        super().__init__()
        self._over = threading.Event()

    def load(self, model_path: str, config: ToyConfig) -> None:
        """With the worker."""
        super().load(model_path, config)
        self.employ()

    def unload(self) -> None:
        """Without it."""
        self._over.set()
        super().unload()

    def employ(self) -> None:
        """Start a worker. It would outlive the program, but for what these defects are run in."""
        self._over = over = threading.Event()

        def work() -> None:
            while threading.main_thread().is_alive() and not over.wait(0.1):
                pass

        threading.Thread(target=work).start()


class KeepsStreamersRunning(KeepsProgramsRunning):
    """Has it from the first stream."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Without a worker."""
        ToyBackend.load(self, model_path, config)
        self._over.set()

    def generate_stream(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> TextStream:
        """With one."""
        if self._over.is_set():
            self.employ()
        return super().generate_stream(prompt, parameters, **more)


class StaysForEver(ToyBackend):
    """Has itself called when the interpreter ends."""

    def __init__(self) -> None:
        super().__init__()
        atexit.register(self.close)


class ForgetsAsyncLoads(AsyncToyBackend):
    """Answers asynchronous calls without a model."""

    async def agenerate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """Nothing, if there is no model."""
        if not self.is_model_loaded():
            return GeneratedText("")
        return await super().agenerate(prompt, parameters, **more)


class SpoiltByItsReaders(ToyBackend):
    """Reads from where the last reader left."""

    def __init__(self) -> None:
        super().__init__()
        self._left: list[Event] = []

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """What the last one did not read comes first."""
        begun, self._left = self._left, []
        piece: Event | None = begun[-1] if begun else None
        try:
            yield from begun
            for piece in super().stream(request, cancellation):
                yield piece
        except GeneratorExit:
            if isinstance(piece, TextDelta):
                self._left = [piece]
            raise


class BasicAnswersWithoutAModel(BasicToyBackend):
    """A basic backend that answers without a model."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Nothing, if there is no model."""
        return super().generate(prompt, parameters) if self.is_model_loaded() else ""
