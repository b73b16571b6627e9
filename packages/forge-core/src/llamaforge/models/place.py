"""Where the values of a named model are set, for errors about them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import ConflictingParametersError, LlamaForgeError
from ..errors.request import named_parameters
from .entry import ModelEntry

Table = Literal["", "parameters", "generation"]
"""A part of a model's entry; the empty string is the entry itself."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHORTEST: Final = 3
"""Characters of a value that is looked for in a message."""


def place_of(entry: ModelEntry, file: Path, table: Table = "") -> str:
    """The model and where its *table* is, as the subject of a sentence. *file* is the model file."""
    return f"The model {entry.name!r} ({_where(entry, file, table)})"


def say_where(
    error: LlamaForgeError, entry: ModelEntry, parameters: Mapping[str, object], file: Path, *, named: bool
) -> None:
    """Say in *error*, which loading *entry* with *parameters* raised, where the wrong value was set.

    Nothing is said of what the caller passed, since callers know where they are, and nothing about an entry that is a
    mere reference (*named* is false).
    """
    if not named:
        return
    own = entry.parameters
    passed = {name: value for name, value in parameters.items() if name not in own or own[name] is not value}
    about = named_parameters(error)
    if about & passed.keys():
        others = sorted(about & own.keys() - passed.keys())
        if isinstance(error, ConflictingParametersError) and others:
            where = _where(entry, file, "parameters")
            error.message += f" The model {entry.name!r} sets {' and '.join(others)} ({where})."
    elif about:
        error.add_place(place_of(entry, file, "parameters" if about & own.keys() else ""))
    elif entry.origin == "memory" and entry.name == entry.path:
        return  # whoever added it gave only its reference, which the message has
    elif _mentions(error, own) or not _mentions(error, passed):
        error.add_place(place_of(entry, file))


def _where(entry: ModelEntry, file: Path, table: Table) -> str:
    if entry.origin == "built-in":
        return "built in"
    if entry.origin == "memory":
        return f"{table} of add_model" if table else "added by add_model"
    key = entry.name if _BARE_KEY.fullmatch(entry.name) else json.dumps(entry.name, ensure_ascii=False)
    return f"[models.{key}{table and f'.{table}'}] in {file}"


def _mentions(error: LlamaForgeError, parameters: Mapping[str, object]) -> bool:
    """Whether the message has the name of one of *parameters*, or a text that is its value, such as a path."""
    message = error.message
    return any(re.search(rf"\b{re.escape(name)}\b", message) for name in parameters) or any(
        len(text) >= _SHORTEST and text in message for text in _texts(parameters)
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
