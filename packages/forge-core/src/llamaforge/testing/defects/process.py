"""Defects that are felt in the rest of the process."""

from __future__ import annotations

import gc
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
