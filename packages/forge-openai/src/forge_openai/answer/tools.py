"""Tool calls, put together from their pieces."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection

from llamaforge.results import Event, ToolCallDelta

from .characters import CharacterJoiner, mend
from .chunks import FunctionPart, ToolCallPart

_EMPTY = "{}"


class _Call:
    __slots__ = ("_is_whole", "_read", "arguments", "id", "index", "is_told", "joiner", "name", "place", "told")

    def __init__(self, index: int | None, place: int) -> None:
        self.index = index
        self.place = place
        self.is_told = False
        self.told = 0
        """Pieces of the arguments that were passed on."""
        self.joiner = CharacterJoiner()
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self._is_whole = False
        self._read = 0
        """How many pieces of the arguments there were when that was found out."""

    @property
    def may_start_anew(self) -> bool:
        """Whether the arguments, so far none or an empty object, may still be replaced."""
        return not self.arguments or (len(self.arguments) == 1 and self.arguments[0].strip() == _EMPTY)

    def start_anew(self) -> None:
        """Forget the arguments so far."""
        self.arguments.clear()
        self._read = 0

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are a complete object, which nothing can continue."""
        if self._read != len(self.arguments):
            self._read = len(self.arguments)
            self._is_whole = _is_object(self.arguments)
        return self._is_whole


def _is_object(pieces: list[str]) -> bool:
    if not pieces or not pieces[-1].rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads("".join(pieces)), dict)
    except (ValueError, RecursionError):
        return False


class ToolCallAssembler:
    """Pieces as servers send them in, pieces as the contract has them out. A call is first told of with its arguments,
    because its name may come in several pieces, too; and a later call only once those before it are complete, so that
    whoever reads has one call after another, in their order, however the server mixes their pieces.

    Pieces belong together by index, and without one by id, and without either to the latest call. Servers differ: some
    send whole calls that all have the same index, with ids or without; some repeat the name in each piece, some give
    each piece an id of its own. So where a piece names a function, it begins a new call if

    * both its id and the call's are given and are not the same, or
    * the call's arguments are complete, so that nothing can be added to them, or
    * both names are among *names*, and not the same.

    Args:
        names: the functions that the request offers.
        seed: makes the ids of calls reproducible that the server gave none; None: they are random.
    """

    __slots__ = ("_calls", "_complete", "_ids", "_names", "_seed")

    def __init__(self, names: Collection[str] = (), seed: bytes | None = None) -> None:
        self._calls: list[_Call] = []
        self._complete = 0
        """How many of them are told to their end."""
        self._names = names
        self._ids: set[str] = set()
        self._seed = seed

    def feed(self, part: ToolCallPart, events: list[Event]) -> None:
        """Take the next piece, and append what is certain with it to *events*."""
        function = part.function if part.function is not None else FunctionPart()
        name, arguments = function.name or "", function.arguments
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        arguments = arguments or ""
        call = self._find(part, name, arguments)
        call.id = call.id or part.id or ""
        if name and name != call.name:
            call.name += name
        if arguments:
            so_far = call.arguments
            if so_far and not name and call.may_start_anew and arguments.lstrip().startswith("{"):
                call.start_anew()  # a gateway from Anthropic's API began with an empty object in place of none
            so_far.append(arguments)
            self._tell_in_order(events)

    def finish(self, events: list[Event]) -> bool:
        """Append what is left to *events*. Returns whether there were any calls."""
        for call in self._calls:
            self._end(call, events)
        return bool(self._calls)

    def _tell_in_order(self, events: list[Event]) -> None:
        """Tell what is certain of the first call that isn't complete; if by now it is, of the next ones, too."""
        for call in self._calls[self._complete :]:
            if not call.is_told and call.may_start_anew:
                return
            self._tell(call, events)
            if call is self._calls[-1] or not call.is_whole:
                return
            self._end(call, events)
            self._complete += 1

    def _end(self, call: _Call, events: list[Event]) -> None:
        self._tell(call, events)
        if rest := call.joiner.finish():
            events.append(ToolCallDelta(index=call.place, arguments=rest))

    def _tell(self, call: _Call, events: list[Event]) -> None:
        arguments = call.joiner.feed("".join(call.arguments[call.told :]))
        call.told = len(call.arguments)
        if call.is_told:
            if arguments:
                events.append(ToolCallDelta(index=call.place, arguments=arguments))
            return
        call.is_told = True
        ident = mend(call.id)
        if not ident or ident in self._ids:  # it came without one of its own
            ident = self._new_id(call.place)
        self._ids.add(ident)
        events.append(ToolCallDelta(index=call.place, id=ident, name=mend(call.name), arguments=arguments))

    def _new_id(self, place: int) -> str:
        if self._seed is None:
            return f"call_{secrets.token_hex(12)}"
        return f"call_{hashlib.blake2b(self._seed + place.to_bytes(4, 'big'), digest_size=12).hexdigest()}"

    def _find(self, part: ToolCallPart, name: str, arguments: str) -> _Call:
        """The call that *part* belongs to; a new one where it begins one."""
        if part.index is not None:
            same = [call for call in self._calls if call.index == part.index]
        elif part.id:
            same = [call for call in self._calls if call.id == part.id]
        else:
            same = self._calls
        if same and not (name and self._begins(same[-1], part.id or "", name, arguments)):
            return same[-1]
        call = _Call(part.index, len(self._calls))
        self._calls.append(call)
        return call

    def _begins(self, call: _Call, ident: str, name: str, arguments: str) -> bool:
        """Whether a piece with a *name* is the first one of another call."""
        if not call.name:
            return False
        if ident and call.id and ident != call.id:
            return True
        if name != call.name and name in self._names and call.name in self._names:
            return True
        # The last piece of a call may repeat its name, without arguments.
        return bool(arguments.strip() or name != call.name) and call.is_whole
