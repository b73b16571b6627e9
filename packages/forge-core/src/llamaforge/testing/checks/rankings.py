"""Rankings: sorted, whole, and the same for the same documents."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ...embeddings import Ranking
from ...errors import (
    EmptyPromptError,
    GenerationTimeoutError,
    InvalidParameterError,
    LlamaForgeError,
    RequestError,
    UnsupportedError,
)
from ..expect import Told, comes_true, expect, expect_equal, expect_refusal, together
from ..kit import Kit
from ..subject import Subject
from .comparing_vectors import LONG, NEAR, TEXTS, declares, leaves_nothing_running
from .memory import REQUESTS, does_not_grow
from .vector_texts import MANY, WHOLE

QUERY: Final = "when does the tide come in"
_CALLERS: Final = 8


class RankingChecks(Kit):
    """``rerank`` and its asynchronous twin."""

    def test_a_ranking_is_sorted_and_whole(self, subject: Subject) -> None:
        """Each document comes once, with its place and text, best first; in this process, scores are from 0 to 1.

        Why: scores are matched to documents by their places, and compared. Look at: ``compute_scores``; logits.
        """
        ranking = _rank(subject, TEXTS)
        expect_equal(sorted(each.index for each in ranking), list(range(len(TEXTS))), "the documents' places")
        expect_equal([each.document for each in ranking], [TEXTS[each.index] for each in ranking], "the texts")
        scores = [each.score for each in ranking]
        expect_equal(scores, sorted(scores, reverse=True), "the scores")
        expect(len(set(scores)) > 1, "scores that depend on the documents", scores)
        if not subject.backend.capabilities.server_defaults:
            expect(scores[-1] >= 0 and scores[0] <= 1, "scores from 0 to 1 of an engine in this process", scores)

    def test_top_n_keeps_the_best(self, subject: Subject) -> None:
        """``top_n`` gives the first so many of the whole ranking.

        Why: it must not change what is best. Look at: nothing; the base class does it.
        """
        whole, best = _rank(subject, TEXTS), _rank(subject, TEXTS, top_n=2)
        expect_equal([each.index for each in best], [each.index for each in whole[:2]], "the best two")

    def test_a_document_has_the_same_score_alone_and_among_others(self, subject: Subject) -> None:
        """A document has the same score each time, alone and among others, by rounding.

        Why: batches are made as callers come. Look at: padding; which text the segments belong to.
        """
        for ranked in _rank(subject, TEXTS):
            for documents in ([ranked.document], [ranked.document, *TEXTS]):
                found = next(each for each in _rank(subject, documents) if each.index == 0)
                away = abs(found.score - ranked.score)
                near = self.rounding or NEAR
                expect(away <= near, f"the score of {ranked.document!r}, within {near:g}", Told(f"{away:.3g} away"))

    def test_the_query_counts(self, subject: Subject) -> None:
        """Another query gives a document another score.

        Why: a reranker that sees the document alone ranks by taste. Look at: how query and document are put together.
        """
        one = {each.index: each.score for each in _rank(subject, TEXTS)}
        other = {each.index: each.score for each in subject.backend.rerank(TEXTS[2], TEXTS)}
        expect(one != other, "scores that depend on the query", one)

    def test_rankings_agree_in_threads_and_loops(self, subject: Subject) -> None:
        """Threads and event loops get the ranking that a plain call gets.

        Why: servers rank for many users. Look at: ``acompute_scores``; shared state.
        """
        wanted = [each.index for each in _rank(subject, TEXTS)]
        found: dict[int, Any] = {}

        def ask(caller: int) -> None:
            found[caller] = [each.index for each in subject.backend.rerank(QUERY, TEXTS)]

        together(self.patience, [lambda caller=caller: ask(caller) for caller in range(_CALLERS)])  # type: ignore[misc]
        for caller in range(_CALLERS):
            expect_equal(found[caller], wanted, f"the ranking of caller {caller}")
        loop = self.run_async(lambda: subject.backend.arerank(QUERY, TEXTS))
        expect_equal([each.index for each in loop], wanted, "the ranking of arerank")

    def test_a_long_document_is_cut_on_request(self, subject: Subject) -> None:
        """With ``truncation="auto"`` the beginning of a document that is too long is compared with the query, and what
        was cut off is counted. Where that is not declared, it is refused.

        Why: a long document that gets the score of an empty one is never found. Look at: what cutting does to the
        marks that tell query and document apart.
        """
        documents = [f"{text} {LONG[:100_000]}" for text in (TEXTS[0], TEXTS[2])]
        if not declares(subject, "truncation"):
            refused = "truncation, not declared"
            expect_refusal(UnsupportedError, lambda: subject.backend.rerank(QUERY, TEXTS, truncation="auto"), refused)
            return
        ranking = _rank(subject, documents, truncation="auto", timeout=self.patience)
        scores = [each.score for each in ranking]
        expect(len(set(scores)) == 2, "scores that depend on how long documents begin", scores)
        if ranking.usage is not None and not ranking.usage.estimated:
            expect(ranking.usage.truncated_tokens > 0, "what was cut off to be counted", ranking.usage)

    def test_what_cannot_be_ranked_is_refused(self, subject: Subject) -> None:
        """An empty query or document is refused, and so is one text in place of several; the error names which.

        Why: one string is a list of letters to Python. Look at: nothing; the base class checks it.
        """
        bad: tuple[tuple[Any, Any, str], ...] = (
            ("", TEXTS, "query"),
            (QUERY, ["fine", ""], "documents[1]"),
            (QUERY, "one text", "documents"),
            (QUERY, ["fine", None], "documents[1]"),
        )
        for query, documents, named in bad:
            error = expect_refusal(
                (EmptyPromptError, InvalidParameterError),
                lambda query=query, documents=documents: subject.backend.rerank(query, documents),  # type: ignore[misc]
                f"{query!r} with {documents!r}",
            )
            expect(named in str(error), f"the error to name {named}", error)

    def test_a_ranking_has_a_deadline_and_usage(self, subject: Subject) -> None:
        """A deadline that has passed ends the call with GenerationTimeoutError; a ranking that ends has its counts.

        Why: as for every call. Look at: ``cancellation``; the ``usage`` of ``ScoreBatch``.
        """
        expect_refusal(
            GenerationTimeoutError,
            lambda: subject.backend.rerank(QUERY, [*TEXTS] * 2000, timeout=1e-3),
            "12,000 documents in a millisecond",
        )
        expect_refusal(
            GenerationTimeoutError,
            lambda: asyncio.run(subject.backend.arerank(QUERY, [*TEXTS] * 2000, timeout=1e-3)),
            "the same in an event loop",
        )
        usage = _rank(subject, TEXTS).usage
        expect(usage is None or usage.prompt_tokens > 0, "tokens, or no usage at all", usage)

    def test_many_documents_have_their_own_scores(self, subject: Subject) -> None:
        """Hundreds of documents each have the score that they have alone; equal ones keep their order.

        Why: what is split into requests and batches is put together again. Look at: ``request.first``; the order of
        what a batch sorts by length.
        """
        count = min(MANY, subject.backend.texts_per_request + 40)
        ends = (", come in", "", "", "", "", "", "")
        documents = [
            TEXTS[3] if number % 9 == 4 else f"fog {number}, tide {number % 5}{ends[number % 7]}"
            for number in range(count)
        ]
        ranking = self._in_time(subject, iter(documents))
        expect_equal(sorted(each.index for each in ranking), list(range(count)), "the documents' places")
        expect(all(each.document == documents[each.index] for each in ranking), "each place's own text", ranking)
        scores = {each.index: each.score for each in ranking}
        for place in sorted({0, 4, 13, count // 2, count - 2, count - 1, subject.backend.texts_per_request}):
            if place < count:
                alone = _rank(subject, [documents[place]])[0].score
                self._near(scores[place], alone, f"the score of document {place} of {count}")
        later = self.run_async(lambda: subject.backend.arerank(QUERY, documents))
        for each in later:
            self._near(each.score, scores[each.index], f"the score of document {each.index} of {count} by arerank")
        alike = [each for each in _rank(subject, [TEXTS[0], TEXTS[3], TEXTS[0]]) if each.index != 1]
        if alike[0].score == alike[1].score:
            expect_equal([each.index for each in alike], [0, 2], "the order of equal documents")

    def test_threads_rank_for_their_own_queries(self, subject: Subject) -> None:
        """Threads and tasks with different queries and documents at once each get their own scores.

        Why: servers rank for many users. Look at: a query that is kept on the backend.
        """
        queries = (QUERY, *TEXTS[:3])
        known = {query: _scores(subject.backend.rerank(query, TEXTS)) for query in queries}

        def ask(query: str, documents: Sequence[str]) -> None:
            for _ in range(3):
                self._alike(subject.backend.rerank(query, documents), known[query], len(documents), query)

        works = [functools.partial(ask, query, TEXTS[: 3 + number % 2]) for number, query in enumerate(queries * 2)]
        together(self.patience, works)

        async def tasks() -> list[Ranking | BaseException]:
            leaving = [asyncio.create_task(subject.backend.arerank(QUERY, TEXTS)) for _ in range(4)]
            staying = [asyncio.create_task(subject.backend.arerank(query, TEXTS)) for query in queries]
            await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            return await asyncio.gather(*staying, return_exceptions=True)

        for query, ranking in zip(queries, self.run_async(tasks), strict=True):
            if not isinstance(ranking, Ranking):
                expect(False, f"the ranking of the task for {query!r}, which was not cancelled", ranking)
                return
            self._alike(ranking, known[query], len(TEXTS), query)

    def test_the_whole_of_a_document_counts(self, subject: Subject) -> None:
        """All of a query and of a document counts: what follows a NUL, letters beyond ASCII, and the last word; odd
        texts disturb no others.

        Why: as for vectors. Look at: how both get to the tokenizer; cutting without being asked.
        """
        alone = _rank(subject, TEXTS[:1])[0].score
        for text, other, what in WHOLE:
            with contextlib.suppress(RequestError):
                scores = _scores(subject.backend.rerank(text, [text, other]))
                expect(scores[0] != scores[1], f"other scores for {text!r} and {other!r} ({what})", scores)
                beside = _scores(subject.backend.rerank(QUERY, [text, TEXTS[0]]))
                self._near(beside[1], alone, f"the score of a document beside {text!r}")

    def test_a_long_document_is_refused_or_cut(self, subject: Subject) -> None:
        """A document that doesn't fit with the query is refused; with ``truncation="auto"`` its beginning counts, what
        was cut off is counted, and the query counts whole.

        Why: a page's first lines look like the page. Look at: ``truncation=True`` of a tokenizer, which may cut the
        query.
        """
        try:
            whole = subject.backend.rerank(QUERY, [LONG], timeout=self.patience)
        except (RequestError, GenerationTimeoutError):
            pass
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            expect(False, "a RequestError for a document of 100,000 words", error)
        else:
            read = 10**5 if whole.usage is None else whole.usage.prompt_tokens
            expect(read >= 10**5, "all words to be read, or the document to be refused", whole.usage)
        if not declares(subject, "truncation"):
            return
        given: dict[str, Any] = {"truncation": "auto", "timeout": self.patience}
        found = subject.backend.rerank(QUERY, [LONG + TEXTS[1], TEXTS[0], LONG + TEXTS[2]], **given)
        scores = _scores(found)
        self._near(scores[1], _rank(subject, TEXTS[:1])[0].score, "the score of a short document beside long ones")
        if found.usage is None or found.usage.estimated or not found.usage.truncated_tokens:
            return
        self._near(scores[0], scores[2], "the score of a long document with another end")
        read = found.usage.prompt_tokens + found.usage.truncated_tokens
        expect(read >= 2 * 10**5, "what was cut off to be counted", found.usage)
        other = _scores(subject.backend.rerank("flour, eggs and milk", [LONG + TEXTS[1]], **given))
        expect(other != {0: scores[0]}, "another score for another query, whose end was not cut off", other)

    def test_usage_of_rankings_adds_up(self, subject: Subject) -> None:
        """Documents that are ranked together have as many tokens as one by one; ``arerank`` counts the same. A longer
        query has more.

        Why: providers bill by it. Look at: counts of the padded matrix; the last request's count alone.
        """
        whole = _rank(subject, TEXTS).usage
        if whole is None or whole.estimated:
            return
        parts = [_rank(subject, [text]).usage for text in TEXTS]
        alone = sum(part.prompt_tokens for part in parts if part is not None)
        expect_equal(whole.prompt_tokens, alone, "prompt_tokens of all documents")
        expect_equal(whole.completion_tokens, 0, "completion_tokens")
        document = [min(TEXTS, key=len)]
        plain, longer = (subject.backend.rerank(query, document).usage for query in (QUERY, f"{QUERY}, and again"))
        more = plain is None or longer is None or longer.prompt_tokens > plain.prompt_tokens
        expect(more, "more prompt_tokens with a longer query", (plain, longer))
        expect_equal(self.run_async(lambda: subject.backend.arerank(QUERY, TEXTS)).usage, whole, "usage of arerank")

    def test_scores_are_the_same_after_loading_again(self, subject: Subject) -> None:
        """Loaded again, the model gives a document the same score.

        Why: thresholds are chosen once. Look at: a classifier whose weights the checkpoint doesn't have.
        """
        known = _scores(_rank(subject, TEXTS))
        with self.fresh() as other:
            self._alike(_rank(other, TEXTS), known, len(TEXTS), QUERY)

    def test_a_ranking_ends_with_its_caller(self, subject: Subject) -> None:
        """A task that is cancelled leaves no request running; unloading ends a ranking with a typed error; rankings
        that fail or end leave nothing behind.

        Why: clients leave, servers swap models. Look at: ``cancellation``; ``unload`` while ``compute_scores`` runs.
        """
        many = list(TEXTS) * 3000
        leaves_nothing_running(self, subject, lambda: subject.backend.arerank(QUERY, many))
        with self.fresh() as other:
            ends: list[object] = []

            def ask() -> None:
                try:
                    while True:
                        other.backend.rerank(QUERY, many, timeout=self.patience)
                except BaseException as error:  # noqa: BLE001 - it is looked at
                    ends.append(error)

            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
            comes_true(lambda: other.backend.requests_in_flight == 1, self.patience)
            other.backend.unload_model()
            thread.join(self.patience)
            expect(ends and isinstance(ends[0], LlamaForgeError), "a typed error", ends)

        numbers = itertools.count(1000)

        def rank() -> None:
            number = next(numbers)
            _rank(subject, [f"{number}: {text}" for text in TEXTS])
            with contextlib.suppress(LlamaForgeError):
                subject.backend.rerank(QUERY, many, timeout=1e-6)
            with contextlib.suppress(LlamaForgeError):
                subject.backend.rerank(QUERY, ["fine", ""])

        does_not_grow(self, rank, REQUESTS, "rankings")

    def test_options_of_rankings_are_honoured_or_refused(self, subject: Subject) -> None:
        """``truncation`` is honoured where it is declared, else refused, or dropped and named; ``top_n`` below 1 is
        refused, and one beyond the documents gives them all; ``arerank`` does the same.

        Why: as for vectors. Look at: a ``rerank`` of your own.
        """
        calls: dict[str, Callable[..., Ranking]] = {
            "rerank": lambda **given: subject.backend.rerank(QUERY, TEXTS, **given),
            "arerank": lambda **given: self.run_async(lambda: subject.backend.arerank(QUERY, TEXTS, **given)),
        }
        whole = _rank(subject, TEXTS)
        for way, call in calls.items():
            for bad in ({"top_n": 0}, {"top_n": "2"}, {"truncation": "left"}, {"timeout": -1}):
                expect_refusal(RequestError, lambda call=call, bad=bad: call(**bad), f"{bad} of {way}")  # type: ignore[misc]
            found = [each.index for each in call(top_n=len(TEXTS) + 1)]
            expect_equal(found, [each.index for each in whole], f"the documents of {way} with a large top_n")
            expect_equal([each.index for each in call(top_n=1)], [whole[0].index], f"the best one of {way}")
            if declares(subject, "truncation"):
                expect_equal(call(truncation="auto").parameters.get("truncation"), "auto", "truncation in parameters")
                continue
            expect_refusal(UnsupportedError, lambda call=call: call(truncation="auto"), f"truncation of {way}")  # type: ignore[misc]
            dropped = call(truncation="auto", on_unsupported="drop").dropped
            expect_equal(dropped, ("truncation",), f"what {way} dropped")

    def _near(self, score: float, wanted: float, what: str) -> None:
        __tracebackhide__ = True
        near = self.rounding or NEAR
        expect(abs(score - wanted) <= near, f"{what} to be {wanted:.4g}, within {near:g}", Told(f"{score:.4g}"))

    def _alike(self, ranking: Ranking, known: Mapping[int, float], count: int, query: str) -> None:
        __tracebackhide__ = True
        scores = _scores(ranking)
        expect_equal(sorted(scores), list(range(count)), f"the documents' places for {query!r}")
        for index, score in scores.items():
            self._near(score, known[index], f"the score of document {index} for {query!r}")

    def _in_time(self, subject: Subject, documents: Any) -> Ranking:
        __tracebackhide__ = True
        return subject.in_time(lambda: subject.backend.rerank(QUERY, documents), "a ranking")


def _scores(ranking: Ranking) -> dict[int, float]:
    """Each document's score, by its place."""
    return {each.index: each.score for each in ranking}


def _rank(subject: Subject, documents: Any, **options: Any) -> Ranking:
    __tracebackhide__ = True
    return subject.answered(lambda: subject.backend.rerank(QUERY, documents, **options), f"a ranking with {options}")
