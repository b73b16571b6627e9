"""OpenAI's chat completions and completions (https://platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from llamaforge import GeneratedText, __version__
from llamaforge.openai_objects import (
    HOUSEKEEPING,
    chat_choice,
    chat_logprobs,
    completion_choice,
    completion_logprobs,
    finish_reason_of,
    sum_choices,
    sum_prompts,
    usage_object,
)
from llamaforge.results import Event, Finished, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta, Usage

from .. import sse
from ..asked import Asked, inner_names, needed, take
from ..errors import Problem, invalid

if TYPE_CHECKING:
    from llamaforge.observers import Operation

_MOST_CHOICES: Final = 16
_MOST_PROMPTS: Final = 128
_FINGERPRINT: Final = f"llamaforge-{__version__}"
_OTHER_NAMES: Final = {
    "thinking_token_budget": "max_reasoning_tokens",
    "thinking_budget_tokens": "max_reasoning_tokens",
}
"""Names that vLLM and llama-server have for parameters."""
_OF_MESSAGES: Final = frozenset(
    {"role", "content", "reasoning_content", "reasoning", "name", "tool_calls", "tool_call_id"}
)
_KINDS: Final = {
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "invalid_request_error",
    "invalid_request": "invalid_request_error",
    "too_large": "invalid_request_error",
    "overloaded": "rate_limit_error",
    "timeout": "timeout_error",
}


class OpenAIVoice:
    """OpenAI's errors."""

    name = "openai"

    def error(self, problem: Problem) -> bytes:
        """``{"error": {"message", "type", "param", "code"}}``."""
        told = {"message": problem.message, "type": error_kind(problem), "param": problem.param, "code": problem.code}
        return sse.encode({"error": told})


class _OpenAI(OpenAIVoice):
    """What chat completions and completions share."""

    def _common(self, body: dict[str, Any], known: frozenset[str]) -> Asked:
        asked = Asked(model=needed(body, "model", str, "a model's name"))
        asked.stream = take(body, "stream", bool, "true or false", False)
        options = take(body, "stream_options", dict, "an object", {})
        asked.include_usage = bool(options.get("include_usage"))
        asked.ignored += inner_names("stream_options", options, {"include_usage", "include_obfuscation"})
        asked.choices = take(body, "n", int, "a whole number", 1)
        if not 1 <= asked.choices <= _MOST_CHOICES:
            raise invalid(f"n must be from 1 to {_MOST_CHOICES}.", "n")
        asked.take_others(body, known | HOUSEKEEPING, _OTHER_NAMES)
        limit = body.get("max_completion_tokens")
        if limit is not None:
            if body.get("max_tokens") not in (None, limit):
                raise invalid("max_tokens and max_completion_tokens differ; give one of them.", "max_tokens")
            asked.parameters["max_tokens"] = limit
        if not asked.parameters.get("tools"):  # clients send an empty list, and a choice with it
            asked.parameters.pop("tools", None)
            if asked.parameters.get("tool_choice") in ("auto", "none"):
                del asked.parameters["tool_choice"]
        return asked


class ChatCompletions(_OpenAI):
    """``POST /v1/chat/completions``."""

    operation: ClassVar[Operation] = "chat"

    _KNOWN = frozenset({"model", "messages", "stream", "stream_options", "n", "max_completion_tokens"})

    def read(self, body: dict[str, Any]) -> Asked:
        """The request in *body*."""
        asked = self._common(body, self._KNOWN)
        messages = needed(body, "messages", list, "a list of messages")
        asked.messages = [_message(message, place, asked) for place, message in enumerate(messages)]
        return asked

    def writer(self, asked: Asked) -> ChatWriter:
        """What writes the answer."""
        return ChatWriter(asked)


class Completions(_OpenAI):
    """``POST /v1/completions``: text in, text out, without a chat template."""

    operation: ClassVar[Operation] = "generate"

    _KNOWN = frozenset(
        {"model", "prompt", "stream", "stream_options", "n", "max_completion_tokens", "logprobs", "echo", "best_of"}
        | {"suffix"}
    )

    def read(self, body: dict[str, Any]) -> Asked:
        """The request in *body*."""
        asked = self._common(body, self._KNOWN)
        prompt = body.get("prompt")
        prompts: list[Any] = prompt if isinstance(prompt, list) else [prompt]
        if not 1 <= len(prompts) <= _MOST_PROMPTS or not all(isinstance(each, str) for each in prompts):
            what = f"prompt must be a text, or a list of 1 to {_MOST_PROMPTS} texts: lists of tokens aren't served."
            raise invalid(what, "prompt")
        asked.prompt, *more = prompts
        asked.more_prompts = tuple(more)
        asked.parameters["raw"] = True
        asked.parameters.setdefault("max_tokens", 16)  # this endpoint's default
        wanted = take(body, "logprobs", int, "a whole number")
        if wanted is not None:
            asked.parameters |= {"logprobs": True, "top_logprobs": wanted}
        if body.get("echo") or body.get("suffix"):
            name = "echo" if body.get("echo") else "suffix"
            raise invalid(f"{name} isn't served.", name)
        if take(body, "best_of", int, "a whole number", asked.choices) != asked.choices:
            raise invalid("best_of isn't served.", "best_of")
        return asked

    def writer(self, asked: Asked) -> TextWriter:
        """What writes the answer."""
        return TextWriter(asked)


class _Writer:
    """A stream of chunks, or one object."""

    content_type = sse.CONTENT_TYPE
    prefix, stream_object, whole_object = "", "", ""
    _choice: Callable[[int, GeneratedText], dict[str, Any]]

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._id = f"{self.prefix}-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._usages: dict[int, Usage | None] = {}
        self._around: dict[int, list[bytes]] = {}

    def start(self) -> bytes:
        """What comes before everything else."""
        return b""

    def _text(self, choice: int, text: str) -> bytes:
        """A piece of text. Only the text differs between them, so the rest is encoded once."""
        around = self._around.get(choice)
        if around is None:
            mark = secrets.token_hex(16)  # which nothing else in it can contain
            around = self._around[choice] = self._written(choice, mark).split(sse.encode(mark))
        return sse.encode(text).join(around)

    def _written(self, choice: int, text: str) -> bytes:
        """A piece of text, without log-probabilities."""
        raise NotImplementedError

    def ping(self) -> bytes:
        """A sign of life."""
        return sse.PING

    def end(self) -> bytes:
        """What comes after everything else."""
        if not self._asked.include_usage:
            return sse.DONE
        return sse.data(self._chunk([]) | {"usage": self._usage(self._usages)}) + sse.DONE

    def failure(self, problem: Problem) -> bytes:
        """An error amid the stream."""
        return b"data: %b\n\n" % OpenAIVoice().error(problem)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = self._head(self.stream_object) | {"choices": choices}
        if self._asked.include_usage:
            chunk["usage"] = None
        return chunk

    def _head(self, what: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": what,
            "created": self._created,
            "model": self._asked.model,
            "system_fingerprint": _FINGERPRINT,
        }

    def whole(self, answers: list[GeneratedText]) -> bytes:
        """The answer in one piece."""
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        usage = self._usage({index: answer.usage for index, answer in enumerate(answers)})
        return sse.encode(self._head(self.whole_object) | {"choices": choices, "usage": usage})

    def _usage(self, usages: Mapping[int, Usage | None]) -> dict[str, Any] | None:
        """The counts of all choices. Each prompt counts once."""
        several = self._asked.choices
        of_prompts = [
            sum_choices([usages.get(first + number) for number in range(several)])
            for first in range(0, several * (1 + len(self._asked.more_prompts)), several)
        ]
        return usage_object(sum_prompts(of_prompts))


class ChatWriter(_Writer):
    """Chat completions."""

    prefix, stream_object, whole_object = "chatcmpl", "chat.completion.chunk", "chat.completion"
    _choice = staticmethod(chat_choice)

    def start(self) -> bytes:
        """What comes before everything else."""
        role = {"role": "assistant", "content": ""}
        return b"".join(self._delta(index, role) for index in range(self._asked.choices))

    def event(self, choice: int, event: Event) -> bytes:
        """A piece of the answer, or its end."""
        if isinstance(event, TextDelta):
            if not event.logprobs:
                return self._text(choice, event.text)
            return self._delta(choice, {"content": event.text}, logprobs=chat_logprobs(event.logprobs))
        if isinstance(event, ReasoningDelta):
            return self._delta(choice, {"reasoning_content": event.text})
        if isinstance(event, ToolCallDelta):
            return self._delta(choice, {"tool_calls": [_piece_of_call(event)]})
        self._usages[choice] = event.usage
        return self._delta(choice, {}, finish_reason=finish_reason_of(event.finish_reason))

    def _written(self, choice: int, text: str) -> bytes:
        return self._delta(choice, {"content": text})

    def _delta(self, choice: int, delta: dict[str, Any], **more: Any) -> bytes:
        whole = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None, **more}
        return sse.data(self._chunk([whole]))


class TextWriter(_Writer):
    """Completions."""

    prefix, stream_object, whole_object = "cmpl", "text_completion", "text_completion"
    _choice = staticmethod(completion_choice)

    def event(self, choice: int, event: Event) -> bytes:
        """A piece of the answer, or its end."""
        if isinstance(event, TextDelta):
            return self._piece(choice, event.text, event.logprobs) if event.logprobs else self._text(choice, event.text)
        if isinstance(event, Finished):
            self._usages[choice] = event.usage
            return self._piece(choice, "", (), finish_reason_of(event.finish_reason))
        return b""

    def _written(self, choice: int, text: str) -> bytes:
        return self._piece(choice, text, ())

    def _piece(
        self, choice: int, text: str, logprobs: Sequence[TokenLogprob], finish_reason: str | None = None
    ) -> bytes:
        whole = {
            "index": choice,
            "text": text,
            "logprobs": completion_logprobs(logprobs),
            "finish_reason": finish_reason,
        }
        return sse.data(self._chunk([whole]))


def _message(message: Any, place: int, asked: Asked) -> dict[str, Any]:
    """A message with the fields that the contract knows; others, of clients that send back what they got, are told."""
    if not isinstance(message, dict):
        raise invalid(f"messages[{place}] must be an object.", "messages")
    kept = {name: value for name, value in message.items() if name in _OF_MESSAGES and value is not None}
    left = [f"messages[{place}].{name}" for name, value in message.items() if name not in _OF_MESSAGES and value]
    asked.ignored += [name for name in left if not name.endswith((".refusal", ".annotations"))]
    if isinstance(kept.get("tool_calls"), list) and not kept["tool_calls"]:
        del kept["tool_calls"]
    return kept


def _piece_of_call(piece: ToolCallDelta) -> dict[str, Any]:
    if not piece.id:
        return {"index": piece.index, "function": {"arguments": piece.arguments}}
    function = {"name": piece.name, "arguments": piece.arguments}
    return {"index": piece.index, "id": piece.id, "type": "function", "function": function}


def error_kind(problem: Problem) -> str:
    """OpenAI's name for the type of an error."""
    return _KINDS.get(problem.kind, "server_error")
