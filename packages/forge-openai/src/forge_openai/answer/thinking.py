"""Reasoning that a server leaves in the content, between ``<think>`` and ``</think>``, because it has no parser."""

from __future__ import annotations

from typing import Final, Literal

_BEGIN: Final = "<think>"
_END: Final = "</think>"

ReasoningInContent = Literal["auto", "opened", "no"]
"""``auto``: where an answer begins with ``<think>``; ``opened``: every answer begins within reasoning, because the
server's chat template opens it; ``no``: never."""


class ThinkSplitter:
    """Splits content that arrives in pieces, with the same result however it is cut.

    White space at the edges of the reasoning belongs to neither part, as in the engines of this process.

    Args:
        opened: whether the content begins within reasoning.
    """

    __slots__ = ("_held", "_state", "_was_said")

    def __init__(self, *, opened: bool) -> None:
        self._state: Literal["start", "inside", "after", "content"] = "inside" if opened else "start"
        self._held = ""
        self._was_said = False

    @property
    def is_over(self) -> bool:
        """Whether all that follows is content."""
        return self._state == "content"

    @property
    def is_inside(self) -> bool:
        """Whether the text so far ends within reasoning."""
        return self._state == "inside"

    @property
    def may_begin(self) -> bool:
        """Whether the text so far may turn out to be the beginning of reasoning."""
        return self._state == "start"

    def feed(self, piece: str) -> tuple[str, str]:
        """The reasoning and the content that are certain with *piece*."""
        self._held += piece
        reasoning = ""
        if self._state == "start":
            seen = self._held.lstrip()
            if not seen.startswith(_BEGIN):
                if _BEGIN.startswith(seen):
                    return "", ""
                return "", self._release()
            self._held, self._state = seen[len(_BEGIN) :], "inside"
        if self._state == "inside":
            reasoning = self._inside()
        if self._state == "after":
            self._held = self._held.lstrip()
            if self._held:
                return reasoning, self._release()
        elif self._state == "content":
            return reasoning, self._release()
        return reasoning, ""

    def finish(self) -> tuple[str, str]:
        """What is left, at the end of the answer."""
        held, self._held = self._held, ""
        if self._state == "start":
            return "", held
        return (self._spoken(held.rstrip()), "") if self._state == "inside" else ("", "")

    def _inside(self) -> str:
        if not self._was_said and self._held.lstrip().startswith(_BEGIN):
            self._held = self._held.lstrip()[len(_BEGIN) :]  # some models write again what the prompt has
        text, end, rest = self._held.partition(_END)
        if end:
            self._held, self._state = rest, "after"
            return self._spoken(text.rstrip())
        # What may be the beginning of the end, and white space before it, wait for more.
        tail = next((size for size in range(min(len(_END), len(text)), 0, -1) if _END.startswith(text[-size:])), 0)
        certain = len(text[: len(text) - tail].rstrip())
        if not self._was_said and _BEGIN.startswith(text.lstrip()):
            return ""
        self._held = text[certain:]
        return self._spoken(text[:certain])

    def _spoken(self, text: str) -> str:
        if not self._was_said:
            text = text.lstrip()
        self._was_said = self._was_said or bool(text)
        return text

    def _release(self) -> str:
        held, self._held, self._state = self._held, "", "content"
        return held
