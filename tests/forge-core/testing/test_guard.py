"""The kit guards itself: no check is dropped, replaced or excused without a reason that everybody sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llamaforge.testing import BackendConformance, NotAsExpected

CHECK = "test_usage_is_told"


def make(**members: Any) -> type[BackendConformance]:
    return type("TestMine", (BackendConformance,), {"backend": "echo", "model": "m", **members})


def replacement(self: object) -> None:
    """Passes always."""


def test_a_class_of_settings_alone_has_every_check() -> None:
    made = make(parameters={"n_ctx": 512}, patience=5.0)
    for name, check in BackendConformance.checks().items():
        assert getattr(made, name) is check


@pytest.mark.parametrize(("value", "says"), [(None, "deletes"), (replacement, "overrides")])
def test_a_check_can_not_be_deleted_or_overridden(value: Any, says: str) -> None:
    with pytest.raises(TypeError, match=f"{says} the check {CHECK}.*exceptions"):
        make(**{CHECK: value})


def test_nor_by_a_class_that_is_mixed_in() -> None:
    mixin = type("Mixin", (), {CHECK: replacement})
    with pytest.raises(TypeError, match=CHECK):
        type("TestMine", (mixin, BackendConformance), {"backend": "echo", "model": "m"})


def test_nor_afterwards() -> None:
    made = make()
    made().test_no_check_was_removed()
    setattr(made, CHECK, replacement)
    with pytest.raises(NotAsExpected, match=CHECK):
        made().test_no_check_was_removed()


@pytest.mark.parametrize("name", ["subject", "imported", "run_async", "fresh"])
def test_the_machinery_can_not_be_replaced(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make(**{name: replacement})


@pytest.mark.parametrize(
    ("exceptions", "says"),
    [
        ({"test_usage_is_tolled": "no counts"}, f"no check of the kit. Did you mean {CHECK}"),
        ({CHECK: ""}, "must say why"),
        ({CHECK: "  "}, "must say why"),
        ({CHECK: None}, "must say why"),
        ([CHECK], "must map"),
    ],
)
def test_exceptions_need_a_known_name_and_a_reason(exceptions: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        make(exceptions=exceptions)


@pytest.mark.parametrize("value", [None, replacement])
def test_with_a_reason_a_check_may_go(value: Any) -> None:
    made = make(exceptions={CHECK: "it counts nothing"}, **{CHECK: value})
    made().test_no_check_was_removed()


def test_a_subclass_that_is_not_excused_has_the_check_again() -> None:
    parent = make(exceptions={CHECK: "it counts nothing"})
    inherits = type("TestChild", (parent,), {})
    assert getattr(inherits, CHECK) is not BackendConformance.checks()[CHECK]
    stricter = type("TestChild", (parent,), {"exceptions": {}})
    assert getattr(stricter, CHECK) is BackendConformance.checks()[CHECK]


def test_an_excused_check_is_reported_as_skipped_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_mine.py").write_text(
        "from llamaforge.testing import BackendConformance\n\n\n"
        "class TestMine(BackendConformance):\n"
        '    backend = "echo"\n'
        '    model = "anything"\n'
        f'    exceptions = {{"{CHECK}": "it counts nothing"}}\n'
    )
    names = [CHECK, "test_the_model_answers"]
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"test_mine.py::TestMine::{name}" for name in names)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed, 1 skipped" in done.stdout, done.stdout
    assert "it counts nothing" in done.stdout


def test_there_are_enough_checks_and_each_says_what_why_and_where_to_look() -> None:
    checks = BackendConformance.checks()
    assert len(checks) >= 80
    for name, check in checks.items():
        text = " ".join((check.__doc__ or "").split())
        assert "Why: " in text, name
        assert "Look at: " in text, name


def test_only_the_kit_imports_pytest() -> None:
    code = "import sys, llamaforge; llamaforge.BaseBackend; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_two_groups_of_checks_have_a_helper_of_one_name() -> None:
    """They are one class in the end, and the first one's would be everybody's."""
    owners: dict[str, list[str]] = {}
    for group in BackendConformance.__mro__[1:]:
        for name in vars(group):
            if not name.startswith("__"):
                owners.setdefault(name, []).append(group.__name__)
    assert not {name: found for name, found in owners.items() if len(found) > 1}
