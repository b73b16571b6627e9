"""The calls that run Python functions for a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack

from ..messages import Message
from ..parameters import GenerationParameters
from ..requests import merge_parameters
from ..results import Event
from ..signatures import takes_parameters
from ..streams import AsyncTextStream, TextStream
from .tool_loop import Confirm, ToolLoop, ToolRun, ToolStep, arun_loop, run_loop
from .watching import Operation, refusals

Messages = Iterable[Message | Mapping[str, object]]
"""A conversation: :class:`~llamaforge.messages.Message` or dicts of that shape."""


class RunsTools:
    """``run_tools`` of one model."""

    def chat_stream(self, messages: Messages, parameters: Mapping[str, object] | None = None) -> TextStream:
        """Stream the answer to a conversation."""
        raise NotImplementedError

    def achat_stream(self, messages: Messages, parameters: Mapping[str, object] | None = None) -> AsyncTextStream:
        """Asynchronous :meth:`chat_stream`."""
        raise NotImplementedError

    @takes_parameters
    def run_tools(
        self,
        messages: Messages,
        tools: Sequence[Any] = (),
        /,
        parameters: Mapping[str, object] | None = None,
        *,
        max_rounds: int = 8,
        confirm: Confirm | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_step: Callable[[ToolStep], None] | None = None,
        **more: Unpack[GenerationParameters],
    ) -> ToolRun:
        """Answer a conversation with Python functions that the model may call.

        The calls of a round run at once. What a function raises is told to the model, which may do better.

        Args:
            messages: the conversation.
            tools: functions (see :func:`llamaforge.tool`), also by keyword. A call of a tool that is a mapping ends the
                run.
            parameters: generation parameters. A ``tool_choice`` that forces calls holds for the first round.
            max_rounds: answers with calls that are carried out, at most.
            confirm: asked before each call; False declines it, and the model is told so.
            on_event: called with every event of every answer.
            on_step: called after each round with its calls and results.
            more: generation parameters by name.

        Returns the last answer, the whole conversation and the steps.
        """
        with refusals(self, "chat", parameters):
            merged = merge_parameters(parameters, more)
            loop = ToolLoop(messages, tools, merged, max_rounds=max_rounds, confirm=confirm, on_step=on_step)
        return run_loop(loop, self.chat_stream, on_event)

    @takes_parameters
    async def arun_tools(
        self,
        messages: Messages,
        tools: Sequence[Any] = (),
        /,
        parameters: Mapping[str, object] | None = None,
        *,
        max_rounds: int = 8,
        confirm: Confirm | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_step: Callable[[ToolStep], None] | None = None,
        **more: Unpack[GenerationParameters],
    ) -> ToolRun:
        """Asynchronous :meth:`run_tools`; coroutine functions run in this event loop."""
        with refusals(self, "chat", parameters):
            merged = merge_parameters(parameters, more)
            loop = ToolLoop(messages, tools, merged, max_rounds=max_rounds, confirm=confirm, on_step=on_step)
        return await arun_loop(loop, self.achat_stream, on_event)


class RunsToolsOfNamedModels:
    """``run_tools`` of named models."""

    def _asked(self, model: str | None, operation: Operation, parameters: Any, more: Any) -> tuple[Any, Any]:
        """The backend that runs the model, and the parameters."""
        raise NotImplementedError

    @takes_parameters
    def run_tools(
        self,
        messages: Messages,
        tools: Sequence[Any] = (),
        /,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        max_rounds: int = 8,
        confirm: Confirm | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_step: Callable[[ToolStep], None] | None = None,
        **more: Unpack[GenerationParameters],
    ) -> ToolRun:
        """Answer a conversation with Python functions that the model may call; see :meth:`BaseBackend.run_tools`."""
        backend, merged = self._asked(model, "chat", parameters, more)
        with refusals(backend, "chat", parameters):
            loop = ToolLoop(messages, tools, merged, max_rounds=max_rounds, confirm=confirm, on_step=on_step)
        return run_loop(loop, backend.chat_stream, on_event)

    @takes_parameters
    async def arun_tools(
        self,
        messages: Messages,
        tools: Sequence[Any] = (),
        /,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        max_rounds: int = 8,
        confirm: Confirm | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_step: Callable[[ToolStep], None] | None = None,
        **more: Unpack[GenerationParameters],
    ) -> ToolRun:
        """Asynchronous :meth:`run_tools`; coroutine functions run in this event loop."""
        backend, merged = self._asked(model, "chat", parameters, more)
        with refusals(backend, "chat", parameters):
            loop = ToolLoop(messages, tools, merged, max_rounds=max_rounds, confirm=confirm, on_step=on_step)
        return await arun_loop(loop, backend.achat_stream, on_event)
