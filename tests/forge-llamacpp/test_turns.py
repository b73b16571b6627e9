"""The queue in front of the engine: by order of arrival, past whoever stays away, and never for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from forge_llamacpp.turns import Turns
from llamaforge.control import Control
from llamaforge.errors import GenerationError, GenerationTimeoutError, ModelNotLoadedError


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    while not condition():
        time.sleep(0.001)


class Waiter(threading.Thread):
    """Takes a turn, notes it, and leaves."""

    def __init__(self, turns: Turns, order: list[object], name: str, control: Control | None = None) -> None:
        super().__init__(daemon=True)
        self.turns, self.order, self.who, self.control = turns, order, name, control or Control()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.turns.take(self.who, self.control)
        except Exception as error:
            self.error = error
        else:
            self.order.append(self.who)
            self.turns.leave(self.who)


def waiting(turns: Turns) -> int:
    return len(turns._waiting)


def test_turns_go_by_order_of_arrival() -> None:
    turns = Turns()
    order: list[object] = []
    turns.take("holder", Control())
    threads = []
    for name in "abcdefgh":
        threads.append(Waiter(turns, order, name))
        until(lambda: waiting(turns) == len(threads))
    turns.leave("holder")
    for thread in threads:
        thread.join()
    assert order == list("abcdefgh")


def test_a_holder_keeps_its_turn_while_it_works_and_while_it_rests_shortly() -> None:
    turns = Turns()
    order: list[object] = []
    turns.take("holder", Control())
    thread = Waiter(turns, order, "next")
    until(lambda: waiting(turns) == 1)
    for _ in range(20):
        turns.rest("holder")
        turns.take("holder", Control(), first=True)
    assert order == []
    turns.leave("holder")
    thread.join()
    assert order == ["next"]


def test_a_holder_that_stays_away_is_passed_over_and_is_next_when_it_comes_back() -> None:
    turns = Turns()
    order: list[object] = []
    turns.take("sleeper", Control())
    turns.rest("sleeper")
    turns.take("worker", Control())  # in the very thread that would have to wake the sleeper
    later = Waiter(turns, order, "later")
    until(lambda: waiting(turns) == 1)

    def come_back() -> None:
        turns.take("sleeper", Control(), first=True)
        order.append("sleeper")

    back = threading.Thread(target=come_back)
    back.start()
    until(lambda: waiting(turns) == 2)
    turns.leave("worker")
    back.join()
    assert order == ["sleeper"]
    turns.leave("sleeper")
    later.join()
    assert order == ["sleeper", "later"]


def test_leaving_without_the_turn_takes_it_from_nobody() -> None:
    turns = Turns()
    turns.take("a", Control())
    turns.leave("b")
    turns.rest("b")
    with pytest.raises(GenerationTimeoutError):
        turns.take("c", Control(timeout=0.08))
    assert waiting(turns) == 0


def test_the_deadline_counts_while_waiting() -> None:
    turns = Turns()
    turns.take("a", Control())
    with pytest.raises(GenerationTimeoutError):
        turns.take("b", Control(timeout=0.01))
    turns.leave("a")
    turns.take("c", Control(timeout=5))


def test_a_caller_that_leaves_waits_no_longer() -> None:
    turns = Turns()
    order: list[object] = []
    turns.take("a", Control())
    control = Control()
    control.on_cancel(turns.wake)
    left = Waiter(turns, order, "left", control)
    until(lambda: waiting(turns) == 1)
    stays = Waiter(turns, order, "stays")
    until(lambda: waiting(turns) == 2)
    control.cancel()
    left.join()
    assert isinstance(left.error, GenerationError)
    turns.leave("a")
    stays.join()
    assert order == ["stays"]


def test_closing_sends_everybody_away() -> None:
    turns = Turns()
    order: list[object] = []
    turns.take("a", Control())
    threads = [Waiter(turns, order, name) for name in "bcd"]
    until(lambda: waiting(turns) == 3)
    turns.close()
    for thread in threads:
        thread.join()
        assert isinstance(thread.error, ModelNotLoadedError)
    for name in "ae":
        with pytest.raises(ModelNotLoadedError):
            turns.take(name, Control())
