"""Backends that connect to a running server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, get_args, get_origin

from ..awaitables import AwaitableResult
from ..errors import ConflictingParametersError, InvalidParameterError, LlamaForgeError
from ..validation import check_mapping
from .base import BaseBackend
from .config import BackendConfig
from .loading import checked_path
from .server_configs import ConnectableConfig, as_parameters, completed

ConfigT = TypeVar("ConfigT", bound=BackendConfig)


class ConnectableBackend(BaseBackend, Generic[ConfigT]):
    """Base class of backends that use a running server.

    **To use one**, create it with a config and connect, or load a model as with any backend::

        with MyBackend(MyConfig(endpoint="http://127.0.0.1:8000", model="m")) as backend:   # connects
            backend.generate("Hello")

        backend.connect("http://127.0.0.1:8000")
        backend.load_model("m", {"endpoint": "http://127.0.0.1:8000"})

    In an event loop, ``await`` the results of these methods, and use ``async with``. ``aconnect`` and ``ahealth`` do
    the same under the usual names of asynchronous methods.

    **To write one**, derive from ``ConnectableBackend[MyConfig]`` and write :meth:`attach`, :meth:`detach`,
    :meth:`is_healthy`, and ``stream`` or ``astream`` as for every backend.
    """

    base_config: ClassVar[type[BackendConfig]] = ConnectableConfig
    """The fields that every config of this kind has; they are added to the author's config if missing."""
    config_class: ClassVar[type[BackendConfig]] = ConnectableConfig

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "config_class" not in vars(cls):
            cls.config_class = completed(_config_argument(cls) or cls.config_class, cls.base_config)

    def __init__(self, config: BackendConfig | Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._given = as_parameters(config)
        self._effective: BackendConfig | None = None
        self._pending: AwaitableResult[None] | None = None

    # What an author writes.

    def attach(self, model: str, endpoint: str, config: Any) -> None:
        """Open what requests to the server at *endpoint* need, and check that it has *model*.

        Raises ConnectionFailedError, AuthenticationError or ModelNotFoundError.
        """

    def detach(self) -> None:
        """Close what :meth:`attach` opened."""

    def is_healthy(self, endpoint: str) -> bool:
        """Whether the server at *endpoint* reports that it is healthy."""
        raise NotImplementedError(f"{type(self).__name__} must override is_healthy().")

    def find_model(self, endpoint: str) -> str:
        """The model to use if none is named. Raises InvalidParameterError if that is unclear."""
        message = "The load parameter model is missing: pass the name of the server's model."
        raise InvalidParameterError("model", None, "the name of the server's model", message=message)

    # What it has then.

    @property
    def config(self) -> ConfigT:
        """The load parameters in effect: those of the loaded model, otherwise those given to the constructor."""
        effective = self._effective if self._effective is not None else self.config_class.read(self._given)
        return cast("ConfigT", effective)

    @property
    def endpoint(self) -> str | None:
        """The address of the server in use, or of the one given to the constructor; None without one."""
        found: str | None = getattr(self.config, "endpoint", None)
        return found

    def connect(self, endpoint: str | None = None) -> AwaitableResult[None]:
        """Connect to the server at *endpoint* (by default the config's) and use the config's model.

        If the config names no model, the server's only model is used. May be awaited.

        Raises InvalidParameterError without an endpoint, or without a model if the server has several, and the errors
        of :meth:`attach`.
        """
        return self._begin(lambda: self._connect(endpoint))

    def health(self) -> AwaitableResult[bool]:
        """Whether the server can be reached and is healthy. Never raises. May be awaited."""
        return AwaitableResult(self._health)

    async def aconnect(self, endpoint: str | None = None) -> None:
        """Asynchronous :meth:`connect`."""
        await self.connect(endpoint)

    async def ahealth(self) -> bool:
        """Asynchronous :meth:`health`."""
        return await self.health()

    async def aload_model(
        self, model_path: str | os.PathLike[str], parameters: Mapping[str, object] | None = None
    ) -> None:
        """Asynchronous :meth:`load_model`."""
        await self._begin(lambda: self.load_model(model_path, parameters))

    async def aclose(self) -> None:
        """Asynchronous :meth:`close`."""
        await AwaitableResult(self.close)

    def load_model(self, model_path: str | os.PathLike[str], parameters: Mapping[str, object] | None = None) -> None:
        """Connect to the server named by the parameters and use the model *model_path*.

        Other parameters are those given to the constructor.

        Raises the errors of :meth:`BaseBackend.load_model` and :meth:`connect`.
        """
        path = checked_path(model_path)
        check_mapping(parameters)
        given = self._given if parameters is None else {**self._given, **parameters}
        named = (parameters or {}).get("model", path)
        if named != path:
            message = f"The model path {path!r} and the load parameter model={named!r} name different models."
            raise ConflictingParametersError(["model_path", "model"], message)
        super().load_model(path, {**given, "model": path})
        self._pending = None

    def load(self, model_path: str, config: Any) -> None:
        """Connect. Override :meth:`attach` instead."""
        if config.endpoint is None:
            raise _no_endpoint()
        self._effective = config
        try:
            self.attach(model_path, config.endpoint, config)
        except BaseException:
            self._effective = None
            raise

    def unload(self) -> None:
        """Disconnect from the server. Override :meth:`detach` instead."""
        try:
            self.detach()
        finally:
            self._effective = None

    def open(self) -> AwaitableResult[None]:
        """Do what entering ``with`` does: connect, if the constructor got an endpoint."""
        if self.is_model_loaded() or self._given.get("endpoint") is None:
            return AwaitableResult(lambda: None)
        return self.connect()

    def __enter__(self) -> Self:
        self.open().result()
        return self

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    def _connect(self, endpoint: str | None) -> None:
        endpoint = endpoint if endpoint is not None else self.config_class.read(self._given).endpoint  # type: ignore[attr-defined]
        if endpoint is None:
            raise _no_endpoint()
        self.config_class.read({**self._given, "endpoint": endpoint})
        model = self._given.get("model")
        self.load_model(model if model is not None else self.find_model(endpoint), {"endpoint": endpoint})

    def _health(self) -> bool:
        endpoint = self.endpoint
        if endpoint is None:
            return False
        try:
            return self.is_healthy(endpoint)
        except LlamaForgeError:
            return False

    def _begin(self, work: Any) -> AwaitableResult[None]:
        """Do *work*, which a request that comes meanwhile waits for, as it would where no event loop runs."""
        self._pending = AwaitableResult(work, self._abort)
        return self._pending

    def _abort(self) -> None:
        """End what :meth:`_begin` began."""

    def _require_model(self) -> None:
        pending = self._pending
        if pending is not None:
            pending.result()
        super()._require_model()


def _config_argument(cls: type) -> type[BackendConfig] | None:
    """What stands in the brackets of the base class: ``ConnectableBackend[MyConfig]``."""
    for base in vars(cls).get("__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, ConnectableBackend):
            argument = get_args(base)[0]
            if isinstance(argument, type) and issubclass(argument, BackendConfig):
                return argument
    return None


def _no_endpoint() -> InvalidParameterError:
    message = "The load parameter endpoint is missing: pass the address of a running server."
    return InvalidParameterError("endpoint", None, "the address of a running server", message=message)
