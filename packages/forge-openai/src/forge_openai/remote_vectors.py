"""Vectors and rankings from a server: which route is asked, in threads and event loops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from llamaforge.backends.embedding_calls import EmbeddingCalls
from llamaforge.cancellation import CancellationToken
from llamaforge.embeddings import EmbeddingBatch, ScoreBatch
from llamaforge.errors import ContextOverflowError, LlamaForgeError, ModelNotLoadedError, ServerError
from llamaforge.requests import EmbeddingRequest, RerankRequest

from . import tei
from .config import OpenAIConfig
from .embedding import (
    EMBEDDINGS,
    MOST_TEXTS,
    RERANK,
    SECOND_RERANK,
    BodyDecoder,
    embeddings_body,
    read_embeddings,
    read_scores,
    rerank_body,
)
from .endpoint import Endpoint
from .wire.cancel_scope import CancelScope
from .wire.drivers import arun, run
from .wire.exchange import Call, exchange
from .wire.session import Session

_NO_SUCH_ROUTE: Final = (404, 405)


class Route(NamedTuple):
    """One way to ask."""

    path: str
    below_root: bool
    """Whether it stands below the server's root instead of the API's base URL."""
    body: bytes

    def compose(self, endpoint: Endpoint) -> tuple[str, bytes]:
        """Address and body for a server."""
        if not self.below_root:
            return self.path, self.body
        return endpoint.address.rstrip("/").removesuffix("/v1") + self.path, self.body


class RemoteVectors(EmbeddingCalls):
    """The calls for vectors and rankings of a backend whose model is on a server."""

    _session: Session | None
    _settings: OpenAIConfig
    _model: str
    _second_rerank = False
    """Whether the server turned out to know only the second rerank route."""
    _tei: tei.TEIServer | None = None
    """What a Text Embeddings Inference server says of itself; None for servers of other kinds."""

    @property
    def texts_per_request(self) -> int:
        """What OpenAI takes in one call, or what the server says."""
        return MOST_TEXTS if self._tei is None else self._tei.batch

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        """One POST."""
        session, route = self._embedding_route(request)
        try:
            body = self._post(session, route, cancellation)
        except (ContextOverflowError, ServerError) as error:
            raise self.explain_inputs(error, request) from None
        return read_embeddings(body, request, _address(session))

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        """One POST, in the running event loop."""
        session, route = self._embedding_route(request)
        try:
            body = await self._apost(session, route, cancellation)
        except (ContextOverflowError, ServerError) as error:
            refused = error
        else:
            return read_embeddings(body, request, _address(session))
        raise await asyncio.to_thread(self.explain_inputs, refused, request) from None

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """One POST; a second one where the server doesn't know the first route."""
        session, route, other = self._rerank_routes(request)
        try:
            body = self._post(session, route, cancellation)
        except ServerError as error:
            if other is None or error.status not in _NO_SUCH_ROUTE:
                raise
            with _instead_of(error):
                body = self._post(session, other, cancellation)
            self._second_rerank = True
        return read_scores(body, request, _address(session))

    async def acompute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """The same in the running event loop."""
        session, route, other = self._rerank_routes(request)
        try:
            body = await self._apost(session, route, cancellation)
        except ServerError as error:
            if other is None or error.status not in _NO_SUCH_ROUTE:
                raise
            with _instead_of(error):
                body = await self._apost(session, other, cancellation)
            self._second_rerank = True
        return read_scores(body, request, _address(session))

    def explain(self, error: LlamaForgeError) -> LlamaForgeError:
        """What a request raises for *error*: itself. A subclass may know more, as that the server is its child."""
        return error

    def explain_inputs(
        self, error: ContextOverflowError | ServerError, request: EmbeddingRequest
    ) -> ContextOverflowError | ServerError:
        """What a request for vectors raises for *error*. A subclass may find out which text the server means.

        It may ask the server, and is never called in an event loop.
        """
        if not isinstance(error, ContextOverflowError) or None in (error.prompt_tokens, error.context_size):
            return error
        name = request.name_of(0) if len(request.inputs) == 1 else f"{request.name_of(0)} or a later text"
        return ContextOverflowError(error.prompt_tokens, error.context_size, "Shorten it.", input_name=name)

    def _explanation(self, session: Session) -> Callable[[LlamaForgeError], LlamaForgeError]:
        """What a request to *session* raises for an error."""
        raise NotImplementedError

    def _embedding_route(self, request: EmbeddingRequest) -> tuple[Session, Route]:
        if self._settings.embedding_api == "tei":
            return self._connected(), Route("/embed", True, tei.embed_body(request))
        return self._connected(), Route(EMBEDDINGS, False, embeddings_body(request, self._model, self.name))

    def _rerank_routes(self, request: RerankRequest) -> tuple[Session, Route, Route | None]:
        """The route to ask, and one to ask where the server doesn't know that."""
        if self._settings.embedding_api == "tei":
            return self._connected(), Route("/rerank", True, tei.rerank_body(request)), None
        body = rerank_body(request, self._model)
        second = Route(SECOND_RERANK, True, body)
        if self._second_rerank:
            return self._connected(), second, None
        return self._connected(), Route(RERANK, False, body), second

    def _connected(self) -> Session:
        session = self._session
        if session is None:
            raise ModelNotLoadedError()
        return session

    def _post(self, session: Session, route: Route, cancellation: CancellationToken) -> bytes:
        scope = CancelScope.of(cancellation)
        body: Any = next(run(exchange(self._body_call(session, route), session, scope), scope), b"")
        return bytes(body)

    async def _apost(self, session: Session, route: Route, cancellation: CancellationToken) -> bytes:
        scope = CancelScope.of(cancellation)
        steps = exchange(self._body_call(session, route), session, scope)
        async with contextlib.aclosing(arun(steps, scope)) as found:
            body: Any = await anext(found, b"")
        return bytes(body)

    def _body_call(self, session: Session, route: Route) -> Call:
        """A request whose answer is one JSON value."""
        return Call(route.compose, lambda _: BodyDecoder(), self._explanation(session))


@contextlib.contextmanager
def _instead_of(first: ServerError) -> Iterator[None]:
    """The *first* error counts, where the second route doesn't exist, either."""
    try:
        yield
    except ServerError as error:
        if error.status not in _NO_SUCH_ROUTE:
            raise
        raise first from None


def _address(session: Session) -> str:
    return session.servers[0].endpoint.address
