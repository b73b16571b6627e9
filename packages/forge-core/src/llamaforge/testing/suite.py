"""All checks together: the base class of a plugin's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .checks.alternatives import AlternativeChecks
from .checks.answers import AnswerChecks
from .checks.arithmetic import ArithmeticChecks
from .checks.arithmetic_signs import PenaltySignChecks
from .checks.async_manners import AsyncMannersChecks
from .checks.batches import BatchChecks
from .checks.cancelling import CancellationChecks
from .checks.characters import CharacterChecks
from .checks.chat import ChatChecks
from .checks.configuration import ConfigurationChecks
from .checks.constraints import ConstraintChecks
from .checks.context import ContextChecks
from .checks.conversations import ConversationChecks
from .checks.crowds import CrowdChecks
from .checks.draws import DrawChecks
from .checks.edges import EdgeChecks
from .checks.errors import ErrorChecks
from .checks.explanations import ExplanationChecks
from .checks.flowing import FlowingChecks
from .checks.guesses import GuessChecks
from .checks.keeping import KeepingChecks
from .checks.lifecycle import LifecycleChecks
from .checks.logprobs import LogprobChecks
from .checks.loops import AsyncChecks
from .checks.malformed import MalformedChecks
from .checks.memory import MemoryChecks
from .checks.numbers import NumberChecks
from .checks.output import OutputChecks
from .checks.packaging import PackagingChecks
from .checks.parameters import ParameterChecks
from .checks.paths import PathChecks
from .checks.prefill import PrefillChecks
from .checks.process import ProcessChecks
from .checks.pulls import PullChecks
from .checks.readiness import ReadinessChecks
from .checks.reading import ReadingChecks
from .checks.reasoning import ReasoningChecks
from .checks.sampling import SamplingChecks
from .checks.secrecy import SecretChecks
from .checks.spelling import SpellingChecks
from .checks.starting import StartingChecks
from .checks.states import StateChecks
from .checks.stopping import StoppingChecks
from .checks.stops import StopChecks
from .checks.tasks import TaskChecks
from .checks.telling import TellingChecks
from .checks.templates import TemplateChecks
from .checks.text import TextChecks
from .checks.threads import ThreadChecks
from .checks.tool_choices import ToolChoiceChecks
from .checks.tooling import ToolingChecks
from .checks.unloading import UnloadingChecks
from .checks.usage import UsageChecks
from .checks.values import ValueChecks
from .checks.widths import WidthChecks
from .expect import Told, expect
from .guard import checks_of, guard, kit_members
from .kit import Kit
from .promises import annotate


# pytest collects the last base first: AnswerChecks come last. The checks that load models of their own run before the
# shared one is loaded.
class BackendConformance(
    AnswerChecks,
    CrowdChecks,
    ThreadChecks,
    AsyncChecks,
    AsyncMannersChecks,
    CancellationChecks,
    StartingChecks,
    ErrorChecks,
    ExplanationChecks,
    ChatChecks,
    ConversationChecks,
    TemplateChecks,
    ReadingChecks,
    CharacterChecks,
    LogprobChecks,
    AlternativeChecks,
    NumberChecks,
    ArithmeticChecks,
    DrawChecks,
    WidthChecks,
    ValueChecks,
    StateChecks,
    PathChecks,
    BatchChecks,
    ContextChecks,
    EdgeChecks,
    GuessChecks,
    ToolingChecks,
    PenaltySignChecks,
    PrefillChecks,
    PullChecks,
    SamplingChecks,
    ToolChoiceChecks,
    ReasoningChecks,
    ConstraintChecks,
    MalformedChecks,
    StopChecks,
    StoppingChecks,
    UsageChecks,
    TellingChecks,
    TextChecks,
    SpellingChecks,
    FlowingChecks,
    ParameterChecks,
    SecretChecks,
    OutputChecks,
    TaskChecks,
    PackagingChecks,
    ReadinessChecks,
    KeepingChecks,
    ConfigurationChecks,
    MemoryChecks,
    UnloadingChecks,
    LifecycleChecks,
    ProcessChecks,
):
    """The conformance test of a backend. A plugin's whole test file::

        from llamaforge.testing import BackendConformance

        class TestMyEngine(BackendConformance):
            backend = "my_engine"            # a registered name, or a class
            model = "path-or-name"           # a reference is resolved through llamaforge.sources
            parameters = {}                  # load parameters

    :class:`llamaforge.testing.kit.Kit` documents further settings: ``prompt``, ``greedy``, ``context_size``,
    ``max_load_cycles``, ``patience``, ``rounding``, ``crowd``, ``normalizes``.

    No check is left out: undeclared features must be refused, and a basic backend must refuse everything beyond its
    four methods. If a check can't hold for a backend, exempt it by name, with a reason; it is then reported as
    skipped::

            exceptions = {"test_usage_is_told": "the server counts no tokens"}

    Defining a class that deletes or overrides a check without a reason raises TypeError.
    """

    def __init_subclass__(cls, **more: Any) -> None:
        super(Kit, cls).__init_subclass__(**more)  # an author's own tests take the time that they need
        guard(cls, BackendConformance)

    @classmethod
    def checks(cls) -> dict[str, Callable[..., None]]:
        """Every check, by name."""
        return checks_of(BackendConformance)

    def test_no_check_was_removed(self) -> None:
        """The class has every check of the kit, unless it is excused.

        Why: a check that was removed passes. Look at: assignments to the class after it was made.
        """
        cls = type(self)
        for name, original in kit_members(BackendConformance).items():
            found = next((vars(owner)[name] for owner in cls.__mro__ if name in vars(owner)), None)
            excused = name in cls.exceptions and getattr(found, "excused_from", None) is original
            expect(found is original or excused, f"the kit's own {name}", Told(f"{found!r}"))


annotate(BackendConformance.checks())
