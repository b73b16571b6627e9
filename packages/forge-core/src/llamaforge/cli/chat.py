"""``llamaforge chat``: a conversation at a terminal, or line by line from a pipe, with the same commands."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from ..backends.tool_loop import ToolLoop
from ..errors import LlamaForgeError, UnsupportedError
from ..functions import Tool
from ..messages import Message
from ..parameters import read_parameters
from ..results import GeneratedText
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
from .tool_calls import confirm_with, read_functions, tell_step, tool_options
from .values import utf8

_ROUNDS: Final = 8
"""Answers with calls that are carried out, at most, before the user's next turn."""


@click.command("chat", short_help="Chat with a model")
@model_options
@click.option("-s", "--system", metavar="TEXT", help="A system prompt, before the first turn.")
@format_options
@tool_options
@generation_options(without={"raw", "logprobs", "top_logprobs", "tools"})
def command(system: str | None, tools: tuple[str, ...], yes: bool, **options: Any) -> None:
    """Chat with a model. It sees all earlier turns.

    With --tools, the model may call Python functions. You are asked before each call, except with --yes.

    /help lists the commands of a chat. Ctrl-C stops an answer and keeps the text so far; Ctrl-D leaves. The arrow keys
    recall lines of earlier chats.

    If standard input is not a terminal, each line is a turn or a command, and only the answers are printed.
    """
    choice = ModelChoice.take(options)
    take_format(options)
    parameters = given_parameters(options)
    conversation = Conversation(utf8(system, "The system prompt") if system is not None else None)
    interactive = sys.stdin.isatty()
    if tools and not yes and not interactive:
        raise click.UsageError("--tools asks before each call, and standard input is no terminal. Pass --yes as well.")
    with text_output() as output:
        functions = read_functions(tools)
        check(parameters, functions)  # what is wrong with them, before anything is fetched
        with loaded_model(choice) as session:
            _check_chats(session)
            with line_editing() if interactive else contextlib.nullcontext():
                Chat(session, conversation, parameters, output, functions, interactive=interactive, yes=yes).run()


def check(parameters: Mapping[str, Any], functions: Sequence[Tool]) -> None:
    """Raise a RequestError for generation parameters that are wrong beside these tools."""
    read_parameters({**parameters, "tools": list(functions)} if functions else parameters)


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
        functions: Sequence[Tool] = (),
        *,
        interactive: bool,
        yes: bool = False,
    ) -> None:
        self.conversation = conversation
        self.parameters = dict(parameters)
        self._session = session
        self._output = output
        self._functions = functions
        self._interactive = interactive
        read_line = terminal_lines(output) if interactive else piped_lines()
        self._turns = Turns(read_line)
        self._confirm = confirm_with(None if yes else read_line)

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
        """The names of the models that can be chosen."""
        return self._session.models

    @property
    def is_remote(self) -> bool:
        """Whether they are a server's."""
        return self._session.is_remote

    def switch_model(self, name: str) -> None:
        """Switch to another model. Raises what loading raises; then the old one stays loaded."""
        self._session = self._session.switch(name, _check_chats)

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise a RequestError for generation parameters that are wrong here."""
        check(parameters, self._functions)

    def answer(self) -> None:
        """Stream the answer to the last turn, and keep it; if it is stopped, keep the part that has arrived.

        Calls of functions are carried out in between, and kept with it.
        """
        given = self.conversation.messages()
        if not self._functions:
            self.conversation.answer([self._stream(given, self.parameters)[0]])
            return
        loop = ToolLoop(
            given, self._functions, self.parameters, max_rounds=_ROUNDS, confirm=self._confirm, on_step=tell_step
        )
        while True:
            turn, answer = self._stream(loop.messages, loop.parameters)
            if answer is None:
                loop.messages.append(turn)
                break
            if not loop.goes_on(answer):
                break
            loop.done(answer, loop.call_all(answer.tool_calls))
        if loop.messages[-1].tool_calls:
            say(f"(The model wants to go on calling after {_ROUNDS} rounds.)")
            del loop.messages[-1]
        self.conversation.answer(loop.messages[len(given) :])

    def _stream(
        self, messages: Sequence[Any], parameters: Mapping[str, object]
    ) -> tuple[Message, GeneratedText | None]:
        """Show one answer as it comes: the turn that it makes; the answer itself unless it was stopped."""
        stream = self._session.forge.chat_stream(messages, parameters, model=self._session.model)
        try:
            with stream, Interruptible(stream) as interrupt:
                for piece in stream:
                    self._output.write(piece)
        except KeyboardInterrupt:  # pressed again, as the engine didn't stop
            self.conversation.answer([Message(role="assistant", content=stream.text)])
            raise
        finally:
            if stream.text and not stream.text.endswith("\n"):
                self._output.line()
        if interrupt.pressed and not self._interactive:
            raise KeyboardInterrupt
        if interrupt.pressed:
            say("(stopped)" if stream.text else "(stopped; /retry asks again)")
            return Message(role="assistant", content=stream.text), None
        if not stream.text and not stream.result.tool_calls:
            say("(The answer is empty.)")
        return Message.from_answer(stream.result), stream.result

    def _take(self, text: str) -> None:
        if text.startswith("/"):
            obey(text, self, say)
        elif text.strip():
            self.conversation.ask(text)
            self.answer()
