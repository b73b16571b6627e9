"""Runs the rows of a batch on loaded models, several at once, and writes what comes of each."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import queue
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..arriving import arriving
from ..backends.base import BaseBackend
from ..backends.watching import refused
from ..errors import (
    AuthenticationError,
    BatchFileError,
    ContextOverflowError,
    GenerationError,
    GenerationTimeoutError,
    InvalidParameterError,
    LlamaForgeError,
    ModelError,
    ModelNotLoadedError,
    QueueFullError,
    RateLimitError,
    RequestError,
    UnknownModelError,
)
from ..results import GeneratedText
from ..streams import TextStream
from .bodies import answer_body
from .index import RowIndex
from .journal import MARK, Journal
from .rows import Row

if TYPE_CHECKING:
    from ..observation import Operation

OPERATIONS: Final[dict[str, Operation]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "generate",
    "/v1/embeddings": "embed",
}
"""What rows ask for, as observers hear it."""
_encode = msgspec.json.Encoder().encode
_AHEAD: Final = 4
"""For each request at once, how many rows may be read ahead, or wait for an earlier one with *in_order*."""
_FATAL: Final = (ModelNotLoadedError, AuthenticationError)
"""What would fail every other row, too: the run ends, and its rows stay to be done."""


@dataclass
class Summary:
    """What has become of a batch's rows."""

    finished: int = 0
    """Rows that this run has answered."""
    failed: int = 0
    """Rows that ended with an error in this run."""
    skipped: int = 0
    """Rows that were done before."""
    failed_before: int = 0
    """Those of ``skipped`` that had failed, and were not tried again."""


@dataclass(slots=True)
class _Done:
    """What has become of one row."""

    row: Row
    key: bytes
    order: int
    line: bytes
    failed: bool
    fatal: LlamaForgeError | None = None


class BatchRun:
    """One run over a batch.

    Args:
        backend: gives the loaded model for a row's ``model``, and its name for the answer. Raises a ModelError.
        results: where answers go.
        errors: where errors go.
        parameters: generation parameters for what rows leave open.
        model: the one model of all rows; None: each row names its own. It is part of each row's key.
        concurrency: rows at once.
        in_order: write in the order of the input, not in that of the answers.
        retry_errors: do the rows again that have failed before.
        expected: how many rows there are, about.

    What the files hold is done already: a row whose ``custom_id`` is there isn't repeated. Raises BatchFileError if
    they can't be read.
    """

    def __init__(
        self,
        backend: Callable[[str | None], tuple[BaseBackend, str]],
        results: Journal,
        errors: Journal,
        *,
        parameters: Mapping[str, Any] | None = None,
        model: str | None = None,
        concurrency: int = 8,
        in_order: bool = False,
        retry_errors: bool = False,
        expected: int = 0,
    ) -> None:
        self.summary = Summary()
        self._backend = backend
        self._results = results
        self._errors = errors
        self._parameters = dict(parameters or {})
        self._about = msgspec.json.encode({"model": model, "parameters": self._parameters}, order="sorted")
        self._concurrency = concurrency
        self._in_order = in_order
        self._retry = retry_errors
        self._seen = RowIndex(expected)
        """The rows that have an answer or were begun in this run."""
        self._failed, self._failed_now = RowIndex(), RowIndex()
        """Those that failed in an earlier run, and in this one."""
        self._live: set[TextStream] = set()
        self._lock = threading.Lock()
        self._stopping = False
        for _, written in results.lines():
            self._seen.set(written.name, written.key)
        self._old_errors = 0
        for _, written in errors.lines():
            self._old_errors += 1
            self._failed.set(written.name, written.key)

    def run(self, rows: Iterable[Row], progress: Callable[[Summary], object] | None = None) -> Summary:
        """Do the *rows* that aren't done. *progress* is called after each.

        Raises BatchFileError for a ``custom_id`` that stands for another request than before, or for a file that can't
        be written; ModelNotLoadedError or AuthenticationError, which no row would survive. Whatever ends the run, what
        has been answered is in the files, and another run goes on from there.
        """
        tasks: queue.SimpleQueue[tuple[int, Row, bytes] | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        workers = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(self._work, tasks, done),
                name="llamaforge-batch",
                daemon=True,
            )
            for _ in range(self._concurrency)
        ]
        for worker in workers:
            worker.start()
        try:
            for _ in self._through(self._to_do(rows, progress), tasks, done):
                if progress is not None:
                    progress(self.summary)
            self._clean()
        finally:
            self._stop()
            for _ in workers:
                tasks.put(None)
            for worker in workers:
                worker.join()
        return self.summary

    def _to_do(self, rows: Iterable[Row], progress: Callable[[Summary], object] | None) -> Iterator[tuple[Row, bytes]]:
        summary = self.summary
        skip_failed = self._old_errors > 0 and not self._retry
        for row in rows:
            key, name = row.key(self._about), row.name
            failed = self._failed.get(name) if skip_failed and self._seen.get(name) is None else None
            known = failed or self._seen.add(name, key)
            if known is None:
                yield row, key
            elif known == key:
                summary.skipped += 1
                summary.failed_before += failed is not None or self._failed_now.get(name) is not None
                if progress is not None:
                    progress(summary)
            else:
                raise BatchFileError(
                    f"Line {row.line} has the custom_id {row.custom_id!r}, which stands for another request already: "
                    "with another body, model or parameters. Give it another custom_id, or choose another output file.",
                    line=row.line,
                )

    def _through(
        self,
        rows: Iterator[tuple[Row, bytes]],
        tasks: queue.SimpleQueue[tuple[int, Row, bytes] | None],
        done: queue.SimpleQueue[_Done],
    ) -> Iterator[None]:
        """Hand out the rows and write what comes back: the only thread that touches the files."""
        most = self._concurrency * (_AHEAD if self._in_order else 2)
        waiting: dict[int, _Done] = {}
        given = written = 0
        refused: BatchFileError | None = None
        more = True
        while more or written < given:
            while more and given - written < most:
                try:
                    row, key = next(rows)
                except StopIteration:
                    more = False
                    break
                except BatchFileError as error:  # what is under way is written first
                    refused, more = error, False
                    break
                tasks.put((given, row, key))
                given += 1
            if written == given:
                break
            ready = [done.get()]
            while not done.empty():  # what has come meanwhile is written with it
                ready.append(done.get())
            fatal = next((each.fatal for each in ready if each.fatal is not None), None)
            ready = [each for each in ready if each.fatal is None]
            if self._in_order:
                waiting.update((each.order, each) for each in ready)
                ready = list(_next(waiting, written))
            self._write(ready)
            written += len(ready)
            if fatal is not None:
                raise fatal
            yield from itertools.repeat(None, len(ready))
        if refused is not None:
            raise refused

    def _write(self, ready: list[_Done]) -> None:
        for journal, failed in ((self._results, False), (self._errors, True)):
            lines = [each.line for each in ready if each.failed == failed]
            if lines:
                journal.append(b"".join(lines))
        for each in ready:
            if each.failed:
                self._failed_now.set(each.row.name, each.key)
                self.summary.failed += 1
            else:
                self.summary.finished += 1

    def _clean(self) -> None:
        """Leave out errors that were overcome since, and earlier ones of rows that failed again."""
        if not self._old_errors:
            return
        old = itertools.islice(self._errors.lines(), self._old_errors)
        stale = [number for number, (_, written) in enumerate(old, 1) if self._seen.get(written.name) is not None]
        if stale:
            gone = frozenset(stale)
            self._errors.keep(lambda number, _: number not in gone)

    def _work(self, tasks: queue.SimpleQueue[tuple[int, Row, bytes] | None], done: queue.SimpleQueue[_Done]) -> None:
        while (task := tasks.get()) is not None and not self._stopping:
            order, row, key = task
            done.put(self._answer(order, row, key))

    def _answer(self, order: int, row: Row, key: bytes) -> _Done:
        mark: dict[str, Any] = {"key": key.hex()}
        line: dict[str, Any] = {"id": f"batch_req_{secrets.token_hex(8)}", "custom_id": row.custom_id}
        operation = OPERATIONS.get(row.url, "chat")
        fatal = None
        response, error = None, None
        if row.body is None:
            error = {"code": "invalid_row", "message": row.problem}
            mark["line"] = row.line
            refused(None, operation, None, BatchFileError(row.problem, line=row.line))
        else:
            try:
                with arriving(operation) as arrival:
                    asked = row.body.get("model")
                    if not isinstance(asked, str | None):
                        raise InvalidParameterError("model", asked, "a model's name")
                    arrival.model = asked or ""
                    backend, model = self._backend(asked)
                    arrival.model = model
                    body = answer_body(backend, row.url, row.body, model, self._parameters, self._read)
                response = {"status_code": 200, "request_id": line["id"], "body": body}
            except Exception as failure:  # noqa: BLE001 - whatever it is, the other rows go on
                typed = failure
                if not isinstance(typed, LlamaForgeError):
                    typed = GenerationError(f"The row failed: {type(failure).__name__}: {failure}")
                fatal = typed if isinstance(typed, _FATAL) else None
                status, told = error_body(typed)
                response = {"status_code": status, "request_id": line["id"], "body": {"error": told}}
        failed = error is not None or (response is not None and response["status_code"] != 200)
        line |= {"response": response, "error": error, MARK: mark}
        return _Done(row, key, order, _encode(line) + b"\n", failed, fatal)

    def _read(self, stream: TextStream) -> GeneratedText:
        with stream:
            with self._lock:
                self._live.add(stream)
            try:
                if self._stopping:
                    stream.cancel()
                return stream.read()
            finally:
                with self._lock:
                    self._live.discard(stream)

    def _stop(self) -> None:
        """End what is under way: its rows stay to be done."""
        self._stopping = True
        with self._lock:
            live = list(self._live)
        for stream in live:
            with contextlib.suppress(Exception):
                stream.cancel()


def _next(waiting: dict[int, _Done], first: int) -> Iterator[_Done]:
    """Take those out of *waiting* whose turn it is."""
    while (ready := waiting.pop(first, None)) is not None:
        yield ready
        first += 1


def error_body(error: LlamaForgeError) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the error object that a server would answer with."""
    status, kind, code = 500, "server_error", None
    if isinstance(error, ContextOverflowError):
        status, kind, code = 400, "invalid_request_error", "context_length_exceeded"
    elif isinstance(error, UnknownModelError):
        status, kind, code = 404, "invalid_request_error", "model_not_found"
    elif isinstance(error, RequestError):
        status, kind = 400, "invalid_request_error"
    elif isinstance(error, QueueFullError | RateLimitError):
        status, kind = 429, "rate_limit_error"
    elif isinstance(error, GenerationTimeoutError):
        status = 504
    elif isinstance(error, ModelError):
        status = 503
    field = "model" if isinstance(error, UnknownModelError) else getattr(error, "name", None)
    return status, {"message": str(error), "type": kind, "param": field, "code": code}
