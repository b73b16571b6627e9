"""What is known of mutants: the areas to measure, which mutants are equivalent and why, and what earlier runs found."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from .mutate import Mutant
from .trial import Verdict

_SENTENCE: Final = re.compile(r"""\"[^"\n]* [^"\n]*\"|'[^'\n]* [^'\n]*'""")


class Area(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the code, and the tests that have to see its mutants."""

    modules: list[str]
    """The files, as patterns from the repository's root."""
    functions: tuple[str, ...] = ("*",)
    """Patterns of the functions and classes in them that are meant."""
    kit: list[str]
    """Tests of the conformance kit, as pytest's arguments. They run first."""
    own: list[str] = []
    """The project's own tests, for what the kit doesn't see."""
    bar: float
    """The percentage of mutants that has to be killed, of those that aren't equivalent."""


class Areas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of areas."""

    paths: list[str]
    """Where packages are imported from, as patterns from the root."""
    area: dict[str, Area]


class Equivalent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mutant that no test can see, and why."""

    module: str
    function: str = ""
    before: str
    after: str
    reason: str
    nth: int | None = None
    """Which one of equal changes in the function; all of them, where it isn't said."""

    def holds_for(self, mutant: Mutant) -> bool:
        """Whether it is this one."""
        return (
            mutant.module.endswith(self.module)
            and mutant.function == self.function
            and _same(mutant.before, self.before)
            and _same(mutant.after, self.after)
            and self.nth in (None, mutant.nth)
        )


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of mutants that are equivalent where they live: they are tried, and those that a test sees are killed."""

    module: str = "*"
    """A pattern of files."""
    function: str = "*"
    """A pattern of qualified names."""
    before: str = ""
    """A regular expression that is found in the lines that change."""
    after: str = ""
    """One that is found in what they become."""
    wording: bool = False
    """Only where nothing changes but a sentence: a string with a space."""
    reason: str

    def holds_for(self, mutant: Mutant) -> bool:
        """Whether it is one of them."""
        return (
            fnmatch.fnmatch(mutant.module, f"*{self.module}")
            and fnmatch.fnmatch(mutant.function, self.function)
            and re.search(self.before, mutant.before) is not None
            and re.search(self.after, mutant.after) is not None
            and (not self.wording or _only_wording_changes(mutant.before, mutant.after))
        )


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of equivalent mutants."""

    equivalent: list[Equivalent] = []
    rule: list[Rule] = []


class Record(msgspec.Struct, kw_only=True):
    """What became of one mutant."""

    key: str
    source: str
    """A fingerprint of the module."""
    tests: str
    """A fingerprint of everything else."""
    kit: Verdict | None = None
    own: Verdict | None = None

    @property
    def last(self) -> Verdict:
        """The verdict that counts: that of the tests that see the mutant, if any do."""
        verdicts = [verdict for verdict in (self.kit, self.own) if verdict is not None]
        return next((verdict for verdict in verdicts if verdict.outcome != "passed"), verdicts[0])


def read_areas(place: Path) -> Areas:
    """Raises msgspec.ValidationError where the file is wrong."""
    return msgspec.convert(tomllib.loads(place.read_text(encoding="utf-8")), Areas)


def read_known(place: Path) -> Known:
    """What the file says; nothing where there is no file."""
    text = place.read_text(encoding="utf-8") if place.exists() else ""
    return msgspec.convert(tomllib.loads(text), Known)


def read_records(place: Path) -> dict[str, Record]:
    """By the mutant's key; the last one counts. A line that was cut off is left out."""
    records: dict[str, Record] = {}
    if place.exists():
        for line in place.read_bytes().splitlines():
            try:
                record = msgspec.json.decode(line, type=Record)
            except msgspec.DecodeError:
                continue
            records[record.key] = record
    return records


def add_record(place: Path, record: Record) -> None:
    """At the file's end."""
    with place.open("ab") as file:
        file.write(msgspec.json.encode(record) + b"\n")


def _same(one: str, other: str) -> bool:
    return [line.strip() for line in one.strip().splitlines()] == [line.strip() for line in other.strip().splitlines()]


def _only_wording_changes(before: str, after: str) -> bool:
    for found in _SENTENCE.finditer(before):
        quote, text = found[0][0], found[0][1:-1]
        rest = [before[: found.start()].removesuffix("f"), before[found.end() :]]
        for other in (f"XX{text}XX", text.lower(), text.upper(), text.capitalize()):
            if after == f"{quote}{other}{quote}".join((before[: found.start()], rest[1])):
                return True
        if after == "None".join(rest):
            return True
    return False
