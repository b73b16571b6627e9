"""What is known of mutants: the areas to measure, which mutants are equivalent and why, and what earlier runs found."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from .mutate import Mutant
from .trial import Verdict


class Area(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the code, and the tests that have to see its mutants."""

    modules: list[str]
    """The files, as patterns from the repository's root."""
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


class _Equivalents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    equivalent: list[Equivalent] = []


class Record(msgspec.Struct, kw_only=True):
    """What became of one mutant."""

    key: str
    source: str
    """A fingerprint of the module."""
    tests: str
    """A fingerprint of everything else."""
    kit: Verdict
    own: Verdict | None = None

    @property
    def last(self) -> Verdict:
        """The verdict that counts."""
        return self.own or self.kit


def read_areas(place: Path) -> Areas:
    """Raises msgspec.ValidationError where the file is wrong."""
    return msgspec.convert(tomllib.loads(place.read_text(encoding="utf-8")), Areas)


def read_equivalents(place: Path) -> list[Equivalent]:
    """Those of the file; none where there is no file."""
    text = place.read_text(encoding="utf-8") if place.exists() else ""
    return msgspec.convert(tomllib.loads(text), _Equivalents).equivalent


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
