"""Defects that show at sizes which short tests don't reach, and in texts that they don't have."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, TextDelta
from ..fakes import AsyncToyBackend, ToyBackend
from ..fakes.sampling import Mask, ToySampler
from .entry import ASYNC, Defect
from .planting import Moment, plant

WIDE: Final = "test_a_wide_top_k_keeps_exactly_that_many"
LOW: Final = "test_a_low_temperature_is_taken_as_it_is"
SMALL: Final = "test_a_small_min_p_is_taken_as_it_is"
LONG: Final = "test_a_penalty_counts_the_whole_of_a_long_answer"
READ: Final = "test_a_penalty_reads_the_whole_of_a_long_prompt"
TEXT: Final = "test_a_text_comes_out_as_it_is"
UNCUT: Final = "test_a_long_text_is_not_cut"
TURNS: Final = "test_each_turn_of_a_long_conversation_counts"
WHOLE: Final = "test_all_of_a_long_prompt_counts"
FORM: Final = "test_parameters_hold_within_a_form"
FLOWS: Final = "test_no_path_collects_an_answer"
EARLY: Final = "test_a_long_answer_begins_early"
TALK: Final = "test_a_long_conversation_takes_every_parameter"
TOOL: Final = "test_a_tool_that_nobody_asked_for_is_not_forced"


class _WindowOf64(ToySampler):
    """Counts the last 64 tokens alone."""

    def __init__(self, request: GenerationRequest, prompt: Sequence[int], size: int) -> None:
        super().__init__(request, prompt, size)
        self._said: list[int] = []

    def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
        chosen = super().choose(logits, allowed)
        self._said.append(chosen)
        self._counts = Counter(self._said[-64:])
        return chosen


class _TheEndOfThePrompt(ToySampler):
    """Knows the last 64 tokens of the prompt."""

    def __init__(self, request: GenerationRequest, prompt: Sequence[int], size: int) -> None:
        super().__init__(request, prompt[-64:], size)


class _TheBeginningOfThePrompt(ToySampler):
    """Knows the first 64 tokens of the prompt."""

    def __init__(self, request: GenerationRequest, prompt: Sequence[int], size: int) -> None:
        super().__init__(request, prompt[:64], size)


class _Edits(ToyBackend):
    """Its text is edited on the way."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """As it would not have it."""
        for event in super().stream(request, cancellation):
            if isinstance(event, TextDelta) and event.text:
                text = self.edited(event.text)
                if text or event.logprobs:
                    yield TextDelta(text, event.logprobs)
            else:
                yield event

    def edited(self, text: str) -> str:
        """The text as it is passed on."""
        raise NotImplementedError


class DropsCarriageReturns(_Edits):
    """Has Unix's line ends."""

    def edited(self, text: str) -> str:
        """Without the others."""
        return text.replace("\r", "")


class DropsReplacementCharacters(_Edits):
    """Takes every U+FFFD for a broken character."""

    def edited(self, text: str) -> str:
        """Without it."""
        return text.replace("\ufffd", "")


class DropsNuls(_Edits):
    """Takes NULs for nothing."""

    def edited(self, text: str) -> str:
        """Without them."""
        return text.replace("\0", "")


class CollectsWithStopStrings(ToyBackend):
    """Looks for stop strings in the whole answer."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """All at once, where there are any."""
        events = super().stream(request, cancellation)
        yield from list(events) if request.stop else events


class CollectsInLoops(AsyncToyBackend):
    """Awaits the whole answer."""

    stream = ToyBackend.stream

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """All at once."""
        for event in [event async for event in super().astream(request, cancellation)]:
            yield event


def _with(**changes: Callable[[Any], Any]) -> Callable[[GenerationRequest], GenerationRequest]:
    return lambda request: replace(request, **{name: of(getattr(request, name)) for name, of in changes.items()})


def _in_long_conversations(moment: Moment) -> bool:
    return len(moment.request.messages or ()) > 3


def _in_forms(moment: Moment) -> bool:
    return moment.request.response_format is not None


DEFECTS: Final[tuple[Defect, ...]] = (
    plant("a top_k above 40 is none", WIDE, change=_with(top_k=lambda k: 0 if k and k > 40 else k)),
    plant("keeps 64 tokens at most", WIDE, change=_with(top_k=lambda k: k and min(k, 64))),
    plant("is never hotter than 5", WIDE, change=_with(temperature=lambda t: t and min(t, 5.0))),
    plant("rounds temperatures", LOW, change=_with(temperature=lambda t: t and round(t, 1))),
    plant("is never colder than 0.1", LOW, change=_with(temperature=lambda t: t and max(t, 0.1))),
    plant("a min_p below 0.05 is none", SMALL, change=_with(min_p=lambda p: p if p and p >= 0.05 else 0.0)),
    plant("counts the last 64 tokens", LONG, kind=_WindowOf64),
    plant("penalizes the end of the prompt", READ, kind=_TheEndOfThePrompt),
    plant("penalizes the beginning of the prompt", READ, kind=_TheBeginningOfThePrompt),
    plant("stops at blank lines", TEXT, change=_with(stop=lambda stops: (*(stops or ()), "\n\n"))),
    plant("stops at a user's turn", TEXT, change=_with(stop=lambda stops: (*(stops or ()), "User:"))),
    Defect(name="drops carriage returns", target="sizes:DropsCarriageReturns", checks=(TEXT,)),
    Defect(name="drops replacement characters", target="sizes:DropsReplacementCharacters", checks=(TEXT,)),
    Defect(name="drops NULs", target="sizes:DropsNuls", checks=("test_a_nul_does_not_end_a_text",)),
    plant("512 tokens by default", UNCUT, change=_with(max_tokens=lambda most: most or 512)),
    plant("300 tokens at most", UNCUT, change=_with(max_tokens=lambda most: most and min(most, 300))),
    plant(
        "forgets the first of many turns",
        TURNS,
        where=_in_long_conversations,
        change=_with(messages=lambda turns: turns[1:]),
    ),
    plant("reads 4000 characters", WHOLE, reads=lambda text, _: text[:4000]),
    plant("forgets biases in forms", FORM, where=_in_forms, logit_bias=None),
    plant("is greedy in forms", FORM, where=_in_forms, temperature=0.0),
    plant("forgets stop strings in long conversations", TALK, where=_in_long_conversations, stop=()),
    plant("forgets top_k in long conversations", TALK, where=_in_long_conversations, top_k=0),
    plant(
        "must call a tool if there is one",
        TOOL,
        change=lambda r: replace(r, tool_choice="required") if r.tools and r.tool_choice is None else r,
    ),
    Defect(
        name="collects with stop strings",
        target="sizes:CollectsWithStopStrings",
        checks=(FLOWS,),
        parameters={"delay": 0.001},
    ),
    Defect(
        name="collects in loops",
        target="sizes:CollectsInLoops",
        checks=(FLOWS, EARLY),
        sound=ASYNC,
        parameters={"delay": 0.002},
    ),
)
