"""No check hangs, whatever the backend does; and what can't be used is said once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from llamaforge import GenerationRequest, TextDelta
from llamaforge.cancellation import CancellationToken
from llamaforge.results import Event
from llamaforge.testing import BackendConformance
from llamaforge.testing.defects.proof import run_all
from llamaforge.testing.expect import Hangs
from llamaforge.testing.fakes import AsyncToyBackend, BasicToyBackend, ToyBackend
from llamaforge.testing.patience import _interruptible
from llamaforge.testing.run import MOST_HANGS

# The exception that ends a thread which computes for ever may come in a callback of the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ENDED = threading.Event()
"""Set at the end: then whatever hangs goes on, and its thread ends."""


def hang() -> Any:
    ENDED.wait()
    raise RuntimeError("it has come back")


@pytest.fixture(scope="module", autouse=True)
def end() -> Iterator[None]:
    yield
    ENDED.set()


class HangsWhenMade(ToyBackend):
    def __init__(self) -> None:
        super().__init__()
        hang()


class HangsInLoad(ToyBackend):
    def load(self, model_path: str, config: Any) -> None:
        hang()


class HangsInTheSecondLoad(ToyBackend):
    loads = 0

    def load(self, model_path: str, config: Any) -> None:
        super().load(model_path, config)
        type(self).loads += 1
        if self.loads > 1:
            hang()


class HangsInUnload(ToyBackend):
    def unload(self) -> None:
        hang()


class HangsInClose(ToyBackend):
    def close(self) -> None:
        hang()


class HangsInAenter(ToyBackend):
    async def __aenter__(self) -> Any:
        await asyncio.Event().wait()


class HangsInStream(ToyBackend):
    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        return hang()


class HangsAtTheSecondPiece(ToyBackend):
    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        for number, event in enumerate(super().stream(request, cancellation)):
            if number:
                hang()
            yield event


class HangsWhenLeft(ToyBackend):
    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        try:
            yield from super().stream(request, cancellation)
        except GeneratorExit:
            hang()


class HangsInRender(ToyBackend):
    def render_request(self, request: GenerationRequest) -> str:
        return hang()


class HangsInRepr(ToyBackend):
    def __repr__(self) -> str:
        return hang()


class HangsInCapabilities(ToyBackend):
    @property
    def capabilities(self) -> Any:
        return hang()


class HangsInHealth(ToyBackend):
    def health(self) -> Any:
        return hang()


class HangsInGenerate(BasicToyBackend):
    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return hang()


class BlocksTheLoop(AsyncToyBackend):
    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        hang()
        yield TextDelta("never")


class SwallowsCancellation(AsyncToyBackend):
    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        yield TextDelta("one")
        while not ENDED.is_set():
            try:
                await asyncio.sleep(0.02)
            except BaseException:
                continue


class NeverEnds(ToyBackend):
    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        while not ENDED.is_set():
            time.sleep(0.0005)
            yield TextDelta("on and ")


class ComputesForEver(ToyBackend):
    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        while True:
            pass


class LosesPlaces(ToyBackend):
    """A place for each request; one that isn't read to its end keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.places = threading.Semaphore(4)

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        while not self.places.acquire(timeout=0.1):
            if ENDED.is_set():
                raise RuntimeError
        yield from super().stream(request, cancellation)
        self.places.release()


HANGING = [value for value in list(globals().values()) if isinstance(value, type) and value.__module__ == __name__]


def suite(backend: type, **more: Any) -> type[BackendConformance]:
    settings = {"backend": backend, "model": "toy", "patience": 0.1, "crowd": 8, **more}
    return type("TestHanging", (BackendConformance,), settings)


@pytest.mark.parametrize("backend", HANGING)
def test_the_kit_comes_to_its_end_and_names_what_hangs(backend: type) -> None:
    outcomes = dict(run_all(suite(backend)))
    assert set(outcomes) == set(BackendConformance.checks())
    hung = {name: str(error) for name, error in outcomes.items() if isinstance(error, Hangs)}
    assert 1 <= len(hung) <= MOST_HANGS
    assert any("hang()" in told or backend.__name__ in told or "it hangs" in told for told in hung.values())
    # Once that many have hung, the others say why they aren't tried.
    if len(hung) == MOST_HANGS:
        skipped = [str(error) for error in outcomes.values() if isinstance(error, pytest.skip.Exception)]
        assert any("the backend hangs, see test_" in reason for reason in skipped)


def test_the_end_of_a_call_in_the_main_thread_is_never_interrupted() -> None:
    """Calls that take about as long as is waited for them return, or hang; nothing comes after that."""
    before = signal.getsignal(signal.SIGPROF)
    for number in range(400):
        with contextlib.suppress(Hangs):
            _interruptible(partial(time.sleep, 0.0002 + number % 10 * 0.0001), 0.0007)
        assert signal.getsignal(signal.SIGPROF) == before
