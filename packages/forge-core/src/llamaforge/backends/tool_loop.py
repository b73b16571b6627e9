"""Models that call Python functions: ask, call, tell the results, ask again."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..errors import InvalidParameterError
from ..functions import Tool, read_tools, to_text
from ..messages import Message, ToolCall, read_messages
from ..results import Event, GeneratedText
from ..streams import AsyncTextStream, TextStream

Confirm = Callable[[ToolCall], bool]
"""Asked before each call of a tool; False declines it."""
DECLINED: Final = "The user declined this call."
_THREADS: Final = 16
_FORCED: Final = "tool_choice"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of one call."""

    call: ToolCall
    content: str
    """What the model was told."""
    error: Exception | None = None
    """What the function raised."""

    @property
    def message(self) -> Message:
        """The turn that tells the model."""
        return Message(role="tool", tool_call_id=self.call.id, name=self.call.function.name, content=self.content)


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One round: an answer with calls, and their results in the same order."""

    answer: GeneratedText
    results: tuple[ToolResult, ...]


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A finished conversation with tools."""

    answer: GeneratedText
    """The last answer. It still has calls if the rounds were used up, or if it calls a tool that is no function."""
    messages: tuple[Message, ...]
    """The whole conversation, with all calls, results and the last answer, to go on with."""
    steps: tuple[ToolStep, ...]
    """What happened in each round."""


class ToolLoop:
    """The rounds of one conversation, for threads and event loops alike.

    Args:
        messages: the conversation.
        tools: functions, and tools as mappings, which only the caller can run.
        parameters: generation parameters. A ``tool_choice`` that forces calls holds for the first round.
        max_rounds: answers with calls that are carried out, at most.
        confirm: asked before each call.
        on_step: called after each round.

    Raises InvalidParameterError for messages, tools or rounds that are malformed.
    """

    def __init__(
        self,
        messages: Iterable[Message | Mapping[str, object]],
        tools: Sequence[Any],
        parameters: Mapping[str, object] | None,
        *,
        max_rounds: int,
        confirm: Confirm | None,
        on_step: Callable[[ToolStep], None] | None,
    ) -> None:
        if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
            raise InvalidParameterError("max_rounds", max_rounds, "a whole number from 1")
        if not tools and parameters:
            given: Any = parameters.get("tools", ())
            tools = given
        if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence) or not tools:
            raise InvalidParameterError("tools", tools, "a list of functions or tools", show_value=False)
        self.messages = [*read_messages(messages)]
        plain, self._functions = read_tools(tools)
        self.parameters: dict[str, object] = {**(parameters or {}), "tools": plain}
        self.steps: list[ToolStep] = []
        self._max_rounds = max_rounds
        self._confirm = confirm
        self._on_step = on_step

    def goes_on(self, answer: GeneratedText) -> bool:
        """Take *answer* in. Returns whether its calls are to be carried out."""
        turn = Message.from_answer(answer)
        calls = turn.tool_calls
        self.messages.append(turn)
        known = all(call.function.name in self._functions or not self._is_offered(call) for call in calls)
        return bool(calls) and known and len(self.steps) < self._max_rounds

    def done(self, answer: GeneratedText, results: Sequence[ToolResult]) -> None:
        """The calls of *answer* were carried out."""
        step = ToolStep(answer, tuple(results))
        self.steps.append(step)
        self.messages += [result.message for result in results]
        if self.parameters.get(_FORCED) not in ("auto", "none"):
            self.parameters.pop(_FORCED, None)
        if self._on_step is not None:
            self._on_step(step)

    def finished(self, answer: GeneratedText) -> ToolRun:
        """The outcome."""
        return ToolRun(answer, tuple(self.messages), tuple(self.steps))

    def call_all(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Carry out *calls* at once, in threads."""
        refused = self._refused(calls)
        with concurrent.futures.ThreadPoolExecutor(min(len(calls), _THREADS), "llamaforge-tool") as pool:
            futures = [
                None if call.id in refused else pool.submit(contextvars.copy_context().run, self._call, call)
                for call in calls
            ]
            return [
                refused[call.id] if future is None else future.result()
                for call, future in zip(calls, futures, strict=True)
            ]

    async def acall_all(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Carry out *calls* at once: coroutine functions in this event loop, others in threads."""
        refused = self._refused(calls)

        async def carry_out(call: ToolCall) -> ToolResult:
            return refused[call.id] if call.id in refused else await self._acall(call)

        return list(await asyncio.gather(*map(carry_out, calls)))

    def _is_offered(self, call: ToolCall) -> bool:
        tools: Any = self.parameters["tools"]
        return any(each["function"]["name"] == call.function.name for each in tools if _has_name(each))

    def _refused(self, calls: Sequence[ToolCall]) -> dict[str, ToolResult]:
        """The calls that are not carried out. They are asked about one after another, before any begins."""
        refused = {}
        for call in calls:
            if call.function.name not in self._functions:
                names = ", ".join(sorted(self._functions))
                refused[call.id] = ToolResult(call, f"Error: there is no tool {call.function.name!r}, only {names}.")
            elif self._confirm is not None and not self._confirm(call):
                refused[call.id] = ToolResult(call, DECLINED)
        return refused

    def _call(self, call: ToolCall) -> ToolResult:
        function = self._functions[call.function.name]
        try:
            result = function.call(call.function.arguments)
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
            return ToolResult(call, to_text(result))
        except Exception as error:  # noqa: BLE001 - the model is told, and may do better
            return _failed(call, function, error)

    async def _acall(self, call: ToolCall) -> ToolResult:
        function = self._functions[call.function.name]
        try:
            if function.is_async:
                result = function.call(call.function.arguments)
            else:
                result = await asyncio.to_thread(function.call, call.function.arguments)
            if inspect.isawaitable(result):
                result = await result
            return ToolResult(call, to_text(result))
        except Exception as error:  # noqa: BLE001 - the model is told, and may do better
            return _failed(call, function, error)


def run_loop(loop: ToolLoop, chat: Callable[..., TextStream], on_event: Callable[[Event], None] | None) -> ToolRun:
    """Ask with *chat* and carry out calls, until an answer has none."""
    while True:
        with chat(loop.messages, loop.parameters) as stream:
            for event in stream.events():
                if on_event is not None:
                    on_event(event)
            answer = stream.result
        if not loop.goes_on(answer):
            return loop.finished(answer)
        loop.done(answer, loop.call_all(answer.tool_calls))


async def arun_loop(
    loop: ToolLoop, chat: Callable[..., AsyncTextStream], on_event: Callable[[Event], None] | None
) -> ToolRun:
    """:func:`run_loop` for event loops."""
    while True:
        async with chat(loop.messages, loop.parameters) as stream:
            async for event in stream.events():
                if on_event is not None:
                    on_event(event)
            answer = stream.result
        if not loop.goes_on(answer):
            return loop.finished(answer)
        loop.done(answer, await loop.acall_all(answer.tool_calls))


async def _awaited(result: Any) -> Any:
    return await result


def _has_name(each: Any) -> bool:
    return isinstance(each, Mapping) and isinstance(each.get("function"), Mapping) and "name" in each["function"]


def _failed(call: ToolCall, function: Tool, error: Exception) -> ToolResult:
    if isinstance(error, msgspec.DecodeError | msgspec.ValidationError):
        said = f"the arguments don't fit the parameters of {function.name}: {error}"
    else:
        said = f"{type(error).__name__}: {error}"
    return ToolResult(call, f"Error: {said}", error)
