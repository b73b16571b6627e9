"""The manners of the kit: one error for what is wrong once, a summary at the end, a quick selection, a bounded cost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamaforge.testing import BackendConformance
from llamaforge.testing.defects.proof import run_all
from llamaforge.testing.fakes import ToyBackend
from llamaforge.testing.fakes.language import ToyLanguage
from llamaforge.testing.run import Run

MOST_TOKENS = 32_000
"""docs/plugin-tutorial.md states it: what the whole kit lets a model generate, however many ways there are to ask."""
OF_TIMES = 6_800
"""What of it is for checks that measure time."""
HEAD = "from llamaforge.testing import BackendConformance\nfrom llamaforge.testing.fakes import ToyBackend\n\n"


def outcomes_of(**settings: Any) -> dict[str, BaseException | None]:
    return dict(run_all(type("TestMine", (BackendConformance,), settings)))


def failures(outcomes: dict[str, BaseException | None]) -> list[str]:
    return [str(each) for each in outcomes.values() if isinstance(each, AssertionError | pytest.fail.Exception)]


def pytest_on(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_mine.py").write_text(HEAD + code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "llamaforge.testing.plugin"]
    return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_a_model_that_can_not_be_loaded_is_one_error() -> None:
    outcomes = outcomes_of(backend=ToyBackend, model="no-such-toy")
    (told,) = failures(outcomes)
    assert "no-such-toy" in told
    skipped = [str(each) for each in outcomes.values() if isinstance(each, pytest.skip.Exception)]
    assert len(skipped) > 100
    assert all("not run: the model can't be loaded, see test_" in each for each in skipped)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": ToyBackend}, "doesn't say which model to test"),
        ({"model": "toy"}, "doesn't say which backend to test"),
        ({"backend": "ech", "model": "m"}, "Did you mean 'echo'"),
    ],
)
def test_a_mistake_in_the_test_class_is_one_sentence(settings: dict[str, Any], says: str) -> None:
    outcomes = outcomes_of(**settings)
    (told,) = failures(outcomes)
    assert says in told
    assert "\n" not in told.strip()
    others = [each for each in outcomes.values() if not isinstance(each, pytest.fail.Exception)]
    assert all(isinstance(each, pytest.skip.Exception) for each in others)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": 3}, "TestMine.model must be a path"),
        ({"backend": BackendConformance}, "TestMine.backend must be the name of a backend"),
        ({"parameters": ["n_ctx"]}, "TestMine.parameters must be a mapping"),
        ({"patience": "long"}, "TestMine.patience must be a number"),
        ({"crowd": 1}, "TestMine.crowd must be a whole number above 1"),
        ({"paramters": {}}, "Did you mean parameters?"),
        ({"max_load_cycle": 2}, "Did you mean max_load_cycles?"),
    ],
)
def test_what_can_not_be_right_is_said_when_the_class_is_made(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says.replace("?", r"\?")):
        type("TestMine", (BackendConformance,), {"backend": ToyBackend, "model": "toy", **settings})


def test_the_whole_kit_generates_a_bounded_number_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that measure time try again on a busy machine: what they may take then is no part of the budget."""
    counted: Counter[bool] = Counter()
    repeats = False
    logits, run = ToyLanguage.logits, Run.run

    def count(self: ToyLanguage, *given: Any) -> list[float]:
        counted[repeats] += 1
        return logits(self, *given)

    def run_it(self: Run, name: str, check: Callable[[], None]) -> None:
        nonlocal repeats
        repeats = hasattr(sys.modules[checks[name].__module__], "ATTEMPTS")
        run(self, name, check)

    checks = BackendConformance.checks()
    monkeypatch.setattr(ToyLanguage, "logits", count)
    monkeypatch.setattr(Run, "run", run_it)
    assert not failures(outcomes_of(backend=ToyBackend, model="toy"))
    print(f"{counted[False]} tokens, and {counted[True]} of checks that measure time")
    assert 1000 < counted[False] <= MOST_TOKENS - OF_TIMES


BROKEN = """
class Broken(ToyBackend):
    def health(self):
        raise OSError("no such file")

class TestBroken(BackendConformance):
    backend = Broken
    model = "toy"
    exceptions = {"test_usage_is_told": "it counts nothing"}
"""


def test_the_last_lines_sum_up_by_promise(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, BROKEN, "-k", "health or usage_is_told or a_loaded_model or n_ctx or may_be_full")
    lines = done.stdout.splitlines()
    (closing,) = [line for line in lines if line.startswith("TestBroken: ")]
    assert "1 failed" in closing
    assert "1 excused" in closing
    assert "1 broken" in closing
    assert any(line.startswith("C83 is broken: ") for line in lines), done.stdout


ENDLESS = """
import threading

class Endless(ToyBackend):
    def load(self, *given):
        super().load(*given)
        threading.Thread(target=threading.Event().wait, daemon=False).start()

class TestEndless(BackendConformance):
    backend = Endless
    model = "toy"
"""


def test_threads_that_never_end_do_not_keep_pytest(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, ENDLESS, "-k", "ends_the_backends_threads")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "threads of the backend never end" in done.stderr


def test_the_quick_selection_leaves_the_slow_checks_out(tmp_path: Path) -> None:
    code = 'class TestEcho(BackendConformance):\n    backend = "echo"\n    model = "anything"\n'
    done = pytest_on(tmp_path, code, "--collect-only", "--strict-markers", "-m", "not slow")
    assert "::test_the_model_answers" in done.stdout
    assert "::test_a_crowd_is_served" not in done.stdout
    assert "::test_unloading_may_wait_for_answers" not in done.stdout
