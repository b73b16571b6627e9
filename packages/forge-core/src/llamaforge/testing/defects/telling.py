"""Defects of counts, times, reasons and stop strings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, Finished, TextDelta, Timings
from ..fakes import ToyBackend
from .entry import Defect
from .planting import in_chats, in_loops, in_raw_prompts, in_streams, plant, usage, when_cold, when_warm

NEW: Final = "test_nothing_is_cached_of_a_new_prompt"
TEMPLATE: Final = "test_the_template_is_counted"
MADE_UP: Final = "test_counts_are_not_made_up"
UNMET: Final = "test_an_unmet_stop_string_is_not_named"
FURTHER: Final = "test_a_stopped_answer_is_not_generated_further"
QUEUE: Final = "test_a_lone_request_does_not_queue"
SHAPES: Final = "test_stop_strings_of_every_shape"
ANY: Final = "test_a_stop_string_may_hold_any_character"
FORMS: Final = "test_a_form_is_no_part_of_the_prompt"
TOGETHER: Final = "test_of_two_that_end_together_the_longer_counts"
PATHS: Final = "test_stop_strings_on_every_path"
HELD: Final = "test_log_probabilities_come_with_their_text"


def _end(**values: Any) -> Any:
    def end(event: Finished, request: GenerationRequest) -> Finished:
        new = {name: value(event, request) if callable(value) else value for name, value in values.items()}
        return replace(event, **new)

    return end


def _stops(change: Any) -> Any:
    return lambda request: replace(request, stop=tuple(change(tuple(request.stop or ()))))


def _without_template(count: int, _: Any) -> int:
    return max(1, count - 6)


class HoldsBack(ToyBackend):
    """Holds back as many characters as the longest stop string has."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Late."""
        most, held = max(map(len, request.stop or ("",))), ""
        for event in super().stream(request, cancellation):
            if isinstance(event, TextDelta):
                held += event.text
                out, held = (held[:-most], held[-most:]) if most else (held, "")
                yield TextDelta(out, event.logprobs)
            else:
                if held:
                    yield TextDelta(held)
                yield event


class StripsStoppedAnswers(ToyBackend):
    """Strips the beginning of an answer where there are stop strings."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without its first space."""
        begun = not request.stop or not request.messages
        for event in super().stream(request, cancellation):
            if isinstance(event, TextDelta) and not begun:
                begun = bool(event.text.lstrip())
                yield TextDelta(event.text.lstrip(), event.logprobs)
            else:
                yield event


class CutsAfterwards(ToyBackend):
    """Generates the whole answer, and then looks for stop strings."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With all tokens counted."""
        whole = list(super().stream(replace(request, stop=()), cancellation))
        counted = whole[-1].usage if isinstance(whole[-1], Finished) else None
        for event in super().stream(request, cancellation):
            yield replace(event, usage=counted) if isinstance(event, Finished) else event


class SearchesPlainly(ToyBackend):
    """Starts its search anew after a near miss, one letter too late."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """One letter at a time."""
        places = [0] * len(request.stop or ())
        shown = ""
        for event in super().stream(replace(request, stop=()), cancellation):
            if not isinstance(event, TextDelta):
                yield event
                continue
            for letter in event.text:
                shown += letter
                for number, stop in enumerate(request.stop or ()):
                    places[number] = places[number] + 1 if stop[places[number]] == letter else 0
                    if places[number] == len(stop):
                        yield TextDelta(shown[: -len(stop)])
                        yield Finished(finish_reason="stop", stop=stop)
                        return
        return


def _regular(stops: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(re.sub(r"[^\w\s]", "", stop) or stop for stop in stops)


def _with_its_form(event: Finished, request: GenerationRequest) -> Finished:
    more = 8 if request.response_format or request.grammar else 0
    return usage(prompt_tokens=lambda count, _: count + more)(event, request)


DEFECTS: Final[tuple[Defect, ...]] = (
    plant("invents cached tokens", NEW, end=usage(cached_tokens=lambda _, told: told.prompt_tokens // 2)),
    plant("invents cached tokens of new prompts", NEW, where=when_cold, end=usage(cached_tokens=12)),
    plant("counts all as cached", NEW, end=usage(cached_tokens=lambda _, told: told.prompt_tokens)),
    plant("invents cached tokens of raw prompts", NEW, where=in_raw_prompts, end=usage(cached_tokens=9)),
    plant("counts no template in chats", TEMPLATE, where=in_chats, end=usage(prompt_tokens=_without_template)),
    plant("counts no template in loops", TEMPLATE, where=in_loops, end=usage(prompt_tokens=_without_template)),
    plant(
        "counts no template",
        TEMPLATE,
        where=lambda moment: not moment.request.raw,
        end=usage(prompt_tokens=_without_template),
    ),
    plant("counts raw prompts twice", TEMPLATE, where=in_raw_prompts, end=usage(prompt_tokens=lambda n, _: 2 * n)),
    plant("invents reasoning tokens", MADE_UP, end=usage(reasoning_tokens=1)),
    plant(
        "invents reasoning tokens in chats",
        MADE_UP,
        where=in_chats,
        end=usage(reasoning_tokens=lambda _, told: told.completion_tokens),
    ),
    plant("invents truncated tokens in loops", MADE_UP, where=in_loops, end=usage(truncated_tokens=3)),
    plant("counts a token more in streams", MADE_UP, where=in_streams, end=usage(completion_tokens=lambda n, _: n + 1)),
    plant("counts a token less in chats", MADE_UP, where=in_chats, end=usage(completion_tokens=lambda n, _: n - 1)),
    plant("names the first stop string", UNMET, end=_end(stop=lambda _, request: next(iter(request.stop or ()), None))),
    plant("names the last stop string", UNMET, end=_end(stop=lambda _, request: (request.stop or (None,))[-1])),
    plant(
        "says stop where there are stop strings",
        UNMET,
        end=_end(finish_reason=lambda end, request: "stop" if request.stop else end.finish_reason),
    ),
    plant(
        "says length where there are stop strings",
        UNMET,
        end=_end(finish_reason=lambda end, request: "length" if request.stop and not end.stop else end.finish_reason),
    ),
    plant("queues as long as it takes", QUEUE, end=_end(timings=Timings(queued=3.0))),
    plant("queues for a second", QUEUE, where=when_warm, end=_end(timings=Timings(queued=1.0))),
    Defect(
        name="holds back too much",
        target="telling:HoldsBack",
        checks=(HELD, "test_a_stop_string_never_met_holds_nothing_back"),
    ),
    Defect(name="strips stopped answers", target="telling:StripsStoppedAnswers", checks=(PATHS,)),
    Defect(name="cuts answers afterwards", target="telling:CutsAfterwards", checks=(FURTHER,)),
    Defect(name="searches plainly", target="telling:SearchesPlainly", checks=(SHAPES,)),
    plant("takes four stop strings", SHAPES, change=_stops(lambda stops: stops[:4])),
    plant("takes sixteen stop strings", SHAPES, change=_stops(lambda stops: stops[:16])),
    plant("takes stop strings of 20 characters", SHAPES, change=_stops(lambda stops: [s[:20] for s in stops])),
    plant("forgets long stop strings", SHAPES, change=_stops(lambda stops: [s for s in stops if len(s) < 12])),
    plant("strips stop strings", SHAPES, change=_stops(lambda stops: [s.strip() or s for s in stops])),
    plant("ignores a stop string of one space", SHAPES, change=_stops(lambda stops: [s for s in stops if s.strip()])),
    plant(
        "ignores case", SHAPES, change=_stops(lambda stops: [v for s in stops for v in (s, s.lower(), s.swapcase())])
    ),
    plant("drops marks of stop strings", SHAPES, change=_stops(_regular)),
    plant(
        "takes the shorter of two",
        TOGETHER,
        change=_stops(lambda stops: [s for s in stops if not any(o != s and s.endswith(o) for o in stops)]),
    ),
    plant("splits stop strings at lines", ANY, change=_stops(lambda stops: [s for s in stops if "\n" not in s])),
    plant(
        "takes stop strings of ASCII in loops",
        ANY,
        where=in_loops,
        change=_stops(lambda stops: [s for s in stops if s.isascii()]),
    ),
    plant("counts a form as part of the prompt", FORMS, end=_with_its_form),
    plant("takes the last stop string", TOGETHER, change=_stops(lambda stops: stops[-1:])),
    plant("takes the first stop string", TOGETHER, change=_stops(lambda stops: stops[:1])),
    plant("loses stop strings in streams", "test_a_stop_string_ends_the_answer", where=in_streams, stop=()),
    plant(
        "loses stop strings of new prompts", "test_a_prompt_never_read_before_means_the_same", where=when_cold, stop=()
    ),
    plant("loses the second stop string in chats", PATHS, where=in_chats, change=_stops(lambda stops: stops[1:])),
    plant(
        "loses stop strings in raw streams",
        PATHS,
        where=lambda moment: in_raw_prompts(moment) and in_loops(moment),
        stop=(),
    ),
)
