"""Defects of what the model reads."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from ...messages import Message
from ...requests import GenerationRequest
from .entry import Defect
from .planting import in_chats, in_chats_in_loops, plant

WORDS: Final = "test_every_word_counts"
CHARACTERS: Final = "test_every_character_counts"
RENDERED: Final = "test_a_conversation_is_what_it_is_rendered_as"
ROLES: Final = "test_the_roles_are_told_apart"


def _turns(change: Callable[[list[Message]], list[Message]]) -> Callable[[GenerationRequest], GenerationRequest]:
    """Another conversation in place of the one that was asked."""

    def changed(request: GenerationRequest) -> GenerationRequest:
        return replace(request, messages=tuple(change(list(request.messages)))) if request.messages else request

    return changed


def _each(change: Callable[[Message], Message]) -> Callable[[GenerationRequest], GenerationRequest]:
    return _turns(lambda turns: [change(turn) for turn in turns])


def _text(change: Callable[[str], str]) -> Callable[[Message], Message]:
    return lambda turn: replace(turn, content=change(turn.text)) if turn.text else turn


def _prompt(change: Callable[[str], str]) -> Callable[[GenerationRequest], GenerationRequest]:
    def changed(request: GenerationRequest) -> GenerationRequest:
        if request.prompt is not None:
            return replace(request, prompt=change(request.prompt))
        return _each(_text(change))(request)

    return changed


def _raw(change: Callable[[str], str]) -> Callable[[GenerationRequest], GenerationRequest]:
    return lambda request: replace(request, prompt=change(request.prompt or "")) if request.raw else request


def _merged(turns: list[Message]) -> list[Message]:
    return [Message(role="user", content="\n\n".join(turn.text for turn in turns))]


def _first_part(turn: Message) -> Message:
    content: Any = turn.content
    return turn if isinstance(content, str) or not content else replace(turn, content=content[:1])


def _system_last(turns: list[Message]) -> list[Message]:
    return [turn for turn in turns if turn.role != "system"]


DEFECTS: Final[tuple[Defect, ...]] = (
    plant("reads the last four turns", WORDS, change=_turns(lambda turns: turns[-4:])),
    plant("reads the last ten turns", WORDS, change=_turns(lambda turns: turns[-10:])),
    plant("cuts turns at 300 characters", WORDS, change=_each(_text(lambda text: text[:300]))),
    plant("cuts turns at their end", WORDS, change=_each(_text(lambda text: text[:-3]))),
    plant("keeps both ends of a turn", WORDS, change=_each(_text(lambda text: text[:120] + text[-120:]))),
    plant("drops replies", WORDS, change=_turns(lambda turns: [t for t in turns if t.role != "assistant"])),
    plant("drops system turns", WORDS, change=_turns(_system_last)),
    plant("merges all turns", WORDS, change=_turns(_merged)),
    plant("takes the first part of a content", WORDS, change=_each(_first_part)),
    plant("sorts turns", WORDS, change=_turns(lambda turns: sorted(turns, key=lambda turn: turn.text))),
    plant("calls all turns the user's", WORDS, change=_each(lambda turn: replace(turn, role="user"))),
    plant(
        "calls system turns the user's",
        WORDS,
        change=_each(lambda t: replace(t, role="user") if t.role == "system" else t),
    ),
    plant("doubles the last turn", RENDERED, change=_turns(lambda turns: [*turns, turns[-1]])),
    plant("reads another first turn", RENDERED, change=_turns(lambda turns: [turns[0], *turns])),
    plant(
        "reads no end of turn",
        RENDERED,
        reads=lambda text, request: text if request.raw else text.replace("</>\n", "\n"),
    ),
    plant("reads a word more in chats", RENDERED, reads=lambda text, request: text if request.raw else f"fog {text}"),
    plant(
        "shows turns doubled",
        RENDERED,
        shows=lambda text, request: text * 2 if request.messages else text,
    ),
    plant("mixes up the roles", ROLES, shows=lambda text, _: re.sub(r"<(user|system)>", "<user>", text)),
    plant("shows no roles", ROLES, shows=lambda text, _: re.sub(r"<\w+>", "", text)),
    plant("cuts at NUL", CHARACTERS, change=_prompt(lambda text: text.partition("\0")[0] or text)),
    plant("reads spaces once", CHARACTERS, change=_prompt(lambda text: re.sub(r"  +", " ", text))),
    plant("reads tabs as spaces", CHARACTERS, change=_prompt(lambda text: text.replace("\t", " "))),
    plant("composes accents", CHARACTERS, change=_prompt(lambda text: unicodedata.normalize("NFC", text))),
    plant("reads lower case", CHARACTERS, change=_prompt(str.lower)),
    plant("reads other line ends", CHARACTERS, change=_prompt(lambda text: text.replace("\r\n", "\n"))),
    plant("unescapes", CHARACTERS, change=_prompt(lambda text: text.replace("&amp;", "&"))),
    plant("strips raw prompts on the left", CHARACTERS, change=_raw(str.lstrip)),
    plant("strips raw prompts on the right", CHARACTERS, change=_raw(str.rstrip)),
    plant("strips line breaks off raw prompts", CHARACTERS, change=_raw(lambda text: text.strip("\n") or text)),
    plant(
        "drops replies in asynchronous chats",
        "test_a_conversation_is_read_alike_on_every_path",
        where=in_chats_in_loops,
        change=_turns(lambda turns: turns[-1:]),
    ),
    plant("cuts prompts in chats", RENDERED, where=in_chats, change=_each(_text(lambda text: text[:90]))),
)
