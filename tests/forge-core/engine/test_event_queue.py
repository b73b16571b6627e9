"""From the scheduler's thread to a waiting thread or task."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from llamaforge.engine.event_queue import LoopEventQueue, ThreadEventQueue
from llamaforge.results import TextDelta

ONE, TWO, THREE = (TextDelta(text) for text in ("one", "two", "three"))


async def until_waits(*queues: LoopEventQueue) -> None:
    """Until a task waits at each of them."""
    while any(each.arrival is None for each in queues):  # noqa: ASYNC110 - nothing tells when it begins to wait
        await asyncio.sleep(0)


def test_a_thread_gets_items_in_order_and_none_after_its_time() -> None:
    items = ThreadEventQueue()
    for item in (ONE, TWO):
        items.put(item)
    assert [items.get(None), items.get(0.001), items.get(0.001)] == [ONE, TWO, None]


def test_a_thread_waits_as_long_as_it_takes() -> None:
    items = ThreadEventQueue()
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(items.get(None)))
    reader.start()
    items.put(ONE)
    reader.join()
    assert found == [ONE]


def test_a_task_gets_items_in_order_and_none_after_its_time() -> None:
    async def main() -> list[Any]:
        items = LoopEventQueue()
        for item in (ONE, TWO):
            items.put(item)
        found = [await items.get(None), await items.get(0.001), await items.get(0.001)]
        assert items.arrival is None
        return found

    assert asyncio.run(main()) == [ONE, TWO, None]


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_task_that_waits_is_woken_from_another_thread(timeout: float | None) -> None:
    async def main() -> Any:
        items = LoopEventQueue()
        reading = asyncio.create_task(items.get(timeout))
        await until_waits(items)
        await asyncio.to_thread(items.put, ONE)
        return await reading

    assert asyncio.run(main()) is ONE


def test_an_item_that_comes_before_the_wait_is_not_missed() -> None:
    async def main() -> Any:
        items = LoopEventQueue()
        loop = asyncio.get_running_loop()
        made = loop.create_future

        def create_future() -> Any:
            items.put(ONE)  # from another thread, just now
            return made()

        loop.create_future = create_future  # type: ignore[method-assign]
        try:
            return await items.get(None)
        finally:
            loop.create_future = made  # type: ignore[method-assign]

    assert asyncio.run(asyncio.wait_for(main(), 60)) is ONE


def counted(loop: asyncio.AbstractEventLoop) -> list[Callable[..., Any]]:
    """The callbacks that other threads gave to *loop*."""
    calls: list[Callable[..., Any]] = []
    soon = loop.call_soon_threadsafe

    def call(callback: Callable[..., Any], *given: Any, **more: Any) -> Any:
        calls.append(callback)
        return soon(callback, *given, **more)

    loop.call_soon_threadsafe = call  # type: ignore[method-assign]
    return calls


def test_a_loop_is_woken_once_for_all_who_wait_and_again_afterwards() -> None:
    async def main() -> list[int]:
        calls = counted(asyncio.get_running_loop())
        queues = [LoopEventQueue() for _ in range(5)]
        woken = []
        for _ in range(3):
            calls.clear()
            tasks = [asyncio.create_task(each.get(60)) for each in queues]
            await until_waits(*queues)
            for each in queues:
                each.put(ONE)
                each.put(TWO)
            assert await asyncio.gather(*tasks) == [ONE] * 5
            woken.append(len(calls))
            assert [await each.get(60) for each in queues] == [TWO] * 5
        return woken

    assert asyncio.run(main()) == [1, 1, 1]


def test_nobody_is_woken_who_does_not_wait() -> None:
    async def main() -> int:
        calls = counted(asyncio.get_running_loop())
        items = LoopEventQueue()
        items.put(ONE)
        assert await items.get(60) is ONE
        return len(calls)

    assert asyncio.run(main()) == 0


def test_a_task_that_left_is_not_woken() -> None:
    async def main() -> Any:
        items = LoopEventQueue()
        reading = asyncio.create_task(items.get(None))
        await until_waits(items)
        items.put(ONE)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert items.arrival is None
        await asyncio.sleep(0)
        return await items.get(60)

    assert asyncio.run(main()) is ONE


def test_a_loop_that_is_closed_takes_nothing_and_hurts_nobody() -> None:
    async def begin() -> LoopEventQueue:
        items = LoopEventQueue()
        task = asyncio.create_task(items.get(None))
        await until_waits(items)
        task.cancel()
        return items

    loop = asyncio.new_event_loop()
    items = loop.run_until_complete(begin())
    items.arrival = loop.create_future()  # as if its task still waited
    loop.close()
    for item in (ONE, TWO, THREE):
        items.put(item)

    async def main() -> Any:
        other = LoopEventQueue()
        reading = asyncio.create_task(other.get(60))
        await until_waits(other)
        other.put(ONE)
        return await reading

    assert asyncio.run(main()) is ONE, "the next loop has a bell of its own"
    assert not items._loop_waker._filled
