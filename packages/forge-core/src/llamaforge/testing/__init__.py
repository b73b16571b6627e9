"""The conformance kit: whether a backend keeps the contract. An extra: ``pip install "forge-core[testing]"``.

A plugin's whole test file::

    from llamaforge.testing import BackendConformance

    class TestMyEngine(BackendConformance):
        backend = "my_engine"            # a registered name, or a class
        model = "path-or-name"           # a reference is resolved through llamaforge.sources
        parameters = {}                  # load parameters

=============  =======================================================================================
module         what is there
=============  =======================================================================================
``suite``      :class:`BackendConformance`, all checks together
``checks``     the checks, a module a subject
``kit``        the author's settings, and the fixtures
``subject``    the backend under test and the ways to ask it
``guard``      no check can be dropped silently
``expect``     how a check says what it expected and what came
``watching``   measurements of this process; ``importing``: what an import brings with it
``fakes``      a toy model with a real distribution, and sound backends on it
``defects``    backends that are broken on purpose, each with the check that catches it
=============  =======================================================================================

Only this package imports pytest; ``import llamaforge`` does not.
"""

from __future__ import annotations

from .expect import NotAsExpected
from .suite import BackendConformance

__all__ = ["BackendConformance", "NotAsExpected"]
