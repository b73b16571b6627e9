"""Recognises what a local path contains by names and first bytes, so that all engines report the same.

Standard library only. Nothing here raises: a path may be anything that a user typed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Literal

CONFIG: Final = "config.json"
"""The file by which a folder is a model in transformers' format."""
ADAPTER: Final = "adapter_config.json"
"""The file by which a folder is a PEFT adapter."""
GGUF_MAGIC: Final = b"GGUF"

Format = Literal["gguf", "transformers"]
"""What an engine loads: a GGUF file or a folder in transformers' format."""

_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.I | re.S)
_SHARD: Final = re.compile(r".+-\d{5}-of-\d{5}\.(?:safetensors|bin)", re.I | re.S)
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth")
_LOOKED_AT: Final = 200
"""Files and folders of one folder that are looked into, at most."""


def local_path(location: str | os.PathLike[str]) -> Path:
    """*location* with a leading ``~`` expanded to the home folder."""
    path = Path(location)
    try:
        return path.expanduser()
    except RuntimeError:  # a ~ and no home folder
        return path


def begins_with(path: Path, magic: bytes) -> bool:
    """Whether *path* is a regular file whose first bytes are *magic*."""
    try:
        if not path.is_file():  # opening a pipe would wait for whoever writes to it
            return False
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except (OSError, ValueError):
        return False


def is_gguf(location: str | os.PathLike[str]) -> bool:
    """Whether *location* ends in ``.gguf`` or is a file with GGUF's first bytes (Ollama's files have no suffix)."""
    return os.fspath(location).lower().endswith(".gguf") or begins_with(local_path(location), GGUF_MAGIC)


def is_model_folder(location: str | os.PathLike[str]) -> bool:
    """Whether *location* is a folder in transformers' format."""
    return _is(Path.is_file, local_path(location) / CONFIG)


def is_folder_of(location: str | os.PathLike[str], wanted: Format) -> bool:
    """Whether an engine that loads *wanted* should report on the folder *location*."""
    path = local_path(location)
    if not os.fspath(location) or not _is(Path.is_dir, path):
        return False
    if wanted == "gguf":
        return not is_model_folder(path) and not _is(Path.exists, path / ADAPTER) and bool(gguf_models(path))
    return True


def is_lfs_pointer(path: Path) -> bool:
    """Whether *path* is a Git LFS pointer instead of the file itself."""
    return begins_with(path, _LFS_POINTER)


def lfs_advice(file: str) -> str:
    """The advice for a Git LFS pointer called *file*."""
    return (
        f"{file} is not the file itself but a Git LFS pointer to it. Run `git lfs pull` in its folder, or fetch the "
        "model again."
    )


def split_part(name: str) -> tuple[int, int, str] | None:
    """Which part of a split GGUF model a file called *name* is, of how many, and the name of the first one; None for
    a file that is no part."""
    found = _PART.fullmatch(name)
    if found is None or int(found["count"]) < 2:
        return None
    return int(found["number"]), int(found["count"]), f"{found['stem']}-00001-of-{found['count']}{found['suffix']}"


def gguf_models(folder: Path) -> list[str]:
    """The GGUF files in *folder* that can be loaded, by name: first parts of split models, without projectors."""
    found = []
    for name in names_in(folder):
        part = split_part(name)
        if (part is None or part[0] == 1) and not name.lower().startswith("mmproj"):
            found.append(name)
    named = [name for name in found if name.lower().endswith(".gguf")]
    if named:
        return named
    bare = (name for name in found[:_LOOKED_AT] if "." not in name)
    return [name for name in bare if begins_with(folder / name, GGUF_MAGIC)]


def names_in(folder: Path) -> list[str]:
    """The sorted names in *folder*; none if it can't be read."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError):
        return []


def describe_folder(folder: Path, wanted: Format) -> str:
    """Why an engine that loads *wanted* can't load *folder*, what it is instead, and what to do.

    Completes the sentence "... can't be loaded: REASON".
    """
    names = names_in(folder)
    if not names:
        return "the folder is empty."
    if ADAPTER in names:
        return describe_adapter(folder / ADAPTER, wanted)
    if found := gguf_models(folder):
        examples = " or ".join(repr(str(folder / name)) for name in found[:3])
        more = f" (there are {len(found)})" if len(found) > 3 else ""
        return f"it is a folder of GGUF files. Load one of the files: {examples}{more}."
    if wanted == "gguf" and CONFIG in names:
        return (
            f"it is a folder in transformers' format ({CONFIG}), not a GGUF file. Load it with the backend huggingface,"
            " or convert it with llama.cpp's convert_hf_to_gguf.py."
        )
    return _describe_other(folder, names, wanted)


def describe_adapter(file: Path, wanted: Format) -> str:
    """The advice for a PEFT adapter with the adapter_config.json *file*."""
    told = None
    if _is(Path.is_file, file):
        with contextlib.suppress(OSError, ValueError):
            told = json.loads(file.read_text(encoding="utf-8"))
    base = told.get("base_model_name_or_path") if isinstance(told, dict) else None
    of = f"of the model {base}" if isinstance(base, str) and base else "of another model"
    if wanted == "gguf":
        advice = (
            "Convert it with llama.cpp's convert_lora_to_gguf.py, load that model as a GGUF file, and pass the "
            "converted adapter with lora=[...]."
        )
    else:
        advice = (
            "Merge the two: peft.AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()."
            "save_pretrained(NEW_FOLDER). Save the tokenizer there, too, and load the new folder."
        )
    return f"the folder contains a PEFT adapter {of} ({file.name}), not a model. {advice}"


def describe_file(path: Path, wanted: Format) -> str | None:
    """Why the file *path* is nothing to load by itself, where its place or its first bytes tell; None where they
    don't."""
    if is_lfs_pointer(path):
        return lfs_advice(path.name)
    if is_gguf(path):
        return None
    if path.suffix.lower() not in _WEIGHTS and path.name != CONFIG:
        return None
    if is_model_folder(path.parent):
        part = "one part of the weights" if _SHARD.fullmatch(path.name) else "one file"
        return f"it is {part} of the model in {str(path.parent)!r}. {_load_the_folder(path.parent, wanted)}"
    if _is(Path.exists, path.parent / ADAPTER):
        return describe_adapter(path.parent / ADAPTER, wanted)
    return None


def _load_the_folder(folder: Path, wanted: Format) -> str:
    return "Load that folder." if wanted == "transformers" else "Load that folder, with the backend huggingface."


def _describe_other(folder: Path, names: list[str], wanted: Format) -> str:
    """What a folder without anything to load is."""
    parts = [name for name in names if split_part(name) is not None]
    if parts:
        _, count, first = split_part(parts[0]) or (0, 0, "")
        return f"the folder contains parts of a GGUF model in {count} files, but not the first one, {first}."
    if any(name.lower().endswith(".gguf") for name in names):
        return "the folder contains a projector for images (mmproj), but not the model that it belongs to."
    if "model_index.json" in names:
        return "the folder contains a diffusers pipeline (model_index.json), which makes images, not text."
    if "params.json" in names:
        return (
            "the folder contains a model in its maker's own format (params.json). Take the repository in transformers' "
            f"format, with {CONFIG} and .safetensors files."
        )
    inner = next(_models_inside(folder, names), None)
    if inner is not None:
        return f"the folder itself has no model, but a folder inside it has one: load {str(inner)!r}."
    if wanted == "gguf":
        return "it is a folder without a GGUF file."
    return f"the folder has no {CONFIG}, so it is not a model in transformers' format."


def _models_inside(folder: Path, names: list[str]) -> Iterator[Path]:
    """Models in the folders of *folder*, and in the snapshots of a hub cache."""
    snapshots = folder / "snapshots"
    inner = [*(snapshots / name for name in names_in(snapshots)), *(folder / name for name in names)]
    for each in islice(inner, _LOOKED_AT):
        if is_model_folder(each):
            yield each
        elif _is(Path.is_dir, each):
            yield from (each / name for name in gguf_models(each))


def _is(question: Callable[[Path], bool], path: Path) -> bool:
    """Ask about a path that may be no possible one: too long, with a NUL in it, in a folder that can't be entered."""
    try:
        return question(path)
    except (OSError, ValueError):
        return False
