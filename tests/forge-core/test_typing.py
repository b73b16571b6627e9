"""What type checkers and editors know of the calls: right ones pass, wrong ones are named, parameters are completed."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
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


Found = set[tuple[str, int]]
"""Files, and lines of them."""


def mypy(files: list[Path], folder: Path) -> Found:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder)]
    command += map(str, files)
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={"MYPYPATH": str(SOURCES), "PATH": ""}, check=False
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    errors = [line.split(":") for line in run.stdout.splitlines() if ": error:" in line]
    return {(Path(path).name, int(number)) for path, number, *_ in errors}


def pyright(files: list[Path], folder: Path) -> Found:
    """basedpyright is pyright's checker in a wheel, with all that it needs."""
    include = [Path(shutil.copy(file, folder)).name for file in files]
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "standard", "extraPaths": [str(SOURCES)], "include": include})
    )
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "-p", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    found = json.loads(run.stdout)
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in found["generalDiagnostics"]
        if each["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_checkers_find_exactly_the_wrong_calls(checker: Callable[[list[Path], Path], Found], tmp_path: Path) -> None:
    files = [SAMPLES / "right.py", SAMPLES / "wrong.py"]
    wrong = {
        (file.name, number)
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if "# wrong" in line
    }
    assert {name for name, _ in wrong} == {"wrong.py"}
    assert checker(files, tmp_path) == wrong


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
