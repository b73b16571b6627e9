"""The check at load: is the server there, does it take our key, has it the model? Three questions, three errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from llamaforge.errors import LlamaForgeError, ModelNotFoundError, closest

from .body import CHAT
from .scope import CancelScope
from .session import Session

_PATIENCE: Final = 30.0
"""Seconds for the whole check, where the load parameter timeout sets no other limit."""
_NOT_OFFERED: Final = (404, 405, 501)
_SHOWN: Final = 8


class _Answer(NamedTuple):
    status: int
    kind: str
    """Its content type."""
    body: Any
    """Decoded JSON; None where it is none. Of a failure: what the SDK made of it."""


def check_server(session: Session, model: str, timeout: float | None) -> int | None:
    """Ask the server for its models. Returns the model's context size, in tokens, where the server tells.

    Raises ConnectionFailedError (nobody there, or the address is no such API), AuthenticationError (the key is refused)
    and ModelNotFoundError (the model isn't there). A server that lists no models passes.
    """
    scope = CancelScope(timeout or _PATIENCE)
    answer = _ask(session, lambda: session.client.models.with_raw_response.list().http_response, scope)
    if answer.status in _NOT_OFFERED:
        _check_chat(session, model, answer, scope)
        return None
    if answer.status >= 400:
        raise session.translator.answer_error(answer.status, answer.body)
    cards = _cards(answer.body)
    if cards is None:
        raise session.translator.gone(
            f"it answers, but its list of models is {answer.kind or 'of no content type'} that can't be read. "
            + _hint(session)
        )
    card = _find(cards, model) or _ask_by_name(session, model, scope)
    if card is None:
        raise _no_such_model(session, model, [str(card["id"]) for card in cards if card.get("id")])
    return _context_size(card)


def _ask(session: Session, call: Callable[[], Any], scope: CancelScope) -> _Answer:
    """What the server answers to *call*, whatever the status is. Raises our error where there is no answer."""
    import openai

    failure: LlamaForgeError
    try:
        response = session.attempt(call, scope)
    except openai.APIStatusError as error:
        return _Answer(error.status_code, _content_type(error.response), error.body)
    except Exception as error:  # noqa: BLE001 - each is translated by its type
        failure = session.translator.translate(error)
    else:
        asked, answered = response.history[0].request.url if response.history else response.url, response.url
        if (asked.scheme, asked.host, asked.port) == (answered.scheme, answered.host, answered.port):
            body = None
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                body = msgspec.json.decode(response.content)
            return _Answer(response.status_code, _content_type(response), body)
        # Credentials don't follow to another host, nor does a POST: the next request would fail in a stranger way.
        failure = session.translator.gone(f"it sends us on to {answered.scheme}://{answered.host}; use that address.")
    raise failure


def _check_chat(session: Session, model: str, listing: _Answer, scope: CancelScope) -> None:
    """Tell a server that lists no models from an address where no such API is.

    A request without messages is refused by whoever knows the endpoint, and nothing is computed.
    """
    import httpx2

    answer = _ask(session, lambda: session.client.post(CHAT, body={"model": model}, cast_to=httpx2.Response), scope)
    if answer.status in (401, 403):
        raise session.translator.answer_error(answer.status, answer.body)
    if answer.status in _NOT_OFFERED:
        error = session.translator.answer_error(answer.status, answer.body)
        if isinstance(error, ModelNotFoundError):
            raise error
        raise session.translator.gone(
            f"it answers HTTP {listing.status} to /models and {answer.status} to {CHAT}. {_hint(session)}"
        )


def _hint(session: Session) -> str:
    address = session.endpoint.address
    if "v1" in address.split("/"):
        return "The address looks wrong: no OpenAI-compatible API is there. Check api_base."
    return f"The address looks wrong: such an API usually stands under /v1; try api_base={address + '/v1'!r}."


def _cards(body: Any) -> list[dict[str, Any]] | None:
    """The models' cards; a few servers send the bare list."""
    cards = body.get("data") if isinstance(body, dict) else body
    return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else None


def _find(cards: list[dict[str, Any]], model: str) -> dict[str, Any] | None:
    return next((card for card in cards if model == card.get("id") or model in (card.get("aliases") or ())), None)


def _ask_by_name(session: Session, model: str, scope: CancelScope) -> dict[str, Any] | None:
    """The card of a model that is not in the list: servers know names (Ollama: without a tag) that they don't list."""
    if not model:
        return None
    answer = _ask(session, lambda: session.client.models.with_raw_response.retrieve(model).http_response, scope)
    known = answer.status == 200 and isinstance(answer.body, dict) and isinstance(answer.body.get("id"), str)
    return answer.body if known else None


def _no_such_model(session: Session, model: str, known: list[str]) -> ModelNotFoundError:
    near = closest(model, known)
    ordered = near + [name for name in sorted(known) if name not in near]
    listed = ", ".join(ordered[:_SHOWN]) + (f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else "")
    message = f"The server at {session.endpoint.address} has no model {model!r}. "
    message += f"It has: {listed}." if ordered else "It lists none."
    return ModelNotFoundError(
        f"{message} A model that it has and doesn't list can be loaded with check_model=False.", model, ordered
    )


def _context_size(card: dict[str, Any]) -> int | None:
    """vLLM's ``max_model_len``, or llama.cpp's ``meta.n_ctx``."""
    meta = card.get("meta")
    for size in (card.get("max_model_len"), meta.get("n_ctx") if isinstance(meta, dict) else None):
        if isinstance(size, int) and size > 0:
            return size
    return None


def _content_type(response: Any) -> str:
    kind: str = response.headers.get("content-type", "").partition(";")[0].strip()
    return kind
