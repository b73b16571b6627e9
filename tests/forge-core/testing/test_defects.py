"""The kit catches what it claims to: each broken backend at the checks meant for it, and no sound twin at any."""

from __future__ import annotations

from collections import Counter

import pytest

from llamaforge.testing import BackendConformance
from llamaforge.testing.defects import DEFECTS, Defect
from llamaforge.testing.defects.proof import Outcome, prove

Outcomes = dict[tuple[str, str, str], Outcome]
IDS = [each.name.replace(" ", "-") for each in DEFECTS]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """Defect, kind and check to what came of it."""
    return {(outcome.defect, outcome.kind, outcome.check): outcome for outcome in prove()}


@pytest.mark.parametrize("defect", DEFECTS, ids=IDS)
def test_a_defect_is_caught(defect: Defect, outcomes: Outcomes) -> None:
    for check in defect.checks:
        outcome = outcomes[defect.name, "broken", check]
        assert outcome.crash is None, outcome.crash
        assert outcome.failure is not None, f"{check} lets {defect.target or defect.name} pass"
        assert "expected: " in outcome.failure
        assert "came:     " in outcome.failure


@pytest.mark.parametrize("defect", DEFECTS, ids=IDS)
def test_its_sound_twin_passes(defect: Defect, outcomes: Outcomes) -> None:
    for check in defect.checks:
        outcome = outcomes[defect.name, "sound", check]
        assert outcome.crash is None, outcome.crash
        assert outcome.failure is None, outcome.failure


def test_the_catalogue_is_as_large_as_it_should_be() -> None:
    assert len(DEFECTS) >= 25
    assert not [name for name, count in Counter(each.name for each in DEFECTS).items() if count > 1]


def test_every_check_named_is_one_of_the_kit() -> None:
    checks = BackendConformance.checks()
    assert {check for defect in DEFECTS for check in defect.checks} <= set(checks)


def test_most_checks_are_known_to_catch_something() -> None:
    """Those that don't hold the base class to its word: what a plugin can hardly break."""
    caught = {check for defect in DEFECTS for check in defect.checks}
    print(f"{len(caught)} of {len(BackendConformance.checks())} checks catch one of {len(DEFECTS)} defects")
    assert len(caught) >= 0.6 * len(BackendConformance.checks())
