"""What the documents promise, and the checks that hold a backend to it.

docs/contract.md, docs/parameters.md, docs/engines.md and docs/embeddings.md show a number beside each promise. Here is
what becomes of it: the checks of the kit, or the files of LlamaForge's own tests where nothing can be seen from outside
a backend. Tests fail for a promise without either, for a check without a promise, and for a capability that lacks one
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from . import asking, embeddings, engines, parameters, plugins, replacing, serving
from .promise import PAGES, Promise

__all__ = ["BY_CHECK", "PAGES", "PROMISES", "Promise", "annotate"]

PROMISES: Final[Mapping[str, Promise]] = {
    promise.id: promise
    for part in (asking, serving, replacing, plugins, parameters, engines, embeddings)
    for promise in part.PROMISES
}
"""Every promise, by its id."""

BY_CHECK: Final[Mapping[str, tuple[Promise, ...]]] = {
    check: tuple(promise for promise in PROMISES.values() if check in promise.checks)
    for check in dict.fromkeys(name for promise in PROMISES.values() for name in promise.checks)
}
"""The promises that a check holds a backend to, by the check's name."""


def annotate(checks: Mapping[str, Callable[..., Any]]) -> None:
    """Write into each check's docstring which promises it is for."""
    for name, check in checks.items():
        kept = BY_CHECK.get(name, ())
        if kept and check.__doc__:
            told = "; ".join(f"{promise.id} ({promise.says})" for promise in kept)
            check.__doc__ = f"{check.__doc__.rstrip()}\n\n        Promises: {told}.\n        "
