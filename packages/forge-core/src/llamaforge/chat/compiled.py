"""One compiled chat template, and what was found out about it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

from ..errors import EngineNotAvailableError
from ..installing import install_command
from .capabilities import CapabilityProbes, TemplateCapabilities, is_open
from .coverage import Coverage
from .families import HARMONY_MARKERS
from .output_format import OutputFormat
from .probes import TemplateProbes, Turn
from .recognition import Recognition
from .response_template import with_response_template


class BrokenTemplateError(ValueError):
    """The text is not a valid Jinja template; the message has the reason and the line."""


class CompiledTemplate:
    """One compiled template, and what was found out about it."""

    def __init__(
        self, text: str, special_tokens: Mapping[str, Any], response_template: Mapping[str, Any] | None = None
    ) -> None:
        try:
            jinja = importlib.import_module("llamaforge.chat.jinja")
        except ImportError as error:
            advice = f"Install it: {install_command('forge-core[chat]')}"
            raise EngineNotAvailableError("chat templates", "jinja2", str(error), advice) from error
        try:
            self._render = jinja.compile_template(text)
            self.variables: frozenset[str] = jinja.variables(text)
        except jinja.BROKEN as error:
            raise BrokenTemplateError(jinja.describe(error)) from error
        self.source = text
        self._response_template = response_template
        self._special_tokens = special_tokens
        self.probes = TemplateProbes(self.run)
        self.coverage = Coverage()

    @functools.cached_property
    def output_format(self) -> OutputFormat:
        """The format of answers where there are tools."""
        return self._as_told(Recognition(self.run, self.probes, self.source).output_format())

    @functools.cached_property
    def plain_format(self) -> OutputFormat:
        """The format of answers without tools: quicker to find."""
        if all(marker in self.source for marker in HARMONY_MARKERS):
            return self.output_format
        found = self._as_told(OutputFormat("plain", reasoning=Recognition(self.run, self.probes).reasoning()))
        return OutputFormat("plain", reasoning=found.reasoning)

    def _as_told(self, found: OutputFormat) -> OutputFormat:
        """*found*, as the model's makers say that it is."""
        return found if self._response_template is None else with_response_template(found, self._response_template)

    @functools.cached_property
    def abilities(self) -> CapabilityProbes:
        """What finds out what the template can do."""
        return CapabilityProbes(self.run, self.probes, self.variables)

    @functools.cached_property
    def capabilities(self) -> TemplateCapabilities:
        """What the template can do."""
        return self.abilities.find(self.output_format)

    @functools.cached_property
    def opening(self) -> str:
        """What it writes where an answer begins."""
        return Recognition(self.run, self.probes).opening()

    def is_reasoning(self, prompt: str | None) -> bool:
        """Whether *prompt* ends within reasoning."""
        reasoning = self.plain_format.reasoning
        if reasoning is None:
            return False
        begin, end = reasoning.begin.strip(), reasoning.end.strip()
        return is_open(self.opening if prompt is None else prompt, begin, end, self.opening)

    def run(self, turns: list[Turn], *, add_generation_prompt: bool, **variables: Any) -> str:
        """Raises whatever the template raises: it is a stranger's program."""
        sees = {"tools": None, "documents": None, **self._special_tokens, **variables}
        text: str = self._render(messages=turns, add_generation_prompt=add_generation_prompt, **sees)
        return text
