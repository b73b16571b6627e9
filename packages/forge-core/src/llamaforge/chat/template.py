"""A model's chat template: a conversation becomes the text that the model reads."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ..errors import EngineNotAvailableError, InvalidModelError, InvalidParameterError, NoChatTemplateError
from ..installing import install_command
from ..requests import GenerationRequest
from .capabilities import CapabilityProbes, TemplateCapabilities, is_open
from .coverage import Coverage
from .literals import ControlToken, ControlTokens, Placeholders, RenderedPrompt, every_text, map_texts
from .output_format import OutputFormat
from .probes import TemplateProbes, Turn
from .recognition import Recognition
from .turns import make_turns, plain

Templates = str | Mapping[str, str] | Sequence[Mapping[str, str]]
"""One Jinja text, or several with names: as a mapping, or as the list that tokenizer_config.json may hold."""

_MARK: Final = "LlamaForgeContinuesHere"
"""Stands at the end of a turn that is continued; what a template puts after it is cut off."""
_DEFAULT, _WITH_TOOLS = "default", "tool_use"


class BrokenTemplateError(ValueError):
    """The text is not a valid Jinja template; the message has the reason and the line."""


class ChatTemplate:
    """The compiled templates of one model. Thread-safe.

    Args:
        templates: the Jinja text, or several by name: ``tool_use`` is for requests with tools, ``default`` for all
            others.
        special_tokens: variables for the template: texts of special tokens, under transformers' names
            (``bos_token``).
        control_tokens: tokens that the tokenizer recognises by their spelling, and that messages must not forge.
        model: the model's name, for error messages.

    Raises BrokenTemplateError for an invalid template, and EngineNotAvailableError if jinja2 is not installed.
    """

    def __init__(
        self,
        templates: Templates,
        *,
        special_tokens: Mapping[str, Any] | None = None,
        control_tokens: Iterable[ControlToken] = (),
        model: str = "The model",
    ) -> None:
        tokens = plain(special_tokens or {})
        self.control_tokens = ControlTokens(control_tokens)
        self._model = model
        self._compiled = {name: _Template(text, tokens) for name, text in _by_name(templates).items()}

    @classmethod
    def of_model(cls, templates: Templates, *, model: str, source: str, **more: Any) -> ChatTemplate:
        """A model's own template; *source* says where it is from. *more*: as for the class.

        Raises InvalidModelError if it is broken.
        """
        try:
            return cls(templates, model=model, **more)
        except BrokenTemplateError as error:
            said = str(error).rstrip(".")
            raise InvalidModelError(
                model,
                f"its chat template ({source}) is broken: {said}. Pass another one with the load parameter "
                "chat_template.",
            ) from error

    def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Render a request's conversation, up to where the answer begins. A final assistant turn is left open.

        Uses the request's ``tools``, ``chat_template_kwargs`` and ``parse_special``. Raises InvalidParameterError
        where the template refuses the conversation or leaves a turn out of the prompt, and for a variable that it
        doesn't read; NoChatTemplateError where none of the templates serves the request.
        """
        template = self._choose(request)
        return _Rendering(template, self.control_tokens, request).prompt()

    @functools.cached_property
    def capabilities(self) -> TemplateCapabilities:
        """What the template can do; with several templates, the one for requests with tools.

        Raises NoChatTemplateError where none serves a request.
        """
        return self._chosen(with_tools=True).capabilities

    def output_format(self, *, with_tools: bool = False) -> OutputFormat:
        """The format of the model's answers. Raises NoChatTemplateError where no template serves such a request."""
        return self._chosen(with_tools=with_tools).output_format

    def is_reasoning(self, prompt: str | None = None, *, with_tools: bool = False) -> bool:
        """Whether *prompt* ends within reasoning, which the answer goes on with; by default, the template's own."""
        return self._chosen(with_tools=with_tools).is_reasoning(prompt)

    def after_answer(self) -> str:
        """What the template writes after a finished turn of the assistant; empty where that can't be found out."""
        template = self._compiled.get(_DEFAULT)
        if template is None:
            return ""
        turns = [{"role": role, "content": template.probes.content(role, _MARK)} for role in ("user", "assistant")]
        try:
            text = template.run(turns, add_generation_prompt=False)
        except Exception:  # noqa: BLE001 - a template may refuse this conversation
            return ""
        return text.rpartition(_MARK)[2]

    def _choose(self, request: GenerationRequest) -> _Template:
        return self._chosen(with_tools=bool(request.tools))

    def _chosen(self, *, with_tools: bool) -> _Template:
        if with_tools and _WITH_TOOLS in self._compiled:
            return self._compiled[_WITH_TOOLS]
        if _DEFAULT not in self._compiled:
            names = ", ".join(sorted(self._compiled)) or "none"
            raise NoChatTemplateError(self._model, f"It has no template called {_DEFAULT!r} (it has {names}).")
        return self._compiled[_DEFAULT]


class _Template:
    """One compiled template, and what was found out about it."""

    def __init__(self, text: str, special_tokens: Mapping[str, Any]) -> None:
        try:
            jinja = importlib.import_module("llamaforge.chat.jinja")
        except ImportError as error:
            advice = f"Install it: {install_command('forge-core[chat]')}"
            raise EngineNotAvailableError("chat templates", "jinja2", str(error), advice) from error
        try:
            self._template = jinja.compile_template(text)
            self.variables: frozenset[str] = jinja.variables(text)
        except jinja.BROKEN as error:
            raise BrokenTemplateError(jinja.describe(error)) from error
        self.source = text
        self._special_tokens = special_tokens
        self.probes = TemplateProbes(self.run)
        self.coverage = Coverage()

    @functools.cached_property
    def output_format(self) -> OutputFormat:
        return Recognition(self.run, self.probes, self.source).output_format()

    @functools.cached_property
    def abilities(self) -> CapabilityProbes:
        return CapabilityProbes(self.run, self.probes, self.variables)

    @functools.cached_property
    def capabilities(self) -> TemplateCapabilities:
        return self.abilities.find(self.output_format)

    @functools.cached_property
    def opening(self) -> str:
        return Recognition(self.run, self.probes).opening()

    def is_reasoning(self, prompt: str | None) -> bool:
        """Whether *prompt* ends within reasoning."""
        reasoning = self.output_format.reasoning
        if reasoning is None:
            return False
        begin, end = reasoning.begin.strip(), reasoning.end.strip()
        return is_open(self.opening if prompt is None else prompt, begin, end, self.opening)

    def run(self, turns: list[Turn], *, add_generation_prompt: bool, **variables: Any) -> str:
        """Raises whatever the template raises: it is a stranger's program."""
        sees = {"tools": None, "documents": None, **self._special_tokens, **variables}
        text: str = self._template.render(messages=turns, add_generation_prompt=add_generation_prompt, **sees)
        return text


class _Rendering:
    """One request's conversation and one template."""

    def __init__(self, template: _Template, control_tokens: ControlTokens, request: GenerationRequest) -> None:
        self._template = template
        self._control_tokens = control_tokens
        self._request = request
        self._continues = bool(request.messages) and request.messages[-1].role == "assistant"
        self._variables = self._read_variables()
        self._turns = make_turns(request.as_messages(), template.probes)

    def prompt(self) -> RenderedPrompt:
        text = self._text()
        if self._request.parse_special:
            return RenderedPrompt(text)
        return self._find_literals(text)

    def _text(self) -> str:
        """The prompt, once it is sure that nothing is missing in it."""
        given = self._turns
        reasons: list[Exception] = []
        # What a turn of tool calls without a text must look like differs: no content, as with transformers, or null,
        # or an empty one.
        for filler in ({}, {"content": None}, {"content": ""}):
            self._turns = [{**turn, **({} if "content" in turn else filler)} for turn in given]
            try:
                text = self._produce(self._turns, self._variables)
                self._check_coverage()
            except Exception as error:  # noqa: BLE001 - a template raises whatever it likes
                reasons.append(error)
                if all("content" in turn for turn in given):
                    break
            else:
                return text
        raise self._refused(reasons[0]) from reasons[0]

    def _read_variables(self) -> dict[str, Any]:
        """What the template sees beside the messages."""
        given = plain(self._request.chat_template_kwargs or {})
        unread = sorted(given.keys() - self._template.variables)
        if unread and self._request.on_unsupported != "drop":
            known = sorted(self._template.variables - {"messages", "tools", "add_generation_prompt"})
            reads = f"It reads {', '.join(known)}." if known else "It reads no other variables."
            raise InvalidParameterError(
                f"chat_template_kwargs[{unread[0]!r}]",
                None,
                "a variable of the model's chat template",
                show_value=False,
                message=f"The model's chat template doesn't read the variable {unread[0]!r}. {reads}",
            )
        documents = given.get("documents")
        if documents is not None and not (
            isinstance(documents, list) and all(isinstance(document, dict) for document in documents)
        ):
            raise InvalidParameterError("chat_template_kwargs['documents']", documents, "a list of mappings")
        tools = plain(self._request.tools) if self._request.tools else None
        return {"tools": tools, **{name: value for name, value in given.items() if name not in unread}}

    def _run(self, turns: list[Turn], variables: Mapping[str, Any] | None = None) -> str:
        sees = self._variables if variables is None else variables
        return self._template.run(turns, add_generation_prompt=not self._continues, **sees)

    def _produce(self, turns: list[Turn], variables: Mapping[str, Any]) -> str:
        """The prompt, whose last turn is left open where it is the assistant's."""
        if not self._continues:
            return self._run(turns, variables)
        text, mark, rest = self._run([*turns[:-1], _marked(turns[-1])], variables).rpartition(_MARK)
        if not mark:
            raise self._lost(len(turns) - 1, "text")
        # Where the template trims the turn, the space after the mark is gone, and so must be the spaces before it.
        text = text if rest.startswith(" ") else text.rstrip()
        return text.replace(f"{_MARK} ", "").replace(_MARK, "")  # where the template shows the turn more than once

    def _check_coverage(self) -> None:
        key: Hashable = self._continues
        if self._request.tools or self._request.chat_template_kwargs:
            key = self._continues, msgspec.json.encode(self._variables)
        lost = self._template.coverage.first_lost(self._turns, self._run, key)
        if lost is not None:
            raise self._lost(*lost)

    def _find_literals(self, text: str) -> RenderedPrompt:
        """Find where the prompt has control tokens that messages, tools or documents spell."""
        sources: list[Any] = [*self._turns, self._variables["tools"], self._variables.get("documents")]
        spelled = [
            (index, spelling)
            for index, source in enumerate(sources)
            for spelling in sorted(set().union(*map(self._control_tokens.spelled_in, every_text(source))))
        ]
        if not spelled:
            return RenderedPrompt(text)
        texts = [text, *every_text(sources)]

        def try_with(units: Sequence[tuple[int, str]]) -> RenderedPrompt:
            placeholders = Placeholders(self._control_tokens, texts)
            chosen = [{spelling for place, spelling in units if place == index} for index in range(len(sources))]
            changed = [
                map_texts(source, functools.partial(placeholders.put, only=spellings))
                for source, spellings in zip(sources, chosen, strict=True)
            ]
            *turns, tools, documents = changed
            variables = {**self._variables, "tools": tools}
            if documents is not None:
                variables["documents"] = documents
            try:
                return placeholders.restore(self._produce(turns, variables))
            except Exception:  # noqa: BLE001 - the template looks at what was replaced
                return RenderedPrompt("")

        if (prompt := try_with(spelled)).text == text:
            return prompt
        # A template that reads a spelling itself, such as one that takes reasoning out of earlier turns, makes another
        # prompt without it. What it wrote instead is its own; all other spellings are still plain text.
        found = RenderedPrompt(text)
        kept: list[tuple[int, str]] = []
        for unit in spelled:
            if (prompt := try_with([*kept, unit])).text == text:
                kept.append(unit)
                found = prompt
        return found

    def _refused(self, error: Exception) -> InvalidParameterError:
        if isinstance(error, InvalidParameterError):
            return error
        name = "messages" if self._request.messages else "prompt"
        said = str(error).strip() or type(error).__name__
        message = f"The model's chat template refuses the {name}: {said}"
        return InvalidParameterError(name, None, "accepted by the chat template", show_value=False, message=message)

    def _lost(self, index: int, what: str) -> InvalidParameterError:
        message = self._request.as_messages()[index]
        name = f"messages[{index}]" if self._request.messages else "prompt"
        return InvalidParameterError(
            name,
            None,
            "shown by the chat template",
            show_value=False,
            message=f"The model's chat template leaves the {what} of {name} (role {message.role!r}) out of the prompt.",
        )


def _by_name(templates: Templates) -> dict[str, str]:
    if isinstance(templates, str):
        return {_DEFAULT: templates}
    if isinstance(templates, Mapping):
        return dict(templates)
    return {each["name"]: each["template"] for each in templates}


def _marked(turn: Turn) -> Turn:
    """The turn with the mark at the end of its text."""
    content = turn.get("content") or ""
    if isinstance(content, str):
        return {**turn, "content": f"{content}{_MARK} "}
    texts = [number for number, part in enumerate(content) if part["type"] == "text"]
    if not texts:
        return {**turn, "content": [*content, {"type": "text", "text": f"{_MARK} "}]}
    last = content[texts[-1]]
    marked = {**last, "text": f"{last['text']}{_MARK} "}
    return {**turn, "content": [*content[: texts[-1]], marked, *content[texts[-1] + 1 :]]}
