"""``generation_config.json``: what the makers of a transformers model recommend for sampling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ..files import check_regular

_SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p")


def recommended_sampling(folder: Path) -> dict[str, Any]:
    """What the file in *folder* recommends, by canonical parameter name, as transformers understands it.

    Its sampling parameters count where it says ``do_sample: true``, and its ``repetition_penalty`` in any case.
    ``do_sample: false`` is greedy. Empty if the file is missing or damaged. Values are not checked further.
    """
    try:
        file = folder / "generation_config.json"
        check_regular(file)
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(told, dict):
        return {}
    found: dict[str, Any] = {}
    sampled = told.get("do_sample")
    if sampled is True:
        found = {name: told[name] for name in _SAMPLING if told.get(name) is not None}
    elif sampled is False:
        found["temperature"] = 0.0
    if told.get("repetition_penalty") is not None:
        found["repetition_penalty"] = told["repetition_penalty"]
    return found
