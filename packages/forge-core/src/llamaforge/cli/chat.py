"""``llamaforge chat``: a conversation at a terminal, or line by line from a pipe, with the same commands."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from ..errors import LlamaForgeError, UnsupportedError
from ..parameters import read_parameters
from .chat_commands import LeaveChat, obey
from .conversation import Conversation
from .failures import report, say
from .formats import format_options, take_format
from .history import line_editing
from .input_lines import Turns, piped_lines, terminal_lines
from .interrupts import Interruptible
from .options import generation_options, given_parameters, model_options
from .output import Output, text_output
from .session import ModelChoice, Session, loaded_model
from .values import utf8


@click.command("chat", short_help="Chat with a model")
@model_options
@click.option("-s", "--system", metavar="TEXT", help="A system prompt, before the first turn.")
@format_options
@generation_options(without={"raw", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls"})
def command(system: str | None, **options: Any) -> None:
    """Chat with a model. It sees all earlier turns.

    /help lists the commands of a chat. Ctrl-C stops an answer and keeps the text so far; Ctrl-D leaves. The arrow keys
    recall lines of earlier chats.

    If standard input is not a terminal, each line is a turn or a command, and only the answers are printed.
    """
    choice = ModelChoice.take(options)
    take_format(options)
    parameters = given_parameters(options)
    read_parameters(parameters)  # what is wrong with them, before anything is fetched
    conversation = Conversation(utf8(system, "The system prompt") if system is not None else None)
    interactive = sys.stdin.isatty()
    with text_output() as output, loaded_model(choice) as session:
        _check_chats(session)
        with line_editing() if interactive else contextlib.nullcontext():
            Chat(session, conversation, parameters, output, interactive=interactive).run()


def _check_chats(session: Session) -> None:
    if session.backend.is_basic:
        raise UnsupportedError("chat", session.backend.name, "It only answers single prompts: use llamaforge run.")


class Chat:
    """The loop of turns."""

    def __init__(
        self,
        session: Session,
        conversation: Conversation,
        parameters: Mapping[str, Any],
        output: Output,
        *,
        interactive: bool,
    ) -> None:
        self.conversation = conversation
        self.parameters = dict(parameters)
        self._session = session
        self._output = output
        self._interactive = interactive
        self._turns = Turns(terminal_lines(output) if interactive else piped_lines())

    def run(self) -> None:
        """Take turns until the user leaves. A failed turn ends the chat only if input is not a terminal."""
        if self._interactive:
            say(f"{self._session.model} on {self._session.backend.name}. /help lists commands; Ctrl-D leaves.")
        leaving = False
        while True:
            try:
                text = self._turns.next()
                leaving = False
                self._take(text)
            except (EOFError, LeaveChat):
                break
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                self.conversation.take_back()
                say("")
                if leaving:
                    break
                leaving = True
                say("Press Ctrl-C again, or Ctrl-D, to leave.")
            except (LlamaForgeError, click.UsageError) as error:
                self.conversation.take_back()
                if not self._interactive:
                    raise
                report(error)
        if self._interactive:
            say("")

    def about(self) -> dict[str, str]:
        """Names of the model and of its backend."""
        return {"model": self._session.model, "backend": self._session.backend.name}

    def models(self) -> list[str]:
        """The names of all models."""
        return self._session.forge.list_models()

    def switch_model(self, name: str) -> None:
        """Switch to another model. Raises what loading raises; then the old one stays loaded."""
        self._session = self._session.switch(name, _check_chats)

    def answer(self) -> None:
        """Stream the answer to the last turn, and keep it; if it is stopped, keep the part that has arrived."""
        stream = self._session.forge.chat_stream(
            self.conversation.messages(), self.parameters, model=self._session.model
        )
        try:
            with stream, Interruptible(stream) as interrupt:
                for piece in stream:
                    self._output.write(piece)
        except KeyboardInterrupt:  # pressed again, as the engine didn't stop
            self.conversation.answer(stream.text)
            raise
        finally:
            if stream.text and not stream.text.endswith("\n"):
                self._output.line()
        if interrupt.pressed and not self._interactive:
            raise KeyboardInterrupt
        self.conversation.answer(stream.text)
        if interrupt.pressed:
            say("(stopped)" if stream.text else "(stopped; /retry asks again)")
        elif not stream.text:
            say("(The answer is empty.)")

    def _take(self, text: str) -> None:
        if text.startswith("/"):
            obey(text, self, say)
        elif text.strip():
            self.conversation.ask(text)
            self.answer()
