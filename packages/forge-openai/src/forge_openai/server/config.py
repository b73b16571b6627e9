"""Load parameters that every OpenAI-compatible server of its own kind has."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from llamaforge.backends.server_configs import ManagedConfig
from llamaforge.errors import ConflictingParametersError
from llamaforge.secrets import Secret

from ..config import Constraints, Extension, InContent, OpenAIConfig

API: Final = "/v1"
"""Where the API of such servers stands, below their address."""
Extensions = Annotated[
    tuple[Extension, ...] | dict[Extension, str],
    Meta(description="Parameters that the server honours beyond OpenAI's own, and its names for them."),
]
_SOMEWHERE: Final = "http://127.0.0.1"


class ClientConfig(OpenAIConfig, frozen=True, kw_only=True):
    """How such a server is asked. OpenAI's environment variables are for OpenAI."""

    reads_environment: ClassVar[bool] = False


class OwnServerConfig(ClientConfig, frozen=True, kw_only=True):
    """How a server that we started is asked. It is on this machine, where no proxy leads."""

    uses_proxies: ClassVar[bool] = False


class OpenAIServerConfig(ManagedConfig, frozen=True, kw_only=True):
    """Where the server is, or how ours is started; and how it is asked.

    A backend's own config derives from it, with ``type: Literal["my-engine"] = "my-engine"``, the server's options, and
    new defaults for what is peculiar to the server: any field of :class:`forge_openai.OpenAIConfig` counts.
    """

    served_model_name: (
        Annotated[str, Meta(min_length=1, description="The model's name in the server's API. Not set: the model.")]
        | None
    ) = None
    api_key: (
        Annotated[Secret, Meta(description="The server's API key; a server that LlamaForge starts gets it, too.")]
        | None
    ) = None
    api_base: Annotated[
        str | tuple[str, ...] | None,
        Meta(
            description="Instead of endpoint: base URL of the API, such as http://127.0.0.1:8000/v1; or a list of "
            "them, for servers with the same model."
        ),
    ] = None
    timeout: Annotated[float, Meta(gt=0, description="Seconds without data after which a request fails.")] | None = None
    max_retries: Annotated[
        int, Meta(ge=0, le=100, description="Retries of a request before the first byte of its answer.")
    ] = 2
    headers: Annotated[dict[str, Secret], Meta(description="Additional HTTP headers; never shown.")] = msgspec.field(
        default_factory=dict
    )
    extensions: Extensions = ()
    constraints: Constraints = "openai"
    reasoning_in_content: InContent = "auto"
    check_model: Annotated[
        bool, Meta(description="Check on loading that the server can be reached, accepts the key and has the model.")
    ] = True
    include_usage: Annotated[
        bool | Literal["continuous"],
        Meta(description="Ask for token counts; continuous: with every chunk."),
    ] = True
    stop_strings: Annotated[
        Literal["server", "client"], Meta(description="Who looks for stop strings: the server or the client.")
    ] = "server"
    prefill: Annotated[
        Literal["refuse", "native", "continue_final_message"],
        Meta(description="How the server continues a final assistant turn: see the openai backend."),
    ] = "refuse"

    def __post_init__(self) -> None:
        super().__post_init__()
        endpoint = self.endpoint.rstrip("/").removesuffix(API) if self.endpoint is not None else None
        if self.api_base is not None:
            client = self._client(self.api_base)
            first = client.api_base if isinstance(client.api_base, str) else (client.api_base or ("",))[0]
            if endpoint not in (None, first.removesuffix(API)):
                raise ConflictingParametersError(["endpoint", "api_base"])
            endpoint = first.removesuffix(API)
            # Without the credentials that a URL may hold: those are among the headers now.
            msgspec.structs.force_setattr(self, "api_base", client.api_base)
            msgspec.structs.force_setattr(self, "headers", client.headers)
        msgspec.structs.force_setattr(self, "endpoint", endpoint)
        self.client(endpoint or _SOMEWHERE)

    def client(self, endpoint: str, *, own: bool = False) -> ClientConfig:
        """How the server at *endpoint*, or our *own* one, is asked.

        Raises InvalidParameterError for what can't be asked with.
        """
        derived = self.api_base is None or endpoint != self.endpoint
        base = f"{endpoint.rstrip('/').removesuffix(API)}{API}" if derived else self.api_base
        return self._client(base, OwnServerConfig if own else ClientConfig)

    def _client(self, api_base: str | tuple[str, ...] | None, kind: type[ClientConfig] = ClientConfig) -> ClientConfig:
        shared = {name: getattr(self, name) for name in ClientConfig.__struct_fields__ if hasattr(self, name)}
        return kind(**{**shared, "api_base": api_base})
