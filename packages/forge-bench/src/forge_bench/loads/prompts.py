"""Given prompts and conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from llamaforge.errors import EmptyPromptError, InvalidParameterError

from ..driver import Item
from ..records import Call
from .base import Wording, mark, source_of


class Given(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A prompt, a conversation to continue, or one whose turns are sent one after another."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    turns: list[str] = []
    """Further user turns, each sent once the answer to the one before is complete."""
    max_tokens: int | None = None


class Prompts:
    """A fixed list, dealt in random order. Nothing is repeated before all have been sent.

    A repeated prompt, and every prompt that warms up, gets a short mark at its beginning, so that it is a new text for
    the engine's prefix cache.

    Args:
        given: strings, lists of messages, or :class:`Given`.
        name: for reports.
        shuffle: False keeps the order.
        mark_repeats: False sends repeated prompts as they are, to measure the engine's cache.
        pause: seconds between an answer and the next turn of a conversation.

    Raises InvalidParameterError, or EmptyPromptError for an empty list.
    """

    needs_wording = False

    def __init__(
        self,
        given: Iterable[object],
        *,
        name: str = "prompts",
        shuffle: bool = True,
        mark_repeats: bool = True,
        pause: float = 0.0,
    ) -> None:
        self.name = name
        self._given = [_read(each, index) for index, each in enumerate(given)]
        if not self._given:
            raise EmptyPromptError("There are no prompts to send.")
        self._shuffle, self._mark, self._pause = shuffle, mark_repeats, pause
        self._dealt = 0
        self.marked = 0
        """Prompts that were sent with a mark."""

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._given)

    def draw(self, count: int, *, seed: int, salt: str, wording: Wording, fresh: bool) -> list[Item]:
        """The next *count*."""
        items = []
        for number in range(count):
            place = self._dealt + number
            lap, index = divmod(place, self.size)
            order = list(range(self.size))
            if self._shuffle:
                source_of(seed if not fresh else "warm", lap).shuffle(order)
            given = self._given[order[index]]
            repeated = (fresh or lap > 0) and self._mark
            if repeated and not fresh:
                self.marked += 1
            items.append(self._item(given, mark(salt, place) if repeated else "", number))
        if not fresh:
            self._dealt += count
        return items

    def _item(self, given: Given, beginning: str, index: int) -> Item:
        messages, prompt = given.messages, given.prompt
        if messages is not None and beginning:
            messages = _marked(messages, beginning)
        elif prompt is not None:
            prompt = beginning + prompt
        call = Call(prompt=prompt, messages=messages, max_tokens=given.max_tokens)
        return Item(call=call, turns=given.turns, pause=self._pause, index=index)

    def describe(self) -> dict[str, Any]:
        """For the report."""
        return {"kind": "prompts", "name": self.name, "prompts": self.size, "marked": self.marked}


def _marked(messages: Sequence[Mapping[str, Any]], beginning: str) -> list[dict[str, Any]]:
    """*messages* with a mark at the beginning of the first text, whoever's it is: a cache compares from the start."""
    marked = [dict(message) for message in messages]
    for message in marked:
        if isinstance(message.get("content"), str):
            message["content"] = beginning + message["content"]
            break
    return marked


def _read(value: object, index: int) -> Given:
    if isinstance(value, Given):
        return value
    if isinstance(value, str):
        if not value.strip():
            raise EmptyPromptError(f"prompts[{index}] is empty.")
        return Given(prompt=value)
    if isinstance(value, list | tuple) and value and all(isinstance(each, Mapping) for each in value):
        return Given(messages=[dict(each) for each in value])
    raise InvalidParameterError(f"prompts[{index}]", value, "a string or a list of messages")
