"""The check at load: is the server there, does it take our key, has it the model? Three questions, three errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from llamaforge.errors import (
    ConnectionFailedError,
    LlamaForgeError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
    closest,
)

from ..error_shapes import is_error
from ..model_list import ModelCard, read_body, read_card, read_models
from ..request.body import CHAT
from ..side_fields import logger
from ..tei import TEIServer, read_info
from .cancel_scope import CancelScope
from .sdk import sdk
from .server_client import ServerClient
from .session import Session

_PATIENCE: Final = 30.0
"""Seconds for the whole check, where the load parameter timeout sets no other limit."""
_NOT_OFFERED: Final = (404, 405, 501)
_REFUSED: Final = (401, 403)
_IN_TROUBLE: Final = (408, 429)
_SHOWN: Final = 8


class _Answer(NamedTuple):
    status: int
    kind: str
    """Its content type."""
    body: Any
    """The decoded JSON, or the text if it is not JSON; for a failure, the SDK's view of it."""


def check_server(session: Session, model: str, timeout: float | None) -> None:
    """Ask each server for its models, and record the model's context size if the server reports it.

    Raises ConnectionFailedError (no server, or no such API at the address), AuthenticationError (the key is refused)
    and ModelNotFoundError (the server doesn't have the model). A server that lists no models passes, and so does a key
    that may only generate. If there are several servers, some may be down.
    """
    down: list[LlamaForgeError] = []
    for server in session.servers:
        scope = CancelScope(timeout or _PATIENCE)
        try:
            size = _check_server(session, server, model, scope)
        except (ConnectionFailedError, RateLimitError, ServerError) as error:
            down.append(error)
        else:
            server.translator = dataclasses.replace(server.translator, context_size=size)
    if len(down) == len(session.servers):
        raise down[0]


def _check_server(session: Session, server: ServerClient, model: str, scope: CancelScope) -> int | None:
    if server.endpoint.azure is not None:
        # Azure lists the models that could be deployed, and no deployments.
        _check_chat(session, server, model, None, scope)
        return None
    answer = _ask(session, server, _get(server, "/models"), scope)
    if answer.status in _IN_TROUBLE or (answer.status >= 500 and answer.status not in _NOT_OFFERED):
        raise server.translator.answer_error(answer.status, answer.body)
    cards = read_models(answer.body) if answer.status < 400 else None
    if cards is None and answer.status == 200 and is_error(answer.body):
        raise server.translator.answer_error(None, answer.body)
    if cards is None:
        # No list, none that can be read, or none for this key, which may well be allowed to generate.
        _check_chat(session, server, model, answer, scope)
        logger.info(
            "The server at %s returned no list of models (HTTP %d, %s): whether it has %s was not checked.",
            server.endpoint.address,
            answer.status,
            answer.kind or "no content type",
            model,
        )
        return None
    card = next((card for card in cards if model in card.names), None) or _ask_by_name(session, server, model, scope)
    if card is None:
        raise _no_such_model(server, model, [card.name for card in cards])
    return card.context_size


def check_tei(session: Session, model: str, timeout: float | None) -> TEIServer:
    """Ask a Text Embeddings Inference server what it is.

    Raises ConnectionFailedError for an address without one, AuthenticationError, or ModelNotFoundError.
    """
    server = session.servers[0]
    root = server.endpoint.address.rstrip("/").removesuffix("/v1")
    answer = _ask(session, server, _get(server, f"{root}/info"), CancelScope(timeout or _PATIENCE))
    if answer.status in (*_REFUSED, *_IN_TROUBLE) or (answer.status >= 500 and answer.status not in _NOT_OFFERED):
        raise server.translator.answer_error(answer.status, answer.body)
    found = read_info(answer.body) if answer.status == 200 else None
    if found is None:
        raise server.translator.gone(
            f"the server answers HTTP {answer.status} to /info. It is no Text Embeddings Inference server; leave out "
            'embedding_api="tei", or check api_base.'
        )
    if model not in (found.model, (found.model or "").rpartition("/")[2]):
        raise _no_such_model(server, model, [found.model or ""])
    return found


def _get(server: ServerClient, path: str) -> Callable[[], Any]:
    import httpx2

    # Not client.models: that would import the types of the whole API.
    return lambda: server.client.get(path, cast_to=httpx2.Response)


def _ask(session: Session, server: ServerClient, call: Callable[[], Any], scope: CancelScope) -> _Answer:
    """What the server answers to *call*, whatever the status is. Raises our error where there is no answer."""
    failure: LlamaForgeError
    try:
        response = session.attempt(server, call, scope)
    except sdk.APIStatusError as error:
        return _Answer(error.status_code, _content_type(error.response), error.body)
    except Exception as error:  # noqa: BLE001 - each is translated by its type
        failure = server.translator.translate(error)
    else:
        asked, answered = response.history[0].request.url if response.history else response.url, response.url
        if (asked.scheme, asked.host, asked.port) == (answered.scheme, answered.host, answered.port):
            body = read_body(response.content)
            return _Answer(response.status_code, _content_type(response), body)
        # Credentials don't follow to another host, nor does a POST: the next request would fail in a stranger way.
        failure = server.translator.gone(
            f"the server redirects to {answered.scheme}://{answered.host}. Use that address."
        )
    raise failure


def _check_chat(
    session: Session, server: ServerClient, model: str, listing: _Answer | None, scope: CancelScope
) -> None:
    """Distinguish a server that lists no models from an address without such an API.

    A server that has the endpoint refuses a request without messages, and computes nothing.
    """
    import httpx2

    def call() -> Any:
        return server.client.post(CHAT, body={"model": model}, cast_to=httpx2.Response)

    answer = _ask(session, server, call, scope)
    if answer.status in _REFUSED:
        raise server.translator.answer_error(answer.status, answer.body)
    page = answer.kind == "text/html"
    if answer.status in _NOT_OFFERED or page:
        error = server.translator.answer_error(answer.status, answer.body)
        if isinstance(error, ModelNotFoundError):
            raise error
        said = f"{answer.status} with a web page" if page else str(answer.status)
        listed = f"HTTP {listing.status} to /models and " if listing is not None else "HTTP "
        raise server.translator.gone(f"the server answers {listed}{said} to {CHAT}. {_hint(server)}")


def _hint(server: ServerClient) -> str:
    address = server.endpoint.address
    if server.endpoint.azure is not None:
        return "Check azure_endpoint and azure_deployment."
    if "v1" in address.split("/"):
        return "The address looks wrong: it has no OpenAI-compatible API. Check api_base."
    return f"The address looks wrong: such an API is usually under /v1. Try api_base={address + '/v1'!r}."


def _ask_by_name(session: Session, server: ServerClient, model: str, scope: CancelScope) -> ModelCard | None:
    """The card of a model that is not in the list. Servers accept more names than they list (Ollama: without a tag)."""
    if not model:
        return None
    answer = _ask(session, server, _get(server, f"/models/{quote(model, safe='')}"), scope)
    return read_card(answer.body) if answer.status == 200 else None


def _no_such_model(server: ServerClient, model: str, known: list[str]) -> ModelNotFoundError:
    near = closest(model, known)
    ordered = near + [name for name in sorted(known) if name not in near]
    listed = ", ".join(ordered[:_SHOWN]) + (f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else "")
    message = f"The server at {server.endpoint.address} has no model {model!r}. "
    message += f"It has: {listed}." if ordered else "It lists none."
    return ModelNotFoundError(
        f"{message} To load a model that it doesn't list, pass check_model=False.", model, ordered
    )


def _content_type(response: Any) -> str:
    kind: str = response.headers.get("content-type", "").partition(";")[0].strip()
    return kind
