"""What is installed, from where, and the pip command that mends it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from ...backends.distributions import DISTRIBUTIONS
from ...plugins import metadata
from ...sources.redact import redact

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_OURS = frozenset({"forge-core", *DISTRIBUTIONS.values()})
_RANGE = ">=2.0,<3"
"""Keeps a resolver that does not see our packages from installing a stranger's of the same name."""


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
    found = _find(name)
    plain = [text for text in (found.requires or [] if found is not None else []) if ";" not in text]
    return [text for text in plain if _find(_name_of(text)) is None]


def requirement(name: str | None, wanted: str) -> str:
    """How the distribution *name* requires *wanted*, as pip takes it; else just *wanted*."""
    found = _find(name)
    for text in (found.requires or []) if found is not None else []:
        if _normal(_name_of(text)) == _normal(wanted):
            return str(text).partition(";")[0].strip()
    return wanted


def upgrade(name: str | None) -> str | None:
    """The command that installs the distribution *name* anew, with all that it requires; None: it has no name."""
    if name is None:
        return None
    described = describe(name)
    if described["editable"]:
        return f'pip install -e "{described["location"]}"'
    return f'pip install --upgrade "{name}{_RANGE}"' if name in _OURS else f"pip install --upgrade {name}"


def _find(name: str | None) -> Any:
    if name is None:
        return None
    library = metadata()
    try:
        return library.distribution(name)
    except library.PackageNotFoundError:
        return None


def _path_of(url: object) -> str:
    parts = urlsplit(str(url))
    return url2pathname(unquote(parts.path)) if parts.scheme == "file" else redact(str(url))


def _name_of(text: str) -> str:
    found = _NAME.match(text)
    return found[1] if found else text


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
