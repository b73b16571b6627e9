"""The slash commands of a chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..parameters import NAMES
from .conversation import Conversation, ConversationError
from .values import parse_value

HELP = '''/help            show this
/retry           answer your last turn again
/undo            remove your last turn and its answer
/reset           start over with the same system prompt
/system TEXT     set the system prompt
/system          remove the system prompt
/set             show the generation parameters
/set NAME=VALUE  set a generation parameter
/set NAME=       unset it
/model           show the model and the other models
/model NAME      switch to another model
/save FILE       save the conversation as JSON
/load FILE       continue a saved conversation
/exit            leave (or press Ctrl-D)

End a line with \\ to continue on the next one, or
put several lines between two lines of """.
To send a line that starts with /, put a space first.
Ctrl-C stops an answer.'''

_NOT_HERE = frozenset({"raw", "logprobs", "top_logprobs", "tools"})
"""Parameters that make no sense at a terminal."""


class LeaveChat(Exception):
    """The user wants to leave."""


class Chat(Protocol):
    """The chat that the commands act on."""

    conversation: Conversation
    parameters: dict[str, Any]

    def answer(self) -> None:
        """Answer the conversation's last turn."""

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise a RequestError for generation parameters that are wrong here."""

    def about(self) -> dict[str, str]:
        """Names of the model and of its backend."""

    def models(self) -> list[str]:
        """The names of the models that can be chosen."""

    @property
    def is_remote(self) -> bool:
        """Whether they are a server's."""

    def switch_model(self, name: str) -> None:
        """Switch to another model."""


def obey(line: str, chat: Chat, tell: Callable[[str], None]) -> None:
    """Run the slash command in *line*. Raises ConversationError, LeaveChat, or what loading and answering raise."""
    name, _, rest = line.partition(" ")
    if name == "/quit":
        name = "/exit"
    if name not in _COMMANDS:
        raise ConversationError(
            f"There is no command {name}; /help lists the commands. To send the line to the model, put a space first."
        )
    _COMMANDS[name](chat, rest.strip(), tell)


def _help(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    tell(HELP)


def _exit(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    raise LeaveChat


def _reset(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    chat.conversation.reset()
    tell("The conversation is empty now.")


def _system(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    chat.conversation.system = rest or None
    tell("The system prompt is set." if rest else "The system prompt is removed.")


def _undo(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    chat.conversation.undo()
    tell("Your last turn and its answer are removed.")


def _retry(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    chat.conversation.retry()
    chat.answer()


def _save(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    tell(f"Saved to {chat.conversation.save(rest, chat.about())}.")


def _load(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    path = chat.conversation.load(rest)
    count = len(chat.conversation.turns)
    tell(f"Loaded {count} turn{'s' if count != 1 else ''} from {path}.")
    if chat.conversation.unanswered is not None:
        tell("Its last turn has no answer yet: /retry asks for one.")


def _set(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    if not rest:
        tell("\n".join(f"{name} = {_shown(value)}" for name, value in chat.parameters.items()) or "Nothing is set.")
        return
    name, _, text = (part.strip() for part in rest.replace(" ", "=", 0 if "=" in rest else 1).partition("="))
    known = [each for each in NAMES if each not in _NOT_HERE]
    if name not in known:
        from ..errors import UnknownParameterError

        raise UnknownParameterError(name, known)
    changed = {key: value for key, value in chat.parameters.items() if key != name}
    if text:
        changed[name] = parse_value(text)
        chat.check(changed)
    chat.parameters = changed
    tell(f"{name} = {_shown(changed[name])}" if text else f"{name} is unset.")


def _model(chat: Chat, rest: str, tell: Callable[[str], None]) -> None:
    if rest:
        chat.switch_model(rest)
    about = chat.about()
    tell(f"Model: {about['model']}, on {about['backend']}")
    others = [name for name in chat.models() if name != about["model"]]
    if not rest and others:
        more = "" if chat.is_remote else " /model also takes a path or any other reference."
        tell(f"Other models: {', '.join(others)}.{more}")


def _shown(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, default=str)


_COMMANDS: Mapping[str, Callable[[Chat, str, Callable[[str], None]], None]] = {
    "/exit": _exit,
    "/help": _help,
    "/load": _load,
    "/model": _model,
    "/reset": _reset,
    "/retry": _retry,
    "/save": _save,
    "/set": _set,
    "/system": _system,
    "/undo": _undo,
}
