"""Where a model is: a folder, a GGUF file in a folder, or an id of the hub."""

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
from llamaforge.formats.local import (
    CONFIG,
    describe_file,
    describe_folder,
    is_gguf,
    local_path,
    names_in,
    split_part,
)

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
    if is_hub_id(model_path):
        if gguf_file is not None and not gguf_file.lower().endswith(".gguf"):
            raise InvalidParameterError("gguf_file", gguf_file, "the name of a .gguf file in the repository")
        return ModelSource(model_path, None, gguf_file)
    path = local_path(model_path).absolute()
    if _is(Path.is_file, path):
        return _file(model_path, path, gguf_file)
    if _is(Path.is_dir, path):
        return _folder(model_path, path, gguf_file)
    near = closest(path.name, names_in(path.parent))
    hint = f" Did you mean {' or '.join(repr(str(path.parent / name)) for name in near)}?" if near else ""
    raise ModelNotFoundError(
        f"There is no model at {model_path!r}: it is not a folder, not a GGUF file, and not a hub id (org/name).{hint}",
        model_path,
        near,
    )


def check_folder(folder: Path, name: str) -> None:
    """Raise InvalidModelError where *folder* has no config.json, saying what it holds instead."""
    if CONFIG not in names_in(folder):
        raise InvalidModelError(name, describe_folder(folder, "transformers"))


def check_whole_gguf(file: str, name: str) -> None:
    """Raise InvalidModelError where *file* is one part of a split GGUF model, which transformers can't read."""
    part = split_part(Path(file).name)
    if part is not None:
        number, count, first = part
        raise InvalidModelError(
            name,
            f"{Path(file).name} is part {number} of a model in {count} files, and transformers only reads "
            f"GGUF models in a single file. Load the first part ({first}) with the backend llama.cpp, or join the "
            "parts with "
            "llama-gguf-split --merge.",
        )


def _file(name: str, path: Path, gguf_file: str | None) -> ModelSource:
    reason = describe_file(path, "transformers")
    if reason is None and not is_gguf(path):
        reason = f"it is a file, but not a GGUF file. Give a GGUF file, or the folder that holds {CONFIG}."
    if reason is not None:
        raise InvalidModelError(name, reason)
    if gguf_file is not None:
        raise ConflictingParametersError(
            ["model_path", "gguf_file"], "The model path is a GGUF file already, so gguf_file can't be used."
        )
    check_whole_gguf(path.name, name)
    return ModelSource(name, path.parent, path.name)


def _folder(name: str, path: Path, gguf_file: str | None) -> ModelSource:
    if gguf_file is None:
        check_folder(path, name)
        return ModelSource(name, path)
    file = local_path(gguf_file)
    if not _is(Path.is_file, path / file):
        ggufs = [each for each in names_in(path) if each.lower().endswith(".gguf")]
        raise ModelNotFoundError(
            f"There is no file {gguf_file!r} in {name}.{_holds(ggufs)} Check the load parameter gguf_file.", name, ggufs
        )
    if not is_gguf(path / file):
        raise InvalidParameterError("gguf_file", gguf_file, "the name of a GGUF file in the model's folder")
    check_whole_gguf(gguf_file, name)
    return ModelSource(name, path, str(file))


def _holds(names: list[str]) -> str:
    more = f" (and {len(names) - 5} more)" if len(names) > 5 else ""
    return f" It holds {', '.join(map(repr, names[:5]))}{more}." if names else ""


def _is(question: Callable[[Path], bool], path: Path) -> bool:
    """Ask about a path that may be no possible one: too long, with a NUL in it, in a folder that can't be entered."""
    try:
        return question(path)
    except (OSError, ValueError):
        return False
