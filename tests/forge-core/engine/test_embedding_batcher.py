"""The batcher: many callers' texts in shared computations."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge import BackendSpec, Capabilities
from llamaforge.cancellation import CancellationToken
from llamaforge.engine import EmbeddingEngine, EngineBackend, OutOfRoomError, TokenizedText
from llamaforge.engine.embedding_batcher import EmbeddingCall, choose
from llamaforge.errors import (
    ContractError,
    GenerationError,
    GenerationTimeoutError,
    ModelNotLoadedError,
    QueueFullError,
)


class LengthEngine(EmbeddingEngine):
    """A vector is the number of a text's letters; each letter is a token."""

    n_ctx = 1000
    n_batch = 64
    dimensions = 1
    n_sequences = 8
    normalizes = False

    def __init__(self) -> None:
        self.computed: list[list[int]] = []
        self.step: Callable[[list[str]], Any] = lambda texts: None
        self.closed = False

    def tokenize(self, text: str) -> TokenizedText:
        return TokenizedText([ord(letter) for letter in text])

    def compute(self, texts: Sequence[TokenizedText]) -> Any:
        self.computed.append([len(text) for text in texts])
        given = self.step(["".join(map(chr, text.token_ids)) for text in texts])
        return array("f", [len(text) for text in texts]) if given is None else given

    def close(self) -> None:
        self.closed = True


class LengthBackend(EngineBackend):
    spec = BackendSpec(
        name="lengths",
        target="m:B",
        config="m:C",
        summary="",
        capabilities=Capabilities(tasks=frozenset({"embed"}), embedding=frozenset({"truncation"})),
    )

    def __init__(self) -> None:
        super().__init__()
        self.engine = LengthEngine()

    def open_engine(self, model_path: str, config: Any) -> EmbeddingEngine:
        return self.engine


@pytest.fixture
def backend() -> Iterator[LengthBackend]:
    with LengthBackend() as made:
        made.load_model("m")
        yield made


def lengths(backend: LengthBackend, texts: Sequence[str]) -> list[int]:
    return [int(row[0]) for row in backend.embed(texts)]


def test_texts_are_computed_by_length_within_the_budget(backend: LengthBackend) -> None:
    texts = ["x" * length for length in (5, 30, 1, 64, 100, 20, 31, 2)]
    assert lengths(backend, texts) == [5, 30, 1, 64, 100, 20, 31, 2]
    assert backend.engine.computed == [[100], [64], [31, 30], [20, 5, 2, 1]]


calls_of_lengths = st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=12), min_size=1, max_size=6)


@given(calls_of_lengths, st.booleans())
def test_each_text_is_chosen_once_and_nobody_waits_for_more_computations_than_there_are_callers(
    calls: list[list[int]], padded: bool
) -> None:
    engine = LengthEngine()
    engine.padded = padded
    waiting = [EmbeddingCall([TokenizedText(range(n)) for n in texts], 1, CancellationToken()) for texts in calls]
    chosen = []
    steps = 0
    served_at = dict.fromkeys(range(len(waiting)), 0)
    while alive := [call for call in waiting if call.waiting]:
        steps += 1
        items = choose(alive, engine, engine.n_sequences)
        sizes = [len(call.texts[index]) for call, index in items]
        cost = max(sizes) * len(sizes) if padded else sum(sizes)
        assert len(items) == 1 or (cost <= engine.n_batch and len(items) <= engine.n_sequences)
        assert cost - sum(sizes) <= engine.start_cost
        chosen += [(waiting.index(call), index) for call, index in items]
        for call, _ in items:
            call.served = steps
            served_at[waiting.index(call)] = steps
        assert all(steps - served_at[waiting.index(call)] < len(calls) for call in waiting if call.waiting)
    assert sorted(chosen) == [(number, index) for number, texts in enumerate(calls) for index in range(len(texts))]


def test_texts_that_the_engine_packs_are_computed_together(backend: LengthBackend) -> None:
    backend.engine.padded, backend.engine.start_cost = True, 4
    texts = ["x" * length for length in (20, 1, 18, 17, 2)]
    lengths(backend, texts)
    backend.engine.packed_up_to = 20
    lengths(backend, texts)
    assert backend.engine.computed == [[20, 18], [17], [2, 1], [20, 18, 17, 2, 1]]


class Gate:
    """Holds the engine in its first computation until opened."""

    def __init__(self, engine: LengthEngine) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.then: Callable[[list[str]], Any] = lambda texts: None
        engine.step = self

    def __call__(self, texts: list[str]) -> Any:
        if not self.open.is_set():
            self.reached.set()
            assert self.open.wait(60)
            return None
        return self.then(texts)


def wait_for(condition: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(60_000):
        if condition():
            return
        tick.wait(0.001)
    raise AssertionError("It never came.")


def in_threads(backend: LengthBackend, calls: list[list[str]]) -> tuple[list[Any], list[threading.Thread]]:
    """Each call in a thread of its own, waiting at the batcher; their results or errors."""
    results: list[Any] = [None] * len(calls)

    def ask(number: int) -> None:
        try:
            results[number] = lengths(backend, calls[number])
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(calls))]
    batcher = backend._batcher
    assert batcher is not None
    before = len(batcher._calls)
    for thread in threads:
        thread.start()
    wait_for(lambda: len(batcher._calls) == before + len(calls))
    return results, threads


def test_callers_share_computations_and_failures_stay_with_whom_they_concern(backend: LengthBackend) -> None:
    gate = Gate(backend.engine)
    first, started = in_threads(backend, [["block"]])
    assert gate.reached.wait(60)

    def fail(texts: list[str]) -> None:
        if any("bad" in text for text in texts):
            raise KeyError("a bad text")

    gate.then = fail
    results, threads = in_threads(backend, [["one"], ["bad one"], ["three"]])
    gate.open.set()
    for thread in started + threads:
        thread.join(60)
    assert first == [[5]]
    assert (results[0], results[2]) == ([3], [5])
    assert isinstance(results[1], GenerationError)
    assert "a bad text" in str(results[1])
    assert sorted(backend.engine.computed[1]) == [3, 5, 7]
    assert lengths(backend, ["fine again"]) == [10]


def test_a_call_that_was_cancelled_is_not_computed(backend: LengthBackend) -> None:
    gate = Gate(backend.engine)
    _, started = in_threads(backend, [["block"]])
    assert gate.reached.wait(60)
    with backend.embed_stream(["late" * 3], timeout=0.01) as stream, pytest.raises(GenerationTimeoutError):
        next(stream)
    gate.open.set()
    started[0].join(60)
    assert lengths(backend, ["on"]) == [2]
    assert [12] not in backend.engine.computed


def test_a_full_queue_is_refused_and_unloading_ends_the_wait() -> None:
    with LengthBackend() as backend:
        backend.load_model("m", {"max_queue": 1})
        gate = Gate(backend.engine)
        _, started = in_threads(backend, [["block"]])
        assert gate.reached.wait(60)
        waiting, threads = in_threads(backend, [["a"], ["b"]])
        with pytest.raises(QueueFullError):
            backend.embed(["c"])
        unload = threading.Thread(target=backend.unload_model)
        unload.start()
        gate.open.set()
        for thread in (*started, *threads, unload):
            thread.join(60)
        assert all(isinstance(result, ModelNotLoadedError) for result in waiting)
        assert backend.engine.closed
        with pytest.raises(ModelNotLoadedError):
            backend.embed(["d"])


def test_what_memory_cannot_hold_at_once_is_computed_in_parts(backend: LengthBackend) -> None:
    def crowded(texts: list[str]) -> None:
        if len(texts) > 2:
            raise OutOfRoomError

    backend.engine.step = crowded
    assert lengths(backend, list("abcdefgh")) == [1] * 8
    assert [len(step) for step in backend.engine.computed] == [8, 4, 2, 2, 2, 2]

    def never(texts: list[str]) -> None:
        raise OutOfRoomError

    backend.engine.step = never
    with pytest.raises(GenerationError, match="too little memory for this text, even alone"):
        backend.embed(["a"])


def test_a_matrix_of_another_size_is_a_breach(backend: LengthBackend) -> None:
    backend.engine.step = lambda texts: array("f", [1, 2, 3])
    with pytest.raises(ContractError, match=r"LengthEngine.*12 bytes instead of 4"):
        backend.embed(["a"])


def test_an_engine_without_room_is_refused() -> None:
    backend = LengthBackend()
    backend.engine.n_batch = 0
    with pytest.raises(Exception, match="n_batch must be at least 1"):
        backend.load_model("m")


def test_many_threads_get_their_own_vectors(backend: LengthBackend) -> None:
    results: dict[int, list[int]] = {}

    def ask(number: int) -> None:
        results[number] = lengths(backend, ["x" * (number + extra + 1) for extra in range(5)])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: [number + extra + 1 for extra in range(5)] for number in range(16)}
