"""What type checkers and editors know of the calls: right ones pass, wrong ones are named, parameters are completed."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llamaforge import BaseBackend, LlamaForge
from llamaforge.parameters import ALIASES, NAMES, GenerationParameters

pytestmark = pytest.mark.typing

SAMPLES = Path(__file__).parent / "typing_samples"
SOURCES = Path(inspect.getfile(LlamaForge)).parents[1]
CALLS = [
    getattr(owner, name)
    for owner in (BaseBackend, LlamaForge)
    for name in dir(owner)
    if name.lstrip("a").startswith(("generate", "chat"))
]


def mypy(file: Path, folder: Path) -> set[int]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder), str(file)]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={"MYPYPATH": str(SOURCES), "PATH": ""}, check=False
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return {
        int(line.split(":")[1]) for line in run.stdout.splitlines() if ": error:" in line and str(file.name) in line
    }


def pyright(file: Path, folder: Path) -> set[int]:
    """basedpyright is pyright's checker in a wheel, with all that it needs."""
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "standard", "extraPaths": [str(SOURCES)], "include": [file.name]})
    )
    shutil.copy(file, folder)
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "-p", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    found = json.loads(run.stdout)
    return {
        each["range"]["start"]["line"] + 1
        for each in found["generalDiagnostics"]
        if each["severity"] == "error" and each["file"].endswith(file.name)
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.parametrize("sample", ["right", "wrong"])
def test_checkers_find_exactly_the_wrong_calls(checker, sample: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = SAMPLES / f"{sample}.py"
    wrong = {number for number, line in enumerate(file.read_text().splitlines(), 1) if "# wrong" in line}
    assert bool(wrong) == (sample == "wrong")
    assert checker(file, tmp_path) == wrong


def test_the_typed_names_are_all_that_core_takes() -> None:
    assert set(GenerationParameters.__annotations__) == {*NAMES, *ALIASES, "do_sample"}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_a_live_signature_names_the_parameters(call) -> None:  # type: ignore[no-untyped-def]
    shown = inspect.signature(call).parameters
    assert set(GenerationParameters.__annotations__) <= shown.keys()
    assert not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in shown.values())


@pytest.mark.parametrize("call", ["forge.generate('Hi', max_t", "backend.achat_stream([], max_t"])
def test_ipython_s_completer_offers_the_parameters(call: str) -> None:
    import jedi

    names = {"forge": LlamaForge.__new__(LlamaForge), "backend": BaseBackend()}
    assert "max_tokens=" in [each.name for each in jedi.Interpreter(call, [names]).complete()]
