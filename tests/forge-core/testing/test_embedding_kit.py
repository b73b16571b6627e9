"""The kit's checks for vectors and rankings pass sound backends, and each catches its defect."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from llamaforge import BaseBackend
from llamaforge.backends.echo import EchoBackend
from llamaforge.testing import EmbeddingConformance, NotAsExpected, RerankConformance
from llamaforge.testing.promises.embeddings import PROMISES
from support.ranking_defects import RANKINGS
from support.toy_vectors import Toy
from support.vector_defects import VECTORS, PretendsToEmbed


class TestEchoVectors(EmbeddingConformance):
    backend = "echo"
    model = "anything"
    parameters: ClassVar = {"task": "embed"}


class TestEchoRankings(RerankConformance):
    backend = "echo"
    model = "anything"
    parameters: ClassVar = {"task": "rerank"}


class TestToyVectors(EmbeddingConformance):
    backend = Toy
    model = "toy"


class TestToyRankings(RerankConformance):
    backend = Toy
    model = "toy"


CASES = [
    (suite, name, defect)
    for suite, table in ((EmbeddingConformance, VECTORS), (RerankConformance, RANKINGS))
    for name, defects in table.items()
    for defect in defects
]


@pytest.mark.parametrize(("suite", "name", "defect"), CASES, ids=[f"{case[2].__name__}" for case in CASES])
def test_each_check_catches_its_defect(suite: Any, name: str, defect: type[BaseBackend]) -> None:
    task = "embed" if suite is EmbeddingConformance else "rerank"
    if defect is PretendsToEmbed:
        task = "rerank"
    parameters = {"task": task} if issubclass(defect, EchoBackend) else {}
    settings = {"backend": defect, "model": "m", "parameters": parameters}
    if defect.__name__ in ("EndsAfterAllTexts", "RanksOn"):  # they end late; this late is enough here
        settings["patience"] = 20.0
    conformance = type("Conformance", (suite,), settings)
    with conformance.loaded() as subject, pytest.raises((NotAsExpected, AssertionError)):
        getattr(conformance(), name)(subject)


def test_every_check_for_vectors_has_a_defect() -> None:
    done = {"test_no_check_was_removed"}
    assert set(EmbeddingConformance.checks()) - done == set(VECTORS)
    assert set(RerankConformance.checks()) - done == set(RANKINGS) | {"test_other_tasks_are_refused"}


def test_every_promise_of_vectors_has_two_defects() -> None:
    known = VECTORS | RANKINGS
    found = {promise.id: sum(len(known[check]) for check in promise.checks) for promise in PROMISES if promise.checks}
    assert {number: count for number, count in found.items() if count < 2} == {}
