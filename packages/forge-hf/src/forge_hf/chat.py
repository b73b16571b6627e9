"""A conversation put into the words of the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from llamaforge.errors import InvalidParameterError, NoChatTemplateError
from llamaforge.messages import Message

from .tokenizer import Vocabulary

_MARK = "llamaforge"


class ChatTemplate:
    """The tokenizer's chat template, or the one that stands in for it.

    Args:
        name: the model, for messages.
        vocabulary: the tokenizer.
        override: a template to use instead: Jinja text, or the path of a file that holds it.

    Raises InvalidParameterError where *override* is neither.
    """

    def __init__(self, name: str, vocabulary: Vocabulary, override: str | None = None) -> None:
        self._name = name
        self._vocabulary = vocabulary
        self._template = None if override is None else _read(override)
        if self._template is not None:
            self._try(self._template)

    @property
    def exists(self) -> bool:
        """Whether there is one."""
        own = self._template or getattr(self._vocabulary.tokenizer, "chat_template", None) or ""
        return "default" in own if isinstance(own, dict) else bool(own)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt that asks for the next turn, or for more of the last one where that is the assistant's.

        Raises NoChatTemplateError, or InvalidParameterError where the template refuses the conversation.
        """
        if not self.exists:
            raise NoChatTemplateError(self._name)
        proceed = messages[-1].role == "assistant"
        turns = [_plain(message) for message in messages]
        try:
            return self._apply(turns, add_generation_prompt=not proceed, continue_final_message=proceed)
        except Exception as error:
            raise InvalidParameterError(
                "messages",
                turns,
                f"a conversation that the model's chat template takes ({_words(error)})",
                show_value=False,
            ) from error

    def end_of_turn(self) -> list[int]:
        """The token with which the template ends the assistant's turn, if it is one token that stands for itself."""
        if not self.exists:
            return []
        turns = [{"role": "user", "content": _MARK}, {"role": "assistant", "content": _MARK}]
        try:
            text = self._apply(turns, add_generation_prompt=False)
        except Exception:  # noqa: BLE001 - a template may refuse this conversation; then it just can't be asked
            return []
        _, mark, after = text.rpartition(_MARK)
        first = self._vocabulary.encode(after)[:1] if mark and after else []
        return [token for token in first if token in self._vocabulary.added]

    def _apply(self, turns: list[dict[str, Any]], **options: Any) -> str:
        with self._vocabulary.lock:
            text: str = self._vocabulary.tokenizer.apply_chat_template(
                turns, chat_template=self._template, tokenize=False, **options
            )
        return text

    def _try(self, template: str) -> None:
        try:
            self._apply([{"role": "user", "content": _MARK}], add_generation_prompt=True)
        except jinja2.TemplateSyntaxError as error:
            raise InvalidParameterError(
                "chat_template", template, f"a Jinja template (line {error.lineno}: {error.message})", show_value=False
            ) from error
        except Exception:  # noqa: BLE001, S110 - it may well refuse this conversation, and take others
            pass


def _words(error: Exception) -> str:
    first, *more = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}{' ...' if more else ''}"


def _read(given: str) -> str:
    if "{{" in given or "{%" in given:
        return given
    path = Path(given)
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidParameterError(
            "chat_template", given, f"Jinja text, or the path of a file that holds it ({type(error).__name__}: {error})"
        ) from None


def _plain(message: Message) -> dict[str, Any]:
    """A message as templates of text models take it: its text is one string."""
    plain = {"role": message.role, "content": message.text}
    return plain if message.name is None else {**plain, "name": message.name}
