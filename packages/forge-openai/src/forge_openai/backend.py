"""The backend: one model on one server."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

from llamaforge.backends.base import BaseBackend
from llamaforge.backends.spec import Capabilities
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import ConnectionFailedError, LlamaForgeError, ModelNotLoadedError, UnsupportedError
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event

from .answer.decoder import AnswerDecoder
from .answer.reader import AnswerReader
from .config import OpenAIConfig
from .endpoint import Endpoint
from .plugin import SPEC
from .remote_vectors import RemoteVectors
from .request.body import build, check_engine_options, stops_here
from .tei import TEIServer
from .wire.cancel_scope import CancelScope
from .wire.check import check_server, check_tei
from .wire.drivers import arun, run
from .wire.exchange import Call, exchange
from .wire.server_client import ServerClient
from .wire.session import Session

_TEI: Final = frozenset({"prompt_name", "truncation"})
"""What a Text Embeddings Inference server honours beside what OpenAI's API has."""


class OpenAIBackend(RemoteVectors, BaseBackend):
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
        self._checked_tei: TEIServer | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the spec declares, and what the load parameter ``extensions`` adds."""
        declared = super().capabilities
        if self._tei is not None:
            tasks = declared.tasks & self._tei.tasks
            return dataclasses.replace(declared, tasks=tasks, embedding=declared.embedding | _TEI)
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
        self._checked_tei = TEIServer() if config.embedding_api == "tei" else None
        try:
            if config.check_model and config.embedding_api == "tei":
                self._checked_tei = check_tei(session, model_path, config.timeout)
            elif config.check_model:
                check_server(session, model_path, config.timeout)
        except BaseException:
            session.close()
            raise
        self._checked = session

    def load(self, model_path: str, config: OpenAIConfig) -> None:
        """Take the connection that the check has made."""
        session, self._checked = self._checked, None
        self._model, self._settings, self._session = model_path, config, session
        self._tei, self._second_rerank = self._checked_tei, False

    def unload(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        self._settings, self._tei = OpenAIConfig(), None
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

    def _explanation(self, session: Session) -> Callable[[LlamaForgeError], LlamaForgeError]:
        def explain(error: LlamaForgeError) -> LlamaForgeError:
            if self._session is not session and isinstance(error, ConnectionFailedError):  # unloading closed it
                return ModelNotLoadedError("The model was unloaded while the server answered.")
            return self.explain(error)

        return explain

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

        compose(session.servers[0].endpoint)  # what can't be said is refused now
        return session, Call(compose, decoder, self._explanation(session))
