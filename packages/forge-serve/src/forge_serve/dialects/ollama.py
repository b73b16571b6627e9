"""Ollama's chat and generate (https://github.com/ollama/ollama/blob/main/docs/api.md)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from llamaforge import GeneratedText
from llamaforge.openai_objects import logprob_object
from llamaforge.results import Event, ReasoningDelta, TextDelta, Timings, ToolCallDelta, Usage

from .. import sse
from ..asked import Asked, needed, seconds_of, take
from ..errors import Problem, invalid

if TYPE_CHECKING:
    from llamaforge.observers import Operation

CONTENT_TYPE: Final = b"application/x-ndjson"
_NOTHING: Final[Mapping[str, Any]] = {}
_OPTIONS: Final = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_KNOWN: Final = frozenset(
    {"model", "messages", "stream", "options", "format", "tools", "think", "keep_alive"} | {"logprobs", "top_logprobs"}
)


class OllamaVoice:
    """Ollama's errors."""

    name = "ollama"

    def error(self, problem: Problem) -> bytes:
        """``{"error": message}``."""
        return sse.encode({"error": problem.message})


class Chat(OllamaVoice):
    """``POST /api/chat``."""

    operation: ClassVar[Operation] = "chat"

    answers_in = "message"

    def read(self, body: dict[str, Any]) -> Asked:
        """The request in *body*."""
        asked = _common(body, _KNOWN)
        messages = needed(body, "messages", list, "a list of messages")
        asked.messages = [_message(message, place) for place, message in enumerate(messages)]
        asked.loads_only = not messages
        tools = take(body, "tools", list, "a list of tools")
        if tools:
            asked.parameters["tools"] = tools
        return asked

    def writer(self, asked: Asked) -> OllamaWriter:
        """What writes the answer."""
        return OllamaWriter(asked, self.answers_in)


class Generate(Chat):
    """``POST /api/generate``."""

    answers_in = "response"
    _KNOWN = (_KNOWN - {"messages", "tools"}) | {"prompt", "system", "raw", "suffix", "images", "template", "context"}

    def read(self, body: dict[str, Any]) -> Asked:
        """The request in *body*."""
        asked = _common(body, self._KNOWN)
        prompt = take(body, "prompt", str, "a text", "")
        system = take(body, "system", str, "a text", "")
        for name in ("suffix", "images", "template", "context"):
            if body.get(name):
                raise invalid(f"{name} isn't served.", name)
        if take(body, "raw", bool, "true or false", False):
            asked.prompt = prompt
            asked.parameters["raw"] = True
        else:
            turns = [{"role": "system", "content": system}] if system else []
            asked.messages = [*turns, {"role": "user", "content": prompt}]
        asked.loads_only = not prompt
        return asked


def _common(body: dict[str, Any], known: frozenset[str]) -> Asked:
    asked = Asked(model=needed(body, "model", str, "a model's name"))
    asked.stream = take(body, "stream", bool, "true or false", True)
    asked.ignored += [name for name, value in body.items() if name not in known and value is not None]
    for name, value in take(body, "options", dict, "an object", {}).items():
        if name in _OPTIONS:
            if not (name == "seed" and isinstance(value, int) and value < 0):  # as Ollama: a random seed
                asked.parameters[_OPTIONS[name]] = value
        elif name == "num_predict":
            if not isinstance(value, int) or value > 0:  # -1 and -2: until the model or the context ends the answer
                asked.parameters["max_tokens"] = value
        elif name == "num_ctx":
            asked.context_length = take({"options.num_ctx": value}, "options.num_ctx", int, "a whole number")
        else:
            asked.ignored.append(f"options.{name}")
    form = body.get("format")
    if form == "json":
        asked.parameters["response_format"] = {"type": "json_object"}
    elif isinstance(form, dict):
        schema = {"name": "answer", "schema": form, "strict": True}
        asked.parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form is not None and form != "":
        raise invalid("format must be 'json' or a JSON schema.", "format")
    think = take(body, "think", (bool, str), "true, false, 'low', 'medium' or 'high'")
    if think is not None:
        asked.parameters["reasoning_effort"] = {True: "medium", False: "none"}.get(think, think)
    for name in ("logprobs", "top_logprobs"):
        if body.get(name) is not None:
            asked.parameters[name] = body[name]
    asked.keep_alive = body.get("keep_alive")
    return asked


def _message(message: Any, place: int) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise invalid(f"messages[{place}] must be an object.", "messages")
    if message.get("images"):
        raise invalid(f"messages[{place}].images aren't served.", "messages")
    turn = {name: message[name] for name in ("role", "content", "tool_call_id") if message.get(name) is not None}
    if message.get("thinking") and message.get("role") == "assistant":
        turn["reasoning_content"] = message["thinking"]
    calls = take(message, "tool_calls", list, "a list of calls")
    if calls:
        turn["tool_calls"] = [_asked_call(call, f"call_{place}_{number}") for number, call in enumerate(calls)]
    if turn.get("role") == "tool" and "tool_call_id" not in turn:
        turn["tool_call_id"] = message.get("tool_name") or "call"
    return turn


def _asked_call(call: Any, number: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise invalid("Each of tool_calls must have a function.", "messages")
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": number, "type": "function", "function": {"name": function.get("name"), "arguments": text}}


class OllamaWriter:
    """Lines of JSON."""

    content_type = CONTENT_TYPE

    def __init__(self, asked: Asked, answers_in: str) -> None:
        self._asked = asked
        self._in = answers_in
        self._call: tuple[str, list[str]] | None = None

    def start(self) -> bytes:
        """What comes before everything else."""
        return b""

    def ping(self) -> bytes:
        """A sign of life."""
        return b""  # there is none in this dialect: an empty line would be no JSON

    def end(self) -> bytes:
        """What comes after everything else."""
        return b""

    def failure(self, problem: Problem) -> bytes:
        """An error amid the stream."""
        return sse.encode({"error": problem.message}) + b"\n"

    def event(self, choice: int, event: Event) -> bytes:
        """A piece of the answer, or its end."""
        if isinstance(event, TextDelta):
            if event.logprobs:
                return self._line(event.text, beside={"logprobs": [logprob_object(each) for each in event.logprobs]})
            return self._line(event.text) if event.text else b""
        if isinstance(event, ReasoningDelta):
            return self._line("", thinking=event.text)
        if isinstance(event, ToolCallDelta):
            called = self._called() if event.id else b""
            if event.id:
                self._call = (event.name, [])
            if self._call is not None:
                self._call[1].append(event.arguments)
            return called
        return (
            self._called()
            + sse.encode(self._answer("") | _ended(event.finish_reason, event.usage, event.timings))
            + b"\n"
        )

    def loaded(self) -> bytes:
        """The answer to a request without a prompt."""
        reason = "unload" if seconds_of(self._asked.keep_alive) == 0 else "load"
        return sse.encode(self._answer("") | {"done": True, "done_reason": reason})

    def whole(self, answers: list[GeneratedText]) -> bytes:
        """The answer in one piece."""
        answer = answers[0]
        more: dict[str, Any] = {"thinking": answer.reasoning} if answer.reasoning else {}
        if answer.tool_calls:
            more["tool_calls"] = [_call(call.function.name, call.function.arguments) for call in answer.tool_calls]
        told = self._answer(answer.text, **more) | _ended(answer.finish_reason, answer.usage, answer.timings)
        if answer.logprobs:
            told["logprobs"] = [logprob_object(each) for each in answer.logprobs]
        return sse.encode(told)

    def _called(self) -> bytes:
        """The tool call that was collected: this dialect has calls in one piece."""
        if self._call is None:
            return b""
        (name, arguments), self._call = self._call, None
        return self._line("", tool_calls=[_call(name, "".join(arguments))])

    def _line(self, text: str, *, beside: Mapping[str, Any] = _NOTHING, **more: Any) -> bytes:
        return sse.encode({**self._answer(text, **more), **beside, "done": False}) + b"\n"

    def _answer(self, text: str, **more: Any) -> dict[str, Any]:
        now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
        head = {"model": self._asked.model, "created_at": now}
        if self._in == "response":
            return {**head, "response": text, **more}
        return {**head, "message": {"role": "assistant", "content": text, **more}}


def _ended(finish_reason: str, usage: Usage | None, timings: Timings | None) -> dict[str, Any]:
    told: dict[str, Any] = {"done": True, "done_reason": "length" if finish_reason == "length" else "stop"}
    if timings is not None and timings.total is not None:
        first = timings.first_token if timings.first_token is not None else timings.total
        told["total_duration"] = _nanoseconds(timings.total)
        told["load_duration"] = 0
        told["prompt_eval_duration"] = _nanoseconds(first)
        told["eval_duration"] = _nanoseconds(timings.total - first)
    if usage is not None:
        told["prompt_eval_count"] = usage.prompt_tokens
        told["eval_count"] = usage.completion_tokens
    return told


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def _call(name: str, arguments: str) -> dict[str, Any]:
    try:
        read = msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        read = {}
    return {"function": {"name": name, "arguments": read}}
