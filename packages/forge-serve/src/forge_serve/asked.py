"""The one request that all dialects are read into, and what writes its answer in a dialect."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from llamaforge import BaseBackend, GeneratedText
from llamaforge.parameters import NAMES
from llamaforge.results import Event

from .errors import Problem

if TYPE_CHECKING:
    from llamaforge.observers import Operation

_DURATION: Final = re.compile(r"(-?\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

PARAMETERS = frozenset(NAMES) - {"timeout", "engine", "on_unsupported", "raw"}
"""Canonical parameters that may be set by their own names in every dialect."""


@dataclass(kw_only=True)
class Asked:
    """What a client asks for."""

    model: str
    messages: list[dict[str, Any]] | None = None
    """A conversation, in OpenAI's shape; None where there is a *prompt*."""
    prompt: str | None = None
    more_prompts: tuple[str, ...] = ()
    """Further prompts, each with as many answers of its own."""
    parameters: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    choices: int = 1
    """How many answers to each prompt are wanted."""
    include_usage: bool = False
    """Whether a stream is to end with token counts, in dialects that leave it to the client."""
    ignored: list[str] = field(default_factory=list)
    """Fields of the request that mean nothing here; the client is told."""
    context_length: int | None = None
    """The tokens that the client wants to have room for. A request changes no load parameter: where the model was
    loaded with less, it is refused."""
    loads_only: bool = False
    """Whether the model is only to be loaded, or let go by ``keep_alive``: a request of Ollama's without a prompt."""
    keep_alive: object = None
    """How long the model is to stay afterwards, as Ollama's clients say it; None: as the server is set."""

    def take_others(
        self, body: dict[str, Any], known: Collection[str], other_names: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Take the fields of *body* that aren't *known*: parameters by their own names or *other_names*. What is
        neither is ignored, which the client is told."""
        for name, value in body.items():
            if name in known or value is None:
                continue
            if (parameter := other_names.get(name, name)) in PARAMETERS:
                self.parameters[parameter] = value
            else:
                self.ignored.append(name)


class Writer(Protocol):
    """Writes one answer. Each method returns bytes for the wire, perhaps none."""

    content_type: bytes

    def start(self) -> bytes:
        """What comes before everything else in a stream."""

    def event(self, choice: int, event: Event) -> bytes:
        """An event of the answer number *choice*; its last one is Finished."""

    def end(self) -> bytes:
        """What comes once all answers have ended."""

    def ping(self) -> bytes:
        """A sign of life, which means nothing."""

    def failure(self, problem: Problem) -> bytes:
        """An error amid a stream, which no client takes for the end of an answer."""

    def whole(self, answers: list[GeneratedText]) -> bytes:
        """The answer to a request without a stream."""


class Voice(Protocol):
    """How errors are told."""

    name: str

    def error(self, problem: Problem) -> bytes:
        """The body of an error."""


class Dialect(Voice, Protocol):
    """One way to ask for an answer."""

    operation: ClassVar[Operation]
    """What it asks for, as observers hear it."""

    def read(self, body: dict[str, Any]) -> Asked:
        """The request in a body. Raises Problem or a RequestError."""

    def writer(self, asked: Asked) -> Writer:
        """What writes the answer to *asked*."""


@dataclass(kw_only=True)
class Work:
    """What a model does in one piece: vectors, a ranking, tokens."""

    model: str
    run: Callable[[BaseBackend, float | None], Awaitable[bytes]]
    """Does it on the loaded model within so many seconds, and writes the answer."""
    ignored: list[str] = field(default_factory=list)
    """Fields of the request that mean nothing here; the client is told."""
    keep_alive: object = None
    """As in :class:`Asked`."""


class WorkDialect(Voice, Protocol):
    """One way to ask for what is done in one piece."""

    operation: ClassVar[Operation | None]
    """What it asks for, as observers hear it. None: nothing that they hear of."""

    def read(self, body: dict[str, Any]) -> Work:
        """The request in a body. Raises Problem or a RequestError."""


def take(body: dict[str, Any], name: str, kind: type | tuple[type, ...], what: str, default: Any = None) -> Any:
    """A field of *body*, which must be of that kind; *default* where it is missing or null. Raises Problem."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise Problem(400, "invalid_request", f"{name} must be {what}.", name)
    return value


def needed(body: dict[str, Any], name: str, kind: type | tuple[type, ...], what: str) -> Any:
    """:func:`take` of a field that must be there."""
    value = take(body, name, kind, what)
    if value is None:
        raise Problem(400, "invalid_request", f"{name} is missing: it must be {what}.", name)
    return value


def inner_names(name: str, value: dict[str, Any], known: Collection[str]) -> list[str]:
    """The fields of the object *value* at *name* that mean nothing here, for :attr:`Asked.ignored`."""
    return [f"{name}.{inner}" for inner, said in value.items() if inner not in known and said is not None]


def seconds_of(keep_alive: object) -> float | None:
    """``keep_alive`` as Ollama's clients write it: seconds, or ``"5m"``; below 0: for ever. Raises Problem."""
    if keep_alive is None:
        return None
    if isinstance(keep_alive, str):
        match = _DURATION.fullmatch(keep_alive.strip())
        value = float(match[1]) * _UNITS[match[2] or "s"] if match is not None else None
    elif isinstance(keep_alive, bool) or not isinstance(keep_alive, (int, float)):
        value = None
    else:
        try:
            value = float(keep_alive)
        except OverflowError:  # a whole number of hundreds of digits
            value = math.inf  # below 0 is for ever, too
    if value is None or math.isnan(value):
        raise Problem(400, "invalid_request", "keep_alive must be seconds, or a text such as '5m'.", "keep_alive")
    return math.inf if value < 0 else value
