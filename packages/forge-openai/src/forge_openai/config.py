"""Load parameters of the OpenAI backend."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from llamaforge.backends.config import BackendConfig
from llamaforge.errors import ConflictingParametersError, InvalidParameterError
from llamaforge.secrets import Secret

from .address import split_address
from .answer.thinking import ReasoningInContent
from .request.fields import is_taken

Extension = Literal["top_k", "min_p", "repetition_penalty", "grammar", "max_reasoning_tokens"]
"""Canonical parameters that OpenAI's own API lacks and other servers have."""
InContent = Annotated[
    ReasoningInContent,
    Meta(
        description="Reasoning that a server without a parser leaves in the content: auto: what stands between <think> "
        "and </think> at its beginning; opened: all up to </think>, since the chat template opens the reasoning; no."
    ),
]
ServerKind = Literal["openai", "vllm", "llama-server", "tgi", "llamaforge"]
Constraints = Annotated[
    ServerKind,
    Meta(
        description="Whose names for response_format, grammar and reasoning_effort the server understands. OpenAI's "
        "API has none for the types regex and choice."
    ),
]


class OpenAIConfig(BackendConfig, frozen=True, kw_only=True):
    """Where the server is, who we are, and what it can do.

    A backend for another server derives a config with defaults of its own, and sets :attr:`reads_environment` to False.
    """

    reads_environment: ClassVar[bool] = True
    """Whether OpenAI's environment variables fill in what is left open. Another server must not get OpenAI's key."""

    uses_proxies: ClassVar[bool] = True
    """Whether requests take the proxies that environment variables name."""

    api_key: (
        Annotated[
            Secret,
            Meta(description="The API key. Default: the variable OPENAI_API_KEY. Other servers may need none."),
        ]
        | None
    ) = None
    api_base: Annotated[
        str | tuple[str, ...] | None,
        Meta(
            description="Base URL, such as http://127.0.0.1:8000/v1. Default: OPENAI_BASE_URL, else OpenAI's own. "
            "A list of servers with the same model: the least busy one is used, and if it fails before its answer "
            "has begun, the next."
        ),
    ] = None
    azure_endpoint: (
        Annotated[str, Meta(description="Address of an Azure OpenAI resource, instead of api_base.")] | None
    ) = None
    azure_deployment: (
        Annotated[str, Meta(description="The deployment's name there. Default: the model's name.")] | None
    ) = None
    azure_ad_token: (
        Annotated[
            Secret,
            Meta(description="A Microsoft Entra token, instead of api_key. Default: AZURE_OPENAI_AD_TOKEN."),
        ]
        | None
    ) = None
    api_version: (
        Annotated[str, Meta(description="Version of Azure's API. Default: the variable OPENAI_API_VERSION.")] | None
    ) = None
    organization: (
        Annotated[str, Meta(description="OpenAI organization ID. Default: the variable OPENAI_ORG_ID.")] | None
    ) = None
    project: Annotated[str, Meta(description="OpenAI project ID. Default: the variable OPENAI_PROJECT_ID.")] | None = (
        None
    )
    timeout: (
        Annotated[
            float,
            Meta(
                gt=0,
                description="Seconds without data after which a request fails. Default: 600, 5 to connect.",
            ),
        ]
        | None
    ) = None
    max_retries: Annotated[
        int, Meta(ge=0, le=100, description="Retries of a request before the first byte of its answer.")
    ] = 2
    headers: Annotated[dict[str, Secret], Meta(description="Additional HTTP headers; never shown.")] = msgspec.field(
        default_factory=dict
    )
    extensions: Annotated[
        tuple[Extension, ...] | dict[Extension, str],
        Meta(
            description="Parameters that this server honours beyond OpenAI's own: top_k, min_p, repetition_penalty, "
            "grammar, max_reasoning_tokens. A mapping gives the server's names: "
            "{'repetition_penalty': 'repeat_penalty'}."
        ),
    ] = ()
    constraints: Constraints = "openai"
    reasoning_in_content: InContent = "auto"
    check_model: Annotated[
        bool, Meta(description="Check on loading that the server can be reached, accepts the key and has the model.")
    ] = True
    max_tokens_field: (
        Annotated[
            Literal["max_tokens", "max_completion_tokens"],
            Meta(description="The server's name for max_tokens. Default: max_completion_tokens at OpenAI."),
        ]
        | None
    ) = None
    include_usage: Annotated[
        bool | Literal["continuous"],
        Meta(
            description="Ask for token counts. False: for servers that refuse stream_options. continuous: "
            "for servers that can send them with every chunk (vLLM), so that answers cut by the client are counted."
        ),
    ] = True
    stop_strings: Annotated[
        Literal["server", "client"],
        Meta(
            description="Who looks for stop strings. client: LlamaForge does, and closes the connection at the match; "
            "for servers that can't, or that lose text or log-probabilities. Automatic for more than four at OpenAI."
        ),
    ] = "server"
    prefill: Annotated[
        Literal["refuse", "native", "continue_final_message"],
        Meta(
            description="How the server continues a final assistant turn: not at all, automatically (llama.cpp), "
            "or with the field continue_final_message (vLLM)."
        ),
    ] = "refuse"

    embedding_api: Annotated[
        Literal["openai", "tei"],
        Meta(
            description="How vectors and rankings are asked for: with /embeddings and /rerank, or with the routes of "
            "Hugging Face's Text Embeddings Inference, which know truncation and prompts as well."
        ),
    ] = "openai"

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            check_header(name, value)
        self._read_addresses()
        self._check_azure()
        fields = list(self.wire_names().items())
        for index, (parameter, field) in enumerate(fields):
            ours = field == parameter or (parameter, field) == ("repetition_penalty", "repeat_penalty")
            taken = (is_taken(field) and not ours) or field in [other for _, other in fields[:index]]
            if not field or taken:
                raise InvalidParameterError(f"extensions[{parameter!r}]", field, "a field that nothing else sets")

    def _read_addresses(self) -> None:
        """Part the URLs from their credentials, so that nothing that shows a config can show a password."""
        if self.azure_endpoint is not None:
            address, credentials = split_address(self.azure_endpoint, "azure_endpoint")
            if credentials is not None:
                raise InvalidParameterError("azure_endpoint", None, "a URL without credentials", show_value=False)
            msgspec.structs.force_setattr(self, "azure_endpoint", address)
        if isinstance(self.api_base, str):
            address, credentials = split_address(self.api_base, "api_base")
            headers = dict(self.headers)
            if credentials is not None:
                if self.api_key is not None or any(name.casefold() == "authorization" for name in headers):
                    raise ConflictingParametersError(
                        ["api_base", "api_key" if self.api_key is not None else "headers"],
                        "The URL in api_base contains a user and a password. Pass either those or another "
                        "Authorization header.",
                    )
                headers["Authorization"] = credentials
            msgspec.structs.force_setattr(self, "api_base", address)
            msgspec.structs.force_setattr(self, "headers", headers)
        elif self.api_base is not None:
            split = [split_address(url, f"api_base[{index}]") for index, url in enumerate(self.api_base)]
            if any(credentials is not None for _, credentials in split):
                raise InvalidParameterError("api_base", None, "a list of URLs without credentials", show_value=False)
            addresses = tuple(address for address, _ in split)
            if not addresses or len(set(addresses)) < len(addresses):
                raise InvalidParameterError("api_base", addresses, "a list of at least one URL, without duplicates")
            msgspec.structs.force_setattr(self, "api_base", addresses)

    def _check_azure(self) -> None:
        if self.azure_endpoint is None:
            for name in ("azure_deployment", "azure_ad_token", "api_version"):
                if getattr(self, name) is not None:
                    message = f"{name} needs azure_endpoint."
                    raise InvalidParameterError(name, None, "not set", show_value=False, message=message)
            return
        for name in ("api_base", "organization", "project"):
            if getattr(self, name) is not None:
                raise ConflictingParametersError(["azure_endpoint", name], f"{name} can't be used with azure_endpoint.")
        if self.api_key is not None and self.azure_ad_token is not None:
            raise ConflictingParametersError(["api_key", "azure_ad_token"])

    def wire_names(self) -> dict[str, str]:
        """The extensions: canonical name to the server's own."""
        if isinstance(self.extensions, dict):
            return {str(name): field for name, field in self.extensions.items()}
        return {str(name): str(name) for name in self.extensions}


def check_header(name: str, value: Secret) -> None:
    """Refuse what can't stand in a header, before the HTTP library does so in a message that shows the value."""
    if not is_header(name):
        raise InvalidParameterError("headers", name, "a mapping whose keys are HTTP header names")
    if not is_printable(value.reveal()):
        raise InvalidParameterError(
            f"headers[{name!r}]", None, "printable ASCII, without line breaks", show_value=False
        )


def is_header(name: str) -> bool:
    """Whether *name* can be the name of an HTTP header (a token of RFC 9110, section 5.6.2)."""
    return bool(name) and name.isascii() and all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name)


def is_printable(text: str) -> bool:
    """Whether *text* can be the value of an HTTP header."""
    return bool(text) and text.isascii() and text.isprintable()
