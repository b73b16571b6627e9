"""Rankings: sorted, whole, and the same for the same documents."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ...embeddings import Ranking
from ...errors import EmptyPromptError, GenerationTimeoutError, InvalidParameterError, UnsupportedError
from ..expect import Told, expect, expect_equal, expect_refusal, together
from ..kit import Kit
from ..subject import Subject
from .vectors import LONG, NEAR, TEXTS

QUERY: Final = "when does the tide come in"
_CALLERS: Final = 8


class RankingChecks(Kit):
    """``rerank`` and its asynchronous twin."""

    def test_a_ranking_is_sorted_and_whole(self, subject: Subject) -> None:
        """Each document comes once, with its place and text, best first.

        Why: scores are matched to documents by their places. Look at: ``compute_scores``.
        """
        ranking = _rank(subject, TEXTS)
        expect_equal(sorted(each.index for each in ranking), list(range(len(TEXTS))), "the documents' places")
        expect_equal([each.document for each in ranking], [TEXTS[each.index] for each in ranking], "the texts")
        scores = [each.score for each in ranking]
        expect_equal(scores, sorted(scores, reverse=True), "the scores")
        expect(len(set(scores)) > 1, "scores that depend on the documents", scores)

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
        if "truncation" not in subject.backend.capabilities.embedding:
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


def _rank(subject: Subject, documents: Any, **options: Any) -> Ranking:
    __tracebackhide__ = True
    return subject.answered(lambda: subject.backend.rerank(QUERY, documents, **options), f"a ranking with {options}")
