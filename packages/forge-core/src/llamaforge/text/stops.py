"""Stop strings in a stream of text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence


class _State:
    """The longest end of the text that begins a stop string: its *depth* in characters, and what may follow."""

    __slots__ = ("depth", "shorter", "stop", "then")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.then: dict[str, _State] = {}
        """The next character -> the longer beginning."""
        self.shorter: _State | None = None
        """The next longest beginning of a stop string that the text ends with, too. None: this is the empty one."""
        self.stop: str | None = None
        """The stop string that is complete here; of several, the longest."""


def _automaton(stops: Sequence[str]) -> _State:
    """All stop strings as one automaton, without those that end after another one always."""
    root = _tree(stops)
    first = [stop for stop in stops if not _is_late(root, stop)]
    return root if len(first) == len(stops) else _tree(first)


def _is_late(state: _State, stop: str) -> bool:
    """Whether another stop string is complete before *stop*."""
    for character in stop[:-1]:
        state = state.then[character]
        if state.stop is not None:
            return True
    return False


def _tree(stops: Iterable[str]) -> _State:
    """All *stops* as an automaton: Aho and Corasick 1975, https://doi.org/10.1145/360825.360855."""
    root = _State(0)
    for stop in stops:
        state = root
        for character in stop:
            longer = state.then.get(character)
            if longer is None:
                longer = state.then[character] = _State(state.depth + 1)
            state = longer
        state.stop = stop
    waiting = deque([root])
    while waiting:
        parent = waiting.popleft()
        for character, state in parent.then.items():
            state.shorter = root if parent.shorter is None else _step(parent.shorter, character)
            if state.stop is None:
                state.stop = state.shorter.stop
            waiting.append(state)
    return root


def _step(state: _State, character: str) -> _State:
    """The state after one more character."""
    while (longer := state.then.get(character)) is None:
        if state.shorter is None:
            return state
        state = state.shorter
    return longer


class StopMatcher:
    """Releases text until a stop string is complete, and never a character of that string.

    The first complete stop string counts; if two end at the same character, the longer one. That does not depend on
    how the text is split into chunks. Text is held back only while it may be the beginning of a stop string.

    The work per character depends neither on the earlier text nor on the number of stop strings.
    """

    __slots__ = ("_held", "_start", "_state", "matched")

    matched: str | None
    """The stop string that ended the text."""

    def __init__(self, stops: Iterable[str] = ()) -> None:
        stops = tuple(stops)
        if not all(stops):
            raise ValueError("A stop string must not be empty.")
        self._start = self._state = _automaton(stops)
        self._held = ""
        self.matched = None

    def feed(self, text: str) -> str:
        """Add text. Returns what can be released now; after a match, nothing."""
        if self.matched is not None:
            return ""
        start, state = self._start, self._state
        if not start.then:
            return text
        for index, character in enumerate(text, 1):
            if state is start and character not in start.then:  # most characters begin nothing
                continue
            state = _step(state, character)
            if state.stop is not None:
                self.matched = state.stop
                end = len(self._held) + index - len(state.stop)
                text, self._held = self._held + text, ""
                return text[:end]
        self._state = state
        text = self._held + text
        certain = len(text) - state.depth
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """End the text. Returns what was held back."""
        tail, self._held = self._held, ""
        return tail
