"""Load parameters of backends whose engine is a server: its address, or how to start it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from ..errors import InvalidParameterError
from ..secrets import Secret
from ..validation import check_text
from .config import BackendConfig

Endpoint = Annotated[
    str,
    Meta(
        pattern="^https?://",
        description="Address of a running server, such as http://127.0.0.1:8000. If it is set, no server is started.",
    ),
]
ModelName = Annotated[str, Meta(min_length=1, description="The model. The model path of load_model takes precedence.")]


class ConnectableConfig(BackendConfig, frozen=True, kw_only=True):
    """Load parameters of every backend that connects to a server."""

    endpoint: Endpoint | None = None
    model: ModelName | None = None

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint)


def check_endpoint(endpoint: str | None) -> None:
    """Refuse an address with credentials or a query, because messages show it."""
    check_text(endpoint, "endpoint", optional=True)
    if endpoint is not None and any(character in endpoint for character in "@?# "):
        expected = "a plain http:// or https:// address; put keys into api_key or headers"
        raise InvalidParameterError("endpoint", None, expected, show_value=False)


Host = Annotated[
    str,
    Meta(min_length=1, description="Address that the server listens on. 0.0.0.0 opens it to the network."),
]
Port = Annotated[int, Meta(ge=1, le=65535, description="Port that the server listens on. Not set: a free one.")]
Executable = Annotated[
    str,
    Meta(
        min_length=1,
        description="The server's program, or the Python of its environment. Not set: the environment "
        "variable LLAMAFORGE_<NAME>_EXECUTABLE, then PATH, then a module of this Python.",
    ),
]
ExtraArguments = Annotated[
    tuple[str, ...], Meta(description="Additional arguments for the server's program. Never put a secret here.")
]
Environment = Annotated[
    dict[str, Secret], Meta(description="Additional environment variables for the server; values are never shown.")
]
StartupTimeout = Annotated[
    float, Meta(gt=0, description="Seconds that a server may take to become ready, including downloads.")
]
ShutdownTimeout = Annotated[
    float, Meta(ge=0, le=3600, description="Seconds that a server may take to stop before it is killed.")
]
LogFile = Annotated[
    str,
    Meta(
        min_length=1,
        description="Path of the server's log. Not set: a file in the user's log folder that is deleted after a clean "
        "end.",
    ),
]
MaxRestarts = Annotated[int, Meta(ge=0, description="How often restart() may restart the server after one load.")]


class ManagedConfig(BackendConfig, frozen=True, kw_only=True):
    """Load parameters of every backend that can start a server of its own."""

    endpoint: Endpoint | None = None
    model: ModelName | None = None
    host: Host = "127.0.0.1"
    port: Port | None = None
    executable: Executable | None = None
    extra_args: ExtraArguments = ()
    env: Environment = msgspec.field(default_factory=dict)
    startup_timeout: StartupTimeout = 600.0
    shutdown_timeout: ShutdownTimeout = 10.0
    log_file: LogFile | None = None
    max_restarts: MaxRestarts = 3

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint)


def completed(config: type[BackendConfig], base: type[BackendConfig]) -> type[BackendConfig]:
    """*config*, with the fields of *base* that it lacks: a struct can't have two bases with fields.

    It keeps the names, types and defaults of *config*, and its methods.
    """
    if issubclass(config, base):
        return config
    fields = msgspec.structs.fields(config)
    described: list[Any] = []
    for field in fields:
        if field.default is not msgspec.NODEFAULT:
            described.append((field.name, field.type, field.default))
        elif field.default_factory is not msgspec.NODEFAULT:
            described.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        else:
            described.append((field.name, field.type))
    structural = {*msgspec.Struct.__dict__, *config.__struct_fields__, "__annotations__", "__dict__", "__weakref__"}
    methods = {name: value for name, value in vars(config).items() if name not in structural and not _is_private(name)}
    made = msgspec.defstruct(
        config.__name__,
        described,
        bases=(base,),
        module=config.__module__,
        namespace=methods,
        frozen=True,
        kw_only=True,
    )
    return cast("type[BackendConfig]", made)


def _is_private(name: str) -> bool:
    return name.startswith("__struct_") or name in ("__slots__", "__match_args__", "__module__", "__qualname__")


def as_parameters(config: BackendConfig | Mapping[str, Any] | None) -> dict[str, Any]:
    """The values that *config* sets, as load parameters."""
    if config is None:
        return {}
    given = msgspec.structs.asdict(config) if isinstance(config, msgspec.Struct) else dict(config)
    return {name: value for name, value in given.items() if value is not None}
