"""What can be asked of a backend at any time: whether it is well, what it can do, what it holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

from ...backends.base import BaseBackend
from ...backends.memory import MemoryUsage
from ...backends.spec import Capabilities
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject

FEW_BYTES: Final = 4096
"""No model takes less."""


class ReadinessChecks(Kit):
    """Programs ask these things before, between and after loading."""

    def test_health_tells_whether_it_can_answer(self) -> None:
        """``health()`` is false without a model, true with one, and false again after unloading; awaited or not.

        Why: load balancers send requests by it. Look at: a ``health`` of your own; it also needs a loaded model.
        """
        backend = self.make()
        self._is_well(backend, False, "of a new backend")
        try:
            self.load(backend)
            self._is_well(backend, True, "of a loaded backend")
            Subject.answered(lambda: self.wrap(backend).say(2), "an answer after health()")
            self._is_well(backend, True, "after a request")
            if not backend.is_basic:
                backend.unload_model()
                self._is_well(backend, False, "after unloading")
        finally:
            self.release(backend)
        if not backend.is_basic:
            self.load(backend)
            try:
                self._is_well(backend, True, "after loading again")
            finally:
                self.release(backend)

    def test_a_stream_does_not_make_it_unwell(self, subject: Subject) -> None:
        """``health()`` is true while an answer is being read, after one was left, and after a request failed.

        Why: a busy backend that says "unhealthy" is restarted in the middle of its answers. Look at: a ``health`` that
        needs a free slot or a lock.
        """
        with subject.stream(**subject.greedy, **subject.limit(16)) as stream:
            next(stream, "")
            self._is_well(subject.backend, True, "while an answer is read")
        self._is_well(subject.backend, True, "after a stream that was left")
        for wrong in ("", 3):
            given: Any = wrong
            with contextlib.suppress(Exception):  # which one is another check's matter
                subject.generate(given)
        self._is_well(subject.backend, True, "after refused requests")

    def test_capabilities_can_be_read_without_a_model(self, subject: Subject) -> None:
        """Name, capabilities and repr can be read before loading and after unloading; they are the spec's.

        Why: a program chooses its backend by them. Look at: a ``capabilities`` property that asks the loaded model.
        """
        backend = self.make()
        declared = self._capabilities(backend, "before loading")
        spec = type(backend).spec
        if spec is not None:
            expect_equal(backend.name, spec.name, "name before loading")
            expect_equal(declared, spec.capabilities, "capabilities before loading")
        expect_equal(backend.model_path, None, "model_path before loading")
        expect_equal(backend.requests_in_flight, 0, "requests_in_flight before loading")
        if not subject.full:
            return
        loaded = self._capabilities(subject.backend, "of a loaded backend")
        for _ in range(2):
            expect_equal(self._capabilities(subject.backend, "again"), loaded, "capabilities, read again")
        if spec is not None:
            expect_equal(spec.capabilities, declared, "the spec's capabilities after a model was loaded")
            again = self._capabilities(self.make(), "of another new backend")
            expect_equal(again, declared, "capabilities of a new backend beside a loaded one")

    def test_unloading_forgets_the_model(self) -> None:
        """After unloading, path, memory and capabilities are what they were before loading.

        Why: what is shown of a model that is gone misleads. Look at: attributes that ``load`` sets and ``unload``
        doesn't clear.
        """
        backend = self.make()
        if backend.is_basic:
            self.wrap(backend).refuses_the_full_contract()
            return
        before = self._capabilities(backend, "before loading")
        expect_equal(backend.memory(), None, "memory() before loading")
        self.load(backend)
        try:
            told = backend.memory()
            expect(told is None or isinstance(told, MemoryUsage), "a MemoryUsage, or None", told)
            if isinstance(told, MemoryUsage):
                sizes = (told.host, *told.devices.values())
                expect(all(size >= 0 for size in sizes), "no negative number of bytes", told)
        finally:
            self.release(backend)
        expect_equal(backend.memory(), None, "memory() after unloading")
        expect_equal(backend.model_path, None, "model_path after unloading")
        expect_equal(backend.requests_in_flight, 0, "requests_in_flight after unloading")
        expect_equal(self._capabilities(backend, "after unloading"), before, "capabilities after unloading")

    def test_a_models_memory_is_told_in_bytes(self) -> None:
        """``memory()`` of a loaded model tells bytes: more than a few thousand, and of a model that is one file, at
        least a quarter of its size. Or it is None.

        Why: a pool unloads other models by these numbers. Look at: megabytes, and fields that nobody fills.
        """
        backend = self.make()
        if backend.is_basic:
            self.wrap(backend).refuses_the_full_contract()
            return
        self.load(backend)
        try:
            told = backend.memory()
        finally:
            self.release(backend)
        if told is None:
            return
        path = Path(self.location())
        least = max(FEW_BYTES, path.stat().st_size // 4 if path.is_file() else 0)
        expect(told.total >= least, f"{least} bytes or more", told)

    def test_requests_in_flight_are_counted(self, subject: Subject) -> None:
        """A stream counts from its first piece to its end, or until it is left; nothing else counts.

        Why: who unloads idle models looks there. Look at: overrides of ``generate_stream`` that don't go through the
        base class.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        backend = subject.backend
        expect_equal(backend.requests_in_flight, 0, "requests_in_flight where nothing is asked")
        stream = subject.stream(**subject.greedy, **subject.limit(16))
        expect_equal(backend.requests_in_flight, 0, "requests_in_flight of a stream that nobody has read")
        next(stream, "")
        expect_equal(backend.requests_in_flight, 1, "requests_in_flight of a stream that is read")
        ended = backend.last_request_ended
        stream.close()
        expect_equal(backend.requests_in_flight, 0, "requests_in_flight after a stream that was left")
        expect(backend.last_request_ended > ended, "last_request_ended to be later", Told("it is not"))
        subject.say(2)
        expect_equal(backend.requests_in_flight, 0, "requests_in_flight after an answer")

    def test_the_asynchronous_with_statement_unloads(self) -> None:
        """Leaving ``async with backend:`` unloads the model.

        Why: that is what the statement is for. Look at: overrides of ``__aenter__``, ``__aexit__`` and ``close``.
        """
        backend = self.make()

        async def use() -> None:
            async with backend as entered:
                expect(entered is backend, "the async with statement to give the backend itself", entered)
                await asyncio.to_thread(self.load, backend)
                expect_equal(backend.is_model_loaded(), True, "is_model_loaded() in the block")

        try:
            self.run_async(use)
            if not backend.is_basic:
                expect_equal(backend.is_model_loaded(), False, "is_model_loaded() after the async with statement")
        finally:
            self.release(backend)

    def _is_well(self, backend: BaseBackend, wanted: bool, when: str) -> None:
        __tracebackhide__ = True
        told = Subject.answered(lambda: bool(backend.health()), f"health() {when}")
        expect_equal(told, wanted, f"health() {when}")

        async def awaited() -> Any:
            asked: Awaitable[bool] = backend.health()
            return await asked

        told = Subject.answered(lambda: self.run_async(awaited), f"health() {when} that can be awaited")
        expect_equal(told, wanted, f"await health() {when}")

    @staticmethod
    def _capabilities(backend: BaseBackend, when: str) -> Capabilities:
        __tracebackhide__ = True
        found = Subject.answered(lambda: backend.capabilities, f"capabilities {when}")
        expect(isinstance(found, Capabilities), f"Capabilities {when}", found)
        expect(isinstance(repr(backend), str), f"a repr {when}", repr(backend))
        return found
