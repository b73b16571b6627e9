"""Models in several files: ``NAME-00001-of-00003.gguf`` and so on, as llama.cpp's ``gguf-split`` names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from .reference import invalid
from .spec import Reference

_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.I | re.S)


def parts_of(path: str) -> list[str]:
    """The paths of all parts of the model whose first part is *path*; of any other file just *path*."""
    found = _PART.fullmatch(path)
    if found is None or int(found["number"]) != 1:
        return [path]
    return [_part(found, number) for number in range(1, int(found["count"]) + 1)] or [path]


def check_first_part(reference: Reference, path: str) -> None:
    """Refuse a later part of a split model, and a checksum for all of one. Raises InvalidReferenceError."""
    found = _PART.fullmatch(path)
    if found is None or int(found["count"]) < 2:
        return
    if int(found["number"]) != 1:
        first = _part(found, 1)
        raise invalid(
            reference.text,
            f"{path} is part {int(found['number'])} of a model in {int(found['count'])} files. Name the first part; "
            f"the others are found automatically: {reference.text.replace(path, first)}",
        )
    if reference.sha256 is not None:
        raise invalid(
            reference.text,
            f"the model is in {int(found['count'])} files, but a SHA-256 is for one file. Leave it out.",
        )


def missing_parts(path: Path) -> list[Path]:
    """Which parts of the model whose first part is the local file *path* are not beside it."""
    return [part for part in map(Path, parts_of(str(path))) if part != path and not part.is_file()]


def _part(found: re.Match[str], number: int) -> str:
    return f"{found['stem']}-{number:05}-of-{found['count']}{found['suffix']}"
