"""A model's chat template: a conversation becomes the text that the model reads."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ..errors import (
    ConflictingParametersError,
    InvalidModelError,
    InvalidParameterError,
    NoChatTemplateError,
)
from ..messages import Message
from ..requests import GenerationRequest
from .capabilities import TemplateCapabilities
from .compiled import BrokenTemplateError, CompiledTemplate
from .described_tools import calls_as_text, describe_tools, with_system_text
from .literals import ControlToken, ControlTokens, Placeholders, RenderedPrompt, every_text, map_texts
from .output_format import OutputFormat
from .probes import Turn
from .turns import make_turns, plain, with_fitting_ids, without_reasoning

Templates = str | Mapping[str, str] | Sequence[Mapping[str, str]]
"""One Jinja text, or several with names: as a mapping, or as the list that tokenizer_config.json may hold."""

_MARK: Final = "LlamaForgeContinuesHere"
"""Stands at the end of a turn that is continued; what a template puts after it is cut off."""
_DEFAULT, _WITH_TOOLS = "default", "tool_use"


class ChatTemplate:
    """The compiled templates of one model. Thread-safe.

    Args:
        templates: the Jinja text, or several by name: ``tool_use`` is for requests with tools, ``default`` for all
            others.
        special_tokens: variables for the template: texts of special tokens, under transformers' names
            (``bos_token``).
        control_tokens: tokens that the tokenizer recognises by their spelling, and that messages must not forge.
        response_template: what the tokenizer's makers say of how answers are written; it takes precedence over what the
            template shows.
        model: the model's name, for error messages.

    Raises BrokenTemplateError for an invalid template, and EngineNotAvailableError if jinja2 is not installed.
    """

    def __init__(
        self,
        templates: Templates,
        *,
        special_tokens: Mapping[str, Any] | None = None,
        control_tokens: Iterable[ControlToken] = (),
        response_template: Mapping[str, Any] | None = None,
        model: str = "The model",
    ) -> None:
        tokens = plain(special_tokens or {})
        self.control_tokens = ControlTokens(control_tokens)
        self._model = model
        self._compiled = {
            name: CompiledTemplate(text, tokens, response_template) for name, text in _by_name(templates).items()
        }

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

    def variables(self, request: GenerationRequest) -> dict[str, Any]:
        """The variables that *request* has for its template, for a server that renders by itself.

        ``reasoning_effort`` is among them, in the template's own words. Raises InvalidParameterError for one that the
        template doesn't read and for an effort that it can't ask for, unless what is unsupported is to be dropped;
        NoChatTemplateError where none of the templates serves the request.
        """
        template = self._choose(request)
        chosen = _chosen_variables(template, request)
        return {**_effort(template, request, chosen), **chosen}

    @functools.cached_property
    def capabilities(self) -> TemplateCapabilities:
        """What the template can do; with several templates, the one for requests with tools.

        Raises NoChatTemplateError where none serves a request.
        """
        return self._chosen(with_tools=True).capabilities

    def output_format(self, *, with_tools: bool = False) -> OutputFormat:
        """The format of the model's answers. Raises NoChatTemplateError where no template serves such a request."""
        return self._chosen(with_tools=with_tools).output_format

    def answers(self, request: GenerationRequest) -> OutputFormat:
        """The format of the answer to *request*: reasoning as the template shows it, and calls if there are tools."""
        template = self._choose(request)
        return template.output_format if request.tools else template.plain_format

    def has_reasoning(self, request: GenerationRequest) -> bool:
        """Whether the answer to *request* may begin with reasoning, as far as the template shows."""
        found = self._choose(request).plain_format
        return found.reasoning is not None or found.is_harmony

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

    def _choose(self, request: GenerationRequest) -> CompiledTemplate:
        return self._chosen(with_tools=bool(request.tools))

    def _chosen(self, *, with_tools: bool) -> CompiledTemplate:
        if with_tools and _WITH_TOOLS in self._compiled:
            return self._compiled[_WITH_TOOLS]
        if _DEFAULT not in self._compiled:
            names = ", ".join(sorted(self._compiled)) or "none"
            raise NoChatTemplateError(self._model, f"It has no template called {_DEFAULT!r} (it has {names}).")
        return self._compiled[_DEFAULT]


class _Rendering:
    """One request's conversation and one template."""

    def __init__(self, template: CompiledTemplate, control_tokens: ControlTokens, request: GenerationRequest) -> None:
        self._template = template
        self._control_tokens = control_tokens
        self._request = request
        self._continues = bool(request.messages) and request.messages[-1].role == "assistant"
        self._variables = self._read_variables()
        self._shift = 0
        self._turns = make_turns(self._messages(), template.probes)

    def prompt(self) -> RenderedPrompt:
        text = self._text()
        if self._request.parse_special:
            return RenderedPrompt(text)
        return self._find_literals(text)

    def _messages(self) -> tuple[Message, ...]:
        """The conversation. What the template can't show of tools is said in its turns."""
        request, template = self._request, self._template
        messages = request.as_messages()
        shown = [message.role == "tool" or bool(message.tool_calls) for message in messages]
        if not request.tools and not any(shown):
            return messages
        form = template.output_format.calls
        if form is None:  # gpt-oss's own
            return messages
        if any(shown) and not (template.probes.shows_calls and template.probes.shows_results):
            messages = calls_as_text(form, messages)
        elif any(shown) and form.id_length:
            messages = with_fitting_ids(messages, form.id_length)
        if request.tools and not template.abilities.shows_tools:
            text = describe_tools(form, request.tools, single=request.parallel_tool_calls is False)
            messages, self._shift = with_system_text(messages, text, has_system=template.abilities.shows_system)
            self._variables["tools"] = None
        return messages

    def _text(self) -> str:
        """The prompt, once it is sure that nothing is missing in it."""
        given = self._turns
        reasons: list[Exception] = []
        # What a turn of tool calls without a text must look like differs: no content, as with transformers, or null,
        # or an empty one. And gpt-oss's template takes no reasoning beside a text and calls.
        for turns in (given, without_reasoning(given)):
            for filler in ({}, {"content": None}, {"content": ""}):
                self._turns = [{**turn, **({} if "content" in turn else filler)} for turn in turns]
                try:
                    text = self._produce(self._turns, self._variables)
                    self._check_coverage()
                except Exception as error:  # noqa: BLE001 - a template raises whatever it likes
                    reasons.append(error)
                    if all("content" in turn for turn in turns):
                        break
                else:
                    return text
            if turns == without_reasoning(given):
                break
        raise self._refused(reasons[0]) from reasons[0]

    def _read_variables(self) -> dict[str, Any]:
        """What the template sees beside the messages."""
        chosen = _chosen_variables(self._template, self._request)
        tools = plain(self._request.tools) if self._request.tools else None
        return {"tools": tools, **_effort(self._template, self._request, chosen), **chosen}

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
        key: object = self._continues
        if self._request.tools or self._request.chat_template_kwargs or self._request.reasoning_effort:
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
        index = max(0, index - self._shift)
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


def _chosen_variables(template: CompiledTemplate, request: GenerationRequest) -> dict[str, Any]:
    """The request's ``chat_template_kwargs`` as *template* gets them. Raises InvalidParameterError for unread ones."""
    given = plain(request.chat_template_kwargs or {})
    unread = sorted(given.keys() - template.variables)
    if unread and request.on_unsupported != "drop":
        known = sorted(template.variables - {"messages", "tools", "add_generation_prompt"})
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
    return {name: value for name, value in given.items() if name not in unread}


def _effort(template: CompiledTemplate, request: GenerationRequest, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The variables for ``reasoning_effort``, beside those that the caller has *chosen*."""
    effort = request.reasoning_effort
    if effort is None:
        return {}
    found = template.abilities.effort_variables(effort, template.plain_format)
    if found is None:
        if request.on_unsupported == "drop":
            return {}
        able = "it always thinks" if template.plain_format.reasoning else "it has no reasoning"
        raise InvalidParameterError(
            "reasoning_effort", effort, f"an effort that the model's chat template can ask for ({able})"
        )
    twice = [name for name, value in found.items() if chosen.get(name, value) != value]
    if twice:
        names = ["reasoning_effort", f"chat_template_kwargs[{twice[0]!r}]"]
        raise ConflictingParametersError(names, f"{names[0]} and {names[1]} contradict each other.")
    return found
