"""One call of ``embed`` or ``rerank``: its requests, its deadline, and what its caller gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from ..cancellation import CancellationToken
from ..embeddings import EmbeddingBatch, RankedDocument, Ranking, ScoreBatch, Totals
from ..errors import ContractError, GenerationError, GenerationTimeoutError, LlamaForgeError, UnsupportedError
from ..requests.embedding import EmbeddingRequest, read_options
from ..requests.rerank import RerankRequest, read_documents, read_top_n
from ..validation import read_timeout
from ..vectors import is_finite
from .spec import Task
from .watching import Watch

T = TypeVar("T")

_LATE = "Increase timeout, or pass fewer or shorter texts."


class Steps:
    """A cancellation token for each request of a call, so that none keeps what another one registered."""

    def __init__(self, whole: CancellationToken) -> None:
        self._whole = whole
        self._current: CancellationToken | None = None
        whole.on_cancel(self._cancel)

    def next(self) -> CancellationToken:
        """That of the next request, with the deadline of the whole call."""
        self._current = step = CancellationToken(self._whole.timeout, self._whole.started)
        if self._whole.headers:
            step.headers = self._whole.headers
        if self._whole.cancelled:
            step.cancel()
        return step

    def _cancel(self) -> None:
        if self._current is not None:
            self._current.cancel()


class RerankCall:
    """One call of ``rerank``: what it asks for, and the scores so far. Raises a RequestError."""

    def __init__(
        self,
        backend: str,
        query: object,
        documents: Iterable[str],
        *,
        top_n: object,
        truncation: object,
        timeout: object,
        drop: object,
        supported: frozenset[str],
        most: int,
        started: float,
    ) -> None:
        given = {"truncation": truncation}
        options, dropped = read_options(given, backend=backend, supported=supported, drop=drop)
        self._top_n = read_top_n(top_n)
        self._token = CancellationToken(read_timeout(timeout), started)
        self.steps = Steps(self._token)
        self._query, self._documents = read_documents(query, documents)
        self._truncation = options.truncation
        self._most = most
        self._backend = backend
        self._totals = Totals(started, options.parameters(), dropped)
        self._scores: list[float] = []
        self._watch: Watch | None = None

    def watched(self, watch: Watch) -> None:
        """Tell *watch* what is asked, and how it ends."""
        self._watch = watch
        watch.start_ranking(self._query, self._documents, self._totals.parameters, self._token)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._token.cancel()

    def requests(self) -> Iterator[RerankRequest]:
        """The documents, as many at once as the backend takes."""
        for first in range(0, len(self._documents), self._most):
            documents = tuple(self._documents[first : first + self._most])
            yield RerankRequest(query=self._query, documents=documents, first=first, truncation=self._truncation)

    def take(self, request: RerankRequest, batch: ScoreBatch | None) -> None:
        """The scores of *request*. Raises ContractError or GenerationError."""
        if batch is None:
            raise GenerationError("The ranking was cancelled.")
        scores = [float(score) for score in batch.scores]
        if len(scores) != len(request.documents):
            raise ContractError(self._backend, f"it gave {len(scores)} scores for {len(request.documents)} documents")
        if not all(score == score for score in scores):
            raise GenerationError("The model computes NaN: its file is damaged, or the engine can't run it correctly.")
        self._scores += scores
        self._totals.add(batch.usage)

    def ranking(self) -> Ranking:
        """The documents, best first."""
        if self._watch is not None:
            self._watch.finish(self._totals)
        order = sorted(range(len(self._scores)), key=lambda index: -self._scores[index])
        ranked = (RankedDocument(index, self._scores[index], self._documents[index]) for index in order[: self._top_n])
        return Ranking(documents=tuple(ranked), **self._totals.details)


def run_step(work: Callable[[], T], token: CancellationToken, backend: str) -> T | None:
    """What *work* gives; None if the call was cancelled meanwhile. Raises typed errors alone."""
    try:
        _check_deadline(token)
        done = work()
    except Exception as error:  # noqa: BLE001 - an engine may raise anything
        raise_failure(error, token, backend)
        return None
    _check_deadline(token)
    return None if token.cancelled else done


async def arun_step(work: Awaitable[T], token: CancellationToken, backend: str) -> T | None:
    """:func:`run_step` for event loops."""
    try:
        done = await work
        _check_deadline(token)
    except Exception as error:  # noqa: BLE001 - an engine may raise anything
        raise_failure(error, token, backend)
        return None
    return None if token.cancelled else done


def raise_failure(error: Exception, token: CancellationToken, backend: str) -> None:
    """Raise what the caller gets for *error*; nothing after a cancellation."""
    if token.cancelled:
        return
    _check_deadline(token)
    try:
        if isinstance(error, LlamaForgeError):
            raise error
        raise GenerationError(f"The backend {backend!r} failed: {type(error).__name__}: {error}") from error
    finally:
        del error  # its traceback has this frame, which would keep it alive


def _check_deadline(token: CancellationToken) -> None:
    if token.expired and not token.cancelled:
        raise GenerationTimeoutError(token.timeout or 0.0, advice=_LATE) from None


def checked(batch: EmbeddingBatch, request: EmbeddingRequest, totals: Totals, backend: str) -> EmbeddingBatch:
    """*batch*, counted. Raises ContractError or GenerationError for what no caller should get."""
    vectors = batch.vectors
    if len(vectors) != len(request.inputs):
        raise ContractError(backend, f"it gave {len(vectors)} vectors for {len(request.inputs)} texts")
    if vectors.dimensions != (request.dimensions or totals.dimensions or vectors.dimensions):
        wanted = request.dimensions or totals.dimensions
        raise ContractError(backend, f"its vectors have {vectors.dimensions} dimensions instead of {wanted}")
    if not is_finite(vectors):
        raise GenerationError("The model computes NaN: its file is damaged, or the engine can't run it correctly.")
    totals.dimensions = vectors.dimensions
    totals.add(batch.usage)
    return batch


def task_error(task: Task, backend: str, able: frozenset[Task], declared: frozenset[Task]) -> UnsupportedError:
    """The error for a *task* that is not among those that the loaded model is *able* to do."""
    what = {"generate": "generating text (task generate)", "embed": "embeddings (task embed)"}
    advice = ""
    if task in declared:
        advice = f"The model is loaded for {' and '.join(sorted(able)) or 'nothing'}. "
        advice += f"Load a model for that, or this one with task={task!r}."
    return UnsupportedError(what.get(task, "reranking (task rerank)"), backend, advice)
