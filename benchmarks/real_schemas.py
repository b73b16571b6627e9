"""Functions that people have described for models: the schemas of the Berkeley Function-Calling Leaderboard.

They are in the wheel of bfcl-eval, which pip downloads; nothing of it is installed or run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

WHEEL = "bfcl-eval==2026.3.23"
DATA = "bfcl_eval/data/BFCL_v4_live_simple.json"
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}


def real_tools(count: int, wheel: Path | None = None) -> list[dict[str, Any]]:
    """The first *count* functions, as tools, each with the question that was asked: ``tool["question"]``."""
    if wheel is None:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, WHEEL]
            subprocess.run(command, check=True)
            return real_tools(count, next(Path(folder).glob("*.whl")))
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read(DATA).decode("utf-8").splitlines()
    tools = []
    for line in lines[:count]:
        case = json.loads(line)
        function = case["function"][0]
        name = "".join(c if c.isalnum() or c in "_-" else "_" for c in function["name"])[:64]
        described = {"name": name, "description": function["description"], "parameters": plain(function["parameters"])}
        tools.append({"type": "function", "function": described, "question": case["question"][0][-1]["content"]})
    return tools


def plain(schema: Any) -> Any:
    """*schema* as JSON Schema has it: the leaderboard names types as Python does. Closed, and with bounded strings."""
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: plain(value) for key, value in schema.items() if key not in ("default", "optional")}
    kind = made.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        made["type"] = _TYPES[kind]
        if made["type"] is None:
            del made["type"]
    if made.get("type") == "object" and "properties" in made:
        made.setdefault("additionalProperties", False)
    if made.get("type") == "string" and "enum" not in made and "format" not in made:
        made.setdefault("maxLength", 40)
    if made.get("type") == "array":
        made.setdefault("maxItems", 3)
    return made
