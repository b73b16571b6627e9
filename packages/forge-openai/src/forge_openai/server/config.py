"""Load parameters that every OpenAI-compatible server of its own kind has."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from llamaforge.backends.server_configs import (
    Endpoint,
    Environment,
    Executable,
    ExtraArguments,
    Host,
    LogFile,
    MaxRestarts,
    ModelName,
    Port,
    ShutdownTimeout,
    StartupTimeout,
    check_endpoint,
)
from llamaforge.errors import ConflictingParametersError

from ..config import OpenAIConfig

API: str = "/v1"
"""Where the API of such servers stands, below their address."""


class OpenAIServerConfig(OpenAIConfig, frozen=True, kw_only=True):
    """Where the server is, or how ours is started; and how it is asked, as :class:`forge_openai.OpenAIConfig` has it.

    A backend's own config derives from it, with ``type: Literal["my-engine"] = "my-engine"`` and the server's options.
    """

    reads_environment: ClassVar[bool] = False

    endpoint: Endpoint | None = None
    model: ModelName | None = None
    served_model_name: (
        Annotated[str, Meta(min_length=1, description="The model's name in the server's API. Not set: the model.")]
        | None
    ) = None
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
        super().__post_init__()
        check_endpoint(self.endpoint)
        if self.api_base is not None:
            if self.endpoint is not None:
                raise ConflictingParametersError(["endpoint", "api_base"], "both say where the server is.")
            # From here on it is the endpoint that counts: the address above the API, where the health endpoint is.
            address = self.api_base if isinstance(self.api_base, str) else self.api_base[0]
            msgspec.structs.force_setattr(self, "endpoint", address.removesuffix(API))
            msgspec.structs.force_setattr(self, "api_base", None)
        elif self.endpoint is not None:
            msgspec.structs.force_setattr(self, "endpoint", self.endpoint.rstrip("/").removesuffix(API))
