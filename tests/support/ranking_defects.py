"""Backends for rankings, each with one defect, by the check of the kit that has to see it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
from typing import Any, ClassVar

from llamaforge import BaseBackend, CancellationToken, RerankRequest, ScoreBatch, Usage
from llamaforge.backends.echo import EchoBackend
from llamaforge.engine import TokenizedText
from llamaforge.errors import LlamaForgeError

from .toy_vectors import Cuts, GivesUp, Keeps, Toy


def recounted(batch: ScoreBatch, tokens: int) -> ScoreBatch:
    return ScoreBatch(batch.scores, Usage(prompt_tokens=tokens, completion_tokens=0))


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


class ReversesTheSecondRequest(Toy):
    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        batch = super().compute_scores(request, cancellation)
        return ScoreBatch([*batch.scores][::-1], batch.usage) if request.first else batch


class TurnsTiesRound(Toy):
    def rerank(self, query: Any, documents: Any, **options: Any) -> Any:
        ranking = super().rerank(query, documents, **options)
        order = sorted(ranking, key=lambda each: (-each.score, -each.index))
        return type(ranking)(
            documents=tuple(order), usage=ranking.usage, timings=ranking.timings, parameters=ranking.parameters
        )


class KeepsTheQuery(Toy):
    query = ""

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        self.query = request.query
        threading.Event().wait(0.005)
        return super().compute_scores(request, cancellation)

    def score(self, query: str, document: str) -> float:
        return super().score(self.query, document)


class GivesUpRankings(GivesUp):
    async def arerank(self, query: Any, documents: Any, **options: Any) -> Any:
        return await self.together(lambda: self.rerank(query, documents, **options))


class RanksUpToNul(Toy):
    def score(self, query: str, document: str) -> float:
        return super().score(query.partition("\x00")[0], document.partition("\x00")[0])


class RanksInAscii(Toy):
    def score(self, query: str, document: str) -> float:
        return super().score(*(text.encode("ascii", "ignore").decode() for text in (query, document)))


class CutsDocumentsSilently(Toy):
    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        batch = super().compute_scores(request, cancellation)
        tokens = sum(len(request.query) + min(len(document), 512) for document in request.documents)
        return recounted(batch, tokens)


class CutsTheQuery(Cuts):
    @staticmethod
    def cut(text: TokenizedText, length: int) -> TokenizedText:
        return TokenizedText(text.token_ids[-length:], (text.token_types or [])[-length:])


class CountsTheLastDocument(Toy):
    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        batch = super().compute_scores(request, cancellation)
        return recounted(batch, len(request.documents[-1]))


class CountsTheLongestDocument(Toy):
    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        batch = super().compute_scores(request, cancellation)
        tokens = (len(request.query) + max(map(len, request.documents))) * len(request.documents)
        return recounted(batch, tokens)


class MakesUpItsClassifier(Toy):
    weight = 1.0

    def load(self, model_path: str, config: Any) -> None:
        self.weight = random.SystemRandom().random()

    def score(self, query: str, document: str) -> float:
        return super().score(query, document) * self.weight


class RanksOn(Toy):
    """The thread that does a task's work is not told that the task was cancelled."""

    async def arerank(self, query: Any, documents: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def work() -> None:
            with self._in_flight, contextlib.suppress(LlamaForgeError, RuntimeError):  # the loop is closed then
                found = self.rerank(query, documents, **options)
                threading.Event().wait(1.5)
                loop.call_soon_threadsafe(done.set_result, found)

        threading.Thread(target=work, daemon=True).start()
        return await done


class KeepsAllQueries(Keeps):
    kept: ClassVar[list[Any]] = []


class TakesNoneForAll(Toy):
    def rerank(self, query: Any, documents: Any, *, top_n: Any = None, **options: Any) -> Any:
        return super().rerank(query, documents, top_n=top_n or None, **options)


class IgnoresTruncation(Toy):
    async def arerank(self, query: Any, documents: Any, *, truncation: Any = None, **options: Any) -> Any:
        return await super().arerank(query, documents, **options)


class CutsTheMarksOff(Cuts):
    """Of what was cut, nobody knows which part is the query."""

    @staticmethod
    def cut(text: TokenizedText, length: int) -> TokenizedText:
        return TokenizedText(text.token_ids[:length], [0] * length)


class KeepsScoresByText(Toy):
    def load(self, model_path: str, config: Any) -> None:
        self.known: dict[Any, bytearray] = {}

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        for each in request.documents:
            self.known.setdefault(each, bytearray(100_000))
        return super().compute_scores(request, cancellation)


class TellsLogits(Toy):
    def score(self, query: str, document: str) -> float:
        return 8 * super().score(query, document) - 4


class ReversesInLoops(EchoBackend):
    async def acompute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        batch = await super().acompute_scores(request, cancellation)
        return ScoreBatch(batch.scores[::-1], batch.usage) if len(batch.scores) > 8 else batch


class CountsNoQuery(EchoBackend):
    def without(self, request: RerankRequest, batch: ScoreBatch) -> ScoreBatch:
        assert batch.usage is not None
        return recounted(batch, batch.usage.prompt_tokens - len(request.query.split()) * len(request.documents))

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        return self.without(request, super().compute_scores(request, cancellation))

    async def acompute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        return self.without(request, await super().acompute_scores(request, cancellation))


class SeedsForScores(Toy):
    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        random.seed(0)
        return super().compute_scores(request, cancellation)


class ComplainsOfRankings(Toy):
    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        sys.stdout.write("no padding token")
        return super().compute_scores(request, cancellation)


RANKINGS: dict[str, list[type[BaseBackend]]] = {
    "test_a_ranking_is_sorted_and_whole": [RanksEverythingAlike, CutsTheRanking, TellsLogits],
    "test_top_n_keeps_the_best": [TopIsLast],
    "test_a_document_has_the_same_score_alone_and_among_others": [RanksAmongOthers],
    "test_the_query_counts": [RanksByTaste],
    "test_rankings_agree_in_threads_and_loops": [OneAtATime],
    "test_a_long_document_is_cut_on_request": [CutsTheMarksOff],
    "test_what_cannot_be_ranked_is_refused": [RanksLetters],
    "test_a_ranking_has_a_deadline_and_usage": [RanksForEver],
    "test_many_documents_have_their_own_scores": [ReversesTheSecondRequest, TurnsTiesRound, ReversesInLoops],
    "test_threads_rank_for_their_own_queries": [KeepsTheQuery, GivesUpRankings],
    "test_the_whole_of_a_document_counts": [RanksUpToNul, RanksInAscii],
    "test_a_long_document_is_refused_or_cut": [CutsDocumentsSilently, CutsTheQuery],
    "test_vectors_and_scores_change_nothing_of_the_process": [SeedsForScores],
    "test_vectors_and_scores_print_nothing": [ComplainsOfRankings],
    "test_usage_of_rankings_adds_up": [CountsTheLastDocument, CountsTheLongestDocument, CountsNoQuery],
    "test_scores_are_the_same_after_loading_again": [MakesUpItsClassifier],
    "test_a_ranking_ends_with_its_caller": [RanksOn, KeepsAllQueries, KeepsScoresByText],
    "test_options_of_rankings_are_honoured_or_refused": [TakesNoneForAll, IgnoresTruncation],
}
