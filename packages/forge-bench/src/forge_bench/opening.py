"""From what a caller names to something that can be measured."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from llamaforge import BackendConfig, BaseBackend, LlamaForge, get_backend, list_backends
from llamaforge.awaitables import AwaitableResult
from llamaforge.backends.basic import BasicBackendAdapter
from llamaforge.backends.connectable import ConnectableBackend
from llamaforge.backends.registry import get_config, get_spec
from llamaforge.backends.server_configs import as_parameters
from llamaforge.errors import InvalidParameterError, LlamaForgeError, ModelNotLoadedError, UnsupportedError
from llamaforge.secrets import Secret

from .serving import SERVED, served
from .targets import Target
from .targets.backend import BackendTarget
from .targets.server import ServerSettings, ServerTarget, with_version

Via = Literal["backend", "http"]
"""``backend``: a backend is asked through its own calls. ``http``: its server is asked directly, by our client."""

_EXPECTED = "a config such as VLLMConfig(...), a loaded backend, the name of a model, or a server's address"


@contextlib.asynccontextmanager
async def opened(
    backend: object,
    *,
    model: str | None,
    load: Mapping[str, Any],
    via: Via,
    settings: ServerSettings,
    forge: LlamaForge | None = None,
) -> AsyncIterator[Target]:
    """The target that *backend* stands for. What is loaded or started for it is unloaded at the end.

    Raises InvalidParameterError for anything else, and the errors of loading a model.
    """
    if via not in ("backend", "http"):
        raise InvalidParameterError("via", via, "'backend' or 'http'")
    if isinstance(backend, str) and backend.startswith(("http://", "https://")):
        yield _server(backend, model, settings)
        return
    if isinstance(backend, str) and backend.startswith(SERVED):
        if load:
            message = f"Load parameters don't reach a server of ours: add a named model that has them, for {backend}."
            raise InvalidParameterError("load", None, "nothing", message=message)
        async with served(backend.removeprefix(SERVED), forge) as url:
            yield _server(url, backend.removeprefix(SERVED), settings)
        return
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(backend, BaseBackend):
            if not backend.is_model_loaded():
                raise ModelNotLoadedError("The backend to measure has no model. Load one before you measure it.")
            loaded = backend
        elif isinstance(backend, BackendConfig):
            name = _backend_of(backend)
            loaded = await _load(stack, name, as_parameters(backend) | dict(load), model, forge)
        elif isinstance(backend, Mapping):
            given = dict(backend)
            name = given.pop("type", None) or given.pop("backend", None)
            if not isinstance(name, str):
                raise InvalidParameterError("backend", None, "a config with the backend's name as its type")
            loaded = await _load(stack, name, given | dict(load), model, forge)
        elif isinstance(backend, str):
            loaded = await _named(stack, backend, load, forge)
        else:
            raise InvalidParameterError("backend", backend, _EXPECTED)
        if loaded.is_basic and not isinstance(loaded, BasicBackendAdapter):
            raise UnsupportedError(
                "a benchmark of an instance with the basic methods alone",
                loaded.name,
                "Register its class with register_backend(), and measure {'type': name, 'model': ...}.",
            )
        if via == "http":
            yield _server_of(loaded, settings)
        else:
            yield BackendTarget(loaded, timeout=settings.timeout)


def _server(url: str, model: str | None, settings: ServerSettings) -> ServerTarget:
    from msgspec.structs import replace

    return ServerTarget(replace(settings, url=with_version(url), model=model))


def _server_of(backend: BaseBackend, settings: ServerSettings) -> ServerTarget:
    """The server behind *backend*, with its key."""
    config = getattr(backend, "config", None)
    address = (
        getattr(config, "endpoint", None) or getattr(config, "api_base", None) or getattr(backend, "endpoint", None)
    )
    if not isinstance(address, str):
        raise UnsupportedError("via='http'", backend.name, "It has no server.")
    from msgspec.structs import replace

    headers = dict(settings.headers)
    key = getattr(config, "api_key", None)
    if isinstance(key, Secret):
        headers.setdefault("Authorization", f"Bearer {key.reveal()}")
    return _server(address, backend.model_path, replace(settings, headers=headers))


def _backend_of(config: BackendConfig) -> str:
    """The name of the backend that *config* is for: its ``type``, or the backend that declares its class."""
    tag = getattr(config, "type", None)
    if isinstance(tag, str):
        return tag
    kind = type(config)
    for name in [*list_backends(), "echo"]:
        with contextlib.suppress(LlamaForgeError):  # a broken plugin is not the one that made the config
            spec = get_spec(name)
            module = spec.config.partition(":")[0].partition(".")[0]
            if module == kind.__module__.partition(".")[0] and get_config(name) is kind:
                return name
    raise InvalidParameterError("backend", kind.__name__, "a config that an installed backend declares")


async def _load(
    stack: contextlib.AsyncExitStack, name: str, parameters: dict[str, Any], model: str | None, forge: LlamaForge | None
) -> BaseBackend:
    """Load a model with *parameters* on the backend *name*."""
    model = model if model is not None else parameters.get("model")
    if model is not None or name == "echo":
        given = {key: value for key, value in parameters.items() if key not in ("model", "type")}
        reference = model or "echo"
        forge = forge or _own_forge(stack)
        forge.add_model(reference, reference, name, given, replace=True)
        return await forge.aload_model(reference)
    found = get_backend(name)
    if not issubclass(found, ConnectableBackend) or parameters.get("endpoint") is None:
        raise _no_model(name)
    return await stack.enter_async_context(found(parameters))  # the server's only model


async def _named(
    stack: contextlib.AsyncExitStack, name: str, load: Mapping[str, Any], forge: LlamaForge | None
) -> BaseBackend:
    forge = forge or _own_forge(stack)
    return await forge.aload_model(name, load)


def _own_forge(stack: contextlib.AsyncExitStack) -> LlamaForge:
    forge = LlamaForge()

    async def close() -> None:
        await AwaitableResult(forge.close)

    stack.push_async_callback(close)
    return forge


def _no_model(name: str) -> InvalidParameterError:
    message = f"Name the model that the backend {name!r} is to load, with model=."
    return InvalidParameterError("model", None, "a path or another reference", message=message)
