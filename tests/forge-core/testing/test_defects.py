"""The kit catches what it claims to: each broken backend at the checks meant for it, and no sound twin at any."""

from __future__ import annotations

from collections import Counter

import pytest

from llamaforge.testing import BackendConformance
from llamaforge.testing.defects import DEFECTS, Defect
from llamaforge.testing.defects.proof import Outcome, prove
from llamaforge.testing.promises import BY_CHECK, PROMISES

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


HARD_TO_BREAK = {
    "C54": "closing by another thread is core's, and a stream that belongs to one thread can't be read there, either",
    "C60": "leaving a queue takes a queue; one defect of it is slow enough",
    "C117": "which methods a class has can be mixed in one way",
    "C120": "listing reads metadata; no class takes part in it",
    "C124": "tests/forge-core/testing/test_guard.py breaks it",
    "E2": "reading in steps is the scheduler's, and tests/forge-core/engine/test_scheduler.py breaks it",
    "E3": "as for C60: a queue that prefers what it knows",
}


def test_every_promise_that_the_kit_checks_has_two_defects() -> None:
    breaking = Counter(
        promise.id for defect in DEFECTS for promise in {p for check in defect.checks for p in BY_CHECK[check]}
    )
    kits = set(BackendConformance.checks())
    few = {
        f"{promise.id}, {promise.says}"
        for promise in PROMISES.values()
        if kits & set(promise.checks) and breaking[promise.id] < 2 and promise.id not in HARD_TO_BREAK
    }
    assert not few, f"fewer than two defects break {sorted(few)}"
    assert all(breaking[each] < 2 for each in HARD_TO_BREAK), "a promise has two defects now, and needs no excuse"
