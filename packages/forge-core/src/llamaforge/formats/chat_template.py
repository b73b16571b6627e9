"""The chat templates in a model's files, as text: of a GGUF file's metadata, or of a folder for transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ..files import check_regular
from . import gguf

GGUF_KEYS: Final = {"default": "tokenizer.chat_template", "tool_use": "tokenizer.chat_template.tool_use"}
_IN_JSON: Final = ("chat_template.json", "processor_config.json", "tokenizer_config.json")


def read_templates(model: Path) -> dict[str, str]:
    """The templates of the model at *model* by name; ``default`` is the usual one. Empty where it has none.

    Files that can't be read count as none.
    """
    return _of_folder(model) if model.is_dir() else _of_gguf(model)


def _of_gguf(file: Path) -> dict[str, str]:
    try:
        metadata = gguf.read_header(file).metadata
    except (gguf.DamagedFileError, OSError):
        return {}
    return {name: text for name, key in GGUF_KEYS.items() if isinstance(text := metadata.get(key), str) and text}


def _of_folder(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        if text := _text(file):
            found[file.stem] = text
    if text := _text(folder / "chat_template.jinja"):
        return {"default": text, **found}
    for name in _IN_JSON:
        try:
            told = json.loads(_text(folder / name))
        except ValueError:
            continue
        templates = told.get("chat_template") if isinstance(told, dict) else None
        if templates:
            return {**_by_name(templates), **found}
    return found


def _by_name(templates: Any) -> dict[str, str]:
    """One text, or the list of named ones that tokenizer_config.json may hold."""
    if isinstance(templates, str):
        return {"default": templates}
    listed = templates if isinstance(templates, list) else []
    pairs = [(each.get("name"), each.get("template")) for each in listed if isinstance(each, dict)]
    return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}


def _text(file: Path) -> str:
    try:
        check_regular(file)
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return ""
