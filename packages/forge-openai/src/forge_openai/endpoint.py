"""The server, as the load parameters and the environment name it together."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from llamaforge.errors import InvalidParameterError
from llamaforge.secrets import Secret

from .address import OFFICIAL, OFFICIAL_STOP_STRINGS, is_official, split_address
from .config import OpenAIConfig, is_header, is_printable

_SHORTEST_SECRET = 4
_KEY: Final = "OPENAI_API_KEY"
_HEADERS: Final = "OPENAI_CUSTOM_HEADERS"


@dataclass(frozen=True, kw_only=True, slots=True)
class Azure:
    """What is special about a deployment of Azure OpenAI."""

    deployment: str
    version: str
    """Of the API."""
    token: Secret | None
    """Of Microsoft Entra, instead of a key."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Endpoint:
    """A server and our credentials for it."""

    address: str
    """The base URL, without credentials: fit to be shown."""
    api_key: Secret | None
    organization: str | None
    project: str | None
    headers: dict[str, Secret] = field(default_factory=dict)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    most_stop_strings: int | None = None
    """How many the server takes, where there is a limit."""
    azure: Azure | None = None
    is_openai: bool = False
    """Whether it is OpenAI's own API, or Azure's."""
    key_variable: str = ""
    """The environment variable that the key is from; empty if the key was passed or there is none."""

    def secrets(self) -> tuple[str, ...]:
        """Every text that no message may hold, longest first."""
        token = self.azure.token if self.azure is not None else None
        texts = {secret.reveal() for secret in (self.api_key, token) if secret is not None}
        for value in self.headers.values():
            text = value.reveal()
            texts.add(text)
            scheme, _, rest = text.partition(" ")
            texts.add(rest)
            if scheme.casefold() == "basic":
                texts.add(_password(rest))
        return tuple(sorted((text for text in texts if len(text) >= _SHORTEST_SECRET), key=len, reverse=True))


def find_endpoints(config: OpenAIConfig, model: str, environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The servers, with what *config* leaves open filled in from the environment, as the SDK would.

    Raises InvalidParameterError if a key is missing or invalid.
    """
    environ = environ if config.reads_environment else {}
    if config.azure_endpoint is not None:
        return (_azure(config, config.azure_endpoint, model, environ),)
    headers = {**_environment_headers(environ), **config.headers}
    variable = ""
    if config.api_base is None:
        address, credentials = split_address(environ.get("OPENAI_BASE_URL") or OFFICIAL, "OPENAI_BASE_URL")
        if credentials is not None:
            headers.setdefault("Authorization", credentials)
        addresses: tuple[str, ...] = (address,)
    else:
        addresses = (config.api_base,) if isinstance(config.api_base, str) else config.api_base
    authorized = any(name.casefold() == "authorization" for name in headers)
    key = config.api_key
    if key is None and not authorized and environ.get(_KEY):
        key, variable = Secret(environ[_KEY]), _KEY
    if key is not None:
        key = _checked(key, variable or "api_key")
    elif any(map(is_official, addresses)) and not authorized:
        raise _missing("api_key", _KEY)
    return tuple(
        Endpoint(
            address=address,
            api_key=key,
            organization=config.organization or environ.get("OPENAI_ORG_ID") or None,
            project=config.project or environ.get("OPENAI_PROJECT_ID") or None,
            headers=headers,
            max_tokens_field=config.max_tokens_field
            or ("max_completion_tokens" if is_official(address) else "max_tokens"),
            most_stop_strings=OFFICIAL_STOP_STRINGS if is_official(address) else None,
            is_openai=is_official(address),
            key_variable=variable,
        )
        for address in addresses
    )


def _azure(config: OpenAIConfig, address: str, model: str, environ: Mapping[str, str]) -> Endpoint:
    version = config.api_version or environ.get("OPENAI_API_VERSION")
    if not version:
        raise _missing("api_version", "OPENAI_API_VERSION")
    key, token = config.api_key, config.azure_ad_token
    variable = ""
    if key is None and token is None:
        if environ.get("AZURE_OPENAI_AD_TOKEN"):
            variable = "AZURE_OPENAI_AD_TOKEN"
            token = Secret(environ[variable])
        elif environ.get("AZURE_OPENAI_API_KEY"):
            variable = "AZURE_OPENAI_API_KEY"
            key = Secret(environ[variable])
        else:
            raise _missing("api_key", "AZURE_OPENAI_API_KEY")
    return Endpoint(
        address=address,
        api_key=None if key is None else _checked(key, variable or "api_key"),
        organization=None,
        project=None,
        headers={**_environment_headers(environ), **config.headers},
        key_variable=variable,
        max_tokens_field=config.max_tokens_field or "max_completion_tokens",
        most_stop_strings=OFFICIAL_STOP_STRINGS,
        is_openai=True,
        azure=Azure(
            deployment=config.azure_deployment or model,
            version=version,
            token=None if token is None else _checked(token, variable or "azure_ad_token"),
        ),
    )


def _missing(name: str, variable: str) -> InvalidParameterError:
    message = f"{name} is missing: pass it as a load parameter, or set the environment variable {variable}."
    return InvalidParameterError(name, None, f"the {name}", show_value=False, message=message)


def custom_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """The headers that ``OPENAI_CUSTOM_HEADERS`` names, one in each line, as the SDK reads them."""
    lines = [line.partition(":") for line in environ.get(_HEADERS, "").split("\n")]
    return {name.strip(): value.strip() for name, colon, value in lines if colon}


def _environment_headers(environ: Mapping[str, str]) -> dict[str, Secret]:
    headers = custom_headers(environ)
    for name, value in headers.items():
        if not is_header(name) or not is_printable(value):
            expected = "lines such as 'X-Team: blue', in printable ASCII"
            raise InvalidParameterError(_HEADERS, None, expected, show_value=False)
    return {name: Secret(value) for name, value in headers.items()}


def _checked(key: Secret, name: str) -> Secret:
    key = Secret(key.reveal().strip())
    if not is_printable(key.reveal()):
        raise InvalidParameterError(name, None, "non-empty and printable ASCII", show_value=False)
    return key


def _password(token: str) -> str:
    try:
        return base64.b64decode(token, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
