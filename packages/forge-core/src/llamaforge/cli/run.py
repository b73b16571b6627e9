"""``llamaforge run``: one prompt, one answer."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from ..backends.basic import BasicBackendAdapter
from ..models.masking import shown
from ..requests import read_request
from ..results import GeneratedText
from ..streams import TextStream
from .failures import say
from .formats import format_options, take_format
from .interrupts import Interruptible
from .options import generation_options, given_parameters, model_options
from .output import Output, text_output
from .session import ModelChoice, Session, loaded_model
from .tool_calls import shown_call
from .values import utf8

_WAIT: Final = 3.0
"""Seconds to wait for the end of standard input before telling the user about it."""


@click.command("run", short_help="Answer one prompt")
@click.argument("prompt", required=False)
@model_options
@click.option("-s", "--system", metavar="TEXT", help="A system prompt, before the user's turn.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: text, usage, timings and more.")
@click.option("--no-stream", is_flag=True, help="Print the answer when it is complete.")
@click.option("--no-stdin", is_flag=True, help="Don't read standard input. Use it in loops and cron jobs.")
@format_options
@generation_options()
def command(
    prompt: str | None, system: str | None, as_json: bool, no_stream: bool, no_stdin: bool, **options: Any
) -> None:
    """Answer PROMPT, or the text piped into standard input.

    If both are given, PROMPT comes first, then an empty line, then the piped text. If PROMPT is `-`, only standard
    input is read. A final line break of the piped text is removed, except with --raw.

    Standard input is read to its end unless it is a terminal. Use --no-stdin (or `< /dev/null`) in a `while read`
    loop, and where nothing ever closes standard input (cron, CI).

    The answer is streamed to standard output, with a line break at its end. --json shows the exact text.
    """
    take_format(options)
    choice = ModelChoice.take(options)
    parameters = given_parameters(options)
    text = _whole_prompt(prompt, raw=bool(parameters.get("raw")), no_stdin=no_stdin)
    conversation = None
    if system is not None:
        turns = (("system", utf8(system, "The system prompt")), ("user", text))
        conversation = [{"role": role, "content": content} for role, content in turns]
        read_request(None, conversation, parameters)  # what is wrong with the request, before anything is fetched
    read_request(text, None, parameters)
    with text_output() as output, loaded_model(choice) as session:
        stream = _start(session, text, conversation, parameters, whole=no_stream or as_json)
        with stream, Interruptible(stream) as interrupt:
            if no_stream or as_json:
                stream.read()
            else:
                _print(output, stream)
        if interrupt.pressed:
            raise KeyboardInterrupt
        if as_json:
            output.json(_described(session, stream.result))
        elif no_stream:
            _print(output, [stream.result])
        if not as_json:
            for call in stream.result.tool_calls:
                say(f"The model calls {shown_call(call)}. Only --json prints the call itself.")
        _remark(stream.result, parameters)


def _whole_prompt(argument: str | None, *, raw: bool, no_stdin: bool) -> str:
    if argument == "-":
        argument = None
    if no_stdin:
        if argument is None:
            raise click.UsageError("--no-stdin needs a prompt: llamaforge run --no-stdin PROMPT")
        return utf8(argument, "The prompt")
    parts = [utf8(argument, "The prompt")] if argument is not None else []
    if argument is None or not sys.stdin.isatty():
        piped = read_stdin(has_prompt=argument is not None)
        if not raw and piped.endswith("\n"):
            piped = piped[:-1].removesuffix("\r")
        if piped.strip() or argument is None:
            parts.append(piped)
    return "\n\n".join(parts)


def read_stdin(*, has_prompt: bool) -> str:
    """All of standard input, without a byte order mark. Raises UsageError if it is not UTF-8.

    *has_prompt*: whether there is a prompt already, so that the user may not expect to wait for standard input.
    """
    if sys.stdin.isatty():
        say("Type the prompt, then press Ctrl-D on an empty line.")
    hint = threading.Timer(_WAIT, say, ["Waiting for the end of standard input. To ignore it, use --no-stdin."])
    hint.daemon = True
    if has_prompt:
        hint.start()
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"Standard input is not UTF-8 text (byte {error.start}). Convert it first, for example with iconv."
        ) from None
    finally:
        hint.cancel()


def _start(
    session: Session,
    prompt: str,
    conversation: list[dict[str, str]] | None,
    parameters: Mapping[str, Any],
    *,
    whole: bool,
) -> TextStream:
    if conversation is not None:
        return session.forge.chat_stream(conversation, parameters)
    if whole and isinstance(session.backend, BasicBackendAdapter):  # its generate() need not be its stream
        return session.backend.generate_at_once(prompt, parameters)
    return session.forge.generate_stream(prompt, parameters)


def _print(output: Output, pieces: Iterable[str]) -> None:
    last = ""
    try:
        for piece in pieces:
            if piece:
                output.write(piece)
                last = piece[-1]
    finally:
        if last not in ("", "\n"):
            output.line()


def _described(session: Session, result: GeneratedText) -> dict[str, Any]:
    described = {"model": session.model, "backend": session.backend.name, **result.to_dict()}
    described["parameters"] = shown(described["parameters"])
    return described


def _remark(result: GeneratedText, parameters: Mapping[str, Any]) -> None:
    if result.dropped:
        say(f"Note: this backend doesn't support {', '.join(result.dropped)}, so it was ignored.")
    if result.finish_reason == "length" and "max_tokens" not in parameters:
        say("Note: the answer was cut off because the context is full, or by a limit in the model's settings.")
