"""Rewrites the library's messages for the command line: keyword arguments become options."""

from __future__ import annotations

import re
from typing import Final

from ..parameters import NAMES

_OPTIONS: Final = {"replace": "--replace", "backend": "--backend NAME", "offline": "--offline", "refresh": "--refresh"}
_PASSED: Final = re.compile(r"""(?<![\w.\-=])([a-z][a-z0-9_]*)=(True|False|None|\.\.\.|"[^"\s]*"|'[^'\s]*')(?![\w=])""")
_PHRASES: Final = (
    (re.compile(r": call load_model(\([^)]*\))?( first)?\."), "."),
    (re.compile(r"restart\(\) starts it again"), "Load the model again"),
)


def in_options(text: str) -> str:
    """*text* with each Python ``name=value`` replaced by the option for it."""
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    return _PASSED.sub(_option, text)


def _option(found: re.Match[str]) -> str:
    name, value = found[1], found[2].strip("\"'")
    if name in _OPTIONS:
        return _OPTIONS[name]
    if name in NAMES:
        flag = f"--{name.replace('_', '-')}"
        return flag if value in ("True", "...") else f"{flag} {value}"
    value = {"True": "true", "False": "false", "...": "VALUE"}.get(value, value)
    return f"-p {name}={value}"
