"""Tool calls, put together from their pieces."""

from __future__ import annotations

import json
import secrets

from llamaforge.messages import FunctionCall, ToolCall

from .chunks import ToolCallPart


class _Call:
    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class ToolCallAssembler:
    """Pieces in, whole calls out.

    Pieces belong together by index, and without one by id. Servers differ: some send whole calls that all have the same
    index, some repeat the name in each piece, some give each piece an id of its own. So at a known index a new call
    begins where both the id is another and a function is named.
    """

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def feed(self, part: ToolCallPart) -> None:
        """Take the next piece."""
        call = self._find(part)
        call.id = call.id or part.id or ""
        if part.function is None:
            return
        name, arguments = part.function.name, part.function.arguments
        if name and name != call.name:
            call.name += name
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if arguments:
            call.arguments.append(arguments)

    def finish(self) -> tuple[ToolCall, ...]:
        """The calls, in the order in which they began. One that came without an id is given one."""
        return tuple(
            ToolCall(
                id=call.id or f"call_{secrets.token_hex(12)}",
                function=FunctionCall(name=call.name, arguments="".join(call.arguments)),
            )
            for call in self._calls
        )

    def _find(self, part: ToolCallPart) -> _Call:
        """The call that *part* belongs to; a new one where it begins one."""
        begins = part.function is not None and bool(part.function.name)
        if part.index is not None:
            same = [call for call in self._calls if call.index == part.index]
            if same and not (begins and part.id and same[-1].id and part.id != same[-1].id):
                return same[-1]
        elif part.id:
            same = [call for call in self._calls if call.id == part.id]
            if same:
                return same[-1]
        elif self._calls and not (begins and self._calls[-1].name):
            return self._calls[-1]
        call = _Call(part.index)
        self._calls.append(call)
        return call
