"""The toy as a small server: two workers, and a queue for whoever comes meanwhile."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from ...cancellation import CancellationToken
from ...errors import ModelNotLoadedError
from ...requests import GenerationRequest
from ...results import Event, Finished
from .backends import ToyBackend

WORKERS: Final = 2


class Job:
    """A request on its way through the queue: the worker puts events in, the reader takes them out."""

    def __init__(self, request: GenerationRequest, cancellation: CancellationToken) -> None:
        self.request = request
        self.cancellation = cancellation
        self.left = False
        """Whether nobody reads it any more."""
        self._arrived: deque[list[Event] | BaseException] = deque()
        self._change = threading.Condition()
        cancellation.on_cancel(self.leave)

    def put(self, come: list[Event] | BaseException) -> None:
        """Events, or what was raised in their place."""
        with self._change:
            self._arrived.append(come)
            self._change.notify()

    def leave(self) -> None:
        """The reader goes."""
        with self._change:
            self.left = True
            self._change.notify()

    def events(self) -> Iterator[Event]:
        """What arrives, up to the end, the deadline, or the reader's leaving."""
        cancellation = self.cancellation
        while True:
            with self._change:
                self._change.wait_for(lambda: self._arrived or self.left, cancellation.remaining())
                if self.left:
                    return
                come = self._arrived.popleft() if self._arrived else []
            if not come:
                cancellation.check()
            if isinstance(come, BaseException):
                raise come
            yield from come
            if come and isinstance(come[-1], Finished):
                return


class QueueingToyBackend(ToyBackend):
    """Sound: first come, first served; who leaves the queue, or runs out of time in it, takes no turn."""

    def __init__(self) -> None:
        super().__init__()
        self._change = threading.Condition()
        self._waiting: list[Job] = []
        self._at_work: list[Job] = []
        self._workers: list[threading.Thread] = []
        self._open = False

    def load(self, model_path: str, config: Any) -> None:
        """With its workers."""
        super().load(model_path, config)
        self._open = True
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for worker in self._workers:
            worker.start()

    def unload(self) -> None:
        """Whoever waits or reads is told; the workers end."""
        with self._change:
            self._open = False
            for job in (*self._waiting, *self._at_work):
                job.put(ModelNotLoadedError())
            self._waiting.clear()
            self._change.notify_all()
        for worker in self._workers:
            worker.join()
        super().unload()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Through the queue."""
        job = Job(request, cancellation)
        with self._change:
            if not self._open:
                raise ModelNotLoadedError
            self.enqueue(job)
            self._change.notify()
        try:
            yield from self.read(job)
        finally:
            job.leave()
            with self._change:
                if job in self._waiting:
                    self._waiting.remove(job)

    def enqueue(self, job: Job) -> None:
        """At the end of the queue."""
        self._waiting.append(job)

    def read(self, job: Job) -> Iterator[Event]:
        """What the reader gets."""
        return job.events()

    def choose(self, waiting: list[Job]) -> Job:
        """Take the next one out of the queue."""
        return waiting.pop(0)

    def emit(self, job: Job, events: list[Event]) -> None:
        """What one token of *job* has brought."""
        job.put(events)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return
                job = self.choose(self._waiting)
                self._at_work.append(job)
            try:
                for events in self.steps(job.request, job.cancellation):
                    if job.left or not self._open:
                        break
                    time.sleep(self.settings.delay)
                    self.emit(job, events)
            except Exception as error:  # noqa: BLE001 - it is the reader's
                job.put(error)
            finally:
                with self._change:
                    self._at_work.remove(job)
