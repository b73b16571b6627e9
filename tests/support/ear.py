"""An observer that keeps what it hears."""

from __future__ import annotations

from llamaforge.observers import ObservedRequest, Observer, RequestEnd


class Ear(Observer):
    """Keeps what it hears."""

    def __init__(self, content: bool = False) -> None:
        self.content = content
        self.started: list[ObservedRequest] = []
        self.ended: list[tuple[ObservedRequest, RequestEnd]] = []
        self.closed = 0

    def on_start(self, request: ObservedRequest) -> None:
        self.started.append(request)

    def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
        self.ended.append((request, end))

    def close(self) -> None:
        self.closed += 1

    def only(self) -> tuple[ObservedRequest, RequestEnd]:
        """The one request so far: started once, ended once."""
        assert len(self.started) == 1, self.started
        assert len(self.ended) == 1, self.ended
        assert self.ended[0][0] is self.started[0]
        return self.ended[0]
