"""Responses on their way out: one object, or events in order, each with its number."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from llamaforge import GeneratedText
from llamaforge.openai_objects import logprob_object, response_usage
from llamaforge.results import Event, ReasoningDelta, TextDelta, ToolCallDelta, Usage

from .. import sse
from ..errors import Problem
from ..store import Kept, Store
from .openai import error_kind
from .response_items import item_id

if TYPE_CHECKING:
    from .responses import AskedResponse

_REPEATED: Final = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "instructions": None,
    "previous_response_id": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "user": None,
}
"""Fields of the request that the answer repeats, with what they are where the request has none."""


class ResponseWriter:
    """A response."""

    content_type = sse.CONTENT_TYPE

    def __init__(self, asked: AskedResponse, store: Store) -> None:
        self._asked = asked
        self._store = store
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._texts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._summarizes = bool((asked.body.get("reasoning") or {}).get("summary"))
        self.response = self._begun()

    # In one piece.

    def whole(self, answers: list[GeneratedText]) -> bytes:
        """The answer in one piece."""
        answer = answers[0]
        if answer.reasoning:
            self._output.append(self._reasoning(item_id("reasoning"), answer.reasoning))
        if answer.text or not (answer.reasoning or answer.tool_calls):
            logprobs = [logprob_object(each) for each in answer.logprobs]
            self._output.append(_message(item_id("message"), answer.text, logprobs, "completed"))
        for call in answer.tool_calls:
            function = call.function
            self._output.append(_call(item_id("function_call"), call.id, function.name, function.arguments))
        self._end(answer.finish_reason, answer.usage, answer.parameters)
        self.keep()
        return sse.encode(self.response)

    def keep(self, task: Any = None) -> None:
        """Store the response as it is now, if the client wants that."""
        if self._asked.store:
            items = [*self._asked.earlier, *self._asked.items, *self._output]
            self._store.put(Kept(self.response, self._asked.items, items, task))

    def encoded(self) -> bytes:
        """The response as it is now."""
        return sse.encode(self.response)

    def failed(self, problem: Problem) -> None:
        """The response has failed."""
        self.response["status"] = "failed"
        code = problem.code or ("rate_limit_exceeded" if problem.kind == "overloaded" else "server_error")
        self.response["error"] = {"code": code, "message": problem.message}
        self.response["output"] = self._output

    def cancelled(self) -> None:
        """The client has taken the request back."""
        self.response["status"] = "cancelled"

    # As events.

    def start(self) -> bytes:
        """What comes before everything else."""
        return self._event("response.created", response=self.response) + self._event(
            "response.in_progress", response=self.response
        )

    def ping(self) -> bytes:
        """A sign of life."""
        return sse.PING

    def event(self, choice: int, event: Event) -> bytes:
        """A piece of the answer, or its end."""
        if isinstance(event, TextDelta):
            return self._text(event)
        if isinstance(event, ReasoningDelta):
            return self._thought(event.text)
        if isinstance(event, ToolCallDelta):
            return self._piece_of_call(event)
        closed = self._close(incomplete=event.finish_reason in ("length", "content_filter"))
        if not self._output:  # clients expect one
            closed += self._begin(_message(item_id("message"), "", [], "in_progress"), _text_part("", []))
            closed += self._close()
        self._end(event.finish_reason, event.usage, event.parameters)
        self.keep()
        return closed + self._event(f"response.{self.response['status']}", response=self.response)

    def end(self) -> bytes:
        """What comes after everything else."""
        return sse.DONE

    def failure(self, problem: Problem) -> bytes:
        """An error amid the stream."""
        self.failed(problem)
        self.keep()
        told = {"type": error_kind(problem), "code": problem.code, "message": problem.message, "param": problem.param}
        return self._event("error", error=told) + self._event("response.failed", response=self.response)

    def _text(self, event: TextDelta) -> bytes:
        if not event.text and not event.logprobs:
            return b""
        begun = b""
        if self._open is None or self._open["type"] != "message":
            begun = self._close()
            begun += self._begin(_message(item_id("message"), "", [], "in_progress"), _text_part("", []))
        self._texts.append(event.text)
        logprobs = [logprob_object(each) for each in event.logprobs]
        self._logprobs += logprobs
        return begun + self._at("response.output_text.delta", content_index=0, delta=event.text, logprobs=logprobs)

    def _thought(self, text: str) -> bytes:
        begun = b""
        if self._open is None or self._open["type"] != "reasoning":
            begun = self._close() + self._begin(self._reasoning(item_id("reasoning"), ""), None)
            if self._summarizes:
                part = {"type": "summary_text", "text": ""}
                begun += self._at("response.reasoning_summary_part.added", summary_index=0, part=part)
            else:
                part = {"type": "reasoning_text", "text": ""}
                begun += self._at("response.content_part.added", content_index=0, part=part)
        self._texts.append(text)
        if self._summarizes:
            return begun + self._at("response.reasoning_summary_text.delta", summary_index=0, delta=text)
        return begun + self._at("response.reasoning_text.delta", content_index=0, delta=text)

    def _piece_of_call(self, piece: ToolCallDelta) -> bytes:
        begun = b""
        if piece.id:
            begun = self._close()
            call = _call(item_id("function_call"), piece.id, piece.name, "") | {"status": "in_progress"}
            begun += self._begin(call, None)
        if not piece.arguments:
            return begun
        self._texts.append(piece.arguments)
        return begun + self._at("response.function_call_arguments.delta", delta=piece.arguments)

    def _begin(self, item: dict[str, Any], part: dict[str, Any] | None) -> bytes:
        self._open = item
        shown = {**item, "content": []} if item["type"] == "message" else item
        added = self._event("response.output_item.added", output_index=len(self._output), item=shown)
        if part is not None:
            added += self._at("response.content_part.added", content_index=0, part=part)
        return added

    def _close(self, *, incomplete: bool = False) -> bytes:
        """The end of the item that is being written."""
        if self._open is None:
            return b""
        item, text = self._open, "".join(self._texts)
        kind = item["type"]
        if kind == "message":
            part = _text_part(text, self._logprobs)
            done = self._at("response.output_text.done", content_index=0, text=text, logprobs=self._logprobs)
            done += self._at("response.content_part.done", content_index=0, part=part)
            item = _message(item["id"], text, self._logprobs, "incomplete" if incomplete else "completed")
        elif kind == "reasoning" and self._summarizes:
            part = {"type": "summary_text", "text": text}
            done = self._at("response.reasoning_summary_text.done", summary_index=0, text=text)
            done += self._at("response.reasoning_summary_part.done", summary_index=0, part=part)
            item = self._reasoning(item["id"], text)
        elif kind == "reasoning":
            part = {"type": "reasoning_text", "text": text}
            done = self._at("response.reasoning_text.done", content_index=0, text=text)
            done += self._at("response.content_part.done", content_index=0, part=part)
            item = self._reasoning(item["id"], text)
        else:
            done = self._at("response.function_call_arguments.done", name=item["name"], arguments=text)
            item = _call(item["id"], item["call_id"], item["name"], text)
            item["status"] = "incomplete" if incomplete else "completed"
        done += self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._open, self._texts, self._logprobs = None, [], []
        return done

    def _at(self, name: str, /, **more: Any) -> bytes:
        """An event about the item that is being written."""
        item = self._open or {"id": ""}
        return self._event(name, item_id=item["id"], output_index=len(self._output), **more)

    def _event(self, name: str, /, **more: Any) -> bytes:
        told = {"type": name, "sequence_number": self._number, **more}
        self._number += 1
        return sse.named(name, told)

    def _reasoning(self, name: str, text: str) -> dict[str, Any]:
        """Reasoning. A model writes no summary of it: who asks for one gets the reasoning itself."""
        summary = [{"type": "summary_text", "text": text}] if self._summarizes and text else []
        content = [{"type": "reasoning_text", "text": text}] if text and not self._summarizes else []
        return {"type": "reasoning", "id": name, "summary": summary, "content": content, "encrypted_content": None}

    def _begun(self) -> dict[str, Any]:
        body = self._asked.body
        repeated = {name: body[name] if body.get(name) is not None else default for name, default in _REPEATED.items()}
        reasoning, form = body.get("reasoning") or {}, (body.get("text") or {}).get("format") or {"type": "text"}
        if form.get("type") == "json_schema":
            form = {"description": None, "strict": False, **form}
        return {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response",
            "created_at": int(time.time()),
            "completed_at": None,
            "status": "in_progress",
            "background": self._asked.background,
            "error": None,
            "incomplete_details": None,
            "model": self._asked.model,
            "output": [],
            "usage": None,
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "text": {"format": form},
            "tools": self._asked.tools,
            "tool_choice": body.get("tool_choice") or "auto",
            "truncation": body.get("truncation") or "disabled",
            "store": self._asked.store,
            "service_tier": "default",
            "metadata": body.get("metadata") or {},
            **repeated,
        }

    def _end(self, finish_reason: str, usage: Usage | None, parameters: dict[str, Any]) -> None:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        cut = reasons.get(finish_reason)
        known = {name: value for name, value in parameters.items() if name in _REPEATED and value is not None}
        self.response |= known
        self.response["status"] = "incomplete" if cut else "completed"
        self.response["incomplete_details"] = {"reason": cut} if cut else None
        self.response["completed_at"] = None if cut else int(time.time())
        self.response["output"] = self._output
        self.response["usage"] = response_usage(usage)


def _message(name: str, text: str, logprobs: list[dict[str, Any]], status: str) -> dict[str, Any]:
    content = [_text_part(text, logprobs)]
    return {"type": "message", "id": name, "status": status, "role": "assistant", "content": content}


def _text_part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _call(name: str, call_id: str, function: str, arguments: str) -> dict[str, Any]:
    told = {"type": "function_call", "id": name, "call_id": call_id, "name": function, "arguments": arguments}
    return told | {"status": "completed"}
