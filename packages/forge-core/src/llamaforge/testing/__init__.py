"""The conformance kit: tests whether a backend keeps the contract. Needs the extra ``forge-core[testing]``.

A plugin's whole test file::

    from llamaforge.testing import BackendConformance

    class TestMyEngine(BackendConformance):
        backend = "my_engine"            # a registered name, or a class
        model = "path-or-name"           # a reference is resolved through llamaforge.sources
        parameters = {}                  # load parameters

=============  =======================================================================================
module         contents
=============  =======================================================================================
``suite``      :class:`BackendConformance`, all checks together; ``embedding_suite``: those for vectors and rankings
``checks``     the checks, one module for each subject
``kit``        the author's settings, and the fixtures
``subject``    the backend under test and the ways to ask it
``promises``   what the documents promise, and the checks for each promise
``oracle``     what parameters must do to the probabilities that a backend reports
``patience``   runs checks so that none hangs; ``run``: what is known of a class while its checks run
``settings``   what an author may get wrong in the test class
``plugin``     the summary at the end of pytest's output
``promises``   what the documents promise, and which checks hold a backend to it
``guard``      prevents checks from being dropped silently
``expect``     assertions that report the expected and the actual value
``watching``   measurements of this process; ``importing``: what an import loads
``fakes``      a toy model with a real distribution, and correct backends for it
``defects``    deliberately broken backends, each with the check that catches it
=============  =======================================================================================

Only this package imports pytest; ``import llamaforge`` does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .embedding_suite import EmbeddingConformance, RerankConformance
    from .expect import NotAsExpected
    from .suite import BackendConformance

__all__ = ["BackendConformance", "EmbeddingConformance", "NotAsExpected", "RerankConformance"]

_HOMES: Final = {
    "BackendConformance": "suite",
    "EmbeddingConformance": "embedding_suite",
    "NotAsExpected": "expect",
    "RerankConformance": "embedding_suite",
}


def __getattr__(name: str) -> Any:
    """pytest imports this package's plugin wherever it runs: the kit itself is imported where it is used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
