"""Every request ends, exactly once, whatever breaks; and what it held is free when its caller is told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from concurrent.futures import Future

import pytest

from llamaforge.engine import BytesDetokenizer, OutOfRoomError
from llamaforge.errors import GenerationError, ModelLoadError, ModelNotLoadedError, QueueFullError

from .toy import LETTERS, ToyBackend, ToyEngine, expected, until

TALKATIVE = next(letter for letter in LETTERS if len(expected(letter, 300)) == 300)


class Fragile(ToyEngine):
    """Its *broken* methods raise."""

    broken: frozenset[str] = frozenset()

    def copy(self, source: int, target: int, length: int) -> int:
        self._may_fail("copy")
        return super().copy(source, target, length)

    def trim(self, slot: int, length: int) -> int:
        self._may_fail("trim")
        return super().trim(slot, length)

    def _may_fail(self, name: str) -> None:
        if name in self.broken:
            raise OSError(f"{name} broke")


def fails(backend: ToyBackend, prompt: str) -> GenerationError:
    """The error of a request that must not hang."""
    with pytest.raises(GenerationError) as caught:
        backend.generate(prompt, max_tokens=9, timeout=10)
    return caught.value


@pytest.mark.parametrize(("broken", "can_copy"), [("copy", True), ("trim", False)])
def test_an_engine_that_can_not_reuse_a_slot_fails_whoever_waits_for_it(broken, can_copy):
    backend = ToyBackend(lambda: Fragile(can_copy=can_copy))
    backend.generate("abcdefghijklm", max_tokens=3)
    engine = backend.engine
    engine.broken = frozenset({broken})
    assert "OSError" in str(fails(backend, "abcdefghijkzz"))
    until(lambda: engine.closed)
    assert engine.open_samplings == 0
    backend.load_model("toy")
    assert backend.generate("abc", max_tokens=9) == expected("abc", 9)
    backend.close()


@pytest.mark.parametrize("failing", ["one request", "the step", "memory"])
def test_an_engine_that_can_not_empty_a_slot_fails_whoever_waits_for_it(failing):
    class Worse(Fragile):
        def compute(self, entries):
            self.broken = frozenset({"trim"})
            if failing == "one request":
                return [GenerationError("no numbers") for _ in entries]
            if failing == "the step":
                raise OSError("the card fell off")
            return super().compute(entries)

    with ToyBackend(lambda: Worse(capacity=3 if failing == "memory" else None)) as backend:
        engine = backend.engine
        fails(backend, "abcdefgh")
        until(lambda: engine.closed)
        assert engine.open_samplings == 0


def test_an_answer_that_makes_no_text_fails_alone():
    def unreadable(token: int) -> bytes:
        raise KeyError(token)

    class Half(ToyEngine):
        def detokenizer(self, request, prompt):
            made = super().detokenizer(request, prompt)
            return BytesDetokenizer(unreadable) if request.prompt == "odd" else made

    with ToyBackend(lambda: Half(before=lambda entries: time.sleep(0.001))) as backend:
        other = backend.generate_stream(TALKATIVE, max_tokens=300)
        next(other)
        assert "KeyError" in str(fails(backend, "odd"))
        assert other.read() == expected(TALKATIVE, 300)
        until(lambda: backend.engine.open_samplings == 0)


def test_a_place_is_free_when_its_caller_is_told_the_end():
    """Else a caller who asks again at once finds the queue full, though nobody else is there."""

    class Slow(ToyEngine):
        def trim(self, slot: int, length: int) -> int:
            time.sleep(0.02)
            return super().trim(slot, length)

    with ToyBackend(Slow, n_parallel=1, max_queue=0, prefix_cache=0) as backend:
        for _ in range(5):
            assert backend.generate("abc", max_tokens=2) == expected("abc", 2)
            assert backend.engine.open_samplings == 0


def test_a_batch_asks_for_no_more_than_the_queue_holds():
    with ToyBackend(lambda: ToyEngine(before=lambda entries: time.sleep(0.001)), n_parallel=2, max_queue=0) as backend:
        items = list(backend.generate_batch(["abc"] * 12, max_tokens=9))
    assert [item.text for item in items] == [expected("abc", 9)] * 12


def test_who_left_before_the_start_takes_no_place_in_the_queue():
    go, stepping = threading.Event(), threading.Event()

    def before(entries) -> None:
        stepping.set()
        assert go.wait(20)

    with ToyBackend(lambda: ToyEngine(before=before), n_parallel=1, max_queue=1) as backend:
        running, waiting, *gone = [backend.generate_stream("abc", max_tokens=3) for _ in range(4)]
        threads = [threading.Thread(target=running.read)]
        threads[0].start()
        assert stepping.wait(10)
        for stream in gone:
            stream.cancel()
            assert stream.read().finish_reason == "cancelled"
        threads.append(threading.Thread(target=waiting.read))
        threads[1].start()
        until(lambda: len(backend._scheduler._waiting) == 1)
        with pytest.raises(QueueFullError):
            backend.generate("abc")
        go.set()
        for thread in threads:
            thread.join(10)
        assert waiting.text == expected("abc", 3)


def test_a_thread_that_can_not_be_started_is_an_error_of_loading(monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with ToyBackend() as backend:
        backend.unload_model()
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ModelLoadError, match="new thread"):
                backend.load_model("toy")
        backend.load_model("toy")
        assert backend.generate("abc", max_tokens=3, timeout=10) == expected("abc", 3)


def test_an_engine_that_can_not_be_opened_leaves_no_thread():
    def refuse() -> ToyEngine:
        raise MemoryError("too large")

    before = threading.active_count()
    with pytest.raises(ModelLoadError, match="too large"):
        ToyBackend(refuse)
    until(lambda: threading.active_count() == before)


def test_an_engine_that_nobody_waits_for_any_more_is_closed(monkeypatch):
    """Ctrl+C while it is being opened."""
    opening, go, engines = threading.Event(), threading.Event(), []

    def slow() -> ToyEngine:
        opening.set()
        assert go.wait(20)
        engines.append(ToyEngine())
        return engines[0]

    def interrupted(future: Future) -> None:
        assert opening.wait(20)
        raise KeyboardInterrupt

    before = threading.active_count()
    with monkeypatch.context() as patched:
        patched.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ToyBackend(slow)
    go.set()
    until(lambda: engines and engines[0].closed and threading.active_count() == before)


def test_after_the_scheduler_failed_requests_say_so():
    class Failing(ToyEngine):
        def trim(self, slot: int, length: int) -> int:
            raise OSError("gone")

    with ToyBackend(Failing, n_parallel=1, prefix_cache=0) as backend:
        with contextlib.suppress(GenerationError):
            backend.generate("abc", max_tokens=2)
        until(lambda: not backend._scheduler._thread.is_alive())
        with pytest.raises(GenerationError, match="scheduler failed"):
            backend.generate("abc", max_tokens=2)


def test_a_stream_keeps_its_backend():
    stream = ToyBackend().generate_stream("abc", max_tokens=9)  # nothing else knows the backend
    assert "".join(stream) == expected("abc", 9)


def test_cached_tokens_are_those_of_the_start_that_counted():
    """The first start held nearly all of the prompt, but it made room for another one before it computed anything."""

    def before(entries) -> None:
        time.sleep(0.001)
        if len(entries) == 2:
            raise OutOfRoomError

    prompt = "".join(LETTERS[number * 7 % 27] for number in range(100))
    with ToyBackend(lambda: ToyEngine(before=before), n_parallel=2) as backend:
        assert backend.generate(prompt, max_tokens=2) == expected(prompt, 2)
        other = backend.generate_stream(TALKATIVE, max_tokens=300)
        next(other)
        again = backend.generate(prompt, max_tokens=2)
        assert other.read() == expected(TALKATIVE, 300)
        assert again == expected(prompt, 2)
        assert again.usage.cached_tokens == 0


@pytest.mark.parametrize("waits", [True, False])
def test_an_event_loop_that_is_closed_amid_a_stream_leaves_nobody_behind(waits):
    """Unloading would wait for ever for who is gone."""

    async def begin(backend):
        stream = backend.agenerate_stream(TALKATIVE, max_tokens=300)
        await anext(stream)
        task = asyncio.create_task(stream.read()) if waits else None
        await asyncio.sleep(0.01)
        return stream, task

    with ToyBackend(lambda: ToyEngine(before=lambda entries: time.sleep(0.001))) as backend:
        loop = asyncio.new_event_loop()
        left = loop.run_until_complete(begin(backend))
        loop.close()
        del left
        until(lambda: not backend._scheduler._running)
        gc.collect()
        assert backend._in_flight.drain(10)


@pytest.mark.parametrize("patience", [False, 0.1])
def test_of_several_who_unload_the_one_who_waits_least_counts(patience):
    with ToyBackend(lambda: ToyEngine(before=lambda entries: time.sleep(0.01))) as backend:
        stream = backend.generate_stream(TALKATIVE, max_tokens=300)
        next(stream)
        patient = threading.Thread(target=backend.unload_model, kwargs={"wait": True})
        patient.start()
        until(lambda: backend._in_flight._closed)
        backend.unload_model(wait=patience)
        patient.join(10)
        assert not patient.is_alive()
        assert not backend.is_model_loaded()
        with pytest.raises(ModelNotLoadedError):
            stream.read()


def test_who_gives_up_waiting_for_an_unload_leaves_the_model_usable(monkeypatch):
    def interrupted(timeout: float | None) -> bool:
        raise KeyboardInterrupt

    with ToyBackend(lambda: ToyEngine(before=lambda entries: time.sleep(0.001))) as backend:
        stream = backend.generate_stream(TALKATIVE, max_tokens=300)
        next(stream)
        with monkeypatch.context() as patched:
            patched.setattr(backend._in_flight._changed, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                backend.unload_model(wait=True)
        assert stream.read() == expected(TALKATIVE, 300)
        assert backend.generate("abc", max_tokens=3) == expected("abc", 3)
