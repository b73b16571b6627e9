"""Many prompts in one call."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import tracemalloc

import pytest

from llamaforge import LlamaForge, get_backend
from llamaforge.errors import EmptyPromptError, ModelNotLoadedError


@pytest.fixture
def echo():
    with get_backend("echo")() as backend:
        backend.load_model("anything", {"n_parallel": 4})
        yield backend


def test_answers_come_in_the_order_of_the_prompts(echo):
    prompts = [f"prompt {number} " + "word " * (number * 7 % 23) + "end" for number in range(100)]
    items = list(echo.generate_batch(prompts))
    assert [item.index for item in items] == list(range(100))
    assert [item.text for item in items] == prompts


def test_conversations_are_prompts_too(echo):
    items = list(echo.generate_batch([[{"role": "user", "content": "high tide"}], "low tide"], max_tokens=1))
    assert [str(item.text) for item in items] == ["high", "low"]


def test_a_failure_is_its_own_items_alone(echo):
    items = list(echo.generate_batch(["one", "", "three", "word " * 5000]))
    assert [type(item.error).__name__ for item in items] == [
        "NoneType",
        "EmptyPromptError",
        "NoneType",
        "ContextOverflowError",
    ]
    assert (items[0].answer, items[2].answer) == ("one", "three")
    with pytest.raises(EmptyPromptError):
        _ = items[1].text


async def test_what_is_no_prompt_fails_alone(echo):
    def broken():
        yield {"role": "user", "content": "two"}
        raise OSError("the disk fell off")

    def prompts():
        return ["one", None, 5, [5], broken(), "three"]

    for items in (list(echo.generate_batch(prompts())), [item async for item in echo.agenerate_batch(prompts())]):
        kinds = [type(item.error).__name__ for item in items]
        assert kinds == ["NoneType", *["InvalidParameterError"] * 3, "GenerationError", "NoneType"]
        assert isinstance(items[4].error.__cause__, OSError)
        assert (items[0].answer, items[5].answer) == ("one", "three")


def test_prompts_are_taken_as_they_are_needed_and_memory_is_constant(echo):
    taken = 0

    def prompts(count):
        nonlocal taken
        for number in range(count):
            taken += 1
            yield f"number {number} " + "x" * 1000

    batch = echo.generate_batch(prompts(10**9), concurrency=4)
    next(batch)
    assert taken <= 4 * 4 + 1
    tracemalloc.start()
    for _ in range(50):
        next(batch)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(300):
        next(batch)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    batch.close()
    assert grown < 200_000


def test_leaving_early_cancels_what_is_under_way():
    with get_backend("echo")() as backend:
        backend.load_model("anything", {"delay": 0.02, "n_parallel": 2})
        batch = backend.generate_batch(["short"] + ["word " * 1000] * 20)
        assert next(batch).text == "short"
        before = time.monotonic()
        batch.close()
        assert time.monotonic() - before < 100  # all of it takes 200 seconds at least
        for thread in threading.enumerate():  # closing doesn't wait for them: the garbage collector may do it
            if thread.name.startswith("llamaforge-batch"):
                thread.join(30)
                assert not thread.is_alive()
        assert backend.generate("again") == "again"


def test_a_batch_may_be_closed_where_threads_start(echo):
    batch = echo.generate_batch(["word " * 20] * 20, concurrency=2)
    next(batch)
    with threading._shutdown_locks_lock if hasattr(threading, "_shutdown_locks_lock") else contextlib.nullcontext():
        batch.close()  # as the garbage collector does, amid the start of another thread, which holds that lock


def test_it_tells_how_far_it_is(echo, capsys):
    steps = []
    list(echo.generate_batch(["a", "b", "c"], progress=steps.append))
    assert steps == [1, 1, 1]
    list(echo.generate_batch(["a", "b", "c"], progress=True))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "3/3" in printed.err


def test_event_loops_have_it_too(echo):
    async def main():
        prompts = [f"prompt {number}" for number in range(60)] + [""]
        steps = []
        items = [item async for item in echo.agenerate_batch(prompts, progress=steps.append)]
        assert [item.index for item in items] == list(range(61))
        assert [str(item.answer) for item in items[:60]] == prompts[:60]
        assert isinstance(items[60].error, EmptyPromptError)
        assert len(steps) == 61

    asyncio.run(main())


def test_a_forge_brings_its_models_own_parameters():
    with LlamaForge() as forge:
        forge.add_model("parrot", "anything", backend="echo", generation={"max_tokens": 2})
        forge.load_model("parrot")
        assert [str(item.text) for item in forge.generate_batch(["a b c", "d e f"])] == ["a b", "d e"]
        assert [str(item.text) for item in forge.generate_batch(["a b c"], max_tokens=1)] == ["a"]


def test_a_basic_backend_answers_batches_too():
    from llamaforge import BaseBackend, register_backend

    class Basic(BaseBackend):
        def load_model(self, model_path, parameters=None):
            pass

        def generate(self, prompt, parameters=None):
            return prompt

        def generate_stream(self, prompt, parameters=None):
            yield f"{prompt}, in pieces"

        def is_model_loaded(self):
            return True

    async def asynchronously(forge):
        assert await forge.agenerate("a") == "a"
        return [item.text async for item in forge.agenerate_batch(["a", "b"])]

    register_backend("basic-for-batches", Basic)
    with LlamaForge() as forge:
        forge.add_model("basic", "anything", backend="basic-for-batches")
        forge.load_model("basic")
        # Whole answers come from generate(), however they are asked for.
        assert [item.text for item in forge.generate_batch(["a", "b"])] == ["a", "b"]
        assert asyncio.run(asynchronously(forge)) == ["a", "b"]


class TestUnloading:
    """``unload_model(wait=...)``, on any backend."""

    def test_it_waits_for_what_is_under_way_and_refuses_the_rest(self):
        backend = get_backend("echo")()
        backend.load_model("anything", {"delay": 0.01})
        stream = backend.generate_stream("word " * 30)
        next(stream)
        unloading = threading.Thread(target=backend.unload_model, kwargs={"wait": True})
        unloading.start()
        time.sleep(0.05)
        with pytest.raises(ModelNotLoadedError):
            backend.generate("more")
        assert unloading.is_alive()
        assert stream.read().finish_reason == "stop"
        unloading.join(10)
        assert not backend.is_model_loaded()
        backend.load_model("anything")
        assert backend.generate("again") == "again"
        backend.close()

    def test_it_waits_no_longer_than_it_is_told(self):
        backend = get_backend("echo")()
        backend.load_model("anything", {"delay": 0.05})
        stream = backend.generate_stream("word " * 1000)
        next(stream)
        backend.unload_model(wait=0.1)
        assert not backend.is_model_loaded()
        with pytest.raises(ModelNotLoadedError):
            stream.read()

    def test_asynchronous_requests_count(self):
        async def main():
            backend = get_backend("echo")()
            backend.load_model("anything", {"delay": 0.01})
            task = asyncio.create_task(backend.agenerate("word " * 20))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(backend.unload_model, wait=True)
            assert (await task).finish_reason == "stop"

        asyncio.run(main())
