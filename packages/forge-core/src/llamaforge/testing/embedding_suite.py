"""The base classes of tests for backends that make vectors or rank documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from .checks.quiet import QuietChecks
from .checks.rankings import RankingChecks
from .checks.tasks import TaskChecks
from .checks.vector_callers import VectorCallerChecks
from .checks.vector_options import VectorOptionChecks
from .checks.vector_texts import VectorTextChecks
from .checks.vectors import VectorChecks
from .expect import Told, expect
from .guard import checks_of, guard, kit_members
from .kit import Kit
from .promises import annotate


class _Suite(Kit):
    """What both have in common."""

    suite: ClassVar[type[Kit]]

    def test_no_check_was_removed(self) -> None:
        """The class has every check of the kit, unless it is excused.

        Why: a check that was removed passes. Look at: assignments to the class after it was made.
        """
        cls = type(self)
        for name, original in kit_members(self.suite).items():
            found = next((vars(owner)[name] for owner in cls.__mro__ if name in vars(owner)), None)
            excused = name in cls.exceptions and getattr(found, "excused_from", None) is original
            expect(found is original or excused, f"the kit's own {name}", Told(f"{found!r}"))


class EmbeddingConformance(
    VectorChecks, VectorTextChecks, VectorOptionChecks, VectorCallerChecks, QuietChecks, TaskChecks, _Suite
):
    """The conformance test of a backend that makes vectors. A plugin's whole test file::

        from llamaforge.testing import EmbeddingConformance

        class TestMyVectors(EmbeddingConformance):
            backend = "my_engine"            # a registered name, or a class
            model = "path-or-name"           # a reference is resolved through llamaforge.sources
            parameters = {"task": "embed"}   # load parameters

    ``rounding`` is how much a component of a vector of length 1 may depend on what else is computed. ``patience`` and
    ``exceptions`` are those of :class:`BackendConformance`.
    """

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        guard(cls, EmbeddingConformance)

    @classmethod
    def checks(cls) -> dict[str, Callable[..., None]]:
        """Every check, by name."""
        return checks_of(EmbeddingConformance)


class RerankConformance(RankingChecks, QuietChecks, TaskChecks, _Suite):
    """The conformance test of a backend that ranks documents; see :class:`EmbeddingConformance`.

    ``rounding`` is how much a score may depend on what else is computed.
    """

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        guard(cls, RerankConformance)

    @classmethod
    def checks(cls) -> dict[str, Callable[..., None]]:
        """Every check, by name."""
        return checks_of(RerankConformance)


EmbeddingConformance.suite, RerankConformance.suite = EmbeddingConformance, RerankConformance
for _checks in (
    VectorChecks,
    VectorTextChecks,
    VectorOptionChecks,
    VectorCallerChecks,
    RankingChecks,
    QuietChecks,
    _Suite,
):
    annotate(checks_of(_checks))
