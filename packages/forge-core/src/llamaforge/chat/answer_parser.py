"""The parser of answers, by itself: from a text to its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidParameterError
from ..results import Event
from .answer_reader import Answer, AnswerReader, Collector
from .template import ChatTemplate


class AnswerParser:
    """Parses an answer piece by piece, with the same result however it is cut.

    Args:
        template: the model's chat template, as text or as a :class:`ChatTemplate`. Its format is found by rendering.
        tools: the tools that the request offered, as OpenAI's API has them. Without any, only reasoning is looked for.
        prompt: the rendered prompt. It tells whether the answer begins within reasoning; without it, that is so if the
            template opens reasoning by default.
        id_seed: makes the calls' ids reproducible; by default they are random.

    Raises BrokenTemplateError for an invalid template, EngineNotAvailableError if jinja2 is not installed, and
    InvalidParameterError for malformed tools.
    """

    def __init__(
        self,
        *,
        template: str | ChatTemplate,
        tools: Sequence[Mapping[str, Any]] | None = None,
        prompt: str | None = None,
        id_seed: int | None = None,
    ) -> None:
        if not isinstance(template, str | ChatTemplate):
            raise InvalidParameterError("template", template, "a chat template")
        if not isinstance(prompt, str | None):
            raise InvalidParameterError("prompt", prompt, "the rendered prompt, a text")
        schemas = tool_schemas(() if tools is None else tools) or None
        known = template if isinstance(template, ChatTemplate) else ChatTemplate(template)
        self._reader = AnswerReader(
            known.output_format(with_tools=schemas is not None),
            tools=schemas,
            is_reasoning=known.is_reasoning(prompt, with_tools=schemas is not None),
            id_seed=None if id_seed is None else str(id_seed).encode(),
        )
        self._collector = Collector()

    def feed(self, piece: str) -> list[Event]:
        """The events that are certain with *piece*: text, reasoning, pieces of tool calls."""
        events = self._reader.feed(piece)
        self._collector.add(events)
        return events

    def finish(self, *, cut: bool = False) -> list[Event]:
        """The remaining events, at the end of the answer.

        *cut* says that the answer was cut, by ``max_tokens``, say: what was begun as a call is then no content.
        """
        events = self._reader.finish(cut=cut)
        self._collector.add(events)
        return events

    @property
    def answer(self) -> Answer:
        """The parts so far."""
        return self._collector.answer


def parse_answer(
    text: str,
    *,
    template: str | ChatTemplate,
    tools: Sequence[Mapping[str, Any]] | None = None,
    prompt: str | None = None,
    id_seed: int | None = None,
    cut: bool = False,
) -> Answer:
    """The parts of an answer; arguments and errors as :class:`AnswerParser`, *cut* as :meth:`AnswerParser.finish`."""
    if not isinstance(text, str):
        raise InvalidParameterError(
            "text", None, "a text", message=f"text must be a string, not {type(text).__name__}."
        )
    parser = AnswerParser(template=template, tools=tools, prompt=prompt, id_seed=id_seed)
    parser.feed(text)
    parser.finish(cut=cut)
    return parser.answer


def tool_schemas(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The schemas of the tools' parameters, by name. Raises InvalidParameterError for a malformed tool."""
    if not isinstance(tools, Sequence) or isinstance(tools, str | bytes):
        raise InvalidParameterError("tools", tools, "a list of tools")
    schemas: dict[str, Any] = {}
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not name:
            raise InvalidParameterError(
                f"tools[{index}]",
                tool,
                "a tool such as {'type': 'function', 'function': {'name': 'get_weather', 'parameters': {...}}}",
                show_value=False,
            )
        schemas[name] = function.get("parameters") if isinstance(function, Mapping) else None
    return schemas
