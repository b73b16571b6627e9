"""The backend for any OpenAI-compatible server: a subclass says how it is launched, and has all the rest."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, ClassVar, Final

import msgspec

from llamaforge.backends.config import BackendConfig
from llamaforge.backends.connectable import ConfigT
from llamaforge.backends.managed import ManagedBackend
from llamaforge.backends.spec import BackendSpec, Task
from llamaforge.errors import (
    ConnectionFailedError,
    InvalidParameterError,
    LlamaForgeError,
    ModelNotFoundError,
    ServerError,
)

from ..backend import OpenAIBackend
from ..plugin import SPEC
from .config import OpenAIServerConfig
from .readiness import ReadinessProbe

_FIRST_ANSWER: Final = 120.0
"""Seconds that a server may take for its first token, once it says that it is well."""


class OpenAIServerBackend(ManagedBackend[ConfigT], OpenAIBackend):
    """Base class of backends for OpenAI-compatible servers, of which each instance uses one: connected to, or its own.

    **To write one**, say how the server is launched::

        class MyConfig(OpenAIServerConfig, frozen=True, kw_only=True):
            type: Literal["my-engine"] = "my-engine"

        class MyBackend(OpenAIServerBackend[MyConfig]):
            def build_launch_command(self) -> list[str]:
                return ["my-server", "--model", self.config.model, "--port", str(self.config.port)]

            def health_endpoint(self) -> str:
                return "/health"

    Everything else is done: requests, streams and errors as in :class:`forge_openai.OpenAIBackend`; a free port, the
    server's process, waiting until it answers, its log and its end as in
    :class:`llamaforge.backends.managed.ManagedBackend`. A config that derives from ``BackendConfig`` alone gets the
    fields of :class:`.config.OpenAIServerConfig` besides its own. Without a ``spec`` the backend has the name that the
    config's ``type`` says, and declares what OpenAI's API has.
    """

    base_config: ClassVar[type[BackendConfig]] = OpenAIServerConfig
    config_class: ClassVar[Any] = OpenAIServerConfig

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "spec" not in vars(cls):
            cls.spec = _plain_spec(cls)

    def build_launch_command(self) -> list[str]:
        """The server's program and its arguments, from ``self.config``, whose model, host and port are set."""
        raise NotImplementedError(f"{type(self).__name__} must override build_launch_command().")

    def health_endpoint(self) -> str:
        """The path that the server answers with a 2xx while it is healthy."""
        return "/health"

    @property
    def served_model(self) -> str:
        """What our own server calls its model: the config's ``served_model_name``, else its ``model``."""
        config: Any = self.config
        return str(config.served_model_name or config.model)

    @property
    def served_task(self) -> Task:
        """What our own server's model is for. Override it where that decides which routes the server answers."""
        return "generate"

    def attach(self, model: str, endpoint: str, config: Any) -> None:
        """Make a client. The server's model was asked for already where it isn't our server."""
        client = config.client(endpoint, own=self._server is not None)
        if self._server is not None:
            model = self.served_model
            OpenAIBackend.check_model(self, model, client)
        OpenAIBackend.load(self, model, client)

    def detach(self) -> None:
        """Close the connections."""
        OpenAIBackend.unload(self)

    def check_model(self, model_path: str, config: Any) -> None:
        """Ask the server at the config's endpoint for the model; of our own, see whether it can have its port."""
        if config.endpoint is not None:
            OpenAIBackend.check_model(self, model_path, config.client(config.endpoint))
        else:
            super().check_model(model_path, config)

    def find_model(self, endpoint: str) -> str:
        """The server's only model.

        Raises InvalidParameterError, with the names, where it has several or tells none; and ConnectionFailedError,
        AuthenticationError or ServerError where it doesn't answer.
        """
        config: Any = self.config_class.read(self._given)
        if config.served_model_name is not None:
            return str(config.served_model_name)
        names = [card.name for card in self._probe(endpoint).models()]
        if len(names) == 1:
            return names[0]
        known = f"has several models: {', '.join(names)}" if names else "does not say which models it has"
        message = f"The server at {endpoint} {known}. Choose one with the load parameter model."
        raise InvalidParameterError("model", None, "a model of the server", show_value=False, message=message)

    def is_healthy(self, endpoint: str) -> bool:
        """Whether the health endpoint is answered with a 2xx."""
        return self._probe(endpoint).is_healthy(self.health_endpoint())

    def is_ready(self, endpoint: str) -> bool:
        """Whether our server is well, has our model, and generates a token.

        Raises ModelNotFoundError where it has another model.
        """
        probe = self._probe(endpoint)
        names: list[str] = []
        if not probe.is_healthy(self.health_endpoint()):
            return False
        with contextlib.suppress(LlamaForgeError):
            names = [name for card in probe.models() for name in card.names]
        if names and self.served_model not in names:
            raise ModelNotFoundError(
                f"it has the model {' and '.join(names)}, and not {self.served_model!r} (served_model_name).",
                self.served_model,
                names,
            )
        return probe.answers(self.served_model, _FIRST_ANSWER, self.served_task)

    def explain(self, error: LlamaForgeError) -> LlamaForgeError:
        """A ServerCrashedError, where a request fails because our server has ended."""
        if isinstance(error, ConnectionFailedError | ServerError):
            return self.crash() or error
        return error

    def _probe(self, endpoint: str) -> ReadinessProbe:
        config: Any = self.config
        headers = {name: value.reveal() for name, value in config.headers.items()}
        if config.api_key is not None:
            headers.setdefault("Authorization", f"Bearer {config.api_key.reveal()}")
        return ReadinessProbe(endpoint=endpoint, headers=headers)


def _plain_spec(backend: type[OpenAIServerBackend[Any]]) -> BackendSpec:
    config = backend.config_class
    kind = next((field.default for field in msgspec.structs.fields(config) if field.name == "type"), None)
    return dataclasses.replace(
        SPEC,
        name=kind if isinstance(kind, str) else backend.__name__,
        target=f"{backend.__module__}:{backend.__qualname__}",
        config=f"{config.__module__}:{config.__qualname__}",
        summary=(backend.__doc__ or "An OpenAI-compatible server").strip().partition("\n")[0].rstrip("."),
        engine=None,
        probe=None,
        repair=None,
    )
