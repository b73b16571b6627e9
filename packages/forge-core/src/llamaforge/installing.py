"""Which pip command installs a distribution here: from the clone, the wheels or the index that forge-core came from."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

_CORE: Final = "forge-core"
_OURS: Final = frozenset(
    {
        _CORE,
        "forge-bench",
        "forge-hf",
        "forge-llamacpp",
        "forge-openai",
        "forge-otel",
        "forge-serve",
        "forge-tgi",
        "forge-vllm",
    }
)
OUR_RANGE: Final = ">=2.0,<3"
"""Keeps a resolver that doesn't see our packages from installing a stranger's of the same name."""

_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?")
_PLAIN: Final = re.compile(r"[\w@%+=:,./~-]+", re.ASCII)


def install_command(*requirements: str) -> str:
    """What to type to install *requirements*: distributions' names, perhaps with extras (``forge-llamacpp[server]``).

    One of ours comes from where forge-core came from: a folder of the clone, together with those of its siblings that
    it needs and that aren't installed; the folder with our wheels; a repository; else the package index. Any other
    comes from the index.
    """
    arguments = dict.fromkeys(each for requirement in requirements for each in _arguments(requirement))
    return f"pip install {' '.join(arguments)}"


def reinstall_command(distribution: str, *, damaged: bool = False) -> str:
    """What to type to install *distribution* again, as it was installed before.

    *damaged*: files of it are missing, so pip must not be content with the version that it finds.
    """
    name, _ = split(distribution)
    origin = _origin(name)
    if origin.folder is not None and name not in _OURS:
        return f"pip install {'-e ' if origin.editable else ''}{_shown(origin.folder)}"
    options = "--force-reinstall --no-deps" if damaged else "--upgrade"
    command = install_command(distribution)
    # From a folder pip always installs anew.
    return command if origin.folder is not None else command.replace("pip install", f"pip install {options}", 1)


def pip_here() -> str | None:
    """How this environment's pip is typed, where just ``pip`` may be another one's; None: ``pip`` is right."""
    environment = os.environ.get("HATCH_ENV_ACTIVE")
    if environment:  # what hatch runs has a PATH of its own, but the shell that hatch is typed in has not
        return "hatch run pip" if environment == "default" else f"hatch run {environment}:pip"
    found = shutil.which("pip")
    if found is not None and Path(found).parent == Path(sysconfig.get_path("scripts")):
        return None
    if importlib.util.find_spec("pip") is None and shutil.which("uv") is not None:
        return "uv pip"
    return f"{_quoted(sys.executable)} -m pip"


def split(requirement: str) -> tuple[str, str]:
    """The normalized name that *requirement* begins with, and its extras: ``[server]``, or nothing."""
    found = _REQUIREMENT.match(requirement)
    if found is None:
        return requirement, ""
    return re.sub(r"[-_.]+", "-", found[1]).lower(), found[2] or ""


def metadata() -> Any:
    """The metadata library: its backport below Python 3.13, for ``Distribution.origin``."""
    return importlib.import_module("importlib.metadata" if sys.version_info >= (3, 13) else "importlib_metadata")


def find_distribution(name: str) -> Any:
    """The installed distribution *name*, by the metadata library; None: it isn't installed."""
    library = metadata()
    try:
        return library.distribution(name)
    except library.PackageNotFoundError:
        return None


def _arguments(requirement: str) -> Iterator[str]:
    name, extras = split(requirement)
    if name not in _OURS:
        yield _quoted(requirement)
        return
    origin = _origin(_CORE)
    clone = _clone(origin)
    if clone is not None and (folders := list(_folders(clone, name, extras))):
        yield from folders
    elif origin.wheels is not None and any(origin.wheels.glob(f"{name.replace('-', '_')}-*.whl")):
        yield f"--find-links {_shown(origin.wheels)}"
        yield _quoted(name + extras + OUR_RANGE)
    elif origin.repository is not None and origin.repository.endswith(f"packages/{_CORE}"):
        yield _quoted(f"{name}{extras} @ {origin.repository.removesuffix(_CORE)}{name}")
    else:
        yield _quoted(name + extras + OUR_RANGE)


def is_installed(requirement: str) -> bool:
    """Whether the distribution is installed, together with those of ours that the extras in *requirement* need.

    What else an extra brings is an engine, which may also be found outside this environment.
    """
    name, extras = split(requirement)
    found = find_distribution(name)
    if found is None:
        return False
    markers = [re.compile(rf"""\bextra\s*==\s*["']{re.escape(extra)}["']""") for extra in _names(extras)]
    needed = [text for text in found.requires or () if any(marker.search(text) for marker in markers)]
    ours = [name for name, _ in map(split, needed) if name in _OURS]
    return all(find_distribution(name) is not None for name in ours)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a distribution was installed from, by its ``direct_url.json`` (PyPA's "Direct URL Origin").

    Attributes: *folder* with its source, *editable*; or the folder with *wheels*; or *repository*, as pip takes it.
    """

    folder: Path | None = None
    editable: bool = False
    wheels: Path | None = None
    repository: str | None = None


def _origin(name: str) -> _Origin:
    url = getattr(getattr(find_distribution(name), "origin", None), "url", None)
    if url is None:
        return _Origin()
    about = find_distribution(name).origin
    control = getattr(about, "vcs_info", None)
    if control is not None:
        below = getattr(about, "subdirectory", "")
        return _Origin(repository=f"{control.vcs}+{url}@{control.commit_id}#subdirectory={below}" if below else None)
    parts = urlsplit(str(url))
    if parts.scheme != "file":
        return _Origin()
    from urllib.request import url2pathname  # here, like tomllib below: advice is rare, and all programs would pay

    path = Path(url2pathname(unquote(parts.path)))
    if hasattr(about, "dir_info"):
        if not (path / "pyproject.toml").is_file():
            return _Origin()
        return _Origin(folder=path, editable=bool(getattr(about.dir_info, "editable", False)))
    return _Origin(wheels=path.parent)


def _clone(origin: _Origin) -> Path | None:
    """The folder with the folders of our distributions: forge-core's own source, or what it was installed from."""
    source = Path(__file__).absolute().parents[2]
    for folder in (source, origin.folder):
        if folder is not None and folder.name == _CORE and (folder / "pyproject.toml").is_file():
            return folder.parent
    return None


def _folders(clone: Path, name: str, extras: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Arguments for pip: the clone's folder of *name*, after those that it needs and that aren't installed."""
    import tomllib

    folder = clone / name
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return
    optional = project.get("optional-dependencies", {})
    wanted = [*project.get("dependencies", ()), *(each for extra in _names(extras) for each in optional.get(extra, ()))]
    for needed in wanted:
        sibling, its_extras = split(needed)
        if sibling in _OURS and sibling not in (name, *seen) and find_distribution(sibling) is None:
            yield from _folders(clone, sibling, its_extras, (*seen, name))
    origin = _origin(name)
    yield f"{'-e ' if origin.editable else ''}{_shown(folder, extras)}"


def _names(extras: str) -> list[str]:
    return [each.strip() for each in extras.strip("[]").split(",") if each.strip()]


def _shown(path: Path, extras: str = "") -> str:
    """*path* as it is typed here: below the working folder relative to it."""
    try:
        below = path.relative_to(Path.cwd())
        short = f".{os.sep}{below}" if len(below.parts) < len(path.parts) - 1 else str(path)
    except (ValueError, OSError):
        short = str(path)
    return _quoted(short + extras)


def _quoted(text: str) -> str:
    """*text* as an argument in a shell; double quotes where they do, for Windows knows no others."""
    if _PLAIN.fullmatch(text):
        return text
    return f'"{text}"' if os.name == "nt" or not re.search(r'["$`\\!]', text) else shlex.quote(text)
