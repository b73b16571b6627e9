"""Where a model is: a folder, a GGUF file in a folder, or an id of the hub. Nothing is opened but config.json."""

from __future__ import annotations

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
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
# A missing file of one of these kinds is a missing file, not a hub id.
_FILE_SUFFIXES = frozenset({".gguf", ".safetensors", ".bin", ".pt", ".pth", ".json"})


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
    """Whether *location* is the path of a GGUF file, by its name."""
    return location.lower().endswith(".gguf")


def is_model_folder(location: str) -> bool:
    """Whether *location* is a folder in transformers' format."""
    return _is(Path.is_file, _path(location) / CONFIG)


def is_hub_id(location: str) -> bool:
    """Whether *location* reads as ``org/name``, by the hub's rules for names, and nothing local is called that."""
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


def _file(name: str, path: Path, gguf_file: str | None) -> ModelSource:
    if not is_gguf(path.name):
        raise InvalidModelError(name, "it is a file, but not a .gguf file. Give the folder that holds config.json.")
    if gguf_file is not None:
        raise ConflictingParametersError(["model_path", "gguf_file"], "the path names a GGUF file already.")
    return ModelSource(name, path.parent, path.name)


def _folder(name: str, path: Path, gguf_file: str | None) -> ModelSource:
    files = _names(path)
    ggufs = [file for file in files if is_gguf(file)]
    if gguf_file is not None:
        if not _is(Path.is_file, path / gguf_file):
            raise ModelNotFoundError(f"There is no file {gguf_file!r} in {name}.", name, ggufs)
        return ModelSource(name, path, gguf_file)
    if CONFIG not in files:
        hint = f" It holds GGUF files: load one of them, as {str(path / ggufs[0])!r}." if ggufs else ""
        raise InvalidModelError(name, f"the folder holds no {CONFIG}.{hint}")
    return ModelSource(name, path)


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
