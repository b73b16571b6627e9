"""How a family of models writes reasoning and tool calls: plain data, from which parser and grammar are both made."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Final, Literal

MARKER: Final = re.compile(r"<\|\"\|>|<[^<>\s\"=]+>|\[/?[A-Z_]{3,}\]")
"""What special tokens look like in the texts of formats."""
_HARMONY: Final = (
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|constrain|>",
    "<|end|>",
    "<|call|>",
    "<|return|>",
)

Arguments = Literal["json", "tags", "braces", "python"]
"""How arguments are written: as a JSON object; each between tags; as an object with bare keys (Gemma); as Python's
keyword arguments."""


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """Where reasoning begins and ends."""

    begin: str
    """Written before it: ``<think>``. A prompt may end with it already."""
    end: str
    """Written after it: ``</think>``."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What stands around each argument, such as ``<parameter=city>\\nRome\\n</parameter>``."""

    key_begin: str
    key_end: str
    value_begin: str
    """Between the key and its value, after ``key_end``."""
    value_end: str
    after: str = ""
    """Between two arguments, and after the last one."""
    key_end_json: str = ""
    """What stands after the key of a value that is no plain string, where that differs (DeepSeek V3.2)."""


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How tool calls are written.

    One call is ``begin + name + name_end + arguments + end``; where *is_object*, it is ``begin``, a JSON object of
    name and arguments, and ``end``. All calls together stand between *section* and *section_end*. White space at the
    edges of these texts is what the template writes; the parser takes any.
    """

    begin: str = ""
    end: str = ""
    section: str = ""
    section_end: str = ""
    separator: str = ""
    """Between two calls."""
    is_object: bool = False
    is_list: bool = False
    """Whether all calls are the items of one JSON list."""
    name_key: str = "name"
    arguments_key: str = "arguments"
    id_key: str = ""
    name_begin: str = ""
    """Between *begin* and the name."""
    name_end: str = ""
    id_begin: str = ""
    """Between the name and an id that the model may write, before *name_end*."""
    numbered: bool = False
    """Whether the name is followed by a colon and the call's number, and all of it is the call's id (Kimi)."""
    arguments: Arguments = "json"
    tags: Tags | None = None
    quote: str = '"'
    """What stands around strings in arguments of the kind ``braces``."""
    single: bool = False
    """Whether an answer may hold only one call."""
    id_length: int = 0
    """Ids have so many letters and digits, because templates insist on it; 0: they don't."""
    triggers: tuple[str, ...] = ()
    """Other beginnings of a call that models write."""
    closers: tuple[str, ...] = ()
    """What may stand after the calls, and means nothing."""

    @property
    def is_bare(self) -> bool:
        """Whether nothing but the JSON object itself tells a call from an answer."""
        return self.is_object and not (self.begin + self.section).strip(" \n[")


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What an answer looks like."""

    name: str
    """The family's name, for people."""
    calls: CallFormat | None = None
    reasoning: ReasoningFormat | None = None
    is_harmony: bool = False
    """Whether answers are messages with channels and recipients (gpt-oss); the other fields don't apply then."""
    is_generic: bool = False
    """Whether the model must be told how to write a call, because its template doesn't."""

    def markers(self) -> frozenset[str]:
        """Everything in it that may be a special token."""
        texts: list[str] = list(_HARMONY) if self.is_harmony else []
        for part in (self.reasoning, self.calls, self.calls.tags if self.calls is not None else None):
            if part is not None:
                for field in dataclasses.fields(part):
                    value = getattr(part, field.name)
                    texts += value if isinstance(value, tuple) else [value] if isinstance(value, str) else []
        return frozenset(match for text in texts for match in MARKER.findall(text))
