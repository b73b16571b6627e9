"""Take a model reference apart. Pure text: nothing here looks at a disk or a network."""

from __future__ import annotations

import re

from ..errors import InvalidReferenceError
from .redact import redact
from .spec import Reference

# Two letters at least: one letter before a colon is a Windows drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MARK = "#sha256="
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def invalid(reference: str, reason: str) -> InvalidReferenceError:
    """The error for *reference*, credentials masked."""
    return InvalidReferenceError(redact(reference), reason)


def parse(text: str, sha256: str | None = None) -> Reference:
    """Take *text* apart; what has no scheme is a path.

    Args:
        text: the reference.
        sha256: the checksum expected by the caller; must agree with one in *text*.

    Raises InvalidReferenceError for an empty reference, control characters, or an invalid checksum.
    """
    if not text.strip():
        raise invalid(text, "it is empty. Give a path, pkg:..., pypi:... or hf:...")
    if _CONTROL.search(text):
        raise invalid(text, "it contains a control character, such as a line break.")
    body, mark, digest = text.rpartition(_MARK)
    if not mark:
        body, digest = text, ""
    elif not body.strip():
        raise invalid(text, "the reference before the checksum is missing.")
    elif not _SHA256.fullmatch(digest):
        raise invalid(text, "after #sha256= there must be exactly 64 hexadecimal digits.")
    expected = _agreed(text, digest.lower(), sha256)
    found = _SCHEME.match(body)
    if found is None:
        return Reference(text, "path", body, expected)
    return Reference(text, found[1].lower(), body[found.end() :], expected)


def path_reference(path: str, sha256: str | None = None) -> Reference:
    """The reference of a path that is known to be one, whatever characters it holds."""
    return Reference(path, "path", path, _agreed(path, "", sha256))


def _agreed(text: str, written: str, passed: str | None) -> str | None:
    if passed is None:
        return written or None
    if not _SHA256.fullmatch(passed):
        raise invalid(text, "the expected sha256 must be exactly 64 hexadecimal digits.")
    if written and written != passed.lower():
        raise invalid(text, "the checksum in it differs from the expected sha256.")
    return passed.lower()


def split_file(reference: Reference, *, owner_is: str, example: str) -> tuple[str, str]:
    """The target as (owner, path of the file below it), the path checked by :func:`check_path`.

    *owner_is* says what the owner is, and *example* is a whole reference; both for errors.
    """
    owner, _, path = reference.target.partition("/")
    if not owner or not path:
        missing = (
            f"{owner_is} and the file in it are"
            if not owner and not path
            else (f"{owner_is} is" if not owner else f"the path of the file, after {owner}/, is")
        )
        raise invalid(reference.text, f"{missing} missing. A whole reference: {example}")
    check_path(reference, path)
    return owner, path


def check_path(reference: Reference, path: str) -> None:
    """Refuse a path that could lead out of the folder that it is meant to be below of."""
    if (reason := _astray(path)) is not None:
        raise invalid(reference.text, f"the file's path {reason}.")


def stays_below(path: str) -> bool:
    """Whether *path*, joined to a folder, names something below that folder, on every system."""
    return _astray(path) is None


def _astray(path: str) -> str | None:
    if path.startswith("/") or "\\" in path or re.match(r"[A-Za-z]:", path):
        return "must be relative, with forward slashes"
    parts = path.split("/")
    if ".." in parts:
        return "must not contain '..'"
    if "" in parts or "." in parts:
        return "has an empty part, or one that is just a dot"
    return None
