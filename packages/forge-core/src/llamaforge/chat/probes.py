"""What one template takes, found out by rendering small conversations with it: its name tells nothing.

Templates differ in what they want of a message: its text as one string or as a list of parts, the arguments of a tool
call as a mapping or as JSON text; and in the roles that they know. None of that is declared anywhere.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

Turn = dict[str, Any]
"""A message as templates see it."""
Run = Callable[..., str]
"""Runs a template: turns, then the variables that it sees."""

PROBE: Final = "qzprobe"
"""A word that stands in no template, in lower case so that a template that changes case still shows it."""
_LEAK: Final = "qzleak"
_FILLER: Final = "hi"
_CALL_ID: Final = "qzcall000"
"""Nine letters and digits, which Mistral's templates insist on."""


class ContentForms(NamedTuple):
    """How a role's content is shown."""

    text: bool
    """As one string."""
    parts: bool
    """As a list of parts with types."""


class TemplateProbes:
    """Answers about one template; each is found when it is first wanted. Safe to use from any thread.

    Args:
        run: renders turns with the template, and raises whatever the template raises.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._forms: dict[str, ContentForms] = {}

    def content_forms(self, role: str) -> ContentForms:
        """How the template shows the content of *role*; as for users where it doesn't show that role at all."""
        forms = self._forms.get(role)
        if forms is None:
            forms = self._find_forms(role)
            if not any(forms) and role != "user":
                forms = self.content_forms("user")
            self._forms[role] = forms
        return forms

    @functools.cached_property
    def knows_developer(self) -> bool:
        """Whether the role ``developer`` means something to the template, as opposed to any other word there."""
        return self._shown_as("developer") != self._shown_as("qzrole")

    @functools.cached_property
    def wants_argument_text(self) -> bool:
        """Whether the arguments of a tool call must be JSON text, because the template can't write out a mapping."""
        arguments = {"qzkey": PROBE}
        mapping = self._with_call(arguments)
        # A mapping that is put into a text unconverted shows Python's quotes.
        if mapping is not None and "qzkey" in mapping and PROBE in mapping and "'qzkey'" not in mapping:
            return False
        text = self._with_call(json.dumps(arguments))
        return text is not None and PROBE in text

    @functools.cached_property
    def shows_results(self) -> bool:
        """Whether the template shows the results of tools."""
        filler = {"role": "user", "content": self.content("user", _FILLER)}
        for content in ({"content": ""}, {}, {"content": None}):
            for result in (PROBE, [{"type": "text", "text": PROBE}]):
                answer = {"role": "tool", "name": "qzname", "tool_call_id": _CALL_ID, "content": result}
                turn = {**self._call(self.arguments({"qzkey": "1"})), **content}
                if PROBE in (self._try([filler, turn, answer]) or ""):
                    return True
        return False

    @functools.cached_property
    def shows_calls(self) -> bool:
        """Whether the template shows tool calls."""
        return self._with_call(self.arguments({"qzkey": PROBE})) is not None

    def arguments(self, arguments: Mapping[str, Any]) -> Any:
        """*arguments* of a tool call in the form that the template takes."""
        return json.dumps(arguments) if self.wants_argument_text else dict(arguments)

    def content(self, role: str, text: str) -> Any:
        """*text* in the form that the template takes for *role*."""
        forms = self.content_forms(role)
        return [{"type": "text", "text": text}] if forms.parts and not forms.text else text

    def _find_forms(self, role: str) -> ContentForms:
        text = self._try(self._conversation(role, PROBE)) or ""
        parts = self._try(self._conversation(role, [{"type": "text", "text": PROBE, "qzmark": _LEAK}])) or ""
        # A list that is put into a text unconverted shows everything that it holds.
        return ContentForms(PROBE in text, PROBE in parts and _LEAK not in parts)

    def _conversation(self, role: str, content: Any) -> list[Turn]:
        """A short conversation with *content* in a turn of *role*."""
        turn: Turn = {"role": role, "content": content}
        if role == "user":
            return [turn]
        filler = {"role": "user", "content": self.content("user", _FILLER)}
        if role == "assistant":
            return [filler, turn, filler]
        if role == "tool":
            return [
                filler,
                {**self._call({"qzkey": "1"}), "content": ""},
                turn | {"name": "qzname", "tool_call_id": _CALL_ID},
            ]
        return [turn, filler]

    def _call(self, arguments: Any) -> Turn:
        call = {"id": _CALL_ID, "type": "function", "function": {"name": "qzname", "arguments": arguments}}
        return {"role": "assistant", "tool_calls": [call]}

    def _with_call(self, arguments: Any) -> str | None:
        filler = {"role": "user", "content": self.content("user", _FILLER)}
        result = {"role": "tool", "name": "qzname", "tool_call_id": _CALL_ID, "content": self.content("tool", "1")}
        for content in ({}, {"content": None}, {"content": ""}):
            text = self._try([filler, {**self._call(arguments), **content}, result])
            if text is not None and PROBE in text:
                return text
        return None

    def _shown_as(self, role: str) -> str | None:
        """A conversation with a first turn of *role*, whose name is left out."""
        text = self._try(self._conversation(role, self.content("system", _FILLER)))
        return None if text is None else text.replace(role, "")

    def _try(self, turns: list[Turn], variables: Mapping[str, Any] | None = None) -> str | None:
        try:
            return self._run(turns, add_generation_prompt=True, **(variables or {}))
        except Exception:  # noqa: BLE001 - a template may refuse any conversation; then it doesn't take this one
            return None
