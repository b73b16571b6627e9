"""From a backend's name to the names of its distribution, package, classes and test file."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 40
"""Characters that a name or a package may have: lines of the templates hold them."""

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SEPARATORS: Final = re.compile(r"[._-]+")
_PREFIX: Final = "forge"
_TAKEN_PACKAGES: Final = frozenset({"llamaforge", "toy_engine", "toy_server"})
_TAKEN_MODULES: Final = frozenset({"errors"})
"""Other test files have these names."""
_TAKEN_STEMS: Final = frozenset({"base", "backend", "openai"})
"""BaseBackend, BackendConfig and OpenAIBackend are classes that the new ones are made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Every name that the scaffold needs."""

    name: str
    """The backend's, as users type it: ``my-engine``."""
    distribution: str
    """What pip installs: ``forge-my-engine``."""
    package: str
    """What Python imports: ``forge_my_engine``."""
    stem: str
    """What its classes begin with: ``MyEngine``."""
    module: str
    """Of its test file: ``my_engine``."""


def normalized(name: str) -> str:
    """*name* as package indexes compare names (PEP 503): ``My_Engine`` and ``my-engine`` are one."""
    return _SEPARATORS.sub("-", name).lower()


def derive(name: str, package: str | None = None) -> Names:
    """All names from the backend's *name*, and from *package* where the author chooses that.

    Raises ValueError, with what is allowed, for an invalid name and for a package that Python could not import.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} can't be a backend's name: use ASCII letters, digits, dots, dashes and underscores, with a "
            "letter or a digit at both ends."
        )
    if len(name) > LONGEST:
        raise ValueError(f"{name!r} is too long for a backend's name: {LONGEST} characters at most.")
    plain = normalized(name)
    if package is None:
        package = _prefixed(plain).replace("-", "_")
    else:
        _check_package(package)
    return Names(
        name=name,
        distribution=normalized(package),
        package=package,
        stem=_stem(name),
        module=_module(plain.replace("-", "_")),
    )


def _prefixed(plain: str) -> str:
    return plain if plain.startswith(f"{_PREFIX}-") else f"{_PREFIX}-{plain}"


def _module(plain: str) -> str:
    return f"{plain}_backend" if plain in _TAKEN_MODULES else plain


def _check_package(package: str) -> None:
    if not (package.isascii() and package.isidentifier() and package[0] != "_" and package[-1] != "_"):
        hint = normalized(package).replace("-", "_").strip("_")
        better = f", such as {hint}" if hint.isidentifier() and hint != package else ""
        raise ValueError(
            f"{package!r} can't be a package's name: use letters, digits and underscores, a letter first{better}."
        )
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN_PACKAGES:
        raise ValueError(f"{package!r} can't be a package's name: Python or LlamaForge uses it already.")
    if len(package) > LONGEST:
        raise ValueError(f"{package!r} is too long for a package's name: {LONGEST} characters at most.")


def _stem(name: str) -> str:
    """*name* in the form of a class's name, its own capitals kept: ``vLLM-fork`` is ``VLLMFork``."""
    stem = "".join(part[0].upper() + part[1:] for part in _SEPARATORS.split(name) if part)
    return f"Forge{stem}" if stem[0].isdigit() or stem.lower() in _TAKEN_STEMS else stem
