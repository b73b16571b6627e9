"""Taking turns at the model, first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from llamaforge.control import Control


class Turns:
    """One thread at a time works with the model; the others wait in the order in which they came.

    A turn is one forward pass and not one answer: a stream that nobody reads holds nobody up, and callers that are many
    share the model evenly.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = False
        self._queue: deque[Ticket] = deque()

    def ticket(self, control: Control | None = None) -> Ticket:
        """What one request takes its turns with. One thread at a time may use it."""
        return Ticket(self, control or Control())

    def _enter(self, ticket: Ticket) -> bool:
        with self._lock:
            if not self._busy:
                self._busy = True
                return True
            ticket.granted = False
            self._queue.append(ticket)
            return False

    def _next(self) -> None:
        with self._lock:
            if self._queue:
                ticket = self._queue.popleft()
                ticket.granted = True
                ticket.wake()
            else:
                self._busy = False

    def _withdraw(self, ticket: Ticket) -> bool:
        """Leave the queue. False: too late, the turn has been given."""
        with self._lock:
            if ticket.granted:
                return False
            with suppress(ValueError):  # left already
                self._queue.remove(ticket)
            return True


class Ticket:
    """One request's place. Made by :meth:`Turns.ticket`."""

    __slots__ = ("_control", "_turns", "_woken", "granted")

    def __init__(self, turns: Turns, control: Control) -> None:
        self._turns = turns
        self._control = control
        self._woken = threading.Event()
        self.granted = False
        control.on_cancel(self.wake)

    def wake(self) -> None:
        """Look again whether it is our turn, or whether the caller has left."""
        self._woken.set()

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait, then work. False: the caller left or the deadline passed meanwhile, and it is nobody's turn."""
        if not self._wait():
            yield False
            return
        try:
            yield True
        finally:
            self._turns._next()

    def _wait(self) -> bool:
        if self._turns._enter(self):
            return True
        try:
            while not self.granted:
                if self._control.stopped and self._turns._withdraw(self):
                    return False
                self._woken.wait(self._control.remaining())
                self._woken.clear()
        except BaseException:  # Ctrl-C while waiting: the place goes to the next one
            if not self._turns._withdraw(self):
                self._turns._next()
            raise
        return True
