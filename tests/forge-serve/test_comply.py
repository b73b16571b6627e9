"""llm-comply's cases: requests of each dialect, and answers checked against its published schemas."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.serving import Running

REFUSED_BY_NAME = ("image", "reasoning-summary", "compact")
"""Images, until an engine takes them; compaction, which needs a provider's own format."""


@pytest.mark.parametrize("form", ["open-responses", "openai-chat", "anthropic"])
def test_all_cases(server: Running, form: str) -> None:
    command = [sys.executable, "-c", "from llm_comply.cli import main; main()"]
    options = ["--base-url", f"{server.url}/v1", "--model", "one", "--api-key", "none", "--format", form, "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
    results = json.loads(done.stdout)["results"]
    assert {"passed", "failed"} <= {each["status"] for each in results}, results
    failed = [
        (each["id"], each["errors"])
        for each in results
        if each["status"] == "failed" and not any(name in each["id"] for name in REFUSED_BY_NAME)
    ]
    assert not failed
