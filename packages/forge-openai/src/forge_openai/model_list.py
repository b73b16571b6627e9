"""A server's list of its models, as ``GET /models`` answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .answer.decoder import read_json
from .answer.lenient import whole
from .answer.sse import EventParser

_HOLDERS: Final = ("data", "models", "result", "items")
"""Fields that hold the list: OpenAI's; Ollama's own; Cloudflare's; others'."""
_NAMES: Final = ("id", "name", "model")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a server says of one of its models."""

    names: tuple[str, ...]
    """Its name, and other names that are understood as well."""
    context_size: int | None = None
    """Tokens that a request may take, where the server tells."""

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]


def read_body(data: bytes) -> object:
    """The JSON value that a body is, even if it comes as a server-sent event; as text if it is not JSON."""
    found = read_json(data)
    if isinstance(found, str):
        parser = EventParser()
        events = [*parser.feed(data), *parser.close()]
        if events:
            return read_json(events[0][1])
    return found


def read_models(body: object) -> list[ModelCard] | None:
    """The models in a decoded *body*; None if it is not a list of models.

    Servers send OpenAI's ``{"data": [{"id": ...}]}``, the bare list, a list of names, or an object of names.
    """
    found = body
    if isinstance(body, dict):
        for name in _HOLDERS:
            if name in body:
                found = body[name]
                break
        else:
            return None
        if isinstance(found, dict):
            cards = [_card(card, name) for name, card in found.items()]
            return [card for card in cards if card is not None]
    if not isinstance(found, list):
        return None
    made = [card for each in found if (card := _card(each)) is not None]
    return made if made or not found else None


def read_card(body: object) -> ModelCard | None:
    """The model in the decoded answer to ``GET /models/NAME``; None if it is not a model."""
    return _card(body) if isinstance(body, dict) and isinstance(body.get("id"), str) else None


def _card(found: object, name: str | None = None) -> ModelCard | None:
    if isinstance(found, str):
        return ModelCard((found,))
    if not isinstance(found, dict):
        return ModelCard((name,)) if name else None
    first = next((found[key] for key in _NAMES if isinstance(found.get(key), str) and found[key]), name)
    aliases = found.get("aliases")
    others = [each for each in aliases if isinstance(each, str)] if isinstance(aliases, list) else []
    if not first and not others:
        return None
    names = dict.fromkeys([*([first] if first else []), *others])
    meta = found.get("meta")
    # vLLM's name, llama.cpp's, and those of gateways.
    sizes = (
        found.get("max_model_len"),
        meta.get("n_ctx") if isinstance(meta, dict) else None,
        found.get("context_length"),
        found.get("context_window"),
    )
    size = next((number for each in sizes if (number := whole(each)) is not None and number > 0), None)
    return ModelCard(tuple(names), size)
