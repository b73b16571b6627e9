"""A local model's files: which hold the weights, and whether they are whole. Read before the engine reads them."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from llamaforge.errors import InvalidModelError

from .model_source import CONFIG

SINGLE: Final = ("model.safetensors", "pytorch_model.bin")
"""Weights in one file, in the order of preference."""
_TOKENIZER: Final = re.compile(r"tokenizer\.|tokenization_.*\.py$|tekken|vocab|spiece|.*\.(model|tiktoken|spm)$")
INDEXES: Final = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Lists of weights in several files, in the order of preference."""


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """config.json. Raises InvalidModelError where it is no JSON object."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidModelError(name, f"its {CONFIG} can't be read ({error})") from None
    if not isinstance(config, dict):
        raise InvalidModelError(name, f"its {CONFIG} holds {type(config).__name__}, not an object")
    return config


def shards(index: Path) -> list[str]:
    """The files that an index names. Raises ValueError where it is no index."""
    read = json.loads(index.read_text(encoding="utf-8"))
    weights = read.get("weight_map") if isinstance(read, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(file, str) for file in weights.values()):
        raise ValueError("it maps no weights to files")
    return sorted(set(weights.values()))


def check_weights(folder: Path, name: str) -> list[Path]:
    """The files of the weights, each seen to be there and whole.

    Raises InvalidModelError, naming the file that is missing, damaged or cut short.
    """
    files = _weight_files(folder, name)
    for file in files:
        if not file.is_file():
            raise InvalidModelError(name, f"{file.name} is missing, which its index names. Fetch the model again.")
        if file.suffix == ".safetensors":
            _check_safetensors(file, name)
        else:
            _check_pickle(file, name)
    return files


def check_tokenizer(folder: Path, name: str) -> None:
    """Raise InvalidModelError where the folder holds nothing that a tokenizer could be made of."""
    if not any(_TOKENIZER.match(file.name) for file in folder.iterdir()):
        raise InvalidModelError(name, "the folder holds no tokenizer (tokenizer.json, tokenizer.model or the like).")


def stored_dtype(files: list[Path]) -> str | None:
    """The number type of the first weights, as safetensors calls it (``BF16``); None where they don't say."""
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as weights:
                for key in weights.keys():  # noqa: SIM118 - it is no mapping
                    kind: str = weights.get_slice(key).get_dtype()
                    if kind.startswith(("F", "BF")):
                        return kind
    return None


def _weight_files(folder: Path, name: str) -> list[Path]:
    for single, index in zip(SINGLE, INDEXES, strict=True):
        if (folder / single).exists():
            return [folder / single]
        if (folder / index).exists():
            try:
                return [folder / shard for shard in shards(folder / index)]
            except ValueError as error:
                raise InvalidModelError(name, f"its {index} is damaged ({error})") from None
    raise InvalidModelError(name, f"the folder holds no weights ({' or '.join(SINGLE)}).")


def _check_safetensors(file: Path, name: str) -> None:
    try:
        with safe_open(file, framework="pt"):
            return
    except SafetensorError as error:
        raise InvalidModelError(name, f"{file.name} is damaged or cut short ({error}). Fetch it again.") from None


def _check_pickle(file: Path, name: str) -> None:
    with file.open("rb") as opened:
        start = opened.read(2)
    if start == b"PK" and not zipfile.is_zipfile(file):  # older ones are no zip archives: torch reads them
        raise InvalidModelError(name, f"{file.name} is cut short. Fetch it again.")
