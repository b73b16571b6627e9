"""``llamaforge chat``: a conversation at a terminal, or line by line from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from ..errors import LlamaForgeError, UnsupportedError
from ..parameters import read_parameters
from .conversation import Conversation, LeaveChat, obey
from .failures import report, say
from .input_lines import Turns, piped_lines, terminal_lines
from .interrupts import Interruptible
from .options import generation_options, given_parameters, model_options
from .output import Output, text_output
from .session import ModelChoice, Session, loaded_model
from .values import utf8


@click.command("chat", short_help="Talk with a model")
@model_options
@click.option("-s", "--system", metavar="TEXT", help="A system prompt, before the first turn.")
@generation_options(without={"raw", "logprobs", "top_logprobs", "tools", "tool_choice"})
def command(system: str | None, **options: Any) -> None:
    """Talk with a model: every turn knows the ones before.

    At a terminal, /help lists what can be typed. Ctrl-C stops an answer and keeps what there is of it; Ctrl-D leaves.

    Piped in, each line is a turn, and only the answers are printed.
    """
    choice = ModelChoice.take(options)
    parameters = given_parameters(options)
    read_parameters(parameters)  # what is wrong with them, before anything is fetched
    conversation = Conversation(utf8(system, "The system prompt") if system is not None else None)
    with text_output() as output, loaded_model(choice) as session:
        if session.backend.is_basic:
            raise UnsupportedError("chat", session.backend.name, "It answers single prompts: llamaforge run.")
        chat = Chat(session, conversation, parameters, output, interactive=sys.stdin.isatty())
        chat.run()


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
        self._session = session
        self._conversation = conversation
        self._parameters = parameters
        self._output = output
        self._interactive = interactive
        self._turns = Turns(terminal_lines(output) if interactive else piped_lines())
        self._about = {"model": session.model, "backend": session.backend.name}

    def run(self) -> None:
        """Take turns until the user leaves. A failed turn ends it only where nobody is there to read of it."""
        if self._interactive:
            say(f"{self._session.model} on {self._session.backend.name}. /help tells more; Ctrl-D leaves.")
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
                self._conversation.take_back()
                say("")
                if leaving:
                    break
                leaving = True
                say("Ctrl-C once more, or Ctrl-D, leaves.")
            except (LlamaForgeError, click.UsageError) as error:
                self._conversation.take_back()
                if not self._interactive:
                    raise
                report(error)
        if self._interactive:
            say("")

    def _take(self, text: str) -> None:
        if text.startswith("/"):
            obey(text, self._conversation, self._about, say)
        elif text.strip():
            self._conversation.ask(text)
            self._answer()

    def _answer(self) -> None:
        """Print the answer as it comes, and keep it; what there is of one that is stopped."""
        stream = self._session.forge.chat_stream(self._conversation.messages(), self._parameters)
        try:
            with stream, Interruptible(stream) as interrupt:
                for piece in stream:
                    self._output.write(piece)
        finally:
            if stream.text and not stream.text.endswith("\n"):
                self._output.line()
        if interrupt.pressed and not self._interactive:
            raise KeyboardInterrupt
        self._conversation.answer(stream.text)
        if interrupt.pressed:
            say("(stopped)")
        elif not stream.text:
            say("(The model said nothing.)")
