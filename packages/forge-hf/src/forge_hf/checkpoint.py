"""A checkpoint's files: which hold the weights, whether all are there and whole, and what the settings beside them say.

All of this is checked before transformers reads the weights, while a model that was loaded before is still there.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from llamaforge.chat import ChatTemplate, read_template
from llamaforge.errors import InvalidModelError
from llamaforge.formats import generation_config
from llamaforge.formats.gguf import DamagedFileError, read_header, recommended_sampling
from llamaforge.formats.local import ADAPTER, CONFIG, describe_adapter, is_lfs_pointer, lfs_advice
from llamaforge.parameters import valid_parameters

from .errors import words
from .tokenizer import Vocabulary

SINGLE: Final = ("model.safetensors", "pytorch_model.bin")
"""Weights in one file, in the order of preference."""
_TOKENIZER: Final = re.compile(r"tokenizer\.|tokenization_.*\.py$|tekken|vocab|spiece|.*\.(model|tiktoken|spm)$")
_SETTINGS: Final = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.json",
    "processor_config.json",
)
_SHARD: Final = re.compile(r"(model|pytorch_model)-\d{5}-of-\d{5}\.(safetensors|bin)")
_OTHER_WEIGHTS: Final = frozenset({".h5", ".msgpack", ".onnx", ".ot", ".ckpt", ".pth", ".pt", ".safetensors", ".bin"})
INDEXES: Final = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Lists of weights in several files, in the order of preference."""


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """config.json. Raises InvalidModelError where it is not a JSON object."""
    return _read_object(folder / CONFIG, name)


def shards(index: Path) -> list[str]:
    """The files that an index names. Raises ValueError if it is not an index."""
    read = json.loads(index.read_text(encoding="utf-8"))
    weights = read.get("weight_map") if isinstance(read, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(file, str) for file in weights.values()):
        raise ValueError("it maps no weights to files")
    return sorted(set(weights.values()))


def check_weights(folder: Path, name: str) -> list[Path]:
    """The files of the weights, each seen to be there and whole.

    Raises InvalidModelError, naming the file that is missing, damaged or cut short.
    """
    files, index = _weight_files(folder, name)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise InvalidModelError(
            name,
            f"{missing[0]}{others} is missing, one of the {len(files)} files of weights that {index} names. Fetch the "
            "model again.",
        )
    for file in files:
        if is_lfs_pointer(file):
            raise InvalidModelError(name, lfs_advice(file.name))
        if file.suffix == ".safetensors":
            _check_safetensors(file, name)
        else:
            _check_pickle(file, name)
    return files


def check_tokenizer(folder: Path, name: str) -> None:
    """Raise InvalidModelError where the folder contains nothing that a tokenizer could be made of."""
    files = tokenizer_files(folder)
    for file in files:
        if is_lfs_pointer(file):
            raise InvalidModelError(name, lfs_advice(file.name))
    if not files:
        raise InvalidModelError(name, "the folder has no tokenizer (tokenizer.json, tokenizer.model or the like).")


def tokenizer_files(folder: Path) -> list[Path]:
    """What a tokenizer is made of, but for the settings beside it."""
    return [file for file in folder.iterdir() if _TOKENIZER.match(file.name)]


def check_settings(folder: Path, name: str) -> None:
    """Raise InvalidModelError for a small file beside the weights that can't be read, naming it.

    transformers passes over some of them, and a model without its settings ends no answer, say; of others it tells a
    JSON parser's words and not which file it was.
    """
    for file in (folder / each for each in _SETTINGS):
        if file.is_file():
            _read_object(file, name)
    for file in [*folder.glob("*.jinja"), *(folder / "additional_chat_templates").glob("*.jinja")]:
        if is_lfs_pointer(file):
            raise InvalidModelError(name, lfs_advice(file.name))
        try:
            file.read_text(encoding="utf-8")
        except (ValueError, OSError) as error:
            raise InvalidModelError(
                name, f"its {file.name} can't be read ({error}). Download that file again."
            ) from None


def processor_template(folder: Path) -> str | None:
    """The chat template of a processor, which a tokenizer doesn't read; None if there is none.

    Older vision-language checkpoints have it in files of their processor alone.
    """
    for file in ("chat_template.json", "processor_config.json"):
        try:
            told = json.loads((folder / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        template = told.get("chat_template") if isinstance(told, dict) else None
        if isinstance(template, str) and template:
            return template
    return None


def generation_defaults(folder: Path, gguf_file: str | None = None) -> dict[str, Any]:
    """What the model's makers recommend for sampling, by canonical name, as transformers understands their file.

    With a GGUF file, its metadata counts, otherwise generation_config.json. An invalid value is left out: transformers
    would fail with it at the first answer.
    """
    if gguf_file is not None:
        return valid_parameters(recommended_sampling(read_header(folder / gguf_file).metadata))
    return valid_parameters(generation_config.recommended_sampling(folder))


def stored_dtype(files: list[Path]) -> str | None:
    """The number type of the first weights, as safetensors calls it (``BF16``); None where they don't say."""
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as weights:
                for key in weights.keys():  # noqa: SIM118 - it is not a mapping
                    kind: str = weights.get_slice(key).get_dtype()
                    if kind.startswith(("F", "BF")):
                        return kind
    return None


def _read_object(file: Path, name: str) -> dict[str, Any]:
    if is_lfs_pointer(file):
        raise InvalidModelError(name, lfs_advice(file.name))
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidModelError(name, f"its {file.name} can't be read ({error}). Download that file again.") from None
    if not isinstance(told, dict):
        kind = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(type(told), "a number")
        raise InvalidModelError(name, f"its {file.name} contains {kind}, not an object. Download that file again.")
    return told


def _weight_files(folder: Path, name: str) -> tuple[list[Path], str]:
    """The files of the weights, and the index that names them."""
    for single, index in zip(SINGLE, INDEXES, strict=True):
        if (folder / single).exists():
            return [folder / single], index
        if (folder / index).exists():
            if is_lfs_pointer(folder / index):
                raise InvalidModelError(name, lfs_advice(index))
            try:
                return [folder / shard for shard in shards(folder / index)], index
            except ValueError as error:
                raise InvalidModelError(name, f"its {index} is damaged ({error}). Download that file again.") from None
    raise InvalidModelError(name, _no_weights(folder))


def _no_weights(folder: Path) -> str:
    """What a folder without weights holds, where that tells more."""
    if (folder / ADAPTER).exists():
        return describe_adapter(folder / ADAPTER, "transformers")
    names = sorted(file.name for file in folder.iterdir())
    parts = [name for name in names if _SHARD.fullmatch(name)]
    if parts:
        return (
            f"the folder contains parts of the weights ({parts[0]} ...), but not their index "
            f"({INDEXES[0] if parts[0].endswith('.safetensors') else INDEXES[1]}). Download that file, too."
        )
    others = [name for name in names if Path(name).suffix in _OTHER_WEIGHTS]
    instead = f" It contains {others[0]}, which transformers doesn't load." if others else ""
    return f"the folder has no weights ({' or '.join(SINGLE)}).{instead}"


def _check_safetensors(file: Path, name: str) -> None:
    try:
        with safe_open(file, framework="pt"):
            return
    except SafetensorError as error:
        raise InvalidModelError(name, f"{file.name} is damaged or cut short ({error}). Download it again.") from None


def _check_pickle(file: Path, name: str) -> None:
    """Read all of the file but the numbers, with torch's reader of weights, which runs no code that a file brings."""
    packed = zipfile.is_zipfile(file)
    with file.open("rb") as opened:
        start = opened.read(2)
    if start == b"PK" and not packed:
        raise InvalidModelError(name, f"{file.name} is cut short. Download it again.")
    if not packed and start != b"\x80\x02":
        raise InvalidModelError(name, f"{file.name} has no weights: it was not written by torch. Download it again.")
    try:
        found = torch.load(file, map_location="meta", weights_only=True, mmap=packed)
    except Exception as error:  # noqa: BLE001 - torch raises whatever it stumbles over
        raise InvalidModelError(
            name, f"{file.name} is damaged, or contains more than weights ({words(error)}). Download it again."
        ) from None
    if not isinstance(found, dict):
        raise InvalidModelError(name, f"{file.name} contains {type(found).__name__}, not weights by name.")


def chat_template(name: str, folder: Path | None, vocabulary: Vocabulary, given: str | None) -> ChatTemplate | None:
    """The template of the load parameter, or the tokenizer's; None where there is neither. *folder* has the tokenizer's
    files; None for one that comes from a GGUF file.

    Raises InvalidParameterError or InvalidModelError where it is broken.
    """
    own = getattr(vocabulary.tokenizer, "chat_template", None)
    texts = own if given is None else read_template(given)
    if not texts:
        return None
    source = _template_source(folder)
    told = getattr(vocabulary.tokenizer, "response_template", None)
    if not isinstance(texts, str | dict):
        raise InvalidModelError(
            name,
            f"its chat template ({source}) is {type(texts).__name__}, not text. Pass another one "
            "with the load parameter chat_template.",
        )
    return ChatTemplate.of_model(
        texts,
        model=name,
        source=source,
        special_tokens=vocabulary.tokenizer.special_tokens_map,
        control_tokens=vocabulary.control_tokens,
        response_template=told if isinstance(told, dict) else None,
    )


def _template_source(folder: Path | None) -> str:
    if folder is None:
        return "tokenizer.chat_template in its metadata"
    files = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
    return next((file for file in files if (folder / file).is_file()), "of its tokenizer")


def check_gguf(path: Path, name: str) -> None:
    """Raise InvalidModelError where *path* is no GGUF file, is not whole, or is newer than the package gguf."""
    try:
        unknown = sorted(read_header(path).unknown_types)
        if unknown:
            raise DamagedFileError(f"it holds tensors of type {unknown[0]}, which the package gguf may not know")
    except DamagedFileError as error:
        raise InvalidModelError(name, f"{error}.") from None
    except OSError as error:
        raise InvalidModelError(name, f"it can't be read: {error.strerror or error}.") from error
