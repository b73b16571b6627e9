"""Sends the requests of one trial and waits for their answers: on a schedule, or with so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from .loop import clock, sleep_until, watching
from .records import Call, Observation, Record
from .targets import Target


class Item(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A request of a load, or a conversation."""

    call: Call
    """The request; of a conversation the first turn."""
    turns: list[str] = []
    """Further user turns, each sent after the answer to the one before."""
    pause: float = 0.0
    """Seconds between an answer and the next turn."""
    index: int = 0
    """Which of its trial."""
    at: float | None = None
    """Its intended arrival, in seconds from the beginning. None: as soon as there is room."""


class Plan(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one process sends in a trial."""

    items: list[Item]
    concurrency: int | None = None
    """Items under way at once, at most. None: as many as are due."""
    worker: int = 0
    """The number of the process."""


class Sent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of a plan."""

    records: list[Record]
    observation: Observation
    begun: float = 0.0
    """The beginning, as the clock said it."""


async def carry_out(target: Target, plan: Plan, origin: float | None = None) -> Sent:
    """Carry out *plan* in the running loop. *origin*: when the trial begins, by the clock; None: now.

    The schedule is never moved: what is sent late counts from its intended arrival. Latency that is counted from the
    sending instead hides the very waiting that a slow server causes (coordinated omission).
    """
    records: list[Record] = []
    seen: list[Observation] = []
    scheduled = any(item.at is not None for item in plan.items)
    begun = clock() if origin is None else origin
    await sleep_until(begun)
    with watching(seen):
        if scheduled:
            await _on_schedule(target, plan, begun, records)
        else:
            await _at_once(target, plan, records)
    for record in records:
        _shift(record, begun)
    records.sort(key=lambda record: (record.index, record.turn))
    return Sent(records=records, observation=seen[0], begun=begun)


async def _on_schedule(target: Target, plan: Plan, begun: float, records: list[Record]) -> None:
    room = asyncio.Semaphore(plan.concurrency) if plan.concurrency is not None else None

    async def one(item: Item, due: float) -> None:
        if room is None:
            await _item(target, item, due, plan.worker, records)
        else:
            async with room:
                await _item(target, item, due, plan.worker, records)

    async with asyncio.TaskGroup() as group:
        for item in sorted(plan.items, key=lambda item: item.at or 0.0):
            due = begun + (item.at or 0.0)
            await sleep_until(due)
            group.create_task(one(item, due))


async def _at_once(target: Target, plan: Plan, records: list[Record]) -> None:
    left = iter(plan.items)

    async def one_after_another() -> None:
        for item in left:
            await _item(target, item, None, plan.worker, records)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(plan.concurrency or len(plan.items), len(plan.items))):
            group.create_task(one_after_another())


async def _item(target: Target, item: Item, due: float | None, worker: int, records: list[Record]) -> None:
    """One request, or all turns of a conversation; a turn that fails ends it."""
    call = item.call
    for turn in range(len(item.turns) + 1):
        last = turn == len(item.turns)
        record = Record(index=item.index, turn=turn, worker=worker, wanted_tokens=call.max_tokens)
        record.intended = clock() if due is None else due
        records.append(record)
        answer = await target.send(call, record, keep_text=not last)
        if last or record.error is not None:
            return
        due = (record.end or clock()) + item.pause
        await sleep_until(due)
        call = _next_turn(call, answer, item.turns[turn])


def _next_turn(call: Call, answer: str, said: str) -> Call:
    messages: list[dict[str, Any]] = list(call.messages or [{"role": "user", "content": call.prompt}])
    messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": said}]
    return msgspec.structs.replace(call, messages=messages, prompt=None)


def _shift(record: Record, begun: float) -> None:
    """Make the clock's times those of the trial."""
    record.intended -= begun
    if record.sent is not None:
        record.sent -= begun
    if record.end is not None:
        record.end -= begun
    record.chunk_times = [time - begun for time in record.chunk_times]
    record.server_times = [time - begun for time in record.server_times]


def share(items: Sequence[Item], concurrency: int | None, workers: int) -> list[Plan]:
    """The plans of *workers* processes: items in turn, the concurrency divided."""
    plans = []
    for worker in range(workers):
        part = None if concurrency is None else concurrency // workers + (worker < concurrency % workers)
        plans.append(Plan(items=list(items[worker::workers]), concurrency=part, worker=worker))
    return [plan for plan in plans if plan.items and plan.concurrency != 0]
