"""Which models are in memory: a model of the rules, driven by hypothesis, and the cases that others got wrong."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forge_serve.config import ServeConfig
from forge_serve.residency import Residency
from forge_serve.watch import Watch
from llamaforge import LlamaForge
from llamaforge.backends.memory import MemoryUsage
from llamaforge.backends.registry import register_backend
from llamaforge.errors import LlamaForgeError, MemoryBudgetError, ModelLoadError
from llamaforge.memory_budget import is_out_of_memory
from support.serving import Scripted, body, post, running, until

SIZES = {"a": 4, "b": 5, "c": 6, "huge": 20}
BUDGET = 10
PATH = "/v1/chat/completions"


class Sized(Scripted):
    """Takes what its name says; tells who is in memory at once."""

    inside: ClassVar[dict[str, int]] = {}
    lock: ClassVar[threading.Lock] = threading.Lock()

    def load(self, model_path: str, config: Any) -> None:
        self.held = Path(model_path).name
        with self.lock:
            self.inside[self.held] = self.inside.get(self.held, 0) + 1
        self.loads.append(self.held)

    def unload(self) -> None:
        with self.lock:
            self.inside[self.held] -= 1

    def memory(self) -> MemoryUsage | None:
        return MemoryUsage(host=SIZES[self.held], measured=True)


class InMemory(RuleBasedStateMachine):
    """Requests begin and end, models are pinned and unloaded, in any order.

    A request that finds room has its model at once; another one is refused, since nobody waits here (``max_wait`` is
    next to nothing). So the rules say exactly which models may be in memory.
    """

    @initialize()
    def start(self) -> None:
        register_backend("sized", Sized, replace=True)
        Sized.inside.clear()
        self.folder = TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.forge = LlamaForge(Path(self.folder.name) / "models.toml", memory_budget=BUDGET)
        for name, size in SIZES.items():
            path = Path(self.folder.name) / name
            path.write_bytes(bytes(size))
            self.forge.add_model(name, path, backend="sized")
        self.residency = Residency(self.forge, ServeConfig(max_wait=0.001), Watch())
        self.leases: list[tuple[str, AbstractAsyncContextManager[Any], Any]] = []
        self.pinned: set[str] = set()

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        while self.leases:
            self.end(0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
        self.loop.close()
        self.forge.close()
        self.folder.cleanup()

    def run(self, work: Any) -> Any:
        waiting: Future[Any] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return waiting.result(20)

    def resident(self) -> set[str]:
        return {model.name for model in self.forge.loaded_models() if model.state == "loaded"}

    @rule(name=st.sampled_from(sorted(SIZES)))
    def begin(self, name: str) -> None:
        before = self.resident()
        used = {each for each, _, _ in self.leases}
        kept = before & (used | self.pinned)
        fits = name in before or SIZES[name] + sum(SIZES[each] for each in kept - {name}) <= BUDGET
        lease = self.residency.lease(name)
        if fits:
            backend = self.run(lease.__aenter__())
            assert backend.is_model_loaded()
            self.leases.append((name, lease, backend))
        else:
            with pytest.raises(MemoryBudgetError, match=f"needs {SIZES[name]} bytes.*budget is {BUDGET}"):
                self.run(lease.__aenter__())
        assert kept <= self.resident()  # nobody in use, and nothing pinned, went

    @precondition(lambda self: self.leases)
    @rule(number=st.integers(0, 9))
    def end(self, number: int) -> None:
        _, lease, _ = self.leases.pop(number % len(self.leases))
        self.run(lease.__aexit__(None, None, None))

    @rule(name=st.sampled_from(sorted(SIZES)), pinned=st.booleans())
    def pin(self, name: str, pinned: bool) -> None:
        self.residency.pin(name, pinned)
        (self.pinned.add if pinned else self.pinned.discard)(name)

    @rule(name=st.sampled_from(sorted(SIZES)))
    def unload(self, name: str) -> None:
        if name in self.resident() and name not in {each for each, _, _ in self.leases}:
            self.run(self.residency.unload(self.residency.entry(name)))
            assert name not in self.resident()

    @rule()
    def idle(self) -> None:
        used = {name for name, _, _ in self.leases}
        before = self.resident()
        gone = set(self.forge.pool.unload_idle(0))
        assert gone == before - used - self.pinned

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "forge"):
            return
        assert all(backend.is_model_loaded() for _, _, backend in self.leases)
        assert {name for name, _, _ in self.leases} <= self.resident()
        assert sum(SIZES[name] for name in self.resident()) <= BUDGET
        assert all(count in (0, 1) for count in Sized.inside.values())


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


class Gated(Sized):
    """Is loaded once its gate is open; counts with what it takes from the beginning of its load."""

    inside: ClassVar[dict[str, int]] = {}
    gates: ClassVar[dict[str, threading.Event]] = {}

    def load(self, model_path: str, config: Any) -> None:
        super().load(model_path, config)
        assert self.gates[self.held].wait(60)


class Promised(RuleBasedStateMachine):
    """Requests that wait for loads, and loads that take their time: requests come, leave and end in any order.

    What holds at every moment: what is loading, loaded or unloading fits into the budget; each model is there once; and
    whoever has a model keeps it. At the end, when nothing holds the loads back, everybody who still waits gets a model.
    """

    @initialize()
    def start(self) -> None:
        register_backend("gated", Gated, replace=True)
        Gated.inside.update(dict.fromkeys(SIZES, 0))
        Gated.gates.update({name: threading.Event() for name in SIZES})
        self.folder = TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.forge = LlamaForge(Path(self.folder.name) / "models.toml", memory_budget=BUDGET)
        for name, size in SIZES.items():
            path = Path(self.folder.name) / name
            path.write_bytes(bytes(size))
            self.forge.add_model(name, path, backend="gated")
        self.residency = Residency(self.forge, ServeConfig(max_wait=120, turn=0.001), Watch())
        self.has: dict[int, Any] = {}
        """The backends that requests have now."""
        self.asked: dict[int, tuple[Future[None], asyncio.Event]] = {}

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for gate in Gated.gates.values():
            gate.set()
        for name in SIZES:
            self.residency.pin(name, False)
        for number in self.asked:
            self.end(number)
        for waiting, _ in self.asked.values():
            if not waiting.cancelled():
                waiting.result(60)
        self.forge.close()
        assert not any(Gated.inside.values())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
        self.loop.close()
        self.folder.cleanup()

    async def use(self, number: int, name: str, end: asyncio.Event) -> None:
        async with self.residency.lease(name) as backend:
            self.has[number] = backend
            try:
                await end.wait()
                assert backend.is_model_loaded()
            finally:
                del self.has[number]

    @rule(name=st.sampled_from(["a", "b", "c"]))
    def ask(self, name: str) -> None:
        number, end = len(self.asked), asyncio.Event()
        self.asked[number] = asyncio.run_coroutine_threadsafe(self.use(number, name, end), self.loop), end

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 99))
    def end(self, number: int) -> None:
        self.loop.call_soon_threadsafe(self.asked[number % len(self.asked)][1].set)

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 99))
    def leave(self, number: int) -> None:
        self.asked[number % len(self.asked)][0].cancel()

    @rule(name=st.sampled_from(["a", "b", "c"]), opened=st.booleans())
    def gate(self, name: str, opened: bool) -> None:
        (Gated.gates[name].set if opened else Gated.gates[name].clear)()

    @rule(name=st.sampled_from(["a", "b", "c"]), pinned=st.booleans())
    def pin(self, name: str, pinned: bool) -> None:
        self.residency.pin(name, pinned)

    @rule()
    def idle(self) -> None:
        self.forge.pool.unload_idle(0)

    @rule()
    def time_passes(self) -> None:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.003), self.loop).result(20)

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "forge"):
            return
        with Gated.lock:
            assert sum(SIZES[name] * count for name, count in Gated.inside.items()) <= BUDGET
            assert max(Gated.inside.values()) <= 1
        assert all(backend.is_model_loaded() for backend in list(self.has.values()))


TestPromised = Promised.TestCase
TestPromised.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)


@pytest.fixture
def small(tmp_path: Path) -> Any:
    register_backend("sized", Sized, replace=True)
    for state in (Scripted.cancelled, Scripted.begun, Scripted.gate):
        state.clear()
    Sized.loads.clear()
    Sized.inside.clear()
    with LlamaForge(tmp_path / "models.toml", memory_budget=BUDGET) as forge:
        for name, size in SIZES.items():
            (tmp_path / name).write_bytes(bytes(size))
            forge.add_model(name, tmp_path / name, backend="sized")
        yield forge


def test_a_model_that_never_fits_is_refused_with_figures(small: LlamaForge) -> None:
    with running(small, ServeConfig(max_wait=60)) as server:
        status, headers, told = post(server, PATH, body(model="huge"))
        assert status == 503
        assert "retry-after" not in headers
        assert "needs 20 bytes" in json.loads(told)["error"]["message"]
        assert not Sized.loads


def test_one_that_turns_out_too_large_is_unloaded_again(tmp_path: Path, small: LlamaForge) -> None:
    (tmp_path / "huge").write_bytes(b"1")  # it looks small
    with running(small, ServeConfig(max_wait=60)) as server:
        for _ in range(2):
            status, _, told = post(server, PATH, body(model="huge"))
            assert status == 503
            assert "needs 20 bytes" in json.loads(told)["error"]["message"]
        assert Sized.loads == ["huge"]  # its size is known now
        assert Sized.inside == {"huge": 0}


def test_models_that_do_not_fit_together_take_turns(small: LlamaForge) -> None:
    """Forty requests in turn, all of which wait: each model is loaded once more, not twenty times."""

    async def turns() -> None:
        residency = Residency(small, ServeConfig(max_wait=60, turn=0.001), Watch())

        async def ask(name: str) -> None:
            async with residency.lease(name) as backend:
                assert Path(str(backend.model_path)).name == name

        async with residency.lease("b"):
            asking = [asyncio.ensure_future(ask("c"))]
            while not residency.held_up("c"):  # noqa: ASYNC110 - it is a state of threads
                await asyncio.sleep(0.001)
            asking += [asyncio.ensure_future(ask(name)) for name in ("b", "c") * 20]
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*asking), 60)

    asyncio.run(turns())
    assert Sized.loads == ["b", "c", "b"]


def test_one_model_under_load_does_not_starve_another(small: LlamaForge) -> None:
    """While c waits for b's room, a new request to b waits for c, although b is in memory: it would never be idle."""

    async def turns() -> list[str]:
        residency = Residency(small, ServeConfig(max_wait=60, turn=0.001), Watch())
        order: list[str] = []

        async def ask(name: str) -> None:
            async with residency.lease(name):
                order.append(name)

        async with residency.lease("b"):
            first = asyncio.ensure_future(ask("c"))
            while not residency.held_up("c"):  # noqa: ASYNC110 - it is a state of threads
                await asyncio.sleep(0.001)
            second = asyncio.ensure_future(ask("b"))
            await asyncio.wait([second], timeout=0.05)  # b could answer it now
        await asyncio.wait_for(asyncio.gather(first, second), 20)
        return order

    assert asyncio.run(turns()) == ["c", "b"]


def test_who_comes_after_all_others_have_left_waits_as_they_did(small: LlamaForge) -> None:
    """The load that they gave up waits for room still; it isn't the newcomer's error that nobody wanted it."""

    async def turns() -> None:
        residency = Residency(small, ServeConfig(max_wait=60, turn=0.001), Watch())

        async def ask() -> None:
            async with residency.lease("c"):
                pass

        async with residency.lease("b"):
            first = asyncio.ensure_future(ask())
            while not residency.held_up("c"):  # noqa: ASYNC110 - it is a state of threads
                await asyncio.sleep(0.001)
            first.cancel()
            await asyncio.wait([first])
            second = asyncio.ensure_future(ask())
            await asyncio.wait([second], timeout=0.8)  # longer than the load sleeps at once
            assert not second.done()
        await asyncio.wait_for(second, 60)

    asyncio.run(turns())


def test_loads_take_short_turns(tmp_path: Path, forge: LlamaForge) -> None:
    """So that answers don't wait for the imports of a load; afterwards threads take their usual turns again."""
    usual, thresholds = sys.getswitchinterval(), gc.get_threshold()
    with running(forge, ServeConfig()) as server, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(post, server, PATH, body(model="slow"))
        until(lambda: sys.getswitchinterval() < usual)
        assert post(server, PATH, body(model="broken"))[0] == 503  # the one that fails ends before the other
        assert sys.getswitchinterval() < usual
        assert gc.get_threshold()[2] > 1_000_000  # no look at all objects
        Scripted.gate.set()
        assert loading.result()[0] == 200
    assert sys.getswitchinterval() == pytest.approx(usual)
    assert gc.get_threshold() == thresholds


def test_a_process_that_only_serves_hides_backends_from_the_collector(tmp_path: Path, forge: LlamaForge) -> None:
    before = gc.get_freeze_count()
    with running(forge, ServeConfig()) as server:
        assert post(server, PATH, body(model="one"))[0] == 200
    assert gc.get_freeze_count() == before  # a host's objects are its own
    with running(forge, ServeConfig(owns_process=True)) as server:
        assert post(server, PATH, body(model="two"))[0] == 200
    try:
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


class Short(Scripted):
    """There is memory for one model, whatever the budget says."""

    inside: ClassVar[list[Short]] = []

    def load(self, model_path: str, config: Any) -> None:
        if self.inside:
            raise MemoryError("no 10 bytes")
        self.inside.append(self)

    def unload(self) -> None:
        self.inside.remove(self)


def test_idle_models_make_room_where_memory_is_short(tmp_path: Path) -> None:
    register_backend("short", Short, replace=True)
    Short.inside.clear()
    with LlamaForge(tmp_path / "models.toml") as forge:
        for name in ("one", "two"):
            forge.add_model(name, name, backend="short")
        with running(forge, ServeConfig()) as server:
            for name in ("one", "two", "one"):
                assert post(server, PATH, body(model=name))[0] == 200
            server.forge.pool.pin("one")
            status, _, told = post(server, PATH, body(model="two"))
            assert status == 503
            assert "no 10 bytes" in json.loads(told)["error"]["message"]
            assert [model.name for model in forge.loaded_models()] == ["one"]


def test_what_counts_as_out_of_memory() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    caused = ModelLoadError("m", "OutOfMemoryError: CUDA")
    caused.__cause__ = OutOfMemoryError()
    assert is_out_of_memory(caused)
    assert is_out_of_memory(ModelLoadError("m", "unable to allocate CUDA0 buffer"))
    assert not is_out_of_memory(ModelLoadError("m", "no such weights"))
    assert issubclass(MemoryBudgetError, LlamaForgeError)
