"""What the application doesn't need at its start isn't imported with it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "click",
    "importlib_metadata",
    "jinja2",
    "jsonschema",
    "llama_cpp",
    "llguidance",
    "numpy",
    "openai",
    "pluggy",
    "prometheus_client",
    "rich",
    "tomlkit",
    "tomllib",
    "torch",
    "transformers",
    "uvicorn",
)


def test_importing_the_application_is_light() -> None:
    code = f"import sys, forge_serve; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
