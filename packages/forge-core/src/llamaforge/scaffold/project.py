"""The files of a new distribution: rendered first, all of them, and then written."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from .names import Names

_SUFFIX: Final = ".tmpl"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a new backend may drive."""

    summary: str
    """One line for people."""
    requires: tuple[str, ...]
    """What its distribution depends on."""
    engine: str | None
    """Where the small engine that writes text belongs: into the backend, or behind the server that the tests start.
    None: the layers have an engine of another kind."""
    layers: tuple[str, ...]
    """Folders of templates, whose files together are the distribution."""


_CORE: Final = ("forge-core>=2.0,<3", "msgspec>=0.19")

KINDS: Final = {
    "in-process": Kind(
        "an engine that runs in this process", _CORE, "src/__package__/engine.py", ("common", "in-process")
    ),
    "engine": Kind(
        "a model in this process that gives logits, for many callers, with formats and tools",
        ("forge-core[chat,constraints]>=2.0,<3", "msgspec>=0.19", "numpy>=1.26"),
        None,
        ("common", "engine"),
    ),
    "embedder": Kind(
        "an engine in this process that makes vectors",
        _CORE,
        None,
        ("common", "vectors", "embedder"),
    ),
    "reranker": Kind(
        "an engine in this process that scores documents",
        _CORE,
        None,
        ("common", "vectors", "reranker"),
    ),
    "connectable": Kind(
        "a server with an HTTP protocol of its own",
        _CORE,
        "tests/toy_engine.py",
        ("common", "server", "connectable"),
    ),
    "openai-server": Kind(
        "a server that speaks OpenAI's API",
        (*_CORE, "forge-openai>=2.0,<3"),
        "tests/toy_engine.py",
        ("common", "server", "openai-server"),
    ),
}


def render(kind: str, names: Names) -> dict[str, str]:
    """Every file of the new distribution: its path below the distribution's folder, with slashes, and its text.

    Raises KeyError for an unknown *kind*.
    """
    chosen = KINDS[kind]
    requires = "".join(f'  "{each}",\n' for each in chosen.requires)
    year = datetime.now(tz=UTC).year
    values = {**asdict(names), "requires": requires, "year": str(year)}
    templates = files(__package__) / "templates"
    found = {path: template for layer in chosen.layers for path, template in _walk(templates / layer)}
    if chosen.engine is not None:
        found[chosen.engine] = templates / f"engine.py{_SUFFIX}"
    return {
        _named(path, names): string.Template(template.read_text(encoding="utf-8")).substitute(values)
        for path, template in sorted(found.items())
    }


def write(folder: Path, rendered: Mapping[str, str]) -> None:
    """Write *rendered* into *folder*, which is made, or is there and empty. Nothing that exists is overwritten.

    Raises FileExistsError or NotADirectoryError where *folder* is in use, and OSError where it can't be written; what
    had been written is taken away again.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty.")
    made: list[Path] = []
    try:
        for path, text in rendered.items():
            _make_folder((folder / path).parent, made)
            with (folder / path).open("x", encoding="utf-8", newline="\n") as file:
                made.append(folder / path)
                file.write(text)
    except BaseException:
        for each in reversed(made):
            with contextlib.suppress(OSError):
                if each.is_dir():
                    each.rmdir()
                else:
                    each.unlink()
        raise


def _make_folder(folder: Path, made: list[Path]) -> None:
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(f"{folder} is a file.")
        _make_folder(folder.parent, made)
        folder.mkdir()
        made.append(folder)


def _walk(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield above + entry.name.removesuffix(_SUFFIX), entry


def _named(path: str, names: Names) -> str:
    return path.replace("__package__", names.package).replace("__module__", names.module)
