"""Stop strings in a stream of text."""

from __future__ import annotations

from collections.abc import Iterable


class StopMatcher:
    """Pass text on until a stop string is complete, and never a character of it.

    The first stop string to be complete wins; where two end at the same character, the longer one. That does not
    depend on how the text was cut into chunks. Text is held back only while it is the beginning of a stop string.

    The work per chunk depends on the chunk and on the stop strings, never on the text that went before.
    """

    __slots__ = ("_held", "_stops", "matched")

    matched: str | None
    """The stop string that ended the text."""

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._stops = tuple(dict.fromkeys(stops))
        if not all(self._stops):
            raise ValueError("A stop string must not be empty.")
        self._held = ""
        self.matched = None

    def feed(self, text: str) -> str:
        """The text that is certain now. After a match: nothing."""
        if self.matched is not None:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        self._held = ""
        best: tuple[int, int] | None = None
        for stop in self._stops:
            start = text.find(stop)
            if start < 0:
                continue
            key = (start + len(stop), start)
            if best is None or key < best:
                best, self.matched = key, stop
        if best is not None:
            return text[: best[1]]
        held = self._undecided(text)
        if held:
            self._held = text[-held:]
            return text[:-held]
        return text

    def finish(self) -> str:
        """The text ended: what was held back comes out."""
        tail, self._held = self._held, ""
        return tail

    def _undecided(self, text: str) -> int:
        """Length of the longest end of *text* that begins a stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest
