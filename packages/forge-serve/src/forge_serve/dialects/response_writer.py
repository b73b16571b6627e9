"""Responses on their way out: one object, or events in order, each with its number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llamaforge import GeneratedText
from llamaforge.openai_objects import logprob_object
from llamaforge.openai_responses import (
    begin_response,
    call_item,
    end_response,
    item_id,
    message_item,
    output_items,
    reasoning_item,
    summarizes,
    text_part,
)
from llamaforge.results import Event, ReasoningDelta, TextDelta, ToolCallDelta

from .. import sse
from ..errors import Problem
from ..store import Kept, Store
from .openai import error_kind

if TYPE_CHECKING:
    from .responses import AskedResponse


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
        self._summarizes = summarizes(asked.body)
        self.response = begin_response(
            asked.body, asked.model, asked.tools, store=asked.store, background=asked.background
        )

    # In one piece.

    def whole(self, answers: list[GeneratedText]) -> bytes:
        """The answer in one piece."""
        answer = answers[0]
        self._output += output_items(answer, summarize=self._summarizes)
        end_response(self.response, self._output, answer.finish_reason, answer.usage, answer.parameters)
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
            closed += self._begin(message_item(item_id("message"), "", status="in_progress"), text_part(""))
            closed += self._close()
        end_response(self.response, self._output, event.finish_reason, event.usage, event.parameters)
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
            begun += self._begin(message_item(item_id("message"), "", status="in_progress"), text_part(""))
        self._texts.append(event.text)
        logprobs = [logprob_object(each) for each in event.logprobs]
        self._logprobs += logprobs
        return begun + self._at("response.output_text.delta", content_index=0, delta=event.text, logprobs=logprobs)

    def _thought(self, text: str) -> bytes:
        begun = b""
        if self._open is None or self._open["type"] != "reasoning":
            item = reasoning_item(item_id("reasoning"), "", summarize=self._summarizes)
            begun = self._close() + self._begin(item, None)
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
            call = call_item(item_id("function_call"), piece.id, piece.name, "", "in_progress")
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
            part = text_part(text, self._logprobs)
            done = self._at("response.output_text.done", content_index=0, text=text, logprobs=self._logprobs)
            done += self._at("response.content_part.done", content_index=0, part=part)
            item = message_item(item["id"], text, self._logprobs, "incomplete" if incomplete else "completed")
        elif kind == "reasoning" and self._summarizes:
            part = {"type": "summary_text", "text": text}
            done = self._at("response.reasoning_summary_text.done", summary_index=0, text=text)
            done += self._at("response.reasoning_summary_part.done", summary_index=0, part=part)
            item = reasoning_item(item["id"], text, summarize=self._summarizes)
        elif kind == "reasoning":
            part = {"type": "reasoning_text", "text": text}
            done = self._at("response.reasoning_text.done", content_index=0, text=text)
            done += self._at("response.content_part.done", content_index=0, part=part)
            item = reasoning_item(item["id"], text, summarize=self._summarizes)
        else:
            done = self._at("response.function_call_arguments.done", name=item["name"], arguments=text)
            status = "incomplete" if incomplete else "completed"
            item = call_item(item["id"], item["call_id"], item["name"], text, status)
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
