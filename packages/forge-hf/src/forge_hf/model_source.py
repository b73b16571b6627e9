"""Where a model is: a folder, a GGUF file in a folder, or an id of the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llamaforge.errors import (
    ConflictingParametersError,
    InvalidModelError,
    InvalidParameterError,
    ModelNotFoundError,
    closest,
)

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
# A missing file of one of these kinds is a missing file, not a hub id.
_FILE_SUFFIXES = frozenset({".gguf", ".safetensors", ".bin", ".pt", ".pth", ".json"})
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?:gguf|safetensors|bin)", re.IGNORECASE)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where to load from."""

    name: str
    """As the user wrote it."""
    folder: Path | None
    """The local folder; None for an id of the hub."""
    gguf_file: str | None = None
    """The GGUF file's path within the folder or the repository."""

    @property
    def gguf_path(self) -> Path | None:
        """The GGUF file, where it is local."""
        return self.folder / self.gguf_file if self.folder is not None and self.gguf_file is not None else None


def is_gguf(location: str) -> bool:
    """Whether *location* has the name of a GGUF file."""
    return location.lower().endswith(".gguf")


def is_gguf_content(location: str) -> bool:
    """Whether *location* is a file that begins as a GGUF file does, whatever its name: Ollama's have no suffix."""
    return _start(_path(location), 4) == b"GGUF"


def is_lfs_pointer(file: Path) -> bool:
    """Whether Git LFS left a pointer in place of *file*."""
    return _start(file, len(_LFS_POINTER)) == _LFS_POINTER


def is_model_folder(location: str) -> bool:
    """Whether *location* is a folder in transformers' format."""
    return _is(Path.is_file, _path(location) / CONFIG)


def is_hub_id(location: str) -> bool:
    """Whether *location* reads as ``org/name``, by the hub's rules for names, and no local file or folder has it."""
    return (
        _HUB_ID.fullmatch(location) is not None
        and "--" not in location
        and ".." not in location
        and not any(part.endswith((".", "-")) for part in location.split("/"))
        and Path(location).suffix.lower() not in _FILE_SUFFIXES
        and not _is(Path.exists, Path(location))
    )


def find(model_path: str, gguf_file: str | None = None) -> ModelSource:
    """Tell a local folder, a GGUF file and a hub id apart.

    Raises ModelNotFoundError where nothing is there, InvalidModelError for a file or a folder that can't be a model,
    and InvalidParameterError or ConflictingParametersError for a *gguf_file* that doesn't fit.
    """
    if gguf_file is not None and not is_gguf(gguf_file):
        raise InvalidParameterError("gguf_file", gguf_file, "the name of a .gguf file in the model's folder")
    if is_hub_id(model_path):
        return ModelSource(model_path, None, gguf_file)
    path = _path(model_path).absolute()
    if _is(Path.is_file, path):
        return _file(model_path, path, gguf_file)
    if _is(Path.is_dir, path):
        return _folder(model_path, path, gguf_file)
    near = closest(path.name, _names(path.parent))
    hint = f" Did you mean {' or '.join(repr(str(path.parent / name)) for name in near)}?" if near else ""
    raise ModelNotFoundError(
        f"There is no model at {model_path!r}: no folder, no .gguf file, and it is no hub id (org/name).{hint}",
        model_path,
        near,
    )


def check_folder(folder: Path, name: str) -> None:
    """Raise InvalidModelError where *folder* has no config.json, saying what it holds instead."""
    names = _names(folder)
    if CONFIG not in names:
        raise InvalidModelError(name, _what_it_is(folder, names))


def check_whole_gguf(file: str, name: str) -> None:
    """Raise InvalidModelError where *file* is one part of a split GGUF model, which transformers can't read."""
    part = _PART.fullmatch(Path(file).name)
    if part is not None and int(part["count"]) > 1:
        raise InvalidModelError(
            name,
            f"{Path(file).name} is part {int(part['number'])} of {int(part['count'])} of a split model, and "
            "transformers reads GGUF models of one file only. Load the first part with the backend llama.cpp, or join "
            "the parts with llama-gguf-split --merge.",
        )


def _file(name: str, path: Path, gguf_file: str | None) -> ModelSource:
    if is_lfs_pointer(path):
        raise InvalidModelError(name, lfs_advice(path.name))
    if not is_gguf(path.name) and not is_gguf_content(str(path)):
        raise InvalidModelError(name, _no_gguf(path))
    if gguf_file is not None:
        raise ConflictingParametersError(["model_path", "gguf_file"], "the path names a GGUF file already.")
    check_whole_gguf(path.name, name)
    return ModelSource(name, path.parent, path.name)


def lfs_advice(file: str) -> str:
    """What to say of a Git LFS pointer."""
    return (
        f"{file} is not the file itself but a Git LFS pointer to it. Run `git lfs pull` in its folder, or fetch the "
        "model again."
    )


def _no_gguf(path: Path) -> str:
    if is_model_folder(str(path.parent)):
        part = " one part of a model's weights," if _PART.fullmatch(path.name) else ""
        return f"it is{part} a file of the model in {str(path.parent)!r}. Give that folder."
    return f"it is a file, but not a GGUF file. Give a GGUF file, or the folder that holds {CONFIG}."


def _folder(name: str, path: Path, gguf_file: str | None) -> ModelSource:
    if gguf_file is not None:
        if not _is(Path.is_file, path / gguf_file):
            ggufs = [file for file in _names(path) if is_gguf(file)]
            raise ModelNotFoundError(f"There is no file {gguf_file!r} in {name}.", name, ggufs)
        check_whole_gguf(gguf_file, name)
        return ModelSource(name, path, gguf_file)
    check_folder(path, name)
    return ModelSource(name, path)


def _what_it_is(folder: Path, names: list[str]) -> str:
    """What a folder without config.json may be, and what to do about it."""
    if ADAPTER in names:
        return adapter_advice(folder / ADAPTER)
    ggufs = [name for name in names if is_gguf(name) and not name.lower().startswith("mmproj")]
    if ggufs:
        examples = " or ".join(repr(str(folder / name)) for name in ggufs[:3])
        more = f" (there are {len(ggufs)})" if len(ggufs) > 3 else ""
        return f"the folder holds GGUF files and no {CONFIG}. Load one of the files: {examples}{more}."
    if "model_index.json" in names:
        return "the folder holds a diffusers pipeline (model_index.json), which makes images and no text."
    if "params.json" in names:
        return (
            "the folder holds a model in its maker's own format (params.json). Take the repository in transformers' "
            f"format, with {CONFIG} and .safetensors files."
        )
    inner = next((found for found in _inner_folders(folder, names) if is_model_folder(str(found))), None)
    if inner is not None:
        return f"the folder holds no {CONFIG}, but a folder in it does: load {str(inner)!r}."
    if not names:
        return "the folder is empty."
    return f"the folder holds no {CONFIG}, so it is no model in transformers' format."


def adapter_advice(file: Path) -> str:
    """What to do with a folder that PEFT wrote."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = None
    base = told.get("base_model_name_or_path") if isinstance(told, dict) else None
    of = f"of the model {base}" if isinstance(base, str) and base else "of another model"
    return (
        f"the folder holds a PEFT adapter {of} ({file.name}), no model of its own. Merge the two once, and load the "
        "folder with the result: peft.AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()"
        ".save_pretrained(NEW_FOLDER), and the tokenizer beside it."
    )


def _inner_folders(folder: Path, names: list[str]) -> list[Path]:
    """Folders in which the model may be: those of the folder, and the snapshots of a hub cache."""
    snapshots = folder / "snapshots"
    return [*(snapshots / name for name in _names(snapshots)), *(folder / name for name in names[:50])]


def _start(path: Path, size: int) -> bytes:
    """The first bytes of a regular file; none of anything else."""
    try:
        if not path.is_file():  # opening a pipe would wait for whoever writes to it
            return b""
        with path.open("rb") as file:
            return file.read(size)
    except (OSError, ValueError):
        return b""


def _path(location: str) -> Path:
    path = Path(location)
    try:
        return path.expanduser()
    except RuntimeError:  # a ~ and no home folder
        return path


def _is(question: Callable[[Path], bool], path: Path) -> bool:
    """Ask about a path that may be no possible one: too long, with a NUL in it, in a folder that can't be entered."""
    try:
        return question(path)
    except (OSError, ValueError):
        return False


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError):
        return []
