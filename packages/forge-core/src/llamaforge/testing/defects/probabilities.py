"""Defects of log-probabilities."""

from __future__ import annotations

import math
from typing import Any, Final

from ...requests import GenerationRequest
from ...results import TokenLogprob
from .entry import Defect
from .planting import in_chats, in_chats_in_loops, in_loops, in_raw_prompts, in_streams, plant, when_cold, when_sampled

PATHS: Final = "test_log_probabilities_are_the_same_on_every_path"
ASKED: Final = "test_numbers_do_not_depend_on_what_is_asked"
SAMPLED: Final = "test_sampled_answers_tell_the_same_numbers"
ENTRIES: Final = "test_each_entry_is_one_token"
OWN: Final = "test_sampled_tokens_have_their_own_logprob"
COLD: Final = "test_a_prompt_never_read_before_means_the_same"


def _scaled(factor: float) -> Any:
    def entry(told: TokenLogprob, request: GenerationRequest) -> TokenLogprob:
        top = tuple(TokenLogprob(each.token, each.logprob * factor, each.token_id) for each in told.top)
        return TokenLogprob(told.token, told.logprob * factor, told.token_id, top)

    return entry


def _top(change: Any) -> Any:
    return lambda told, request: TokenLogprob(told.token, told.logprob, told.token_id, tuple(change(told, request)))


def _normal(told: TokenLogprob, request: GenerationRequest) -> TokenLogprob:
    if not told.top:
        return told
    total = math.log(math.fsum(math.exp(each.logprob) for each in told.top))
    top = tuple(TokenLogprob(each.token, min(0.0, each.logprob - total), each.token_id) for each in told.top)
    return TokenLogprob(told.token, told.logprob, told.token_id, top)


def _tempered(told: TokenLogprob, request: GenerationRequest) -> TokenLogprob:
    heat = request.temperature or 1.0
    return _scaled(1 / heat)(told, request)  # type: ignore[no-any-return]


def _nothing(told: TokenLogprob, request: GenerationRequest) -> None:
    return None


def _renamed(change: Any) -> Any:
    return lambda told, _: TokenLogprob(change(told.token), told.logprob, told.token_id, told.top)


def _best(told: TokenLogprob, _: GenerationRequest) -> TokenLogprob:
    return TokenLogprob(told.token, told.top[0].logprob if told.top else told.logprob, told.token_id, told.top)


DEFECTS: Final[tuple[Defect, ...]] = (
    plant("no logprobs in asynchronous chats", PATHS, where=in_chats_in_loops, entry=_nothing),
    plant("no logprobs in chats", PATHS, where=in_chats, entry=_nothing),
    plant("no logprobs of raw prompts", PATHS, where=in_raw_prompts, entry=_nothing),
    plant("no logprobs of new prompts", COLD, where=when_cold, entry=_nothing),
    plant(
        "no logprobs of sampled answers in loops",
        "test_every_answer_is_told_truthfully",
        where=lambda m: in_loops(m) and when_sampled(m),
        entry=_nothing,
    ),
    plant("decimal logarithms", "test_tokens_are_drawn_as_often_as_they_should_be", entry=_scaled(1 / math.log(10))),
    plant("decimal logarithms in chats", PATHS, where=in_chats, entry=_scaled(1 / math.log(10))),
    plant("binary logarithms in loops", PATHS, where=in_loops, entry=_scaled(1 / math.log(2))),
    plant("logprobs after the temperature", SAMPLED, entry=_tempered),
    plant("logprobs of the alternatives alone", ASKED, entry=_normal),
    plant("ten alternatives at most", ASKED, entry=_top(lambda told, _: told.top[:10])),
    plant("five alternatives at most", ASKED, entry=_top(lambda told, _: told.top[:5])),
    plant("an alternative less in chats", PATHS, where=in_chats, entry=_top(lambda told, _: told.top[:-1])),
    plant("one alternative in loops", PATHS, where=in_loops, entry=_top(lambda told, _: told.top[:1])),
    plant("no alternatives of raw prompts", PATHS, where=in_raw_prompts, entry=_top(lambda *_: ())),
    plant(
        "alternatives without the chosen one",
        ASKED,
        entry=_top(lambda told, _: [t for t in told.top if t.token_id != told.token_id]),
    ),
    plant(
        "the chosen one twice",
        ENTRIES,
        entry=_top(lambda told, _: [told.top[0], *told.top][: len(told.top)] if told.top else ()),
    ),
    plant("stripped tokens", ENTRIES, entry=_renamed(str.strip)),
    plant("tokens in capitals", ENTRIES, entry=_renamed(str.upper)),
    plant(
        "ids shifted by one",
        ENTRIES,
        entry=lambda told, _: TokenLogprob(told.token, told.logprob, (told.token_id or 0) + 1, told.top),
    ),
    plant("the best one's number when sampled", OWN, where=when_sampled, entry=_best),
    plant("the best one's number in streams", OWN, where=in_streams, entry=_best),
    plant(
        "numbers of two digits",
        "test_the_greedy_token_is_the_best_alternative",
        entry=lambda told, _: TokenLogprob(told.token, round(told.logprob), told.token_id, told.top),
    ),
)
