"""The server, as the load parameters and the environment name it together."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llamaforge.errors import InvalidParameterError
from llamaforge.secrets import Secret

from .address import OFFICIAL, OFFICIAL_STOP_STRINGS, is_official, split_address
from .config import OpenAIConfig, is_printable

_SHORTEST_SECRET = 4


@dataclass(frozen=True, kw_only=True, slots=True)
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

    def secrets(self) -> tuple[str, ...]:
        """Every text that no message may hold, longest first."""
        texts = {self.api_key.reveal()} if self.api_key is not None else set()
        for value in self.headers.values():
            text = value.reveal()
            texts.add(text)
            scheme, _, token = text.partition(" ")
            texts.add(token)
            if scheme.casefold() == "basic":
                texts.add(_password(token))
        return tuple(sorted((text for text in texts if len(text) >= _SHORTEST_SECRET), key=len, reverse=True))


def find_endpoint(config: OpenAIConfig, environ: Mapping[str, str]) -> Endpoint:
    """Fill in from the environment what *config* leaves open, as the SDK would, unless *config* is another server's.

    Raises InvalidParameterError where a key is needed and there is none, or where one can't be a key.
    """
    environ = environ if config.reads_environment else {}
    address, headers = config.api_base, dict(config.headers)
    if address is None:
        address, credentials = split_address(environ.get("OPENAI_BASE_URL") or OFFICIAL, "OPENAI_BASE_URL")
        if credentials is not None:
            headers.setdefault("Authorization", credentials)
    authorized = any(name.casefold() == "authorization" for name in headers)
    key = config.api_key
    if key is None and not authorized and environ.get("OPENAI_API_KEY"):
        key = Secret(environ["OPENAI_API_KEY"])
    official = is_official(address)
    if key is not None:
        key = Secret(key.reveal().strip())
        if not is_printable(key.reveal()):
            raise InvalidParameterError("api_key", None, "printable ASCII, and not empty", show_value=False)
    elif official and not authorized:
        raise InvalidParameterError(
            "api_key", None, "given, or set in the environment as OPENAI_API_KEY", show_value=False
        )
    return Endpoint(
        address=address,
        api_key=key,
        organization=config.organization or environ.get("OPENAI_ORG_ID") or None,
        project=config.project or environ.get("OPENAI_PROJECT_ID") or None,
        headers=headers,
        max_tokens_field=config.max_tokens_field or ("max_completion_tokens" if official else "max_tokens"),
        most_stop_strings=OFFICIAL_STOP_STRINGS if official else None,
    )


def _password(token: str) -> str:
    try:
        return base64.b64decode(token, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
