"""Loading is single-flight, and holds up nobody; leases, eviction, budget."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from llamaforge import BackendSpec, BaseBackend, CancellationToken, Event, Finished, LlamaForge, TextDelta
from llamaforge.backends import registry
from llamaforge.backends.memory import MemoryUsage
from llamaforge.backends.registry import register_backend
from llamaforge.errors import MemoryBudgetError, ModelLoadError, ModelNotLoadedError, UnknownParameterError
from llamaforge.models import ModelEntry
from llamaforge.pool import ModelPool
from llamaforge.requests import GenerationRequest

PATIENCE = 10.0


class Gated(BaseBackend):
    """Loads when it is let, and says its model's name."""

    spec = BackendSpec(
        name="gated", target=f"{__name__}:Gated", config="llamaforge:BackendConfig", summary="For tests."
    )
    gates: ClassVar[dict[str, threading.Event]] = {}
    loads: ClassVar[list[str]] = []
    size = 10

    def load(self, model_path: str, config: Any) -> None:
        self.loads.append(model_path)
        gate = self.gates.get(model_path)
        assert gate is None or gate.wait(PATIENCE)
        if "broken" in model_path:
            raise ValueError("no such weights")

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        yield TextDelta(self.model_path or "")
        while request.prompt == "wait" and not cancellation.stopped and self.is_model_loaded():
            time.sleep(0.002)
        yield Finished(finish_reason="stop")

    def memory(self) -> MemoryUsage | None:
        return MemoryUsage(host=self.size, measured=True) if self.is_model_loaded() else None


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone afterwards: another name for the echo backend is found by its config, too."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[LlamaForge]:
    register_backend("gated", Gated, replace=True)
    Gated.gates.clear()
    Gated.loads.clear()
    with LlamaForge(tmp_path / "models.toml") as forge:
        for name in ("a", "b", "broken"):
            forge.add_model(name, f"model-{name}", backend="gated")
        yield forge
        for gate in Gated.gates.values():
            gate.set()


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, found


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_requests_to_one_model_go_on_while_another_loads(forge: LlamaForge) -> None:
    forge.load_model("a")
    gate = Gated.gates["model-b"] = threading.Event()
    thread, _ = in_thread(lambda: forge.load_model("b"))
    until(lambda: "model-b" in Gated.loads)
    assert forge.generate("Hi", model="a") == "model-a"
    assert forge.list_models()
    assert [(model.name, model.state) for model in forge.loaded_models()] == [("a", "loaded"), ("b", "loading")]
    assert not forge.is_model_loaded("b")
    with pytest.raises(ModelNotLoadedError):
        forge.generate("Hi", model="b")
    gate.set()
    thread.join(PATIENCE)
    assert forge.generate("Hi") == "model-b"


def test_callers_of_one_model_share_one_load(forge: LlamaForge) -> None:
    gate = Gated.gates["model-a"] = threading.Event()
    threads = [in_thread(lambda: forge.load_model("a")) for _ in range(5)]
    until(lambda: bool(Gated.loads))
    gate.set()
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert Gated.loads == ["model-a"]
    assert len({id(found[0]) for _, found in threads}) == 1


def test_callers_of_one_model_share_its_error_and_the_next_one_tries_again(forge: LlamaForge) -> None:
    gate = Gated.gates["model-broken"] = threading.Event()
    first, found_first = in_thread(lambda: forge.load_model("broken"))
    until(lambda: bool(Gated.loads))
    second, found_second = in_thread(lambda: forge.load_model("broken"))
    gate.set()
    for thread in (first, second):
        thread.join(PATIENCE)
    assert isinstance(found_first[0], ModelLoadError)
    assert isinstance(found_second[0], ModelLoadError)
    with pytest.raises(ModelLoadError, match="no such weights"):
        forge.load_model("broken")


def test_unloading_waits_for_a_load_and_closing_too(forge: LlamaForge) -> None:
    gate = Gated.gates["model-a"] = threading.Event()
    loading, _ = in_thread(lambda: forge.load_model("a"))
    until(lambda: bool(Gated.loads))
    closing, _ = in_thread(forge.close)
    time.sleep(0.01)
    assert closing.is_alive()
    gate.set()
    for thread in (loading, closing):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert forge.loaded_models() == []


def test_unloading_waits_for_requests_or_cancels_them(forge: LlamaForge) -> None:
    forge.load_model("a")
    stream = forge.generate_stream("wait")
    next(stream)
    (model,) = forge.loaded_models()
    assert (model.requests, model.idle, model.backend) == (1, None, "gated")
    assert model.memory == MemoryUsage(host=10, measured=True)
    unloading, _ = in_thread(lambda: forge.unload_model("a", wait=True))
    until(lambda: [each.state for each in forge.loaded_models()] == ["unloading"])
    with pytest.raises(ModelNotLoadedError):
        forge.generate("Hi", model="a")
    stream.close()
    unloading.join(PATIENCE)
    assert not unloading.is_alive()
    assert forge.loaded_models() == []


def test_loading_anew_with_other_parameters_replaces_the_model(forge: LlamaForge) -> None:
    register_backend("echo-like", _echo(), replace=True)
    forge.add_model("e", "anything", backend="echo-like")
    first = forge.load_model("e")
    assert forge.load_model("e") is first
    second = forge.load_model("e", {"n_parallel": 3})
    assert second is not first
    assert not first.is_model_loaded()
    with pytest.raises(UnknownParameterError):
        forge.load_model("e", {"n_paralel": 3})
    assert forge.backend("e") is second
    assert second.is_model_loaded()


def _echo() -> type[BaseBackend]:
    from llamaforge.backends.echo import EchoBackend

    return EchoBackend


def test_a_named_model_s_generation_parameters_belong_to_its_backend(forge: LlamaForge) -> None:
    register_backend("echo-like", _echo(), replace=True)
    forge.add_model("e", "anything", backend="echo-like", generation={"max_tokens": 2, "do_sample": False})
    backend = forge.load_model("e")
    for answer in (
        forge.generate("one two three"),
        backend.generate("one two three"),
        asyncio.run(backend.agenerate("one two three")),
        asyncio.run(forge.agenerate("one two three")),
        next(forge.generate_batch(["one two three"])).text,
    ):
        assert answer == "one two"
        assert answer.parameters["temperature"] == 0
    assert backend.generate("one two three", max_tokens=1) == "one"


async def test_the_front_door_has_asynchronous_twins(forge: LlamaForge) -> None:
    register_backend("echo-like", _echo(), replace=True)
    forge.add_model("e", "anything", backend="echo-like")
    await forge.aload_model("e")
    turns = [{"role": "user", "content": "one two"}]
    assert await forge.agenerate("one two") == "one two"
    assert await forge.agenerate_stream("one two").read() == "one two"
    assert await forge.achat(turns) == forge.chat(turns)
    assert await forge.achat_stream(turns).read() == forge.chat(turns)
    assert [item.text async for item in forge.agenerate_batch(["a", "b"])] == ["a", "b"]


async def test_a_cancelled_load_leaves_nothing_behind(forge: LlamaForge) -> None:
    gate = Gated.gates["model-a"] = threading.Event()
    task = asyncio.create_task(forge.aload_model("a"))
    await asyncio.to_thread(until, lambda: bool(Gated.loads))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await asyncio.to_thread(until, lambda: not forge.loaded_models())
    assert not forge.is_model_loaded("a")


class TestBudget:
    def pool(self, budget: int | None = 25) -> ModelPool:
        def open_model(entry: ModelEntry, parameters: Mapping[str, Any]) -> BaseBackend:
            backend = Gated()
            backend.load_model(entry.path)
            return backend

        Gated.gates.clear()
        return ModelPool(open_model, memory_budget=budget, estimate=lambda _: Gated.size)

    def test_the_least_recently_used_free_model_goes(self) -> None:
        pool = self.pool()
        entries = {name: ModelEntry(name, name) for name in "abc"}
        pool.load(entries["a"], {})
        pool.load(entries["b"], {})
        pool.load(entries["a"], {})
        pool.load(entries["c"], {})
        assert {model.name for model in pool.loaded()} == {"a", "c"}

    def test_what_is_leased_pinned_or_answering_stays(self) -> None:
        pool = self.pool()
        entries = {name: ModelEntry(name, name) for name in "abc"}
        with pool.lease(entries["a"], {}):
            pool.load(entries["b"], {})
            pool.pin("b")
            with pytest.raises(MemoryBudgetError) as caught:
                pool.load(entries["c"], {})
        assert (caught.value.needed, caught.value.budget, caught.value.taken) == (10, 25, 20)
        with pool.lease(entries["a"], {}) as backend:
            stream = backend.generate_stream("wait")
            next(stream)
        with pytest.raises(MemoryBudgetError):
            pool.load(entries["c"], {})
        stream.close()
        pool.load(entries["c"], {})
        assert {model.name for model in pool.loaded()} == {"b", "c"}

    def test_a_model_larger_than_the_budget_is_refused_with_figures(self) -> None:
        with pytest.raises(MemoryBudgetError, match=r"needs 10 bytes\. The memory budget is 5 bytes\."):
            self.pool(5).load(ModelEntry("a", "a"), {})

    def test_idle_models_are_unloaded_but_for_pinned_ones(self) -> None:
        pool = self.pool(None)
        for name in "ab":
            pool.load(ModelEntry(name, name), {})
        pool.pin("b")
        assert pool.unload_idle(60.0) == []
        assert pool.unload_idle(0.0) == ["a"]
        pool.pin("b", False)
        assert pool.unload_idle(0.0) == ["b"]


class Residency(RuleBasedStateMachine):
    """Any order of loading, leasing, pinning and unloading keeps the budget, the leased and the pinned."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        Gated.gates.clear()
        self.pool = TestBudget().pool(35)
        self.held: dict[int, tuple[str, Any]] = {}
        self.pins: set[str] = set()

    @rule(name=st.sampled_from("abcde"))
    def load(self, name: str) -> None:
        try:
            self.pool.load(ModelEntry(name, name), {})
        except MemoryBudgetError:
            assert len({held for held, _ in self.held.values()} | self.pins) >= 3

    @rule(target=leases, name=st.sampled_from("abcde"))
    def lease(self, name: str) -> int:
        number = len(self.held) + 1000 * id(name) % 997
        context = self.pool.lease(ModelEntry(name, name), {})
        try:
            context.__enter__()
        except MemoryBudgetError:
            return -1
        while number in self.held:
            number += 1
        self.held[number] = name, context
        return number

    @rule(number=leases)
    def give_back(self, number: int) -> None:
        if number in self.held:
            self.held.pop(number)[1].__exit__(None, None, None)

    @rule(name=st.sampled_from("abcde"), pinned=st.booleans())
    def pin(self, name: str, pinned: bool) -> None:
        self.pool.pin(name, pinned)
        (self.pins.add if pinned else self.pins.discard)(name)

    @rule()
    def unload_idle(self) -> None:
        self.pool.unload_idle(0.0)

    @invariant()
    def what_is_in_use_is_there_and_the_budget_holds(self) -> None:
        loaded = {model.name: model for model in self.pool.loaded()}
        assert {name for name, _ in self.held.values()} <= loaded.keys()
        assert sum(model.memory.total for model in loaded.values() if model.memory) <= 35
        assert sum(model.leases for model in loaded.values()) == len(self.held)


TestResidency = Residency.TestCase
TestResidency.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
