"""``path``: a file or a folder on this machine, or a bare ``org/name`` for engines that fetch by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import SourceNotFoundError, closest
from .reference import invalid
from .spec import Progress, Reference, ResolvedModel

_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
# A missing file of one of these kinds is a missing file, not a hub id.
_FILE_SUFFIXES = frozenset({".gguf", ".ggml", ".safetensors", ".bin", ".pt", ".pth", ".onnx", ".json"})


def is_repository(text: str) -> bool:
    """Whether *text* reads as ``org/name``, by the model hub's rules for names."""
    return (
        _HUB_ID.fullmatch(text) is not None
        and "--" not in text
        and ".." not in text
        and not any(part.endswith((".", "-")) for part in text.split("/"))
    )


def resolve_path(reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool) -> ResolvedModel:
    """The file or folder of that path, absolute; failing that the hub id, where it reads as one."""
    text = reference.target
    if not text:
        raise invalid(reference.text, "the path is missing. A whole reference: path:./models/llama.gguf")
    try:
        path = Path(text).expanduser().absolute()
        exists = path.exists()
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, a name too long, no home folder
        raise invalid(reference.text, f"it is not a usable path: {error}") from None
    if exists:
        if not (path.is_file() or path.is_dir()):
            raise SourceNotFoundError(reference.text, "it is neither a regular file nor a folder.")
        return ResolvedModel(reference.text, str(path), path, None, "path")
    bare = not reference.text.lower().startswith("path:")
    if bare and is_repository(text) and path.suffix.lower() not in _FILE_SUFFIXES:
        return ResolvedModel(reference.text, text, None, None, "hf")
    raise SourceNotFoundError(reference.text, _missing(path, text))


def _missing(path: Path, text: str) -> str:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    if folder != path.parent:
        return f"the folder {path.parent} does not exist."
    try:
        near = closest_paths(path.name, (entry.name for entry in folder.iterdir()))
    except OSError:
        near = []
    if near:
        return f"there is no such file or folder in {folder}. Did you mean {' or '.join(map(repr, near))}?"
    hint = ""
    if "/" not in text and "\\" not in text and not path.suffix:
        hint = (
            " Write a model of the hub as org/name. For a model that a server knows by its name, name the backend, too."
        )
    return f"there is no such file or folder.{hint}"


def closest_paths(wanted: str, paths: Iterable[str]) -> list[str]:
    """The *paths* that *wanted* was probably meant to be: by their last part first, then as a whole; three at most."""
    known = list(paths)
    by_name: dict[str, list[str]] = {}
    for path in known:
        by_name.setdefault(path.rsplit("/", 1)[-1], []).append(path)
    near = [path for name in closest(wanted.rsplit("/", 1)[-1], by_name) for path in by_name[name]]
    return list(dict.fromkeys([*near, *closest(wanted, known)]))[:3]
