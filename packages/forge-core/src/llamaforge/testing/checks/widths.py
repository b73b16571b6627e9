"""Filters and temperatures of any size, and penalties over long answers: biases bring the logits to where it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from ...results import TokenLogprob
from ..battery import words_of
from ..expect import Told, expect, expect_equal, together
from ..kit import Kit
from ..subject import Subject
from ..ways import cells_within
from .arithmetic import LOGPROBS, lacks
from .draws import unthinking

FLAT: Final = 1000.0
"""At this temperature all tokens are as probable as each other, those with a bias of 100 and those without."""
SIZES: Final = (41, 130)
"""Filters that are wider than the usual ones, and than the alternatives that are told."""
DRAWS: Final = 64
"""Tokens of one answer."""
SURELY: Final = math.log(1e-9)
AT_ONCE: Final = 4
LONGEST: Final = 84
"""Tokens of a repetition: more than the windows in use, of 64."""
LOW: Final = 70.0
"""The bias of half of the tokens. At that temperature it is as good as 100."""
COLD: Final = 0.01
FEW: Final = 72
"""Draws of one token each."""


class WidthChecks(Kit, slow=True):
    """A bias of 100 puts tokens before all others, so that their ranks are known however many they are."""

    def test_a_wide_top_k_keeps_exactly_that_many(self, subject: Subject) -> None:
        """With 41 or 130 tokens put before all others, a top_k of as many leaves these and no other, at a temperature
        at which any could come; and it leaves all of them, as often as each other, up to the end of a long answer.

        Why: 40 is the default of many engines, and 64 a usual size of buffers. Look at: limits of the engine's own; a
        top_k that counts as none above some number; a temperature that is capped; tokens that are never drawn.
        """
        if lacks(subject, "top_k", "logit_bias", "temperature", "top_logprobs"):
            return
        if subject.backend.capabilities.server_defaults:
            pytest.skip("could not be measured: how hot an answer may be is up to the server")
        known = _known_tokens(subject)
        measured = 0
        for size in SIZES:
            some = known[:size]
            if len(some) < size:
                continue
            low = set(some[::2])
            bias = {token: LOW if token in low else 100.0 for token in some}
            given = {"temperature": FLAT, "top_k": size, "logit_bias": bias}
            wanted = _draws_to_tell(size, size // 2)
            if cells_within(subject, 1, 4.0, least=1) < wanted:
                wanted = DRAWS
            came = drawn_tokens(subject, wanted, given)
            others = [token for token in came if token not in some]
            expect(not others, f"only the {size} tokens that a top_k of {size} leaves", Told(f"{others} as well"))
            told = Told(f"{len(set(came))} of them in {len(came)} draws")
            expect(not _too_few(len(set(came)), size, len(came)), f"all of the {size} tokens", told)
            count, share = sum(token in low for token in came), len(low) / size
            chance = max(tail(count, len(came), share * factor) for factor in (0.9, 0.95, 1.0, 1.05))
            told = Told(f"{count} of {len(came)} draws")
            expect(chance > SURELY, f"about {share:.0%} of the tokens with a bias of {LOW:g} instead of 100", told)
            measured += 1
        if not measured:
            pytest.skip("could not be measured: too few tokens are known")

    def test_a_small_min_p_is_taken_as_it_is(self, subject: Subject) -> None:
        """Of tokens that biases bring to 4% of the best one's probability, a min_p of 0.045 leaves none, and 0.035
        leaves all.

        Why: at its extremes it works in spite of most mistakes. Look at: thresholds below which it counts as off; what
        its fraction is of.
        """
        if lacks(subject, "min_p", "logit_bias", "temperature", "top_logprobs", "logprobs"):
            return
        best = likely_first_tokens(subject)
        one, gap = best[0], math.log(1 / 0.04)
        bias = {one.token_id: 60.0}
        bias |= {each.token_id: 60.0 + one.logprob - each.logprob - gap for each in best[1:]}
        share = 0.04 * (len(best) - 1) / (1 + 0.04 * (len(best) - 1))
        for least, expected in ((0.045, 0.0), (0.035, share)):
            came = drawn_tokens(subject, FEW, {"temperature": 1.0, "min_p": least, "logit_bias": bias}, tokens=1)
            count = sum(token != one.token_id for token in came)
            told = Told(f"{count} of {len(came)} draws")
            right = not count if not expected else tail(count, len(came), expected) > SURELY
            expect(right, f"tokens at 4% of the best one in {expected:.0%} of the draws with min_p={least}", told)

    def test_a_low_temperature_is_taken_as_it_is(self, subject: Subject) -> None:
        """At a temperature of 0.01 the second best token comes as often as the arithmetic says, where a bias brings it
        near enough: it is neither never nor often.

        Why: low temperatures are rounded to 0 or raised to a least one, and nobody sees it. Look at: ``round``,
        ``max``, and thresholds for "greedy".
        """
        if lacks(subject, "logit_bias", "temperature", "top_logprobs", "logprobs"):
            return
        best = likely_first_tokens(subject)
        one, other = best[0], best[1]
        for gap in (COLD, 5 * COLD):  # the second best comes with a probability of 27%, and of 0.7%
            pull = one.logprob - other.logprob - gap
            bias = {one.token_id: 60.0, other.token_id: 60.0 + pull}
            came = drawn_tokens(subject, FEW, {"temperature": COLD, "logit_bias": bias}, tokens=1)
            count = sum(token == other.token_id for token in came)
            share = 1 / (1 + math.exp(gap / COLD))
            chance = tail(count, len(came), share)
            told = Told(f"{count} times in {len(came)} draws, where {share:.2%} are expected")
            expect(
                chance > SURELY,
                f"token {other.token_id}, {gap:.2f} behind, to come as often as it should at a temperature of {COLD}",
                told,
            )
            stray = [token for token in came if token not in bias]
            expect(not stray, f"tokens {list(bias)} alone", Told(f"{stray}"))

    def test_a_penalty_counts_the_whole_of_a_long_answer(self, subject: Subject) -> None:
        """A frequency_penalty ends the repetition of a token when it outweighs the bias, be it after eighty times.

        Why: windows over the last tokens are usual, and wrong. Look at: ``repeat_last_n`` and the like: -1, or the
        whole context.
        """
        if lacks(subject, "frequency_penalty", "logit_bias", "temperature", "top_logprobs", "logprobs"):
            return
        if subject.backend.capabilities.server_defaults:
            pytest.skip("could not be measured: what a server counts is up to the server")
        longest = min(LONGEST, cells_within(subject, 2, 4.0, least=24))
        for token in subject.first_ids()[1:]:
            bias = {token: 100.0}
            told = subject.say(longest, logit_bias=bias, logprobs=True, top_logprobs=1).logprobs
            gaps = [each.top[0].logprob - each.logprob for each in told if each.token_id == token and each.top]
            if len(gaps) < longest:
                continue  # a token that ends an answer, or one that was not strong enough
            found = _weakest_bias(gaps, round(min(1.9, 80.0 / longest), 3), subject.rounding + 0.1)
            if found is None:
                continue
            penalty, strength, end = found
            given = {"logit_bias": {token: strength}, "frequency_penalty": penalty}
            answer = subject.say(longest, logprobs=True, **given)
            ids = [each.token_id for each in answer.logprobs]
            came = next((place for place, each in enumerate(ids) if each != token), len(ids))
            expect_equal(came, end, f"the times that token {token} comes at the beginning with {given}")
            return
        pytest.skip("could not be measured: no token can be repeated as often")

    def test_a_penalty_reads_the_whole_of_a_long_prompt(self, subject: Subject) -> None:
        """A repetition_penalty applies to a word at the very beginning of a long prompt, and to one at its end.

        Why: as above. Look at: which part of the prompt the sampler is told.
        """
        if lacks(subject, "repetition_penalty", "logit_bias", "temperature", "logprobs", "top_logprobs"):
            return
        if subject.backend.capabilities.server_defaults:
            pytest.skip("could not be measured: what a server counts is up to the server")
        quiet = unthinking(subject)
        words = words_of(subject)
        if len(words) < 2:
            pytest.skip("could not be measured: the answer has no words whose tokens are known")
        filler = " ".join([subject.prompt] * 3)
        for what, make in _PLACES.items():
            seen: list[tuple[int | None, int]] = []
            for (word, token), (_, other) in zip(words, [*words[1:], words[0]], strict=True):
                given = {"repetition_penalty": 2.0, "logit_bias": {token: 100.0, other: 75.0}, "logprobs": True}
                told = subject.say(1, make(filler, word), **given, **quiet).logprobs
                seen.append((told[0].token_id if told else None, other))
            # A word may be another token there than in an answer: one of them must be the same.
            right = any(came == wanted for came, wanted in seen)
            expect(right, f"a word at the {what} of a long prompt to be divided by 2", Told(f"tokens and {seen}"))


def likely_first_tokens(subject: Subject) -> list[TokenLogprob]:
    """The most probable first tokens, whose numbers are known; skips where they don't help. Asked only once."""
    if subject.backend.capabilities.server_defaults or subject.rounding:
        pytest.skip("could not be measured: the server decides, or logits depend on rounding")
    if cells_within(subject, 4, 4.0, least=1) < FEW:
        pytest.skip("could not be measured: the engine is too slow for so many draws")
    known = subject.remembered.setdefault("likely first tokens", {})
    if "it" not in known:
        first = subject.ask(**subject.limit(1), temperature=0, **LOGPROBS).logprobs
        top = [each for each in (first[0].top if first else ()) if each.token_id is not None and each.token]
        known["it"] = [each for each in top if _is_told(subject, each.token_id)]
    best: list[TokenLogprob] = known["it"]
    if len(best) < 12 or best[-1].logprob < best[0].logprob - 38 or len({each.token_id for each in best}) < len(best):
        pytest.skip("could not be measured: the backend tells no ids of tokens, or the model is too certain")
    return best


def _is_told(subject: Subject, token: int | None) -> bool:
    """Whether an answer with this token alone tells of it: one that ends the answer is part of none."""
    answer = subject.ask(**subject.limit(1), temperature=0, logit_bias={token: 100.0}, logprobs=True)
    return bool(answer.logprobs) and answer.logprobs[0].token_id == token


_PLACES: Final[dict[str, Callable[[str, str], str]]] = {
    "beginning": lambda filler, word: f"Say{word}{word}. {filler}",
    "end": lambda filler, word: f"{filler} Say{word}{word}.",
}


def _weakest_bias(gaps: Sequence[float], penalty: float, margin: float) -> tuple[float, float, int] | None:
    """The penalty, a bias, and how often the token comes with both; as often as can be. None where it hangs by less
    than *margin* everywhere."""
    for wanted in range(len(gaps) - 1, len(gaps) // 2, -1):
        bias = round(gaps[wanted] + wanted * penalty - 1.5 * margin, 2)
        behind = [count * penalty + gap - bias for count, gap in enumerate(gaps)]
        end = next((count for count, each in enumerate(behind) if each > 0), len(gaps))
        if bias <= 100 and end == wanted and all(abs(each) > margin for each in behind[: end + 1]):
            return penalty, bias, end
    return None


def drawn_tokens(subject: Subject, count: int, given: dict[str, Any], tokens: int = DRAWS) -> list[int | None]:
    """So many sampled tokens, a few answers at a time."""
    answers: list[list[int | None]] = []
    most = 2 * math.ceil(count / tokens) + 8  # what ends an answer may be among them
    seeds = iter(range(1, most + 1))
    while sum(map(len, answers)) < count:
        some = [seed for seed, _ in zip(seeds, range(min(AT_ONCE, math.ceil(count / tokens))), strict=False)]
        if not some:
            break

        def ask(seed: int) -> None:
            seeded = {"seed": seed} if subject.declares("seed") else {}
            told = subject.ask(**subject.limit(tokens), **given, **seeded, logprobs=True).logprobs
            answers.append([each.token_id for each in told])

        together(subject.patience, [lambda seed=seed: ask(seed) for seed in some])  # type: ignore[misc]
    return [token for answer in answers for token in answer]


def _known_tokens(subject: Subject) -> list[int]:
    """Ids of tokens that the model finds probable somewhere, none of them one that ends an answer."""
    known = subject.remembered.setdefault("known tokens", {})
    if "it" not in known:
        told = [each for prompt in (None, *subject.prompts(2)) for each in subject.say(24, prompt, **LOGPROBS).logprobs]
        found = (other.token_id for entry in told for other in entry.top if other.token.strip())
        known["it"] = list(dict.fromkeys(token for token in found if token is not None))
    tokens: list[int] = known["it"]
    return tokens


def _too_few(seen: int, size: int, draws: int) -> bool:
    """Whether so few different tokens, of *size* that are as probable as each other, are no accident of *draws*."""
    return seen < size and math.log(math.comb(size, seen)) + draws * math.log(1.05 * seen / size) < SURELY


def _draws_to_tell(size: int, seen: int) -> int:
    """How many draws it takes until no more than *seen* different tokens of *size* are no accident."""
    return math.ceil((SURELY - math.log(math.comb(size, seen))) / math.log(1.05 * seen / size)) + 8


def tail(count: int, draws: int, share: float) -> float:
    """The logarithm of a bound on the chance of a count as far from what is expected (Chernoff, 1952)."""
    rate = count / draws if draws else share
    terms: Sequence[tuple[float, float]] = ((rate, share), (1 - rate, 1 - share))
    return -draws * math.fsum(part * math.log(part / whole) for part, whole in terms if part > 0)
