"""What a reference is, told from its text alone, before anything is fetched."""

from __future__ import annotations

import os

from .reference import parse
from .resolve import BUILT_IN
from .spec import Reference


def is_fetched(text: str) -> bool:
    """Whether a source stands behind the reference, and not a path or a backend's own name for a model."""
    return _is_fetched(parse(text))


def reads_as_reference(text: str) -> bool:
    """Whether *text*, given where a model's name is due, is meant to be a reference."""
    if not text.strip():
        return False
    return (
        "/" in text
        or os.sep in text
        or text.lower().endswith(".gguf")
        or is_fetched(text)
        or os.path.exists(os.path.expanduser(text))
    )


def offered_location(text: str) -> str:
    """What backends are asked about (``BackendSpec.match``) while the model is still to be fetched.

    A hub repository is its id; a file of a source is its path there, written ``./path``.
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


def _is_fetched(reference: Reference) -> bool:
    if reference.scheme == "path":
        return False
    if reference.scheme in BUILT_IN:
        return True
    from ..plugins import SOURCES  # only here: the built-in schemes must not pay for discovery

    return reference.scheme in SOURCES.names()
