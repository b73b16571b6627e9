"""The turns of a chat, and what the slash commands do to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click


class ConversationError(click.UsageError):
    """A slash command can't be done; the message says why."""


@dataclass
class Conversation:
    """What was said so far. Every user turn in it has its answer, but for the one that is being answered."""

    system: str | None = None
    turns: list[dict[str, str]] = field(default_factory=list)
    _saved: set[Path] = field(default_factory=set)

    def messages(self) -> list[dict[str, str]]:
        """All of it, as ``LlamaForge.chat`` takes it."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *self.turns]

    def ask(self, text: str) -> None:
        """Add the user's turn."""
        self.turns.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Add the model's turn; an empty one takes the user's turn back, for templates want turns to alternate."""
        if text:
            self.turns.append({"role": "assistant", "content": text})
        else:
            self.take_back()

    def take_back(self) -> None:
        """Drop a user turn that has no answer."""
        if self.turns and self.turns[-1]["role"] == "user":
            self.turns.pop()

    def undo(self) -> None:
        """Drop the last turn of the user and its answer."""
        if not self.turns:
            raise ConversationError("There is nothing to undo.")
        del self.turns[-2:]

    def reset(self) -> None:
        """Drop every turn; the system prompt stays."""
        self.turns.clear()

    def save(self, file: str, about: dict[str, str]) -> Path:
        """Write all of it and *about* as JSON to a new file, or to one that this conversation wrote."""
        if not file:
            raise ConversationError("/save needs a file's name.")
        path = Path(file).expanduser().absolute()
        text = json.dumps({**about, "messages": self.messages()}, ensure_ascii=False, indent=2) + "\n"
        try:
            with path.open("w" if path in self._saved else "x", encoding="utf-8", errors="replace") as out:
                out.write(text)
        except FileExistsError:
            raise ConversationError(f"{path} is there already: choose another name.") from None
        except OSError as error:
            raise ConversationError(f"{path} can't be written: {error.strerror or error}.") from None
        self._saved.add(path)
        return path


HELP = '''/help         show this
/reset        begin anew; the system prompt stays
/system TEXT  set the system prompt; without a text, drop it
/undo         drop your last turn and its answer
/save FILE    write the conversation to a new file, as JSON
/exit         leave, as Ctrl-D does

A line that ends in \\ goes on in the next one; so does all between two lines of """.
A line that begins with a space is never a command. Ctrl-C stops an answer.'''


class LeaveChat(Exception):
    """The user wants to leave."""


def obey(line: str, conversation: Conversation, about: dict[str, str], tell: Callable[[str], None]) -> None:
    """Do the slash command in *line*. Raises ConversationError, or LeaveChat."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name in ("/exit", "/quit"):
        raise LeaveChat
    if name == "/help":
        tell(HELP)
    elif name == "/reset":
        conversation.reset()
        tell("The conversation begins anew.")
    elif name == "/system":
        conversation.system = rest or None
        tell("The system prompt is set." if rest else "There is no system prompt any more.")
    elif name == "/undo":
        conversation.undo()
        tell("Your last turn is gone.")
    elif name == "/save":
        tell(f"Saved to {conversation.save(rest, about)}.")
    else:
        raise ConversationError(f"There is no command {name}; /help lists them. To say it, begin with a space.")
