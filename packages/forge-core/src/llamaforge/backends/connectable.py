"""Backends whose engine is a server: connecting to one that runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, get_args, get_origin

from ..awaitables import AwaitableResult
from ..errors import ConflictingParametersError, InvalidParameterError, LlamaForgeError
from .base import BaseBackend
from .config import BackendConfig
from .server_configs import ConnectableConfig, as_parameters, completed

ConfigT = TypeVar("ConfigT", bound=BackendConfig)


class ConnectableBackend(BaseBackend, Generic[ConfigT]):
    """Base class of backends that use a running server.

    **To use one**, make it with a config and connect, or load a model as with every backend::

        with MyBackend(MyConfig(endpoint="http://127.0.0.1:8000", model="m")) as backend:   # connects
            backend.generate("Hello")

        backend.connect("http://127.0.0.1:8000")
        backend.load_model("m", {"endpoint": "http://127.0.0.1:8000"})

    Within an event loop, ``await`` what these methods return, and use ``async with``; ``aconnect`` and ``ahealth`` are
    the same under the names of the other asynchronous twins.

    **To write one**, derive from ``ConnectableBackend[MyConfig]`` and write :meth:`attach`, :meth:`detach`,
    :meth:`is_healthy`, and ``stream`` or ``astream`` as for every backend.
    """

    base_config: ClassVar[type[BackendConfig]] = ConnectableConfig
    """What a config of this kind has at least; a config of the author's that lacks it gets it."""
    config_class: ClassVar[type[BackendConfig]] = ConnectableConfig

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "config_class" not in vars(cls):
            cls.config_class = completed(_config_argument(cls) or cls.config_class, cls.base_config)

    def __init__(self, config: BackendConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._given = as_parameters(config)
        self._effective: BackendConfig | None = None
        self._pending: AwaitableResult[None] | None = None

    # What an author writes.

    def attach(self, model: str, endpoint: str, config: Any) -> None:
        """Open what is needed to ask the server at *endpoint* for *model*; and see whether it has that.

        Raises ConnectionFailedError, AuthenticationError or ModelNotFoundError.
        """

    def detach(self) -> None:
        """Close what :meth:`attach` opened."""

    def is_healthy(self, endpoint: str) -> bool:
        """Whether the server at *endpoint* says that it is well."""
        raise NotImplementedError(f"{type(self).__name__} must override is_healthy().")

    def find_model(self, endpoint: str) -> str:
        """The model to use where nobody named one. Raises InvalidParameterError where that can't be known."""
        raise InvalidParameterError("model", None, "given: name the server's model")

    # What it has then.

    @property
    def config(self) -> ConfigT:
        """The load parameters in effect: those of what is loaded, else those that it was made with."""
        effective = self._effective if self._effective is not None else self.config_class.read(self._given)
        return cast("ConfigT", effective)

    @property
    def endpoint(self) -> str | None:
        """Address of the server in use, or of the one it was made for; None without."""
        found: str | None = getattr(self.config, "endpoint", None)
        return found

    def connect(self, endpoint: str | None = None) -> AwaitableResult[None]:
        """Connect to the server at *endpoint*, by default the config's; load the config's model there.

        Where the config names no model, the server's only one is taken. May be awaited.

        Raises InvalidParameterError without an endpoint, or without a model where the server has several; and
        what :meth:`attach` raises.
        """
        return self._begin(lambda: self._connect(endpoint))

    def health(self) -> AwaitableResult[bool]:
        """Whether the server is there and well. False, and no error, where it can't be reached. May be awaited."""
        return AwaitableResult(self._health)

    async def aconnect(self, endpoint: str | None = None) -> None:
        """:meth:`connect` for event loops."""
        await self.connect(endpoint)

    async def ahealth(self) -> bool:
        """:meth:`health` for event loops."""
        return await self.health()

    async def aload_model(
        self, model_path: str | os.PathLike[str], parameters: Mapping[str, Any] | None = None
    ) -> None:
        """:meth:`load_model` for event loops."""
        await self._begin(lambda: self.load_model(model_path, parameters))

    async def aclose(self) -> None:
        """:meth:`close` for event loops."""
        await AwaitableResult(self.close)

    def load_model(self, model_path: str | os.PathLike[str], parameters: Mapping[str, Any] | None = None) -> None:
        """Connect to the server that the parameters name, for the model *model_path*.

        Parameters that are not given are those that the backend was made with.

        Raises what :meth:`BaseBackend.load_model` and :meth:`connect` raise.
        """
        given = self._given if parameters is None else {**self._given, **parameters}
        path = os.fspath(model_path)
        named = (parameters or {}).get("model", path)
        if named != path:
            raise ConflictingParametersError(["model_path", "model"], f"{path!r} and {named!r} are two models.")
        super().load_model(path, {**given, "model": path})
        self._pending = None

    def load(self, model_path: str, config: Any) -> None:
        """Connect. An author overrides :meth:`attach` instead."""
        if config.endpoint is None:
            raise InvalidParameterError("endpoint", None, "given: the address of a running server")
        self._effective = config
        try:
            self.attach(model_path, config.endpoint, config)
        except BaseException:
            self._effective = None
            raise

    def unload(self) -> None:
        """Let the server go. An author overrides :meth:`detach` instead."""
        try:
            self.detach()
        finally:
            self._effective = None

    def open(self) -> AwaitableResult[None]:
        """Do what entering ``with`` does: connect, where the backend was made with an endpoint."""
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
            raise InvalidParameterError("endpoint", None, "given: the address of a running server")
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
