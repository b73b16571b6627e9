"""The tools that decide what is tested, and with which examples."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support.documents import ROOT
from support.tools import tool

PROPERTY = """
from hypothesis import given, strategies as st

@given(st.integers(0, 2**40))
def test_property(number):
    {}

def test_no_property():
    assert False
"""


class TestFuzz:
    @pytest.fixture
    def clone(self, tmp_path: Path) -> Path:
        """The tool and what it needs of this clone."""
        for name in ("tests/support", "tests/conftest.py", "tools/fuzz.py", "pytest.ini"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tmp_path / name)
        (tmp_path / "tests" / "forge-core").mkdir()
        return tmp_path

    def fuzz(self, clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(clone / "tools" / "fuzz.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def write(self, clone: Path, body: str) -> None:
        (clone / "tests" / "forge-core" / "test_it.py").write_text(PROPERTY.format(body))

    def test_each_round_has_other_examples(self, clone: Path) -> None:
        seen = clone / "seen.txt"
        self.write(clone, f"open({str(seen)!r}, 'a').write(f'{{number}}\\n')")
        done = self.fuzz(clone, "--rounds", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "in 2 whole rounds" in done.stdout
        assert len(set(seen.read_text().split())) > 150, "a round has a hundred examples"

    def test_it_ends_when_the_time_is_over(self, clone: Path) -> None:
        self.write(clone, "import time; time.sleep(600)")
        done = self.fuzz(clone, "--minutes", "0.05")
        assert (done.returncode, done.stdout) == (0, "Nothing found in 0 whole rounds.\n")

    def test_what_it_finds_can_be_seen_again(self, clone: Path) -> None:
        self.write(clone, "assert number % 7")
        done = self.fuzz(clone, "--rounds", "1")
        assert done.returncode == 1, done.stdout + done.stderr
        again = done.stdout.splitlines()[-1].split()
        assert again[:3] == ["hatch", "run", "quick:fuzz"]
        repeated = self.fuzz(clone, *again[3:])
        assert repeated.returncode == 1
        assert repeated.stdout.splitlines()[-1].split() == again

    def test_what_can_not_be_run_is_no_success(self, clone: Path) -> None:
        self.write(clone, "pass")
        assert self.fuzz(clone, "--rounds", "1", "tests/forge-core/test_absent.py").returncode == 2
        assert self.fuzz(clone, "--rounds", "1", "-k", "no_such_property").returncode == 2


class TestVllmTested:
    @pytest.fixture
    def tested(self) -> ModuleType:
        return tool("vllm_tested")

    @pytest.fixture
    def clone(self, tested: ModuleType, tmp_path: Path) -> Path:
        """What counts of this clone, with two tests of vLLM that take no time."""
        for name in (*tested.TESTED, "hatch.toml"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tmp_path / name)
        for file in (tmp_path / "tests" / "forge-vllm").glob("*.py"):
            file.unlink()
        (tmp_path / "tests" / "forge-vllm" / "test_it.py").write_text("def test_a(): pass\n\ndef test_b(): pass\n")
        (tmp_path / ".ci").mkdir()
        return tmp_path

    @pytest.mark.parametrize(
        "changed",
        [
            "packages/forge-vllm/src/forge_vllm/new.py",
            "packages/forge-core/src/llamaforge/servers/ports.py",
            "packages/forge-core/src/llamaforge/backends/managed.py",
            "tests/forge-vllm/test_it.py",
        ],
    )
    def test_a_change_wants_a_run_and_a_run_that_passed_is_remembered(
        self, tested: ModuleType, clone: Path, changed: str
    ) -> None:
        assert not tested.is_tested(clone)
        assert tested.run([], clone) == 0
        assert tested.is_tested(clone)
        with (clone / changed).open("a") as file:
            file.write("# changed\n")
        assert not tested.is_tested(clone)

    def test_the_environment_counts_and_others_do_not(self, tested: ModuleType, clone: Path) -> None:
        assert tested.run([], clone) == 0
        hatch = (clone / "hatch.toml").read_text()
        (clone / "hatch.toml").write_text(hatch.replace("[envs.wire]", "[envs.wires]"))
        assert tested.is_tested(clone)
        (clone / "hatch.toml").write_text(hatch.replace("python tools/install_vllm.py", "python tools/other.py"))
        assert not tested.is_tested(clone)

    def test_neither_a_failure_nor_a_part_is_remembered(self, tested: ModuleType, clone: Path) -> None:
        assert tested.run(["-k", "test_a"], clone) == 0
        assert not tested.is_tested(clone)
        (clone / "tests" / "forge-vllm" / "test_it.py").write_text("def test_a(): assert False\n")
        assert tested.run([], clone) == 1
        assert not tested.is_tested(clone)

    def test_a_file_that_is_gone_is_noticed(self, tested: ModuleType, clone: Path) -> None:
        (clone / "tools" / "install_vllm.py").unlink()
        with pytest.raises(FileNotFoundError, match=r"install_vllm\.py is gone"):
            tested.digest(clone)
