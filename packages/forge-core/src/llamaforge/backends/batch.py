"""Batches: many prompts in one call, answers in order, an error for each failed prompt, constant memory."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from ..errors import GenerationError, InvalidParameterError, LlamaForgeError
from ..messages import Message
from ..results import GeneratedText
from ..streams import AsyncTextStream, TextStream
from ..validation import plain_value

Prompt = str | Iterable[Message | Mapping[str, Any]]
"""A prompt, or a conversation."""

_MOST: Final = 100_000
"""Concurrent requests; more threads than that no machine has."""
_AHEAD: Final = 4
"""For each concurrent request, how many may be finished or running while the oldest one is awaited."""


@dataclass(frozen=True, slots=True)
class BatchItem:
    """The answer to one prompt of a batch, or its error."""

    index: int
    """The position of its prompt, from 0."""
    answer: GeneratedText | None
    """The answer; None if it failed."""
    error: LlamaForgeError | None = None
    """The error; None if it succeeded."""

    @property
    def text(self) -> GeneratedText:
        """The answer. Raises the error if it failed."""
        if self.answer is None:
            raise self.error or LlamaForgeError("The prompt has no answer.")
        return self.answer


def several(prompts: Iterable[Prompt]) -> Iterable[Prompt]:
    """*prompts*, unless they are a single text, whose letters would be read as prompts, or a single message.

    Raises InvalidParameterError.
    """
    if isinstance(prompts, str | bytes | Mapping | Message) or not isinstance(prompts, Iterable):
        kind = type(prompts).__name__
        message = f"prompts must be a list of prompts or conversations, not {kind}. For a single prompt, pass [prompt]."
        raise InvalidParameterError("prompts", prompts, "a list of prompts", show_value=False, message=message)
    return prompts


def read_concurrency(value: Any) -> int:
    """The number of concurrent requests. Raises InvalidParameterError."""
    read = plain_value(value)
    if not isinstance(read, int) or isinstance(read, bool) or not 1 <= read <= _MOST:
        raise InvalidParameterError("concurrency", value, f"a whole number from 1 to {_MOST}")
    return read


def checked(progress: Any) -> bool | Callable[[int], None]:
    """*progress*, if it is a truth value or a function. Raises InvalidParameterError."""
    if isinstance(progress, bool):
        return progress
    if callable(progress):
        function: Callable[[int], None] = progress
        return function
    raise InvalidParameterError("progress", progress, "True, False, or a function that gets 1 after each answer")


def check_prompt(index: int, prompt: Prompt) -> None:
    """Raise InvalidParameterError, with its index, for what is neither a prompt nor a conversation."""
    if isinstance(prompt, str):
        return
    if isinstance(prompt, bytes | Mapping | Message) or not isinstance(prompt, Iterable):
        kind = type(prompt).__name__
        message = f"Prompt {index} must be a string or a list of messages, not {kind}."
        raise InvalidParameterError(
            f"prompts[{index}]", prompt, "a string or a list of messages", show_value=False, message=message
        )


def run_batch(
    prompts: Iterable[Prompt],
    start: Callable[[int, Prompt], TextStream],
    *,
    concurrency: int,
    progress: bool | Callable[[int], None],
) -> Iterator[BatchItem]:
    """Answer all *prompts* with *concurrency* threads. Leaving the iterator early cancels what is under way.

    *start* gets a prompt with its index.
    """
    streams: set[TextStream] = set()
    lock = threading.RLock()  # reentrant: see below
    left = threading.Event()

    def answer(index: int, prompt: Prompt) -> BatchItem:
        try:
            with start(index, prompt) as stream:
                with lock:
                    streams.add(stream)
                try:
                    if left.is_set():
                        stream.cancel()
                    return BatchItem(index, stream.read())
                finally:
                    with lock:
                        streams.discard(stream)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other prompts go on
            return BatchItem(index, None, _typed(error))

    owner = os.getpid()

    def result(future: Future[BatchItem]) -> BatchItem:
        if os.getpid() != owner:
            raise GenerationError("This process was forked during the batch. Only the parent process gets the rest.")
        return future.result()

    with _shown(progress, prompts) as advance:
        pool = ThreadPoolExecutor(concurrency, "llamaforge-batch")
        waiting: deque[Future[BatchItem]] = deque()
        wait = True
        try:
            for index, prompt in enumerate(prompts):
                run = contextvars.copy_context().run  # a context can be entered by one thread at a time
                waiting.append(pool.submit(run, answer, index, prompt))
                if len(waiting) >= concurrency * _AHEAD:
                    yield result(waiting.popleft())
                    advance(1)
            while waiting:
                yield result(waiting.popleft())
                advance(1)
        except GeneratorExit:
            # The garbage collector may close it, in any thread and amid anything: there, joining threads can wait for a
            # lock that this very thread holds, such as threading's own while a thread starts.
            wait = False
            raise
        finally:
            left.set()
            with lock:
                under_way = list(streams)
            for stream in under_way:
                stream.cancel()
            pool.shutdown(wait=wait, cancel_futures=True)


async def arun_batch(
    prompts: Iterable[Prompt],
    start: Callable[[int, Prompt], AsyncTextStream],
    *,
    concurrency: int,
    progress: bool | Callable[[int], None],
) -> AsyncIterator[BatchItem]:
    """:func:`run_batch` for event loops: *concurrency* tasks at once."""
    turns = asyncio.Semaphore(concurrency)

    async def answer(index: int, prompt: Prompt) -> BatchItem:
        async with turns:
            try:
                async with start(index, prompt) as stream:
                    return BatchItem(index, await stream.read())
            except Exception as error:  # noqa: BLE001 - whatever it is, the other prompts go on
                return BatchItem(index, None, _typed(error))

    with _shown(progress, prompts) as advance:
        waiting: deque[asyncio.Task[BatchItem]] = deque()
        try:
            for index, prompt in enumerate(prompts):
                waiting.append(asyncio.create_task(answer(index, prompt)))
                if len(waiting) >= concurrency * _AHEAD:
                    yield await waiting.popleft()
                    advance(1)
            while waiting:
                yield await waiting.popleft()
                advance(1)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


def _typed(error: Exception) -> LlamaForgeError:
    if isinstance(error, LlamaForgeError):
        return error
    typed = GenerationError(f"The prompt failed: {type(error).__name__}: {error}")
    typed.__cause__ = error
    return typed


@contextlib.contextmanager
def _shown(progress: bool | Callable[[int], None], prompts: Iterable[Prompt]) -> Iterator[Callable[[int], None]]:
    """Report progress: a bar on standard error, the caller's function, or nothing."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _: None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("Generating", total=len(prompts) if isinstance(prompts, Sized) else None)
            yield lambda count: bar.advance(task, count)
