"""Whether a template shows all that a conversation says. Some leave turns out without a word: a role that they don't
know, a second system turn, the text beside a tool call.

Looking for a turn's words in the prompt would not tell: templates trim and rewrite texts for good reasons, and short
words stand in prompts by chance. So the same conversation is rendered with a word of our own for each text. What is
missing then is tried once more in the real conversation: where another text there makes another prompt, it is shown.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .probes import Turn
from .turns import REASONING_NAMES

Path = tuple[str | int, ...]
"""Where something is within the turns: indexes and keys."""
_WORD: Final = re.compile("qz[0-9]+qz")
_KEPT = 256
"""Shapes of conversations whose answer is remembered."""


class Lost(NamedTuple):
    """Something that a template leaves out."""

    turn: int
    """Index of the message."""
    what: str
    """``text``, or ``tool calls``."""


class Coverage:
    """Answers for one template, remembered for conversations of one shape. Safe to use from any thread."""

    def __init__(self) -> None:
        self._suspects: dict[bytes, tuple[Path, ...]] = {}

    def first_lost(self, turns: list[Turn], run: Callable[[list[Turn]], str], variables: object) -> Lost | None:
        """What of *turns* the template that *run* renders with leaves out first; None where all is shown.

        *variables* stands for everything else that the template sees: its ``repr`` tells it from all others.
        """
        # Only a digest is kept: conversations and their tools and documents may be long.
        asked = repr((variables, [_shape(turn) for turn in turns]))
        key = hashlib.blake2b(asked.encode("utf-8", "backslashreplace"), digest_size=16).digest()
        suspects = self._suspects.get(key)
        if suspects is None:
            if len(self._suspects) >= _KEPT:
                self._suspects.clear()
            suspects = self._suspects[key] = _find_suspects(turns, run)
        for path in suspects:
            if not _changes_the_prompt(turns, path, run):
                return Lost(int(path[0]), "text" if path[1] == "content" else "tool calls")
        return None


def _find_suspects(turns: list[Turn], run: Callable[[list[Turn]], str]) -> tuple[Path, ...]:
    """The texts that are missing where each is a word of our own."""
    words = {path: f"qz{number}qz" for number, path in enumerate(_texts(turns))}
    if not words:
        return ()
    try:
        shown = run(_with(turns, words)).lower()
    except Exception:  # noqa: BLE001 - the template wants certain texts: each is looked at by itself
        return tuple(words)
    found = set(_WORD.findall(shown))
    return tuple(path for path, word in words.items() if word not in found)


def _changes_the_prompt(turns: list[Turn], path: Path, run: Callable[[list[Turn]], str]) -> bool:
    try:
        return run(_with(turns, {path: "qz0qz"})) != run(turns)
    except Exception:  # noqa: BLE001 - the template looked at it, or it would not refuse it
        return True


def _texts(turns: list[Turn]) -> list[Path]:
    """Where the texts are that a prompt must show."""
    found: list[Path] = []
    for index, turn in enumerate(turns):
        content = turn.get("content")
        if isinstance(content, str) and content.strip():
            found.append((index, "content"))
        elif isinstance(content, list):
            found += [
                (index, "content", number, "text")
                for number, part in enumerate(content)
                if part["type"] == "text" and part["text"].strip()
            ]
        for number, call in enumerate(turn.get("tool_calls", ())):
            at: Path = (index, "tool_calls", number, "function")
            found.append((*at, "name"))
            if call["function"]["arguments"] not in ("", "{}", {}):
                found.append((*at, "arguments"))
    return found


def _with(turns: list[Turn], words: dict[Path, str]) -> list[Turn]:
    """A copy of *turns* with those texts in those places."""
    copy: list[Turn] = [_copied(turn) for turn in turns]
    for path, word in words.items():
        *way, last = path
        place: Any = copy
        for step in way:
            place = place[step]
        if last != "arguments":
            place[last] = word
        elif isinstance(place[last], str):
            place[last] = json.dumps({"qzkey": word})
        else:
            place[last] = {"qzkey": word}
    return copy


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _shape(turn: Turn) -> object:
    """What a template may decide by, but for the texts themselves."""
    content = turn.get("content")
    shown: object = content
    if isinstance(content, str):
        shown = bool(content.strip())
    elif isinstance(content, list):
        shown = tuple((part["type"], bool(part.get("text", "").strip())) for part in content)
    calls = tuple(
        (call["id"], type(arguments := call["function"]["arguments"]).__name__, arguments in ("", "{}", {}))
        for call in turn.get("tool_calls", ())
    )
    thought = bool(turn.get(REASONING_NAMES[0]))
    return turn["role"], shown, turn.get("name"), turn.get("tool_call_id"), calls, thought
