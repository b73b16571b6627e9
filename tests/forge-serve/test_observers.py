"""The server's requests are observed like all others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llamaforge import observers
from llamaforge.observers import ObservedRequest, Observer, RequestEnd
from support.serving import Running, body, post, until


class Ear(Observer):
    def __init__(self) -> None:
        self.started: list[ObservedRequest] = []
        self.ended: list[tuple[ObservedRequest, RequestEnd]] = []

    def on_start(self, request: ObservedRequest) -> None:
        self.started.append(request)

    def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
        self.ended.append((request, end))


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    with observers.attach(ear):
        yield ear


@pytest.mark.parametrize("stream", [False, True])
def test_each_answer_starts_and_ends_once(server: Running, ear: Ear, stream: bool) -> None:
    status, _, _ = post(server, "/v1/chat/completions", body("Hello", model="echo", stream=stream, max_tokens=5))
    assert status == 200
    until(lambda: ear.ended)
    ((request, end),) = ear.ended
    assert len(ear.started) == 1
    assert (request.operation, request.model, request.parameters["max_tokens"]) == ("chat", "echo", 5)
    assert (end.outcome, end.finish_reason) == ("finished", "stop")
    assert end.usage is not None


def test_vectors(server: Running, ear: Ear) -> None:
    content: Any = {"model": "embed", "input": ["a b", "c"]}
    assert post(server, "/v1/embeddings", content)[0] == 200
    ((request, end),) = ear.ended
    assert (request.operation, request.model, end.outcome) == ("embed", "embed", "finished")


def test_what_is_refused(server: Running, ear: Ear) -> None:
    status, _, _ = post(server, "/v1/chat/completions", body("Hello", model="echo", temperature=-1))
    assert status == 400
    ((_, end),) = ear.ended
    assert end.outcome == "refused"
