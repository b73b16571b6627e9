"""``--server URL``: the models of a running server, ``llamaforge serve`` or another one that speaks OpenAI's API."""

from __future__ import annotations

import json
import os
import string
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote, urlsplit

import click

from ..backends.spec import Task
from ..errors import ConnectionFailedError
from ..forge import LlamaForge
from ..sources.redact import redact

BACKEND: Final = "openai"
KEY: Final = "LLAMAFORGE_API_KEY"
"""The environment variable with the server's API key."""

_EXTENSIONS: Final = ("top_k", "min_p", "repetition_penalty", "grammar", "max_reasoning_tokens")
_SECONDS: Final = 30.0


def add_models_of(forge: LlamaForge, url: str, model: str | None, task: Task) -> str:
    """Add the server's models to *forge* under their names, and return the one to use.

    Without *model* it is the first one for *task* that is loaded, else the first one for it.

    Raises UsageError for a URL that is none and a server without such a model, and ConnectionFailedError.
    """
    path = _checked_path(url)
    base = url.rstrip("/") if path.strip("/") else f"{url.rstrip('/')}/v1"
    cards = _cards(base)
    parameters: dict[str, object] = {"api_base": base, "api_key": f"env:{KEY}" if os.environ.get(KEY) else "none"}
    if any(card.get("owned_by") == "llamaforge" for card in cards):
        parameters |= {"extensions": list(_EXTENSIONS), "constraints": "llamaforge"}
    names = [card["id"] for card in cards]
    for name in dict.fromkeys([*names, *([model] if model is not None else [])]):
        forge.add_model(name, name, BACKEND, parameters, replace=True)
    if model is not None:
        return model
    able = [card for card in cards if task in _tasks(card)]
    if not able:
        raise click.UsageError(f"The server at {url} has no model for the task {task}. Name one with -m MODEL.")
    return str(next((card for card in able if card.get("state") == "loaded"), able[0])["id"])


def _checked_path(url: str) -> str:
    """The path in a server's URL. Raises UsageError for what is none, or has parts that mean nothing here."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in url:
        raise click.UsageError(f"--server needs a URL such as http://127.0.0.1:8080, not {redact(url)!r}.")
    if parts.username is not None:
        raise click.UsageError(f"--server takes no user and password in a URL. Set {KEY} to the server's API key.")
    if parts.query or parts.fragment:
        raise click.UsageError(f"--server needs a URL without '?' and '#', not {redact(url)!r}.")
    return parts.path


def _tasks(card: Mapping[str, Any]) -> list[str]:
    """What a model is for; servers that don't say it serve text."""
    able = card.get("capabilities")
    tasks = able.get("tasks") if isinstance(able, dict) else None
    return tasks if isinstance(tasks, list) else ["generate"]


def _cards(base: str) -> list[dict[str, Any]]:
    """The server's list of models."""
    parts = urlsplit(f"{base}/models")
    address = f"{parts.scheme}://{parts.netloc}{quote(parts.path, safe=string.punctuation)}"
    request = urllib.request.Request(address)  # noqa: S310 - the scheme has been checked
    key = os.environ.get(KEY)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        advice = f" Set {KEY} to its API key." if error.code in (401, 403) else ""
        raise ConnectionFailedError(base, f"its list of models answers with HTTP {error.code}.{advice}") from None
    except urllib.error.URLError as error:
        raise ConnectionFailedError(base, getattr(error.reason, "strerror", None) or f"{error.reason}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        found = None
    except HTTPException as error:
        raise ConnectionFailedError(base, f"it sent an HTTP answer that is broken or incomplete ({error!r}).") from None
    except (OSError, ValueError) as error:
        raise ConnectionFailedError(base, f"{error}") from None
    cards = found.get("data") if isinstance(found, dict) else None
    if not isinstance(cards, list):
        raise ConnectionFailedError(base, "what it sends is no list of models.")
    return [card for card in cards if isinstance(card, dict) and _is_name(card.get("id"))]


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name.strip()) and name.isprintable()
