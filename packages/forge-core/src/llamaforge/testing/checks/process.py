"""The process is the host's: what belongs to all of it is left as it was."""

from __future__ import annotations

import contextlib
import gc
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from ...backends.base import BaseBackend
from ...backends.batch import BatchItem
from ...errors import LlamaForgeError
from ..expect import Told, comes_true, expect
from ..kit import Kit
from ..mixed import mixtures
from ..patience import on_main_thread
from ..process_parts import stirred
from ..process_state import State, differences, exit_hooks, put_back, read_state, read_thread
from ..run import run_of
from ..subject import Subject

_TURNS: Final = [{"role": "user", "content": "Hello"}]


class WatchedProcess(Kit):
    """How the process is watched."""

    @contextlib.contextmanager
    def _watched(self, monkeypatch: pytest.MonkeyPatch | None = None, folder: Path | None = None) -> Iterator[State]:
        """The state after a model was loaded, used and unloaded once, and all that was put back."""
        __tracebackhide__ = True
        if monkeypatch is not None and folder is not None:
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
            monkeypatch.setenv("TMPDIR", str(folder))
        found = _state()
        run = run_of(type(self))
        if not run.has_imported:
            with self.fresh() as subject:
                self._warm_up(subject)
            run.has_imported = True
        on_main_thread(lambda: put_back(found))
        try:
            with stirred():  # a backend that seeds them did so already
                yield _state()
        finally:
            on_main_thread(lambda: put_back(found))

    @contextlib.contextmanager
    def _loaded(self, before: State) -> Iterator[Subject]:
        """The backend, loaded in the main thread: only there some things can be changed."""
        __tracebackhide__ = True
        backend = on_main_thread(self.make)
        try:
            on_main_thread(lambda: self.load(backend))
            unchanged(before, "loading")
            yield self.wrap(backend)
        finally:
            on_main_thread(lambda: self.release(backend))

    def _warm_up(self, subject: Subject) -> None:
        """Use it once, so that whatever it imports is there."""
        subject.say(2)


class ProcessChecks(WatchedProcess, slow=True):
    """A backend is one part of somebody's program."""

    def test_loading_leaves_the_process_as_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Loading the model, loading it over itself, and a load that fails change nothing of the whole process.

        Looked at are the environment, the working directory, signal handlers, timers and limits, all loggers that were
        there, warning filters, the locale, the time zone, global random numbers, the garbage collector, the default
        time limit of sockets, hooks, standard streams, all functions of the standard library, loaded modules, the event
        loop policy, decimal's context, and what numpy and torch have for everybody. What importing a library changes,
        once for the whole process, doesn't count: the model was loaded and unloaded before, and all of it put back.

        Why: another part of the program relies on them, and its author looks for the fault there. Look at: a library
        that is set up for the backend; undo it, or set it up for the backend alone.
        """
        with self._watched(monkeypatch) as before, self._loaded(before) as subject:
            backend = subject.backend
            on_main_thread(lambda: self.load(backend))
            unchanged(before, "loading over a loaded model")
            with contextlib.suppress(Exception):
                on_main_thread(lambda: self._load_a_missing_model())
            unchanged(before, "a load that failed")

    def test_requests_leave_the_process_as_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Requests of all kinds change nothing of the whole process, neither while a stream is open nor afterwards.

        Why: as above; what is put back at the end of an answer is wrong for all others until then. Look at: seeds of
        global generators, ``warnings.simplefilter`` and ``os.environ`` around a call.
        """
        with self._watched(monkeypatch) as before, self._loaded(before) as subject:
            stream = subject.stream(**subject.greedy, **subject.limit(8))
            on_main_thread(lambda: next(stream, ""))
            unchanged(before, "the first piece of an answer")
            on_main_thread(stream.close)
            unchanged(before, "a stream that was left")
            for what, ask in _requests(self, subject):
                on_main_thread(lambda ask=ask, what=what: Subject.answered(ask, what))  # type: ignore[misc]
                unchanged(before, what)

    def test_unloading_leaves_the_process_as_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """After requests and unloading, nothing of the whole process has changed, and no temporary file is left.

        Why: programs load and unload models for weeks. Look at: ``unload``; files in :mod:`tempfile`'s folder; exit
        hooks that are registered with each load.
        """
        with self._watched(monkeypatch, tmp_path) as before:
            files, hooks = set(tmp_path.rglob("*")), exit_hooks()
            with self._loaded(before) as subject:
                for what, ask in _requests(self, subject):
                    on_main_thread(lambda ask=ask, what=what: Subject.answered(ask, what))  # type: ignore[misc]
                on_main_thread(lambda: self.release(subject.backend))
                unchanged(before, "unloading")

        def left() -> list[str]:
            gc.collect()
            return sorted(path.name for path in tmp_path.rglob("*") if path not in files)

        comes_true(lambda: not left(), self.grace)
        expect(not left(), "no temporary file left after unloading", left())
        expect(exit_hooks() <= hooks, f"{hooks} exit hooks, as before loading", exit_hooks())

    def _load_a_missing_model(self) -> None:
        backend = self.make()
        try:
            backend.load_model("/there/is/no/such/model", dict(self.parameters))
        finally:
            self.release(backend)


def _state() -> State:
    return read_state() | on_main_thread(read_thread)


def unchanged(before: dict[str, Any], after: str) -> None:
    """Fail if the process is no longer what it was *before*."""
    __tracebackhide__ = True
    changed = differences(before, _state())
    told = ", ".join(f"{name}: {how}" for name, how in changed.items())
    expect(not changed, f"the process to be after {after} what it was", Told(told))


def _requests(kit: ProcessChecks, subject: Subject) -> Iterator[tuple[str, Callable[[], object]]]:
    """All ways to ask."""
    given = {**subject.greedy, **subject.limit(2)}

    def refused() -> None:
        with contextlib.suppress(LlamaForgeError):
            subject.generate("")

    yield "a request", lambda: subject.generate(None, given)
    yield "a refused request", refused
    if not subject.full:
        return
    backend, sampled = subject.backend, {"seed": 4} if subject.declares("seed") else {}
    yield "a sampled request", lambda: backend.generate(subject.prompt, {**subject.limit(2), **sampled})
    yield "a raw request", lambda: backend.generate(subject.prompt, {**given, "raw": True})
    if subject.has_template:
        yield "a conversation", lambda: backend.chat(_TURNS, given)
        yield "an asynchronous conversation", lambda: kit.run_async(lambda: backend.achat(_TURNS, given))
        yield "a streamed conversation", lambda: backend.chat_stream(_TURNS, given).read()
        yield "a rendered conversation", lambda: _rendered(backend)
    yield "an asynchronous request", lambda: kit.run_async(lambda: backend.agenerate(subject.prompt, given))
    yield (
        "an asynchronous stream",
        lambda: kit.run_async(lambda: backend.agenerate_stream(subject.prompt, given).read()),
    )
    yield "a batch", lambda: list(backend.generate_batch([subject.prompt], given))
    yield "an asynchronous batch", lambda: kit.run_async(lambda: _all_items(backend, subject.prompt, given))
    asking: dict[str, Callable[[Mapping[str, Any]], object]] = {
        "a request": lambda more: backend.generate(subject.prompt, {**subject.limit(1), **more})
    }
    if subject.has_template:
        asking["a conversation"] = lambda more: backend.chat(_TURNS, {**subject.limit(1), **more})
    for what, more in mixtures(subject).items():
        for way, ask in asking.items():
            yield f"{way} with {what}", partial(_unless_refused, ask, more)
    yield "a question after its health", lambda: bool(backend.health())


def _unless_refused(ask: Callable[[Mapping[str, Any]], object], more: Mapping[str, Any]) -> None:
    with contextlib.suppress(LlamaForgeError):  # what the model can't do, or an answer that is cut
        ask(more)


def _rendered(backend: BaseBackend) -> None:
    with contextlib.suppress(LlamaForgeError):
        backend.render(messages=_TURNS)


async def _all_items(backend: BaseBackend, prompt: str, given: dict[str, Any]) -> list[BatchItem]:
    return [item async for item in backend.agenerate_batch([prompt], given)]
