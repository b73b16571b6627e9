"""``pkg:package/file``: data of a package that is installed here, found without running the package's code."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import SourceNotFoundError, closest
from .local import closest_paths
from .reference import invalid, split_file
from .spec import Progress, Reference, ResolvedModel
from .split import check_first_part, missing_parts

_EXAMPLE = "pkg:my_models/llama.gguf"
_LISTED = 2000


def resolve_pkg(reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool) -> ResolvedModel:
    """The file or folder below the folder of an installed package. No network, no import."""
    package, file = read_target(reference)
    parts = package.split(".")
    folders = [folder.joinpath(*parts[1:]) for folder in _folders(reference, package, parts[0])]
    for folder in folders:
        path = folder.joinpath(*file.split("/"))
        if path.is_file() or path.is_dir():
            check_first_part(reference, file)
            if absent := missing_parts(path):
                raise SourceNotFoundError(
                    reference.text,
                    f"the installed package {package!r} has only some parts of it: {absent[0].name} is missing.",
                )
            return ResolvedModel(reference.text, str(path), path, None, "pkg")
    near = closest_paths(file, (name for folder in folders for name in _listing(folder)))
    hint = f" Did you mean {' or '.join(repr(f'pkg:{package}/{name}') for name in near)}?" if near else ""
    raise SourceNotFoundError(reference.text, f"the installed package {package!r} has no {file!r}.{hint}")


def read_target(reference: Reference) -> tuple[str, str]:
    """The package, and the path of the file in it. Raises InvalidReferenceError."""
    return split_file(reference, owner_is="the package", example=_EXAMPLE)


def _folders(reference: Reference, package: str, top: str) -> list[Path]:
    """The folders of the top-level package. Only finders are asked: for a dotted name they would import its parents."""
    if not all(part.isidentifier() for part in package.split(".")):
        raise SourceNotFoundError(reference.text, _not_installed(package))
    try:
        spec: importlib.machinery.ModuleSpec | None = importlib.util.find_spec(top)
    except (ValueError, ImportError, AttributeError):  # a module without a spec, or a finder that is broken
        spec = None
    if spec is None:
        raise SourceNotFoundError(reference.text, _not_installed(package))
    if spec.submodule_search_locations is None:
        raise invalid(reference.text, f"{top!r} is a single module, not a package, so it has no files of its own.")
    folders = [Path(location).absolute() for location in spec.submodule_search_locations]
    if not any(folder.is_dir() for folder in folders):
        raise SourceNotFoundError(
            reference.text, f"{top!r} is installed as an archive. Unpack it: engines read models from plain files."
        )
    return folders


def _listing(folder: Path) -> Iterator[str]:
    count = 0
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            count += 1
            if count > _LISTED:
                return
            yield Path(root, name).relative_to(folder).as_posix()


def _not_installed(package: str) -> str:
    """Say whether a distribution of that name is here under another import name, or a package of a similar name."""
    from importlib.metadata import PackageNotFoundError, distribution, packages_distributions

    try:
        inside = sorted({entry.parts[0] for entry in distribution(package).files or () if entry.name == "__init__.py"})
    except (PackageNotFoundError, ValueError):
        near = closest(package, packages_distributions())
        hint = (
            f" Did you mean {' or '.join(map(repr, near))}?" if near else " Install it, or use pypi: to fetch the file."
        )
        return f"no package {package!r} is installed.{hint}"
    names = ", ".join(repr(name) for name in inside) or "nothing to import"
    return f"{package!r} is a distribution; its packages are: {names}. Write pkg: with one of these."
