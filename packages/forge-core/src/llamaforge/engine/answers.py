"""What the answer to a request looks like: its grammar, and how it is taken apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..chat import ChatTemplate, OutputFormat
from ..chat.answer_parser import tool_schemas
from ..chat.answer_reader import AnswerReader
from ..chat.output_format import MARKER
from ..errors import ConflictingParametersError, UnsupportedError
from ..functions import chosen_tool
from ..requests import GenerationRequest
from ..results import Event, TextDelta, TokenLogprob
from ..text import StopMatcher, Utf8Decoder
from .constraints import Constraints
from .interface import Engine

if TYPE_CHECKING:
    from ..constraints import Grammar

_KNOWN: Final = 64
_AFTER_REASONING: Final = "\n\n"
_HARMONY_END: Final = "<|end|><|start|>assistant"


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """What is known of an answer before it begins."""

    grammar: Grammar | None
    parsed: ParsedAnswer | None
    """Takes it apart; None where all of it is content."""
    prefix: tuple[int, ...] = ()
    """Tokens that go to the end of the prompt: they end a reasoning that may have no token."""


class ParsedAnswer:
    """An answer with parts, token by token.

    Args:
        reader: takes the text apart.
        special: the special tokens that mean something to it, with their spellings.
        stops: stop strings, which are looked for in the content alone.
        closing: tokens that end the reasoning.
        max_reasoning_tokens: how long the reasoning may be.
    """

    def __init__(
        self,
        reader: AnswerReader,
        special: Mapping[int, str],
        stops: Sequence[str],
        closing: tuple[int, ...] = (),
        max_reasoning_tokens: int | None = None,
    ) -> None:
        self._reader = reader
        self._special = special
        self._decoder = Utf8Decoder()
        self._stops = StopMatcher(stops)
        self._closing = closing
        self._limit = max_reasoning_tokens
        self.reasoning_tokens = 0
        """Tokens of reasoning so far."""

    @property
    def matched(self) -> str | None:
        """The stop string that ended the content."""
        return self._stops.matched

    @property
    def has_calls(self) -> bool:
        """Whether there are tool calls."""
        return self._reader.has_calls

    def feed(self, token: int, data: bytes, logprob: TokenLogprob | None) -> list[Event]:
        """The events that are certain with *token*, which adds *data* to the text."""
        spelling = self._special.get(token)
        reader = self._reader
        within = reader.in_reasoning
        text = self._decoder.feed(data) if spelling is None else self._decoder.finish() + spelling
        events = self._passed(reader.feed(text))
        if within or reader.in_reasoning:
            self.reasoning_tokens += 1
        elif logprob is not None and reader.in_content:
            first = next((index for index, event in enumerate(events) if isinstance(event, TextDelta)), None)
            if first is None:
                events.append(TextDelta("", (logprob,)))
            else:
                events[first] = msgspec.structs.replace(events[first], logprobs=(logprob,))
        return events

    def forced(self) -> tuple[int, ...]:
        """Tokens that must come next, because the reasoning is as long as it may be."""
        if self._limit is None or self.reasoning_tokens < self._limit or not self._reader.in_reasoning:
            return ()
        self._limit = None
        return self._closing

    def finish(self, data: bytes, *, cut: bool) -> list[Event]:
        """The remaining events, after the last token. *cut*: whether the answer would have gone on."""
        text = self._decoder.feed(data) + self._decoder.finish()
        events = self._passed([*self._reader.feed(text), *self._reader.finish(cut=cut)])
        if tail := self._stops.finish():
            events.append(TextDelta(tail))
        return events

    def _passed(self, events: list[Event]) -> list[Event]:
        """*events* with the content up to a stop string."""
        if not any(isinstance(event, TextDelta) for event in events) and self._stops.matched is None:
            return events
        passed: list[Event] = []
        for event in events:
            if self._stops.matched is not None:
                break
            if isinstance(event, TextDelta):
                if text := self._stops.feed(event.text):
                    passed.append(TextDelta(text))
            else:
                passed.append(event)
        return passed


class Answers:
    """Plans the answers of one engine. Callers' threads use it.

    Args:
        engine: the engine.
        constraints: its constraints.
    """

    def __init__(self, engine: Engine[Any], constraints: Constraints) -> None:
        self._engine = engine
        self._constraints = constraints
        self._grammars: dict[bytes, Grammar | None] = {}
        self._special: dict[str, Mapping[int, str]] = {}

    def plan(self, request: GenerationRequest, prompt: Sequence[int]) -> AnswerPlan:
        """The plan for the answer to *request*, whose *prompt* has these tokens.

        Raises ConstraintError, MissingDependencyError, InvalidParameterError for malformed tools, and UnsupportedError
        for what the engine can't do.
        """
        template = self._template(request)
        form = template.answers(request) if template is not None else None
        if template is None or form is None or not (form.reasoning or form.is_harmony or request.tools):
            return AnswerPlan(_grammar_of(request), None)
        schemas = tool_schemas(request.tools or ())
        text = self._engine.render(request)
        is_reasoning = template.is_reasoning(text, with_tools=bool(request.tools))
        ended = form.reasoning is not None and text.rstrip().endswith(form.reasoning.end.strip())
        prefix: tuple[int, ...] = ()
        closing: tuple[int, ...] = ()
        limit = request.max_reasoning_tokens
        if limit is not None and (form.reasoning is not None or form.is_harmony):
            closing = self._closing(form)
            if limit == 0 and is_reasoning:
                prefix, is_reasoning, ended = closing, False, True
        may_reason = template.has_reasoning(request) and not ended
        grammar = self._grammar(request, form, is_reasoning=is_reasoning, may_reason=may_reason)
        reader = AnswerReader(
            form,
            tools=schemas if schemas and request.tool_choice != "none" else None,
            is_reasoning=is_reasoning,
            only_calls=bool(schemas)
            and (request.tool_choice == "required" or isinstance(request.tool_choice, Mapping)),
            id_seed=_id_seed(request, prompt) if schemas else None,
        )
        parsed = ParsedAnswer(reader, self._special_of(form), request.stop or (), closing, limit)
        return AnswerPlan(grammar, parsed, prefix)

    def _template(self, request: GenerationRequest) -> ChatTemplate | None:
        template = self._engine.chat_template
        if request.raw and request.prompt is not None:
            if request.tools:
                raise ConflictingParametersError(
                    ["raw", "tools"], "tools need the chat template, which raw leaves out."
                )
            return None
        if template is None and request.tools:
            engine = type(self._engine).__name__
            raise UnsupportedError("the parameter tools", engine, "The model has no chat template.")
        return template

    def _grammar(
        self, request: GenerationRequest, form: OutputFormat, *, is_reasoning: bool, may_reason: bool
    ) -> Grammar | None:
        inner = _grammar_of(request)
        if inner is None and not request.tools:
            return None
        wanted = (request.tools, request.tool_choice, request.parallel_tool_calls, request.response_format)
        key = msgspec.json.encode((wanted, request.grammar, form.name, is_reasoning, may_reason))
        if key not in self._grammars:
            if len(self._grammars) >= _KNOWN:
                self._grammars.clear()
            self._grammars[key] = self._make(request, form, inner, is_reasoning, may_reason)
        return self._grammars[key]

    def _make(
        self,
        request: GenerationRequest,
        form: OutputFormat,
        inner: Grammar | None,
        is_reasoning: bool,
        may_reason: bool,
    ) -> Grammar | None:
        from ..chat.answer_grammar import answer_grammar, wanted_tools

        wanted = wanted_tools(request)
        parameter = inner.parameter if inner is not None else "tools"
        try:
            special = self._constraints.vocabulary(parameter).ids
        except UnsupportedError:
            if inner is not None or chosen_tool(request.tool_choice) or request.tool_choice == "required":
                raise
            return None  # what the model makes of its tools is read all the same
        return answer_grammar(
            form, special, wanted=wanted, is_reasoning=is_reasoning, may_reason=may_reason, inner=inner
        )

    def _special_of(self, form: OutputFormat) -> Mapping[int, str]:
        known = self._special.get(form.name)
        if known is None:
            markers = form.markers()
            every = self._engine.special_tokens()
            known = {token: text for token, text in every.items() if text in markers}
            self._special[form.name] = known
        return known

    def _closing(self, form: OutputFormat) -> tuple[int, ...]:
        """The tokens that end the reasoning."""
        text = _HARMONY_END
        if form.reasoning is not None:
            text = f"\n{form.reasoning.end.strip()}{_AFTER_REASONING}"
        ids = {spelling: token for token, spelling in self._engine.special_tokens().items()}
        tokens: list[int] = []
        plain, at = "", 0
        for match in MARKER.finditer(text):
            plain += text[at : match.start()]
            at = match.end()
            if match[0] in ids:
                tokens += [*self._tokens(plain), ids[match[0]]]
                plain = ""
            else:
                plain += match[0]
        return (*tokens, *self._tokens(plain + text[at:]))

    def _tokens(self, text: str) -> Sequence[int]:
        if not text:
            return ()
        found = self._engine.tokenize_text(text)
        if found is None:
            found = self._constraints.vocabulary("max_reasoning_tokens").tokenizer.tokenize_str(text)
        return found


def _grammar_of(request: GenerationRequest) -> Grammar | None:
    """The grammar that *request* asks for itself."""
    if request.response_format is None and request.grammar is None:
        return None
    from ..constraints import request_grammar

    return request_grammar(request)


def _id_seed(request: GenerationRequest, prompt: Sequence[int]) -> bytes | None:
    """What makes ids of calls reproducible, and different in each turn of a conversation."""
    if request.seed is None:
        return None
    return hashlib.blake2b(msgspec.json.encode((request.seed, list(prompt)))).digest()
