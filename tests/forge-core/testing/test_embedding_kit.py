"""The kit's checks for vectors and rankings pass sound backends, and each catches its defect."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from array import array
from typing import Any, ClassVar

import numpy as np
import pytest

from llamaforge import (
    BackendSpec,
    BaseBackend,
    CancellationToken,
    Capabilities,
    EmbeddingBatch,
    EmbeddingRequest,
    RerankRequest,
    ScoreBatch,
    Usage,
    Vectors,
)
from llamaforge.backends.echo import EchoBackend
from llamaforge.engine import TokenizedText
from llamaforge.errors import LlamaForgeError, ModelNotLoadedError
from llamaforge.testing import EmbeddingConformance, NotAsExpected, RerankConformance
from llamaforge.testing.promises.embeddings import PROMISES


class TestEchoVectors(EmbeddingConformance):
    backend = "echo"
    model = "anything"
    parameters: ClassVar = {"task": "embed"}


class TestEchoRankings(RerankConformance):
    backend = "echo"
    model = "anything"
    parameters: ClassVar = {"task": "rerank"}


class Toy(BaseBackend):
    """Vectors without an engine: which letters a text has."""

    spec = BackendSpec(
        name="toy-vectors",
        target="m:T",
        config="m:C",
        summary="",
        capabilities=Capabilities(
            tasks=frozenset({"embed", "rerank"}), embedding=frozenset({"normalize", "dimensions"})
        ),
    )

    def load(self, model_path: str, config: Any) -> None: ...

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        rows = [self.vector(str(text)) for text in request.inputs]
        matrix = np.array(rows, dtype=np.float32)[:, : request.dimensions]
        if request.dimensions is not None and request.dimensions > 64:
            from llamaforge.errors import InvalidParameterError

            raise InvalidParameterError("dimensions", request.dimensions, "at most 64")
        if request.normalize is not False:
            matrix = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
        tokens = sum(len(str(text)) for text in request.inputs)
        return EmbeddingBatch(
            Vectors(np.ascontiguousarray(matrix, dtype=np.float32).data, matrix.shape[1]),
            Usage(prompt_tokens=tokens, completion_tokens=0),
        )

    def vector(self, text: str) -> list[float]:
        row = [0.01] * 64
        for place, letter in enumerate(text[:500]):
            row[(ord(letter) * 7 + place) % 64] += 1
        return row

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        cancellation.check()
        scores = [self.score(request.query, document) for document in request.documents]
        return ScoreBatch(scores, Usage(prompt_tokens=1, completion_tokens=0))

    def score(self, query: str, document: str) -> float:
        return len(set(query) & set(document)) / len(set(query))


class TestToyVectors(EmbeddingConformance):
    backend = Toy
    model = "toy"


class TestToyRankings(RerankConformance):
    backend = Toy
    model = "toy"


# Defects.


class OneVectorForAll(Toy):
    def vector(self, text: str) -> list[float]:
        return [1.0] * 64


class Reorders(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        order = sorted(range(len(request.inputs)), key=lambda index: len(request.inputs[index]))
        batch = super().compute_embeddings(request, cancellation)
        return EmbeddingBatch(Vectors.of(batch.vectors[index] for index in order), batch.usage)


class DropsOut(Toy):
    noise = np.random.default_rng(1)

    def vector(self, text: str) -> list[float]:
        return [component * (self.noise.random() > 0.2) for component in super().vector(text)]


class AttendsToPadding(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        longest = max(len(text) for text in request.inputs)
        matrix = np.asarray(batch.vectors) + longest / 1000
        return EmbeddingBatch(Vectors(np.ascontiguousarray(matrix).data, matrix.shape[1]), batch.usage)


class ForgetsToNormalize(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return EmbeddingBatch(Vectors.of([each * 3 for each in row] for row in batch.vectors), batch.usage)


class TakesTheLastComponents(Toy):
    def vector(self, text: str) -> list[float]:
        return super().vector(text)

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        import msgspec

        if request.dimensions is None or request.dimensions > 64:
            return super().compute_embeddings(request, cancellation)
        whole = super().compute_embeddings(msgspec.structs.replace(request, dimensions=None), cancellation)
        return EmbeddingBatch(Vectors.of(row[-request.dimensions :] for row in whole.vectors), whole.usage)


class ClampsDimensions(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        import msgspec

        if request.dimensions is not None and request.dimensions > 64:
            whole = super().compute_embeddings(msgspec.structs.replace(request, dimensions=None), cancellation)
            zeros = [0.0] * (request.dimensions - 64)
            return EmbeddingBatch(Vectors.of([*row, *zeros] for row in whole.vectors), whole.usage)
        return super().compute_embeddings(request, cancellation)


class ReusesItsBuffer(Toy):
    """Rows are views of memory that the next call overwrites."""

    buffer = array("f", [0.0] * 64 * 256)

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        flat = [component for row in batch.vectors for component in row]
        self.buffer[: len(flat)] = array("f", flat)
        threading.Event().wait(0.002)
        return EmbeddingBatch(Vectors(memoryview(self.buffer)[: len(flat)], batch.vectors.dimensions), batch.usage)


class FailsOnSymbols(Toy):
    def vector(self, text: str) -> list[float]:
        text.encode("latin-1")
        return super().vector(text)


class CutsSilently(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        tokens = sum(min(len(str(text)), 512) for text in request.inputs)
        return EmbeddingBatch(batch.vectors, Usage(prompt_tokens=tokens, completion_tokens=0))


class ReadsAllFirst(Toy):
    def embed_stream(self, texts: Any, **options: Any) -> Any:
        return super().embed_stream(list(itertools.islice(texts, 5000)), **options)


class CountsNothing(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return EmbeddingBatch(batch.vectors, Usage(prompt_tokens=1, completion_tokens=0))


class KeepsAllTexts(Toy):
    kept: ClassVar[list[Any]] = []

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        self.kept.append(bytearray(2**20))
        return super().compute_embeddings(request, cancellation)


class BlocksTheLoop(Toy):
    compute_embeddings = BaseBackend.compute_embeddings  # type: ignore[assignment]

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        return Toy.compute_embeddings(self, request, cancellation)

    async def aembed(self, texts: Any, **options: Any) -> Any:
        return self.embed(texts, **options)


class NeverStops(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        return Toy.compute_embeddings(self, request, CancellationToken())

    def embed(self, texts: Any, *, timeout: Any = None, **options: Any) -> Any:
        return super().embed(itertools.islice(iter([texts] if isinstance(texts, str) else texts), 300), **options)


class PretendsToEmbed(EchoBackend):
    """Makes vectors of whatever model is loaded."""

    def embed(self, texts: Any, **options: Any) -> Any:
        return list(texts)


class ReadsTheFirstWord(Toy):
    def vector(self, text: str) -> list[float]:
        return super().vector(text.split()[0])


class SwapsTheLastTwo(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        rows = list(batch.vectors)
        return EmbeddingBatch(Vectors.of([*rows[:-2], *rows[-2:][::-1]]), batch.usage)


class HidesWhatItCuts(EchoBackend):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        assert batch.usage is not None
        return EmbeddingBatch(batch.vectors, Usage(prompt_tokens=batch.usage.prompt_tokens, completion_tokens=0))


class DividesByTheSum(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return EmbeddingBatch(Vectors.of([each / sum(row) for each in row] for row in batch.vectors), batch.usage)


class LooksPromptsUp(EchoBackend):
    def embed(self, texts: Any, *, prompt_name: Any = None, **options: Any) -> Any:
        prompt = {None: "", "query": "query: "}[prompt_name]
        return super().embed([prompt + text for text in ([texts] if isinstance(texts, str) else texts)], **options)


class DropsInSilence(Toy):
    def embed(self, texts: Any, **options: Any) -> Any:
        found = super().embed(texts, **options)
        return type(found)(vectors=found.vectors, usage=found.usage, timings=found.timings, parameters={}, dropped=())


class CountsTheLastText(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return EmbeddingBatch(batch.vectors, Usage(prompt_tokens=len(request.inputs[-1]), completion_tokens=0))


class GoesOnAfterCancelling(Toy):
    """The thread that does a task's work is not told that the task was cancelled."""

    async def aembed(self, texts: Any, **options: Any) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def work() -> None:
            with contextlib.suppress(LlamaForgeError, RuntimeError):  # unloaded, and the loop is closed
                loop.call_soon_threadsafe(done.set_result, self.embed(texts, **options))

        threading.Thread(target=work, daemon=True).start()
        return await done


class AnswersWithWhatItHas(Toy):
    """Vectors so far, for a model that was unloaded meanwhile."""

    def embed(self, texts: Any, **options: Any) -> Any:
        stream = super().embed_stream(texts, **options)
        rows = []
        with contextlib.suppress(ModelNotLoadedError):
            rows += [list(row) for row in stream]
        return rows


class RanksForOtherTasks(EchoBackend):
    """Ranks with whatever model is loaded."""

    def rerank(self, query: Any, documents: Any, **options: Any) -> Any:
        return list(documents)


class RanksByTaste(Toy):
    def score(self, query: str, document: str) -> float:
        return len(document) / 200


class RanksAmongOthers(Toy):
    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        scores = super().compute_scores(request, cancellation).scores
        return ScoreBatch([score / max(scores) * len(scores) for score in scores])


class RanksEverythingAlike(Toy):
    def score(self, query: str, document: str) -> float:
        return 0.5


class CutsTheRanking(Toy):
    def rerank(self, query: Any, documents: Any, **options: Any) -> Any:
        return super().rerank(query, documents, **{**options, "top_n": 3})


class RanksLetters(Toy):
    def rerank(self, query: Any, documents: Any, **options: Any) -> Any:
        return super().rerank(query or "x", [document or "x" for document in documents], **options)


class RanksForEver(Toy):
    def rerank(self, query: Any, documents: Any, *, timeout: Any = None, **options: Any) -> Any:
        return super().rerank(query, documents, **options)


class OneAtATime(Toy):
    """Confuses callers that ask at the same time."""

    asked = 0

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        type(self).asked += 1
        mine = self.asked
        threading.Event().wait(0.005)
        batch = super().compute_scores(request, cancellation)
        return batch if mine == self.asked else ScoreBatch([-score for score in batch.scores])


class TopIsLast(Toy):
    def rerank(self, query: Any, documents: Any, *, top_n: Any = None, **options: Any) -> Any:
        ranking = super().rerank(query, documents, **options)
        return ranking if top_n is None else ranking[-top_n:]


class AcceptsAnyPrompt(EchoBackend):
    def embed(self, texts: Any, *, prompt_name: Any = None, **options: Any) -> Any:
        return super().embed(texts, **options)


class IgnoresOptions(Toy):
    def embed(self, texts: Any, *, truncation: Any = None, **options: Any) -> Any:
        return super().embed(texts, **options)


class EmbedsNothing(Toy):
    def embed(self, texts: Any, **options: Any) -> Any:
        if isinstance(texts, list):
            texts = [text or "nothing" for text in texts]
        return super().embed(texts, **options)


class CutsTheMarksOff(EchoBackend):
    """Of what was cut, nobody knows which part is the query."""

    def open_engine(self, model_path: str, config: Any) -> Any:
        engine: Any = super().open_engine(model_path, config)
        engine.truncate = lambda text, length: TokenizedText(text.token_ids[:length], [0] * length)
        return engine


VECTORS: dict[str, list[type[BaseBackend]]] = {
    "test_each_text_has_a_vector_of_its_own": [OneVectorForAll, ReadsTheFirstWord],
    "test_vectors_come_in_order": [Reorders, SwapsTheLastTwo],
    "test_a_text_has_the_same_vector_each_time": [DropsOut],
    "test_a_text_has_the_same_vector_alone_and_among_others": [AttendsToPadding],
    "test_vectors_have_length_one_on_request": [ForgetsToNormalize, DividesByTheSum],
    "test_dimensions_are_the_first_components": [TakesTheLastComponents, ClampsDimensions],
    "test_an_unknown_prompt_is_refused": [AcceptsAnyPrompt, LooksPromptsUp],
    "test_options_that_are_not_declared_are_refused": [IgnoresOptions, DropsInSilence],
    "test_texts_without_content_are_refused": [EmbedsNothing],
    "test_odd_texts_have_vectors": [FailsOnSymbols],
    "test_a_text_that_is_too_long_is_refused_or_cut": [CutsSilently, HidesWhatItCuts],
    "test_threads_get_their_own_vectors": [ReusesItsBuffer],
    "test_asynchronous_vectors_agree": [BlocksTheLoop],
    "test_texts_are_read_as_needed": [ReadsAllFirst],
    "test_an_embedding_has_a_deadline": [NeverStops],
    "test_embedding_leaves_nothing_behind": [KeepsAllTexts],
    "test_embedding_usage_is_told": [CountsNothing, CountsTheLastText],
    "test_a_cancelled_embedding_ends": [GoesOnAfterCancelling],
    "test_unloading_ends_an_embedding": [AnswersWithWhatItHas],
    "test_other_tasks_are_refused": [PretendsToEmbed, RanksForOtherTasks],
}
RANKINGS: dict[str, list[type[BaseBackend]]] = {
    "test_a_ranking_is_sorted_and_whole": [RanksEverythingAlike, CutsTheRanking],
    "test_top_n_keeps_the_best": [TopIsLast],
    "test_a_document_has_the_same_score_alone_and_among_others": [RanksAmongOthers],
    "test_the_query_counts": [RanksByTaste],
    "test_rankings_agree_in_threads_and_loops": [OneAtATime],
    "test_a_long_document_is_cut_on_request": [CutsTheMarksOff],
    "test_what_cannot_be_ranked_is_refused": [RanksLetters],
    "test_a_ranking_has_a_deadline_and_usage": [RanksForEver],
}
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
    conformance = type("Conformance", (suite,), {"backend": defect, "model": "m", "parameters": parameters})
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
