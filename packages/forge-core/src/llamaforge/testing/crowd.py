"""A crowd: more long answers at once than the engine computes, each read by a thread of its own."""

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
"""Seconds after which a request that another thread has made is surely under way."""


class Crowd:
    """Readers of long answers.

    Args:
        subject: whom they ask. They all ask the subject's own prompt, which is answered at length.
        number: how many they are.
        tokens: how long their answers are.
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
        """How many are not at the end of their answer."""
        return sum(reader.is_alive() for reader in self._readers)

    def is_busy(self) -> bool:
        """Whether more than half are not at the end: what has ended by now has not waited for all of them."""
        return 2 * self.at_work() > self.number

    def texts(self, number: int) -> list[str]:
        """The first ones' whole answers; all others leave."""
        __tracebackhide__ = True
        for stream in self._streams[number:]:
            stream.cancel()
        for reader in self._readers[:number]:
            self._subject.in_time(reader.join, "the answers of those that stay")
        if self._failures:
            raise NotAsExpected("the answers of those that stay", self._failures[0])
        return [stream.text for stream in self._streams[:number]]

    def start(self) -> None:
        """Begin, and wait for the first piece of any answer."""
        for reader in self._readers:
            reader.start()
        self._begun.wait(self._subject.patience)
        time.sleep(ARRIVAL)

    def leave(self) -> None:
        """End all of it."""
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
    """A crowd at work, which leaves at the end of the block."""
    made = Crowd(subject, number, tokens)
    made.start()
    try:
        yield made
    finally:
        made.leave()
