"""What a reference is, told from its text alone, before anything is fetched."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Final

from ..errors import SourceError
from .reference import invalid, parse
from .resolve import BUILT_IN
from .spec import Reference

_READERS: Final = {"pypi": "pypi", "hf": "hub", "pkg": "installed"}
"""The module with the function ``read_target`` for each built-in scheme."""


def is_fetched(text: str) -> bool:
    """Whether a source stands behind the reference, and not a path or a backend's own name for a model."""
    return _is_fetched(parse(text))


def check_reference(text: str) -> None:
    """Refuse a reference that its source can't read, without looking anywhere.

    Raises InvalidReferenceError, which says what is wrong or missing.
    """
    reference = parse(text)
    if reference.scheme in _READERS:
        module = importlib.import_module(f"{__package__}.{_READERS[reference.scheme]}")
        module.read_target(reference)
    elif reference.scheme != "path" and not reference.target.strip():
        raise invalid(text, f"nothing follows {reference.scheme}: name the model, too.")


def is_local(text: str) -> bool:
    """Whether the reference is a path: written as one (``path:...``), or with a file or folder there."""
    try:
        reference = parse(text)
    except SourceError:
        return False
    if reference.scheme != "path":
        return os.path.exists(os.path.expanduser(text))
    return text.lower().startswith("path:") or os.path.exists(os.path.expanduser(reference.target))


def reads_as_reference(text: str) -> bool:
    """Whether *text*, given where a model's name is due, is meant to be a reference."""
    if not text.strip():
        return False
    return (
        "/" in text
        or os.sep in text
        or text.lower().endswith(".gguf")
        or text.lower().startswith("path:")
        or is_fetched(text)
        or os.path.exists(os.path.expanduser(text))
    )


def offered_location(text: str) -> str:
    """What backends are asked about (``BackendSpec.match``) while the model is still to be fetched.

    A hub repository is its id; a file of a source is its path there, written ``./path``, a folder ``./path/``.
    """
    reference = parse(text)
    if not _is_fetched(reference):
        return reference.target
    target = reference.target
    if reference.scheme == "hf":
        target = target.partition("@")[0]
        parts = target.split("/", 2)
        return target if len(parts) < 3 else f"./{parts[2]}"
    _, slash, path = target.partition("/")
    return f"./{path}" if slash else target


def absolute_reference(text: str, backend: str | None = None) -> str:
    """*text* with a relative path in it made absolute, so that it means the same in every folder.

    What is no path stays: a source's reference, a hub's id, a name that *backend* has for one of its models. A file or
    folder that isn't there yet is a path where it is written as one (``./...``, ``~/...``), or as a GGUF file and
    *backend* is None or reads such files.
    """
    try:
        reference = parse(text)
    except SourceError:
        return text  # a name of the backend's own may be anything; without one, whoever resolves it says what is wrong
    target = reference.target
    if reference.scheme != "path" or not target:
        return text
    path = Path(target).expanduser()
    if not path.exists():
        is_path = reference.text.lower().startswith("path:") or target.startswith((".", "~", "/", os.sep))
        if not (is_path or (path.suffix.lower() == ".gguf" and _reads_files(backend, target))):
            return text
    start = text.index(":") + 1 if text.lower().startswith("path:") else 0
    return f"{text[:start]}{path.absolute()}{text[start + len(target) :]}"


def _reads_files(backend: str | None, path: str) -> bool:
    if backend is None:
        return True
    from ..backends.registry import get_spec

    try:
        return bool(get_spec(backend).match(path))
    except Exception:  # noqa: BLE001 - a broken plugin is told of when its model is loaded
        return False


def _is_fetched(reference: Reference) -> bool:
    if reference.scheme == "path":
        return False
    if reference.scheme in BUILT_IN:
        return True
    from ..plugins import SOURCES  # only here: the built-in schemes must not pay for discovery

    return reference.scheme in SOURCES.names()
