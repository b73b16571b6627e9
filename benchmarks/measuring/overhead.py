"""What callers cost in core: scheduler, text, events and handing over, with an engine that costs nothing."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from llamaforge.backends.spec import BackendSpec, Capabilities
from llamaforge.engine import (
    BatchEntry,
    Choice,
    Engine,
    EngineBackend,
    EngineConfig,
    Prompt,
    StepResult,
    TokenTable,
)
from llamaforge.requests import GenerationRequest

WORDS = (b" the", b" quick", b" brown", b" fox", b" jumps", b" over", b" a", b" lazy", b" dog")
_TABLE = TokenTable(WORDS)


class FreeEngine(Engine["NoSampling"]):
    """Says one word after another. A step computes nothing and lasts *pause* seconds, in which others may run."""

    n_ctx = 100_000
    n_batch = 512
    can_trim = can_copy = True
    vocab_size = 256
    end_tokens: frozenset[int] = frozenset()

    def __init__(self, n_slots: int, pause: float) -> None:
        self.n_slots = n_slots
        self._pause = pause

    def render(self, request: GenerationRequest) -> str:
        """The prompt."""
        return request.prompt or ""

    def tokenize(self, request: GenerationRequest) -> Prompt:
        """A token a byte."""
        return Prompt(list(self.render(request).encode()))

    def token_table(self) -> TokenTable:
        """The words."""
        return _TABLE

    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> NoSampling:
        """Nothing."""
        return NoSampling()

    def compute(self, entries: Sequence[BatchEntry[NoSampling]]) -> list[StepResult]:
        """The same word for everybody, after the pause."""
        if self._pause:
            time.sleep(self._pause)
        return [[] if entry.sampling is None else [Choice(len(entry.tokens) % len(WORDS))] for entry in entries]

    def trim(self, slot: int, length: int) -> int:
        """Costs nothing."""
        return length

    def copy(self, source: int, target: int, length: int) -> int:
        """Costs nothing."""
        return length


class NoSampling:
    """There is nothing to choose."""

    def close(self) -> None:
        """There is nothing to give back."""


class FreeBackend(EngineBackend):
    """A backend of nothing but core."""

    spec = BackendSpec(
        name="free",
        target="",
        config="",
        summary="",
        capabilities=Capabilities(parameters=frozenset({"max_tokens", "stop", "temperature", "seed"})),
    )
    config_class = EngineConfig
    pause: ClassVar[float] = 0.0

    def open_engine(self, model_path: str, config: EngineConfig) -> FreeEngine:
        """The engine that costs nothing."""
        return FreeEngine(config.n_parallel + config.prefix_cache, self.pause)


def microseconds(kind: str, callers: int, tokens: int, pause: float = 0.0) -> float:
    """Processor time of the whole process per token, with *callers* threads or tasks that read *tokens* tokens each."""
    FreeBackend.pause = pause
    backend = FreeBackend()
    backend.load_model("none", {"n_parallel": callers})
    begin = time.process_time()
    if kind == "threads":
        _threads(backend, callers, tokens)
    else:
        asyncio.run(_tasks(backend, callers, tokens))
    spent = time.process_time() - begin
    backend.unload_model()
    return spent / callers / tokens * 1e6


def handing_over(callers: int, tokens: int, pause: float) -> float:
    """The same for a bare thread that sleeps *pause* seconds and then puts one thing into each of *callers* queues,
    each with a thread at it: what Python and the system take for that alone."""
    queues: list[queue.SimpleQueue[bool]] = [queue.SimpleQueue() for _ in range(callers)]

    def read(mine: queue.SimpleQueue[bool]) -> None:
        while mine.get():
            pass

    def write() -> None:
        for _ in range(tokens):
            time.sleep(pause)
            for each in queues:
                each.put(True)
        for each in queues:
            each.put(False)

    begin = time.process_time()
    _run([threading.Thread(target=read, args=(each,)) for each in queues] + [threading.Thread(target=write)])
    return (time.process_time() - begin) / callers / tokens * 1e6


def _threads(backend: Any, callers: int, tokens: int) -> None:
    def read(number: int) -> None:
        with backend.generate_stream(f"caller {number}", max_tokens=tokens) as stream:
            for _ in stream:
                pass
        assert stream.result.usage.completion_tokens == tokens

    _run([threading.Thread(target=read, args=(number,)) for number in range(callers)])


async def _tasks(backend: Any, callers: int, tokens: int) -> None:
    async def read(number: int) -> None:
        async with backend.agenerate_stream(f"caller {number}", max_tokens=tokens) as stream:
            async for _ in stream:
                pass
        assert stream.result.usage.completion_tokens == tokens

    await asyncio.gather(*(read(number) for number in range(callers)))


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
