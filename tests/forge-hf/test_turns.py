"""Turns at the model: in order, and nobody waits for one who has left."""

from __future__ import annotations

import threading
from typing import Any

from forge_hf.turns import Turns
from llamaforge.control import Control


def wait_until(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it never came true")


def queued(turns: Turns) -> int:
    return len(turns._queue)


def start(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_turns_come_in_the_order_of_arrival() -> None:
    turns, order = Turns(), []
    with turns.ticket().turn() as ours:
        assert ours
        threads = []
        for number in range(8):

            def work(number: int = number) -> None:
                with turns.ticket().turn() as mine:
                    assert mine
                    order.append(number)

            threads.append(start(work))
            wait_until(lambda number=number: queued(turns) == number + 1)
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def test_one_who_asks_again_stands_behind_those_who_wait() -> None:
    turns, order = Turns(), []
    first = turns.ticket()

    def other() -> None:
        with turns.ticket().turn():
            order.append("other")

    with first.turn():
        thread = start(other)
        wait_until(lambda: queued(turns) == 1)
    with first.turn():
        order.append("first")
    thread.join(10)
    assert order == ["other", "first"]


def test_one_thread_at_a_time() -> None:
    turns, inside, most = Turns(), [0], [0]

    def work() -> None:
        ticket = turns.ticket()
        for _ in range(300):
            with ticket.turn():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [start(work) for _ in range(8)]
    for thread in threads:
        thread.join(30)
    assert most == [1]
    assert not turns._busy
    assert not queued(turns)


def test_an_error_in_a_turn_ends_it() -> None:
    turns = Turns()
    ticket = turns.ticket()
    try:
        with ticket.turn():
            raise KeyError
    except KeyError:
        pass
    with ticket.turn() as ours:
        assert ours


def test_one_who_leaves_while_waiting_gets_no_turn() -> None:
    turns, control, got = Turns(), Control(), []

    def work() -> None:
        with turns.ticket(control).turn() as ours:
            got.append(ours)

    with turns.ticket().turn():
        thread = start(work)
        wait_until(lambda: queued(turns) == 1)
        control.cancel()
        thread.join(10)
        assert got == [False]
        assert not queued(turns)
    with turns.ticket().turn() as ours:
        assert ours


def test_the_deadline_counts_while_waiting() -> None:
    turns = Turns()
    with turns.ticket().turn(), turns.ticket(Control(timeout=0.05)).turn() as ours:
        assert not ours
    with turns.ticket().turn() as ours:
        assert ours


def test_many_come_and_go() -> None:
    turns, done = Turns(), []

    def work(number: int) -> None:
        for step in range(60):
            control = Control(timeout=0.0005 if (number + step) % 3 == 0 else None)
            with turns.ticket(control).turn() as ours:
                done.append(ours)
            if (number + step) % 5 == 0:
                control.cancel()

    threads = [start(lambda number=number: work(number)) for number in range(8)]
    for thread in threads:
        thread.join(30)
    assert len(done) == 8 * 60
    assert not turns._busy
    assert not queued(turns)
