"""The proof that the kit catches what it claims to: each defect at the checks meant for it, and no sound twin at any.

A check is run as pytest would run it, without pytest's cost: collecting a class of all checks for each of some
hundred backends takes longer than the checks. Broken backends leave threads, locks and files behind, and so they run in
processes of their own; several at a time, as much of it is waiting for what hangs.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest

from ..expect import NotAsExpected
from ..importing import Imported
from ..run import run_of
from ..subject import Subject
from ..suite import BackendConformance
from .catalogue import DEFECTS
from .entry import Kind

_PATIENCE: Final = 600.0
_OUTCOMES: Final = (pytest.fail.Exception, pytest.skip.Exception)


class Outcome(msgspec.Struct, kw_only=True):
    """What one check said of one backend."""

    defect: str
    """The defect's name."""
    kind: Kind
    """Whether it was the broken backend or its sound twin."""
    check: str
    """The check's name."""
    failure: str | None = None
    """What the check said; None where it passed."""
    crash: str | None = None
    """The traceback of anything else that was raised."""

    @property
    def right(self) -> bool:
        """Whether it is as it should be: the broken one fails by what the check says, and the sound one passes."""
        return self.crash is None and (self.failure is not None) == (self.kind == "broken")


def prove(processes: int = 4) -> list[Outcome]:
    """Run the whole catalogue, in that many processes.

    Raises RuntimeError where one of them dies or hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        reports = [Path(folder, str(part)) for part in range(processes)]
        command = [sys.executable, "-m", __spec__.name]
        running = [
            subprocess.Popen(
                [*command, str(report), str(part), str(processes)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for part, report in enumerate(reports)
        ]
        try:
            for child in running:
                _, said = child.communicate(timeout=_PATIENCE)
                if child.returncode:
                    raise RuntimeError(f"A part of the proof died: {said.decode('utf-8', 'replace')[-2000:]}")
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"A part of the proof hangs: {error}") from error
        finally:
            for child in running:
                child.kill()
        return [
            outcome for report in reports for outcome in msgspec.json.decode(report.read_bytes(), type=list[Outcome])
        ]


def judge(part: int = 0, parts: int = 1) -> Iterator[Outcome]:
    """Every *parts*-th defect from number *part* on, in this process. Many have the same sound twin; it runs once."""
    known: dict[object, Outcome] = {}
    for defect in DEFECTS[part::parts]:
        for kind in get_args(Kind):
            suite = defect.conformance(kind)
            for check in defect.checks:
                outcome = Outcome(defect=defect.name, kind=kind, check=check)
                twin = (kind == "sound", defect.sound, repr(defect.parameters), defect.crowd, check)
                if twin in known:
                    yield msgspec.structs.replace(known[twin], defect=defect.name)
                    continue
                if kind == "sound":
                    known[twin] = outcome
                try:
                    run_check(suite, check)
                except NotAsExpected as error:
                    outcome.failure = str(error)
                except BaseException:  # noqa: BLE001 - it is reported
                    outcome.crash = traceback.format_exc()
                yield outcome


def run_check(suite: type[BackendConformance], name: str) -> None:
    """Run the check *name* of *suite* alone, with what its fixtures give. Raises what the check raises."""
    with contextlib.closing(_Fixtures(suite, name)) as fixtures:
        fixtures.call()


def run_all(suite: type[BackendConformance]) -> Iterator[tuple[str, BaseException | None]]:
    """Run all checks of *suite* in the order of pytest, on one loaded model: each one's name, and what it raised."""
    try:
        for name in suite.checks():
            try:
                with contextlib.closing(_Fixtures(suite, name, shares=True)) as fixtures:
                    fixtures.call()
            except (Exception, *_OUTCOMES) as error:  # noqa: BLE001 - it is reported
                yield name, error
            else:
                yield name, None
    finally:
        run_of(suite).give_back()


class _Fixtures:
    """What the fixtures give to one check, which *shares* it with others or has its own."""

    def __init__(self, suite: type[BackendConformance], name: str, *, shares: bool = False) -> None:
        self._suite, self._name = suite, name
        self._check = suite.checks()[name]
        self._shares = shares
        self._stack = contextlib.ExitStack()

    def call(self) -> None:
        """Run the check."""
        wanted = [parameter for parameter in inspect.signature(self._check).parameters if parameter != "self"]
        self._check(self._suite(), **{parameter: getattr(self, parameter)() for parameter in wanted})

    def close(self) -> None:
        """Give all of it back."""
        self._stack.close()

    def subject(self) -> Subject:
        """The backend, loaded."""
        if self._shares:
            return run_of(self._suite).subject(self._name)
        return self._stack.enter_context(self._suite.loaded())

    def imported(self) -> Imported:
        """What its import does."""
        return run_of(self._suite).imported(self._name) if self._shares else self._suite.import_it()

    def tmp_path(self) -> Path:
        """A folder."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory()))

    def monkeypatch(self) -> pytest.MonkeyPatch:
        """Undone at the end."""
        return self._stack.enter_context(pytest.MonkeyPatch.context())


def main() -> None:
    """Judge one part of the catalogue, and write the report."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("part", type=int)
    parser.add_argument("parts", type=int)
    asked = parser.parse_args()
    asked.report.write_bytes(msgspec.json.encode(list(judge(asked.part, asked.parts))))


if __name__ == "__main__":
    main()
