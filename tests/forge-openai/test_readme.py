"""The README's Python runs as it stands, on a real server; only model and address are replaced."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forge_openai.config import OpenAIConfig
from forge_openai.plugin import SPEC
from support.servers import LiveServer

README = (Path(__file__).parents[2] / "packages" / "forge-openai" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)


def test_every_block(
    openai_server: LiveServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", openai_server.api_key)
    namespace: dict[str, Any] = {}
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        if "azure" in block:
            continue  # nobody answers there without a subscription; test_azure.py has it
        code = block.replace('"gpt-4"', repr(openai_server.model))
        code = code.replace("https://api.openai.com/v1", openai_server.base_url).replace("=200", "=20")
        exec(compile(code, "README.md", "exec"), namespace)
    namespace["backend"].close()
    assert "Usage(prompt_tokens=" in capsys.readouterr().out


def test_every_parameter_is_in_it() -> None:
    table = README.partition("## Load parameters")[2].partition("## Generation parameters")[0]
    named = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|")))
    )
    assert named == {field.name for field in msgspec.structs.fields(OpenAIConfig)}
    honoured = README.partition("Honoured: ")[2].partition("and images")[0]
    assert set(re.findall(r"`(\w+)`", honoured)) == SPEC.capabilities.parameters
