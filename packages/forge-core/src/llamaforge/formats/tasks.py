"""What a local model is for, by its files: writing text, making vectors, or scoring documents."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from .local import CONFIG, is_gguf, is_model_folder, local_path

if TYPE_CHECKING:
    from .gguf import Header

ENCODERS: Final = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "eurobert"}
    | {"t5encoder", "gemma-embedding"}
)
"""llama.cpp's architectures that write no text."""
_RANK: Final = 4
"""``LLAMA_POOLING_TYPE_RANK``: the file is a reranker's."""

Task = Literal["generate", "embed", "rerank"]


def model_task(location: str | os.PathLike[str]) -> Task | None:
    """What the model at *location* is for; None where no local file tells. Never raises."""
    path = local_path(location)
    try:
        if is_model_folder(path):
            return folder_task(path)
        if is_gguf(path) and path.is_file():
            return _file_task(path)
    except (OSError, ValueError):
        pass
    return None


def _file_task(path: Path) -> Task | None:
    from .gguf import DamagedFileError, read_header  # with the first file: starting doesn't need it

    try:
        return gguf_task(read_header(path))
    except DamagedFileError:
        return None


def gguf_task(header: Header) -> Task:
    """What a GGUF file is for: encoders and files with a pooling make vectors, those with a ranking head score."""
    architecture = header.metadata.get("general.architecture")
    pooling = header.metadata.get(f"{architecture}.pooling_type")
    if pooling == _RANK or (architecture in ENCODERS and header.head):
        return "rerank"
    return "embed" if pooling or architecture in ENCODERS else "generate"


def folder_task(folder: Path) -> Task | None:
    """What a folder in transformers' format is for; None where its files don't say.

    An encoder without sentence-transformers' files doesn't say how vectors are made: whoever loads it has to.
    """
    if (folder / "modules.json").is_file():  # sentence-transformers'
        kinds = [str(each.get("type", "")) for each in _read(folder / "modules.json") or () if isinstance(each, dict)]
        return "rerank" if any("CrossEncoder" in kind or "LogitScore" in kind for kind in kinds) else "embed"
    described = _read(folder / CONFIG)
    classes = described.get("architectures") if isinstance(described, dict) else None
    names = [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
    if any(name.endswith("ForSequenceClassification") for name in names):
        return "rerank"
    return "generate" if names else None


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
