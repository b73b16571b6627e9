"""The turns of a chat, saved to files and loaded from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ..errors import InvalidParameterError
from ..files import atomic_file, check_regular
from ..messages import Message, read_messages


class ConversationError(click.UsageError):
    """A slash command failed; the message says why."""


@dataclass
class Conversation:
    """The conversation so far. Every user turn has its answer, except the one that is being answered.

    An answer is one turn of the assistant; with tools, also the calls before it and their results.
    """

    system: str | None = None
    turns: list[dict[str, Any]] = field(default_factory=list)
    unanswered: str | None = None
    """The user's last message if it got no answer. It is not a turn, but can be sent again."""
    _saved: set[Path] = field(default_factory=set)

    def messages(self) -> list[dict[str, Any]]:
        """The whole conversation, as ``LlamaForge.chat`` takes it."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *self.turns]

    def ask(self, text: str) -> None:
        """Add the user's turn."""
        self.turns.append({"role": "user", "content": text})
        self.unanswered = None

    def answer(self, turns: Sequence[Message]) -> None:
        """Add the model's turns. An empty one removes the user's turn, because templates expect turns to alternate."""
        if any(turn.text or turn.tool_calls for turn in turns):
            self.turns += [turn.to_dict() for turn in turns]
        else:
            self.take_back()

    def take_back(self) -> None:
        """Remove a user turn without an answer; :meth:`retry` sends it again."""
        if self.turns and self.turns[-1]["role"] == "user":
            self.unanswered = self.turns.pop()["content"]

    def retry(self) -> None:
        """Remove the last answer, or restore the unanswered message, so that the user's last turn is answered again."""
        if self.unanswered is not None:
            self.ask(self.unanswered)
        elif self.turns:
            del self.turns[self._last_question() + 1 :]
        else:
            raise ConversationError("There is no turn to answer again.")

    def undo(self) -> None:
        """Drop the last turn of the user and its answer."""
        if not self.turns:
            raise ConversationError("There is nothing to undo.")
        del self.turns[self._last_question() :]

    def _last_question(self) -> int:
        return max(index for index, turn in enumerate(self.turns) if turn["role"] == "user")

    def reset(self) -> None:
        """Drop every turn; the system prompt stays."""
        self.turns.clear()
        self.unanswered = None

    def save(self, file: str, about: dict[str, str]) -> Path:
        """Write the conversation and *about* as JSON to a new file, or to one that was saved or loaded before."""
        path = _path(file, "/save")
        text = json.dumps({**about, "messages": self.messages()}, ensure_ascii=False, indent=2) + "\n"
        if path not in self._saved and path.exists():
            raise ConversationError(f"{path} exists already. Choose another name.")
        try:
            with atomic_file(path) as out:
                out.write(text.encode("utf-8", errors="replace"))
        except OSError as error:
            raise ConversationError(f"{path} can't be written: {error.strerror or error}.") from None
        self._saved.add(path)
        return path

    def load(self, file: str) -> Path:
        """Replace the conversation with one that :meth:`save` wrote. A file that can't be read changes nothing."""
        path = _path(file, "/load")
        try:
            check_regular(path)  # a pipe or a device may have no end
            found = json.loads(path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise ConversationError(f"{path} can't be read: {error.strerror or error}.") from None
        except (ValueError, RecursionError):
            raise ConversationError(f"{path} is not a JSON file as /save writes it.") from None
        turns = _turns(found, path)
        system = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else None
        expected: tuple[str, ...] = ("user",)
        for index, turn in enumerate(turns):
            if turn["role"] not in expected:
                raise ConversationError(
                    f"In {path} the turns don't alternate: after the system prompt, turn {index + 1} has the role "
                    f"{turn['role']!r}; {' or '.join(map(repr, expected))} is expected."
                )
            expected = _next_roles(turn)
        self.system, self.turns, self.unanswered = system, turns, None
        self.take_back()
        self._saved.add(path)
        return path


def _path(file: str, command: str) -> Path:
    if not file:
        raise ConversationError(f"{command} needs the name of a file.")
    return Path(file).expanduser().absolute()


def _next_roles(turn: dict[str, Any]) -> tuple[str, ...]:
    """Whose turn it is after *turn*."""
    if turn["role"] == "user":
        return ("assistant",)
    if turn["role"] == "tool":
        return ("assistant", "tool", "user")
    return ("tool",) if turn.get("tool_calls") else ("user",)


def _turns(found: Any, path: Path) -> list[dict[str, Any]]:
    turns = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(turns, list):
        raise ConversationError(f'{path} is not a conversation: "messages" is missing or isn\'t a list.')
    for turn in turns:
        calls = isinstance(turn, dict) and turn.get("tool_calls") and turn.get("content") is None
        if not isinstance(turn, dict) or not (
            isinstance(turn.get("role"), str) and (calls or isinstance(turn.get("content"), str))
        ):
            raise ConversationError(f"In {path}, a message has no role, or no content that is text.")
    try:
        return [message.to_dict() for message in read_messages(turns)]
    except InvalidParameterError as error:
        raise ConversationError(f"In {path}: {error}") from None
