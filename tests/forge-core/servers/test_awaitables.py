"""Calls that work with and without await."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llamaforge.awaitables import AwaitableResult


def test_without_a_loop_the_work_is_done_when_the_call_returns() -> None:
    threads: list[int] = []
    outcome = AwaitableResult(lambda: threads.append(threading.get_ident()) or 0)
    assert threads == [threading.get_ident()]
    assert not outcome
    assert outcome.result() == 0
    with pytest.raises(ZeroDivisionError):
        AwaitableResult(lambda: 1 / 0)


def test_what_was_done_can_be_awaited_later() -> None:
    outcome = AwaitableResult(lambda: 3)

    async def wait() -> int:
        return await outcome

    assert asyncio.run(wait()) == 3


async def test_within_a_loop_it_is_done_elsewhere() -> None:
    go = threading.Event()
    outcome = AwaitableResult(lambda: (go.wait(30), threading.get_ident())[1])
    assert "pending" in repr(outcome)
    go.set()
    assert await outcome != threading.get_ident()
    assert bool(outcome)
    with pytest.raises(ZeroDivisionError):
        await AwaitableResult(lambda: 1 / 0)


async def test_cancelling_aborts_and_waits_for_the_end() -> None:
    stop, ended = threading.Event(), threading.Event()
    outcome = AwaitableResult(lambda: (stop.wait(30), ended.set())[1], stop.set)
    waiting = asyncio.ensure_future(outcome._wait())
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
