"""Many concurrent readers of long answers: more than the engine computes at once, each in its own thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Final

from ..streams import TextStream
from .expect import NotAsExpected
from .subject import Subject

ARRIVAL: Final = 0.05
"""Seconds after which a request of another thread has certainly started."""


class Crowd:
    """Concurrent readers of long answers.

    Args:
        subject: the backend that they ask. All send the subject's prompt, which gets a long answer.
        number: the number of readers.
        tokens: the maximum length of their answers.
    """

    def __init__(self, subject: Subject, number: int, tokens: int) -> None:
        self.number = number
        self._subject = subject
        self._begun = threading.Event()
        self._streams = [subject.stream(**subject.greedy, **subject.limit(tokens)) for _ in range(number)]
        self._failures: list[Exception] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), name="conformance", daemon=True)
            for stream in self._streams
        ]

    def at_work(self) -> int:
        """The number of readers whose answer has not ended."""
        return sum(reader.is_alive() for reader in self._readers)

    def is_busy(self) -> bool:
        """Whether more than half of the answers have not ended. Then nothing waited for all of them."""
        return 2 * self.at_work() > self.number

    def texts(self, number: int) -> list[str]:
        """The whole answers of the first *number* readers; all others are cancelled."""
        __tracebackhide__ = True
        for stream in self._streams[number:]:
            stream.cancel()
        for reader in self._readers[:number]:
            self._subject.in_time(reader.join, "the answers of those that stay")
        if self._failures:
            raise NotAsExpected("the answers of those that stay", self._failures[0])
        return [stream.text for stream in self._streams[:number]]

    def start(self) -> None:
        """Start all readers, and wait for the first piece of any answer."""
        for reader in self._readers:
            reader.start()
        self._begun.wait(self._subject.patience)
        time.sleep(ARRIVAL)

    def leave(self) -> None:
        """Cancel all answers, and wait for the readers to end."""
        for stream in self._streams:
            stream.cancel()
        for reader in self._readers:
            self._subject.in_time(reader.join, "streams that another thread has closed")

    def _read(self, stream: TextStream) -> None:
        try:
            for _ in stream:
                self._begun.set()
        except Exception as error:  # noqa: BLE001 - told by those who ask for the texts
            self._failures.append(error)
        finally:
            self._begun.set()


@contextlib.contextmanager
def crowd(subject: Subject, number: int, tokens: int) -> Iterator[Crowd]:
    """A crowd that reads during the block and is cancelled at its end."""
    made = Crowd(subject, number, tokens)
    made.start()
    try:
        yield made
    finally:
        made.leave()
