"""What ``llamaforge doctor`` tells of this backend. It asks no server and shows no secret."""

from __future__ import annotations

import importlib.metadata
import os

from llamaforge.errors import InvalidParameterError

from .address import OFFICIAL, is_official, split_address


def probe() -> dict[str, list[str]]:
    """The SDK's version, whether there is a key, and where requests go."""
    compiled: list[str] = []
    visible: list[str] = []
    advice: list[str] = []
    try:
        compiled.append(f"openai SDK {importlib.metadata.version('openai')}")
    except importlib.metadata.PackageNotFoundError:
        advice.append("The openai SDK is missing: pip install 'openai>=3,<4'")
    has_key = bool(os.environ.get("OPENAI_API_KEY"))
    visible.append(f"OPENAI_API_KEY is {'set' if has_key else 'not set'}")
    try:
        address, _ = split_address(os.environ.get("OPENAI_BASE_URL") or OFFICIAL, "OPENAI_BASE_URL")
    except InvalidParameterError as error:
        advice.append(str(error))
    else:
        visible.append(f"base URL {address}")
        if is_official(address) and not has_key:
            advice.append(
                "OpenAI's API needs a key: set OPENAI_API_KEY, or pass the address of another server as api_base."
            )
    return {"compiled": compiled, "visible": visible, "advice": advice}
