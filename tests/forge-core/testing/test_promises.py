"""Each promise of the documents has its checks, and each check its promise."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest

from llamaforge.backends.spec import Capabilities
from llamaforge.parameters import NAMES
from llamaforge.testing import BackendConformance, EmbeddingConformance, NotAsExpected, RerankConformance
from llamaforge.testing.defects import Defect
from llamaforge.testing.defects.proof import run_check
from llamaforge.testing.promises import BY_CHECK, PAGES, PROMISES
from support.documents import ROOT

MARK = re.compile(r'<sup id="([a-z]\d+)">([A-Z]\d+)(°?)</sup>')
SUITES = (BackendConformance, EmbeddingConformance, RerankConformance)
CHECKS = {name: check for suite in SUITES for name, check in suite.checks().items()}
PROMISE_NOTHING = (
    "What a request means, on every backend.",
    "A number such as ",
    "`LlamaForge` names models",
    "[Parameters](parameters.md) lists",
    "**Precedence.**",
    "1. the caller;",
    "| Attribute |",
    "| --- |",
    "| `parameters` | the parameters in effect",
    "| `dropped` |",
    "| `text` |",
    "`llamaforge.text.TextAssembler` does this",
    "`LlamaForge` keeps its models in a",
    "`item.text` is the answer",
    "A class with only",
    "Two rarer ones:",
    "| |",
    "|  |",
    "| no such name",
    "| known, not installed",
    "| installed, broken",
    "[Parameters]",
)
"""How the blocks of the contract begin that explain what other sentences promise."""


def blocks_of_prose(text: str) -> Iterator[str]:
    """Paragraphs, list items and rows of tables."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    for part in re.split(r"\n\s*\n|\n(?=\* |\d+\. |\|)", text):
        if part.strip() and not part.lstrip().startswith("#"):
            yield part.strip()


def marks(page: str) -> list[tuple[str, str, str]]:
    return MARK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("letter", "page"), PAGES.items())
def test_the_page_has_each_promise_once_and_no_other(letter: str, page: str) -> None:
    told = marks(page)
    assert [anchor.upper() for anchor, _, _ in told] == [shown for _, shown, _ in told]
    shown = [number for _, number, _ in told]
    assert len(shown) == len(set(shown))
    assert set(shown) == {number for number in PROMISES if number[0] == letter}


@pytest.mark.parametrize("page", PAGES.values())
def test_what_the_kit_does_not_check_is_said_to_be_unchecked(page: str) -> None:
    said = {number: bool(mark) for _, number, mark in marks(page)}
    assert said == {number: not PROMISES[number].checks for number in said}


def test_every_promise_has_a_check_or_a_test_of_our_own() -> None:
    for promise in PROMISES.values():
        assert promise.checks or promise.own, f"{promise.id} ({promise.says}) has neither checks nor tests"
        for file in promise.own:
            assert (ROOT / file).is_file(), f"{promise.id} names {file}, which is not there"


def test_every_check_has_a_promise_and_says_so() -> None:
    assert set(BY_CHECK) == set(CHECKS)
    for name, check in CHECKS.items():
        for promise in BY_CHECK[name]:
            assert f"{promise.id} ({promise.says})" in " ".join((check.__doc__ or "").split()), name


@pytest.mark.parametrize("capability", [*NAMES, *(field.name for field in dataclasses.fields(Capabilities))])
def test_every_capability_has_a_promise_with_checks(capability: str) -> None:
    if capability == "parameters":  # each has a line of its own
        return
    kept = [promise for promise in PROMISES.values() if promise.capability == capability]
    assert kept, f"no promise says what {capability} means"
    assert any(promise.checks for promise in kept), f"no check looks at {capability}"


def test_every_part_of_the_contract_has_a_number() -> None:
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    bare = [
        block
        for block in blocks_of_prose(text)
        if not MARK.search(block) and not block.startswith(PROMISE_NOTHING) and not block.endswith(":")
    ]
    assert not bare, "these parts of the contract have no promise's number:\n\n" + "\n\n".join(bare)


def test_a_failure_names_the_broken_promise() -> None:
    with pytest.raises(NotAsExpected, match=r"promised: C23, .*contract\.md#c23"):
        run_check(Defect(name="x", target="counting:SaysLengthAlways", checks=()).conformance("broken"), REASON)


REASON = "test_an_answer_that_ends_by_itself_says_stop"
