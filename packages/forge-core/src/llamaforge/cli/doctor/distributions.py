"""What is installed, from where, and what it requires."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from ...installing import find_distribution, split
from ...sources.redact import redact


def describe(name: str | None) -> dict[str, Any]:
    """Version and origin of the distribution *name*: its folder, whether it is editable, its URL."""
    found = _find(name)
    described: dict[str, Any] = {"name": name, "version": None, "editable": False, "location": None, "source": None}
    if found is None:
        return described
    origin = found.origin
    url = getattr(origin, "url", None)
    described["version"] = found.version
    described["editable"] = bool(getattr(getattr(origin, "dir_info", None), "editable", False))
    described["location"] = _path_of(url) if described["editable"] else str(found.locate_file(""))
    described["source"] = redact(str(url)) if url else None
    return described


def version(name: str) -> str | None:
    """The version of the distribution *name*; None: it is not installed."""
    found = _find(name)
    return found.version if found is not None else None


def missing_requirements(name: str | None) -> list[str]:
    """What the distribution *name* requires and is not installed, as pip takes it. Extras and markers are left out."""
    return [text for text in _required(name) if find_distribution(split(text)[0]) is None]


def requirement(name: str | None, wanted: str) -> str | None:
    """How the distribution *name* requires *wanted*, as pip takes it; None: it does not, or only an extra does."""
    return next((text for text in _required(name) if split(text)[0] == split(wanted)[0]), None)


def _required(name: str | None) -> list[str]:
    found = _find(name)
    return [text for text in (found.requires or [] if found is not None else []) if ";" not in text]


def _find(name: str | None) -> Any:
    return find_distribution(name) if name is not None else None


def _path_of(url: object) -> str:
    parts = urlsplit(str(url))
    return url2pathname(unquote(parts.path)) if parts.scheme == "file" else redact(str(url))
