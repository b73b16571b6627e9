"""What a chat template can do, found by rendering with it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .output_format import OutputFormat
from .probes import PROBE, Run, TemplateProbes, Turn
from .recognition import TOOLS, Recognition

_EFFORTS: Final = ("low", "high")
_ON_OFF: Final = ("enable_thinking", "thinking", "enable_reasoning")


class TemplateCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat template can do."""

    system: bool
    """Whether it shows system turns."""
    typed_content: bool
    """Whether a user's content may be a list of typed parts."""
    tools: bool
    """Whether it tells the model of tools. Where it doesn't, a system turn does."""
    tool_calls: bool
    """Whether it shows earlier tool calls."""
    parallel_tool_calls: bool
    """Whether it shows several calls in one turn."""
    tool_results: bool
    """Whether it shows the results of calls."""
    reasoning: bool
    """Whether answers may begin with reasoning."""
    reasoning_switch: str = ""
    """The variable that turns reasoning off or on; empty where the template has none."""
    reasoning_effort: bool = False
    """Whether it reads ``reasoning_effort``."""
    output_format: str = "generic"
    """The name of the format in which the model calls tools."""


class CapabilityProbes:
    """Finds the capabilities of one template.

    Args:
        run: renders turns with it.
        probes: what is known of it.
        variables: the variables that it reads.
    """

    def __init__(self, run: Run, probes: TemplateProbes, variables: frozenset[str]) -> None:
        self._run = run
        self._probes = probes
        self._variables = variables
        self._recognition = Recognition(run, probes)

    def find(self, form: OutputFormat) -> TemplateCapabilities:
        """All of them; *form* is the format that was found."""
        two = self._recognition.written_calls(2)
        switch = self.reasoning_switch
        return TemplateCapabilities(
            system=self.shows_system,
            typed_content=self._probes.content_forms("user").parts,
            tools=self.shows_tools,
            tool_calls=bool(self._recognition.written_calls(1)),
            parallel_tool_calls=bool(two),
            tool_results=self.shows_results(),
            reasoning=form.is_harmony or self._recognition.reasoning() is not None,
            reasoning_switch=switch,
            reasoning_effort=self.reads_effort,
            output_format=form.name,
        )

    @functools.cached_property
    def shows_tools(self) -> bool:
        """Whether the prompt tells of tools."""
        text = self._try([self._user()], tools=TOOLS)
        return text is not None and text != self._try([self._user()])

    def shows_results(self) -> bool:
        """Whether a conversation with a call and its result shows both."""
        return self._probes.shows_results

    def effort_variables(self, effort: str, form: OutputFormat) -> dict[str, Any] | None:
        """The variables that make the template ask for that much reasoning; None where it can't.

        A template that has only a switch is turned on for every effort but none.
        """
        switch, reads = self.reasoning_switch, self.reads_effort
        if effort == "none":
            if switch:
                return {switch: False}
            return {} if form.reasoning is None and not form.is_harmony and not reads else None
        if not switch and not reads and form.reasoning is None:
            return None
        known = "low" if effort == "minimal" and form.is_harmony else effort
        return {**({"reasoning_effort": known} if reads else {}), **({switch: True} if switch else {})}

    @functools.cached_property
    def reasoning_switch(self) -> str:
        """The variable that turns reasoning off."""
        for name in _ON_OFF:
            if name in self._variables:
                on, off = self._opening(**{name: True}), self._opening(**{name: False})
                if on is not None and off is not None and on != off:
                    return name
        return ""

    @functools.cached_property
    def reads_effort(self) -> bool:
        """Whether the effort changes the prompt."""
        if "reasoning_effort" not in self._variables:
            return False
        texts = {self._opening(reasoning_effort=effort) for effort in _EFFORTS}
        return len(texts - {None}) > 1

    def _opening(self, **variables: Any) -> str | None:
        return self._try([self._user()], **variables)

    @functools.cached_property
    def shows_system(self) -> bool:
        """Whether a system turn's text is in the prompt."""
        turn = {"role": "system", "content": self._probes.content("system", PROBE)}
        text = self._try([turn, self._user()])
        return text is not None and PROBE in text

    def _user(self) -> Turn:
        return {"role": "user", "content": self._probes.content("user", "hi")}

    def _try(self, turns: list[Turn], variables: Mapping[str, Any] | None = None, **more: Any) -> str | None:
        given = {**(variables or {}), **more}
        documents = [{"title": "qz", "text": "qz"}]
        for extra in ({}, {"documents": documents} if "documents" in self._variables else {}):
            with contextlib.suppress(Exception):  # a template may refuse any conversation
                return self._run(turns, add_generation_prompt=True, **given, **extra)
        return None


def is_open(prompt: str, begin: str, end: str, opening: str) -> bool:
    """Whether *prompt* ends within reasoning.

    *opening* is what the template writes where an answer begins; only what follows its last occurrence counts, so that
    what users say about reasoning doesn't.
    """
    head = opening
    for marker in (begin, end):
        head = head.partition(marker)[0]
    head = head.rstrip()
    at = prompt.rfind(head) if head else -1
    if at < 0:
        return prompt.rstrip().endswith(begin)
    tail = prompt[at + len(head) :]
    return tail.rfind(begin) > tail.rfind(end)
