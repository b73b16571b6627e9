"""Defects in one state, on one path, after one kind of prompt, or at one value: what is right everywhere else."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, ClassVar, Final

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, Finished, TextDelta, Timings, TokenLogprob
from ..fakes import ToyBackend, ToyLanguage
from ..fakes.sampling import Mask, ToySampler
from .entry import Defect
from .planting import (
    Moment,
    at_first,
    in_chats,
    in_chats_in_loops,
    in_crowds,
    in_loops,
    in_raw_prompts,
    in_streams,
    plant,
    usage,
    when_sampled,
)

ROW: Final = "test_every_request_in_a_row_means_the_same"
PATH: Final = "test_every_parameter_holds_on_every_path"
BEFORE: Final = "test_every_parameter_holds_whatever_came_before"
BESIDE: Final = "test_every_parameter_holds_beside_open_streams"
PROMPT: Final = "test_every_parameter_holds_after_any_prompt"
ASKED: Final = "test_every_answer_keeps_to_its_request"
SUMS: Final = "test_every_answer_follows_the_arithmetic"
TOLD: Final = "test_every_answer_is_told_truthfully"
AGAIN: Final = "test_every_answer_comes_again"
HEAT: Final = "test_a_temperature_is_taken_as_it_is"
OFF: Final = "test_what_is_off_filters_nothing"
FORM: Final = "test_a_form_comes_before_the_filters"
BANS: Final = "test_the_strongest_bans_are_ordered"
LIMIT: Final = "test_a_stop_string_at_the_limit_is_the_reason"
END: Final = "test_the_end_of_an_answer_is_not_lost"
BITS: Final = "test_every_bit_of_a_seed_counts"
PIECES: Final = "test_log_probabilities_come_with_their_text"

ENDS: Final = "test_the_end_of_an_answer_can_be_biased"
LIMITS: Final = "test_every_parameter_holds_whatever_the_limit"
CHARACTERS: Final = "test_every_character_counts"

SHAPES: Final = "test_stop_strings_of_every_shape"
_END: Final = ToyLanguage().end
_NUMBERS: Final = itertools.count()


def _at(number: int) -> Any:
    def where(moment: Moment) -> bool:
        return moment.number == number

    return where


def _after_system_turns(moment: Moment) -> bool:
    return any(turn.role == "system" for turn in moment.request.messages or ())


def _after_long_prompts(moment: Moment) -> bool:
    return len(moment.request.prompt or "") > 600


def _beside_others(moment: Moment) -> bool:
    return moment.at_once > 3


def _in_formats(moment: Moment) -> bool:
    return moment.request.response_format is not None


def _in_long_answers(moment: Moment) -> bool:
    return (moment.request.max_tokens or 0) > 20


def _without_limits(moment: Moment) -> bool:
    return moment.request.max_tokens is None


def _with_top_p(moment: Moment) -> bool:
    return moment.request.top_p not in (None, 1.0)


def _with_tools(moment: Moment) -> bool:
    return bool(moment.request.tools)


def _with_stops(moment: Moment) -> bool:
    return bool(moment.request.stop)


class LosesPenaltiesInEverySecondInstance(ToyBackend):
    """Sets penalties up for each other instance alone."""

    def __init__(self) -> None:
        super().__init__()
        self._odd = next(_NUMBERS) % 2 == 1

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With or without."""
        return super().stream(replace(request, repetition_penalty=None) if self._odd else request, cancellation)


class LosesBiasesAfterFailures(ToyBackend):
    """Takes no bias in the request after one that was refused."""

    _failed = False

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The first after a failure."""
        lost, self._failed = self._failed, False
        try:
            yield from super().stream(replace(request, logit_bias=None) if lost else request, cancellation)
        except Exception:
            self._failed = True
            raise


class LosesStopsAfterLeaving(ToyBackend):
    """Looks for no stop strings after a stream that was left."""

    _left = False

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The first after it."""
        lost, self._left = self._left, False
        try:
            yield from super().stream(replace(request, stop=()) if lost else request, cancellation)
        except GeneratorExit:
            self._left = True
            raise


class _FiltersFirst(ToySampler):
    """Applies top_k before the form."""

    def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
        width = self._request.top_k
        if allowed is not None and width:
            best = sorted(range(len(logits)), key=lambda token: -logits[token])[:width]
            kept = {token for token in best if allowed(token)}
            if kept:
                return super().choose(logits, kept.__contains__)
        return super().choose(logits, allowed)


class _ForgetsFiltersInForms(ToySampler):
    """Has no filters where there is a form."""

    def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
        if allowed is not None:
            self._request = replace(self._request, top_k=0)
        return super().choose(logits, allowed)


class _Collects(ToyBackend):
    """Passes text on in another rhythm."""

    size: ClassVar[int] = 8

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """So many at a time."""
        text, count = "", 0
        entries: list[TokenLogprob] = []
        for event in super().stream(request, cancellation):
            if not isinstance(event, TextDelta):
                if text or entries:
                    yield TextDelta(text, tuple(entries))
                    text, entries = "", []
                yield event
                continue
            text += event.text
            entries += event.logprobs
            count += 1
            if count % self.size == 0:
                yield TextDelta(text, tuple(entries))
                text, entries = "", []


class CollectsEight(_Collects):
    """Eight tokens at a time."""


class IsAWordBehind(ToyBackend):
    """Keeps each word until the next one begins."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Numbers at once, words late."""
        held = ""
        for event in super().stream(request, cancellation):
            if isinstance(event, TextDelta):
                held += event.text
                cut = max(0, held.rfind(" "))
                if held[:cut] or event.logprobs:
                    yield TextDelta(held[:cut], event.logprobs)
                held = held[cut:]
            else:
                if held:
                    yield TextDelta(held)
                held = ""
                yield event


class SeedsByTheClock(ToyBackend):
    """Adds to each seed how many requests there were."""

    _asked = 0

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Another seed every seventh time."""
        self._asked += 1
        if request.seed is not None:
            request = replace(request, seed=(request.seed + self._asked // 7) % 2**32)
        return super().stream(request, cancellation)

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """The same."""
        for event in self.stream(request, cancellation):
            yield event


def _whole(request: GenerationRequest) -> GenerationRequest:
    heat = request.temperature
    return replace(request, temperature=float(int(heat)) if heat and heat >= 1 else heat)


def _at_most(heat: float) -> Any:
    def change(request: GenerationRequest) -> GenerationRequest:
        return replace(request, temperature=min(request.temperature or 0.0, heat))

    return change


def _hidden(**values: float) -> Any:
    """Values in place of those that mean off."""

    def change(request: GenerationRequest) -> GenerationRequest:
        off = {"top_p": (None, 1.0), "min_p": (None, 0.0)}
        return replace(
            request, **{name: value for name, value in values.items() if getattr(request, name) in off[name]}
        )

    return change


def _clipped(least: float) -> Any:
    def change(request: GenerationRequest) -> GenerationRequest:
        bias = request.logit_bias
        return replace(request, logit_bias=bias and {token: max(least, value) for token, value in bias.items()})

    return change


def _forbidden(request: GenerationRequest) -> GenerationRequest:
    bias = request.logit_bias
    return replace(request, logit_bias=bias and {t: -1e9 if v <= -50 else v for t, v in bias.items()})


def _in_32_bits(request: GenerationRequest) -> GenerationRequest:
    seed = request.seed
    return request if seed is None or seed < 2**24 else replace(request, seed=seed & ~0xFF)


def _one_more(request: GenerationRequest) -> GenerationRequest:
    return replace(request, max_tokens=request.max_tokens and request.max_tokens + 1)


def _late(event: Finished, request: GenerationRequest) -> Finished:
    full = event.usage is not None and event.usage.completion_tokens == request.max_tokens
    return replace(event, finish_reason="length") if event.stop and full else event


def _early(event: Finished, request: GenerationRequest) -> Finished:
    near = event.usage is not None and event.usage.completion_tokens + 1 == request.max_tokens
    return replace(event, finish_reason="length") if near else event


def _never_waited(event: Finished, request: GenerationRequest) -> Finished:
    return replace(event, timings=Timings(queued=1000.0))


def _fewer(entry: TokenLogprob, request: GenerationRequest) -> TokenLogprob:
    return TokenLogprob(entry.token, entry.logprob, entry.token_id, entry.top[:-1])


def _in_tens(entry: TokenLogprob, request: GenerationRequest) -> TokenLogprob:
    return TokenLogprob(entry.token, entry.logprob / 2.302585, entry.token_id, entry.top)


def _warm(request: GenerationRequest) -> GenerationRequest:
    plain = request.temperature in (None, 0, 1.0) or request.top_p not in (None, 1.0)
    return request if plain else replace(request, top_p=0.9)


def _endless(request: GenerationRequest) -> GenerationRequest:
    bias = request.logit_bias
    return replace(request, logit_bias=bias and {token: value for token, value in bias.items() if token != _END})


def _without_bans(request: GenerationRequest) -> GenerationRequest:
    bias = request.logit_bias
    return replace(request, logit_bias=bias and {t: 0.0 if t == _END and v < 0 else v for t, v in bias.items()})


def _without_marks(text: str) -> str:
    return "".join(letter for letter in text if not unicodedata.combining(letter))


def _lowered(text: str) -> str:
    return "".join(letter if letter.isascii() else letter.lower() for letter in text)


def _short_stops(request: GenerationRequest) -> GenerationRequest:
    return replace(request, stop=request.stop and tuple(stop for stop in request.stop if len(stop) <= 100))


def _normal_stops(request: GenerationRequest) -> GenerationRequest:
    return replace(request, stop=request.stop and tuple(unicodedata.normalize("NFC", stop) for stop in request.stop))


def _own(target: str, name: str, *checks: str) -> Defect:
    return Defect(name=name, target=f"everywhere:{target}", checks=checks)


DEFECTS: Final = (
    plant("loses stop in the tenth request", ROW, where=_at(10), stop=()),
    plant("loses max_tokens in the second request", ROW, where=_at(2), change=_one_more),
    plant("loses seeds in the first request of all", ROW, where=at_first, seed=77),
    _own("LosesPenaltiesInEverySecondInstance", "loses a penalty in every second instance", ROW),
    plant("loses frequency_penalty in asynchronous chats", PATH, where=in_chats_in_loops, frequency_penalty=None),
    plant("says nothing of min_p in streams", PATH, where=in_streams, min_p=None),
    plant("loses top_p of raw prompts", PATH, where=in_raw_prompts, top_p=None),
    _own("LosesBiasesAfterFailures", "loses biases after failures", BEFORE),
    _own("LosesStopsAfterLeaving", "loses stops after streams that were left", BEFORE),
    plant("loses seeds beside others", BESIDE, where=in_crowds, seed=77),
    plant("loses max_tokens beside several", BESIDE, where=_beside_others, change=_one_more),
    plant("loses grammars beside others", BESIDE, where=in_crowds, grammar=None),
    plant("loses stop strings after system turns", PROMPT, where=_after_system_turns, stop=()),
    plant("loses one seed after system turns", PROMPT, where=_after_system_turns, seed=77),
    plant("loses frequency_penalty after long prompts", PROMPT, where=_after_long_prompts, frequency_penalty=None),
    plant("loses stop strings when sampled", PROMPT, ASKED, where=when_sampled, stop=()),
    plant("loses repetition_penalty when sampled", PROMPT, where=when_sampled, repetition_penalty=None),
    plant("goes beyond max_tokens in chats", ASKED, where=in_chats, change=_one_more),
    plant("has an alternative less in chats", SUMS, where=in_chats, entry=_fewer),
    plant("reports decimal logarithms when sampled", SUMS, where=when_sampled, entry=_in_tens),
    plant(
        "counts one token more of prompts in loops", TOLD, where=in_loops, end=usage(prompt_tokens=lambda n, _: n + 1)
    ),
    plant("waited longer than it took, of raw prompts", TOLD, where=in_raw_prompts, end=_never_waited),
    _own("SeedsByTheClock", "seeds by the clock", AGAIN),
    plant("has one seed in loops", AGAIN, where=in_loops, seed=77),
    plant("takes temperatures for whole numbers", HEAT, change=_whole),
    plant("caps temperatures at 1.2", HEAT, change=_at_most(1.2)),
    plant("has a top_p of 0.95 where it is off", OFF, change=_hidden(top_p=0.95)),
    plant("has a min_p of 0.01 where it is off", OFF, change=_hidden(min_p=0.01)),
    plant("filters before the form", FORM, kind=_FiltersFirst),
    plant("forgets filters in a form", FORM, kind=_ForgetsFiltersInForms),
    plant("clips bans at -50", BANS, change=_clipped(-50.0)),
    plant("forbids what has a bias of -50", BANS, change=_forbidden),
    plant("says length where a stop string ends at the limit", LIMIT, end=_late),
    plant("says length one token before the limit", END, end=_early),
    plant("loses the last bits of large seeds", BITS, change=_in_32_bits),
    _own("CollectsEight", "passes on eight tokens at a time", PIECES),
    _own("IsAWordBehind", "is a word behind", PIECES),
    plant("has a temperature of its own in formats", FORM, where=_in_formats, temperature=1.0),
    plant("loses repetition_penalty in long answers", LIMITS, where=_in_long_answers, repetition_penalty=None),
    plant("loses biases without a limit", LIMITS, where=_without_limits, logit_bias=None),
    plant("loses min_p beside top_p", PROMPT, where=_with_top_p, min_p=None),
    plant("loses stop strings beside tools", PROMPT, where=_with_tools, stop=()),
    plant("loses seeds where there are stop strings", PROMPT, where=_with_stops, seed=77),
    plant("has a top_p of 0.9 where it is off, in warm answers", OFF, change=_warm),
    plant("leaves the end out of biases", ENDS, change=_endless),
    plant("ends although its end is banned", ENDS, change=_without_bans),
    plant("reads emoji as question marks", CHARACTERS, reads=lambda text, _: text.replace("\U0001f98a", "?")),
    plant("reads typographic quotes as plain ones", CHARACTERS, reads=lambda text, _: text.replace("\u2019", "'")),
    plant("takes combining marks away", CHARACTERS, reads=lambda text, _: _without_marks(text)),
    plant("takes form feeds for line ends", CHARACTERS, reads=lambda text, _: text.replace("\f", "\n")),
    plant("lowers letters beyond ASCII", CHARACTERS, reads=lambda text, _: _lowered(text)),
    plant("ignores stop strings of over 100 characters", SHAPES, change=_short_stops),
    plant("normalizes stop strings", SHAPES, change=_normal_stops),
    plant("looks for no stop strings at the limit", LIMIT, where=_with_stops, change=lambda r: replace(r, stop=())),
)
