"""Defects that are felt in the rest of the process."""

from __future__ import annotations

import asyncio
import atexit
import decimal
import gc
import http.client
import json
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event
from ..fakes import ToyBackend
from ..fakes.backends import ToyConfig


class _Loads(ToyBackend):
    """Does something when it is loaded."""

    def also(self) -> None:
        """What."""
        raise NotImplementedError

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Also that."""
        super().load(model_path, config)
        self.also()


class ChangesTheEnvironment(_Loads):
    """Counts its loads in an environment variable."""

    def also(self) -> None:
        """One more."""
        os.environ["TOY_LOADS"] = str(int(os.environ.get("TOY_LOADS", "0")) + 1)


class LogsForEverybody(_Loads):
    """Hangs a handler on the root logger with each load."""

    def also(self) -> None:
        """One more."""
        logging.getLogger().addHandler(logging.NullHandler())


class CatchesSignals(_Loads):
    """Takes over a signal, where it may."""

    def also(self) -> None:
        """A new handler each time."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, lambda *_: None)


class MovesAway(_Loads):
    """Changes the working directory."""

    def also(self) -> None:
        """To the root, or away from it."""
        root = Path(Path.cwd().anchor)
        os.chdir(root if Path.cwd() != root else Path(tempfile.gettempdir()))


class StopsTheCollector(_Loads):
    """Changes the garbage collector's threshold."""

    def also(self) -> None:
        """A little more each time."""
        gc.set_threshold(gc.get_threshold()[0] + 1)


class LimitsSockets(_Loads):
    """Sets a time limit for all sockets."""

    def also(self) -> None:
        """A little more each time."""
        socket.setdefaulttimeout((socket.getdefaulttimeout() or 30.0) + 1)


class HidesWarnings(_Loads):
    """Adds a filter for warnings with each load."""

    def also(self) -> None:
        """One more."""
        warnings.filterwarnings("ignore", message=f"toy {len(warnings.filters)}")


class HooksExceptions(_Loads):
    """Replaces the hook for exceptions."""

    def also(self) -> None:
        """A new one each time."""
        old = sys.excepthook
        sys.excepthook = lambda *what: old(*what)


class LeavesFiles(_Loads):
    """Leaves a temporary file."""

    def also(self) -> None:
        """One for each load."""
        handle, _ = tempfile.mkstemp()
        os.close(handle)


class SeedsEverybody(ToyBackend):
    """Seeds the random numbers of the whole process with each request."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """After that."""
        random.seed(request.seed)
        return super().stream(request, cancellation)


class SetsAVariable(_Loads):
    """Sets an environment variable, always to the same value."""

    def also(self) -> None:
        """For a library of its engine's."""
        os.environ["TOY_PARALLELISM"] = "false"


class ReplacesLookups(_Loads):
    """Replaces a function that everybody uses."""

    def also(self) -> None:
        """By one that does the same."""
        old = socket.getaddrinfo

        def getaddrinfo(*given: Any, **more: Any) -> Any:
            return old(*given, **more)

        socket.getaddrinfo = getaddrinfo


class RecursesDeeper(_Loads):
    """Raises the recursion limit."""

    def also(self) -> None:
        """To a constant."""
        sys.setrecursionlimit(5000)


class LogsWhenItFails(ToyBackend):
    """Changes the root logger when a model is missing."""

    def check_model(self, model_path: str, config: ToyConfig) -> None:
        """With more to read."""
        if model_path != "toy":
            logging.getLogger().setLevel(logging.DEBUG)
        super().check_model(model_path, config)


class BorrowsTheEnvironment(ToyBackend):
    """Sets a variable while it answers, and takes it back."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """In between, others see it."""
        os.environ["TOY_BUSY"] = "1"
        try:
            yield from super().stream(request, cancellation)
        finally:
            os.environ.pop("TOY_BUSY", None)


class SilencesWarningsMeanwhile(ToyBackend):
    """Ignores all warnings while it answers, and everybody else's with its own."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """In a block that others see, too."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from super().stream(request, cancellation)


class SeedsInConversations(ToyBackend):
    """Seeds the random numbers of the whole process for conversations alone."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Where there are messages."""
        if request.messages:
            random.seed(0)
        return super().stream(request, cancellation)


class CollectsNoMore(ToyBackend):
    """Stops the garbage collector when it is unloaded."""

    def unload(self) -> None:
        """To be faster."""
        super().unload()
        gc.disable()


class OpensTheUmask(ToyBackend):
    """Changes the umask when it is unloaded."""

    def unload(self) -> None:
        """For files that it never writes."""
        super().unload()
        os.umask(0)


class LeavesFolders(ToyBackend):
    """Makes a temporary folder for what it saves, and leaves it."""

    def unload(self) -> None:
        """One for each model that was unloaded."""
        super().unload()
        Path(tempfile.mkdtemp(), "state").write_bytes(b"toy")


class HooksTheExit(_Loads):
    """Has a function called at the interpreter's end for each model that was loaded."""

    def also(self) -> None:
        """One more."""
        atexit.register(gc.collect)


class QuietensAnotherLogger(_Loads):
    """Sets the level of a logger that isn't its own."""

    def also(self) -> None:
        """To a constant."""
        logging.getLogger("asyncio").setLevel(logging.ERROR)


class RoundsEverybodysDecimals(_Loads):
    """Changes the decimal context."""

    def also(self) -> None:
        """To a constant."""
        decimal.getcontext().prec = 5


class BringsItsOwnLoops(_Loads):
    """Sets a policy for event loops."""

    def also(self) -> None:
        """A new one each time."""
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())


class EncodesForEverybody(ToyBackend):
    """Replaces a method of a class that everybody uses, with each request."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """By one that does the same."""
        old = json.JSONEncoder.default
        setattr(json.JSONEncoder, "default", lambda encoder, value: old(encoder, value))  # noqa: B010 - for mypy
        return super().stream(request, cancellation)


class SetsAnAlarm(ToyBackend):
    """Sets a timer with each asynchronous request."""

    async def agenerate(self, *given: Any, **more: Any) -> Any:
        """For some hours later."""
        signal.setitimer(signal.ITIMER_VIRTUAL, 10_000)
        return await super().agenerate(*given, **more)


class LogsEverything(ToyBackend):
    """Hangs a handler on another library's logger when it is unloaded."""

    def unload(self) -> None:
        """One more each time."""
        super().unload()
        logging.getLogger("concurrent.futures").addHandler(logging.NullHandler())


class LeavesALoop(_Loads):
    """Makes an event loop, and leaves it to the thread that loads."""

    def also(self) -> None:
        """Another one each time."""
        asyncio.set_event_loop(asyncio.new_event_loop())


class ShowsEverybodysRequests(_Loads):
    """Has all HTTP connections print what they send."""

    def also(self) -> None:
        """To look at its own."""
        http.client.HTTPConnection.debuglevel = 1
