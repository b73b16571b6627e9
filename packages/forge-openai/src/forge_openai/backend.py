"""The backend: one model on one server."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from llamaforge.backends.base import BaseBackend
from llamaforge.backends.spec import Capabilities
from llamaforge.cancellation import CancellationToken
from llamaforge.embeddings import EmbeddingBatch, ScoreBatch
from llamaforge.errors import ConnectionFailedError, LlamaForgeError, ModelNotLoadedError, UnsupportedError
from llamaforge.requests import EmbeddingRequest, GenerationRequest, RerankRequest
from llamaforge.results import Event

from .answer.decoder import AnswerDecoder
from .answer.reader import AnswerReader
from .config import OpenAIConfig
from .embedding import (
    EMBEDDINGS,
    MOST_TEXTS,
    RERANK,
    BodyDecoder,
    embeddings_body,
    read_embeddings,
    read_scores,
    rerank_body,
)
from .endpoint import Endpoint
from .plugin import SPEC
from .request.body import build, check_engine_options, stops_here
from .wire.cancel_scope import CancelScope
from .wire.check import check_server
from .wire.drivers import arun, run
from .wire.exchange import Call, exchange
from .wire.server_client import ServerClient
from .wire.session import Session


class OpenAIBackend(BaseBackend):
    """OpenAI's API, or a server compatible with it. The model path is the model's name there.

    ::

        backend = OpenAIBackend()
        backend.load_model("gpt-4", {"api_key": "env:MY_KEY"})
        print(backend.generate("Explain quantum computing in simple terms"))

    Parameters that a request leaves out are the server's to choose. Any number of threads may use it at once. What is
    still being generated when the model is unloaded breaks off.

    A backend for one kind of server is a subclass with a spec and a config of its own: the parameters that this server
    honours, and its own defaults (see :class:`.config.OpenAIConfig`).
    """

    spec = SPEC
    config_class = OpenAIConfig

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._model = ""
        self._settings = OpenAIConfig()
        self._checked: Session | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the spec declares, and what the load parameter ``extensions`` adds."""
        declared = super().capabilities
        return dataclasses.replace(declared, parameters=declared.parameters | set(self._settings.wire_names()))

    @property
    def endpoint(self) -> str | None:
        """The address of the server; of several, the first. None without a model."""
        session = self._session
        return None if session is None else session.servers[0].endpoint.address

    def check_model(self, model_path: str, config: OpenAIConfig) -> None:
        """Ask the server for the model, while another one may still be loaded.

        Raises ConnectionFailedError, AuthenticationError or ModelNotFoundError: wrong address, wrong key, wrong model.
        """
        session = Session(model_path, config)
        try:
            if config.check_model:
                check_server(session, model_path, config.timeout)
        except BaseException:
            session.close()
            raise
        self._checked = session

    def load(self, model_path: str, config: OpenAIConfig) -> None:
        """Take the connection that the check has made."""
        session, self._checked = self._checked, None
        self._model, self._settings, self._session = model_path, config, session

    def unload(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        self._settings = OpenAIConfig()
        if session is not None:
            session.close()

    def render_request(self, request: GenerationRequest) -> str:
        """Refused: the server renders. A raw prompt is sent as it stands."""
        if request.raw and request.prompt is not None:
            return request.prompt
        raise UnsupportedError("render", self.name, "The server renders the prompt and doesn't show it.")

    def check_engine_options(self, options: Mapping[str, object]) -> None:
        """Any field that has no meaning yet is passed on to the server."""
        check_engine_options(options, self.capabilities.parameters, self._settings.wire_names())

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """One POST."""
        session, call = self._call(request)
        scope = CancelScope.of(cancellation)
        return run(exchange(call, session, scope), scope)

    def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """One POST, in the running event loop."""
        session, call = self._call(request)
        scope = CancelScope.of(cancellation)
        return arun(exchange(call, session, scope), scope)

    @property
    def texts_per_request(self) -> int:
        """What OpenAI takes in one call."""
        return MOST_TEXTS

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        """One POST."""
        session, call = self._body_call(EMBEDDINGS, embeddings_body(request, self._model, self.name))
        scope = CancelScope.of(cancellation)
        body: Any = next(run(exchange(call, session, scope), scope), b"")
        return read_embeddings(body, request, session.servers[0].endpoint.address)

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        """One POST, in the running event loop."""
        session, call = self._body_call(EMBEDDINGS, embeddings_body(request, self._model, self.name))
        scope = CancelScope.of(cancellation)
        async with contextlib.aclosing(arun(exchange(call, session, scope), scope)) as found:
            body: Any = await anext(found, b"")
        return read_embeddings(body, request, session.servers[0].endpoint.address)

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """One POST."""
        session, call = self._body_call(RERANK, rerank_body(request, self._model))
        scope = CancelScope.of(cancellation)
        body: Any = next(run(exchange(call, session, scope), scope), b"")
        return read_scores(body, request, session.servers[0].endpoint.address)

    async def acompute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """One POST, in the running event loop."""
        session, call = self._body_call(RERANK, rerank_body(request, self._model))
        scope = CancelScope.of(cancellation)
        async with contextlib.aclosing(arun(exchange(call, session, scope), scope)) as found:
            body: Any = await anext(found, b"")
        return read_scores(body, request, session.servers[0].endpoint.address)

    def explain(self, error: LlamaForgeError) -> LlamaForgeError:
        """What a request raises for *error*: itself. A subclass may know more, as that the server is its child."""
        return error

    def _body_call(self, path: str, body: bytes) -> tuple[Session, Call]:
        """A request whose answer is one JSON value."""
        session = self._session
        if session is None:
            raise ModelNotLoadedError()

        def explain(error: LlamaForgeError) -> LlamaForgeError:
            if self._session is not session and isinstance(error, ConnectionFailedError):  # unloading closed it
                return ModelNotLoadedError("The model was unloaded while the server answered.")
            return self.explain(error)

        return session, Call(lambda _: (path, body), lambda _: BodyDecoder(), explain)

    def _call(self, request: GenerationRequest) -> tuple[Session, Call]:
        session, model, settings = self._session, self._model, self._settings
        if session is None:
            raise ModelNotLoadedError()

        @functools.cache
        def compose(endpoint: Endpoint) -> tuple[str, bytes]:
            return build(request, model, endpoint, settings, self.name)

        def decoder(server: ServerClient) -> AnswerDecoder:
            here = stops_here(request, server.endpoint, settings)
            reader = AnswerReader(request, server.translator, server.report, here, settings.reasoning_in_content)
            return AnswerDecoder(reader, server.translator, server.report)

        def explain(error: LlamaForgeError) -> LlamaForgeError:
            if self._session is not session and isinstance(error, ConnectionFailedError):  # unloading closed it
                return ModelNotLoadedError("The model was unloaded while the server answered.")
            return self.explain(error)

        compose(session.servers[0].endpoint)  # what can't be said is refused now
        return session, Call(compose, decoder, explain)
