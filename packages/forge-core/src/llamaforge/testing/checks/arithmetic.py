"""What parameters do to the model's probabilities, computed and compared. What isn't declared is refused instead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from ...results import GeneratedText
from ..expect import Told, expect, expect_equal, together
from ..kit import Kit
from ..oracle import Drawn, dependent, drawn, forbidden, greedy_mistake, improbable, steps
from ..run import slow
from ..subject import Subject
from ..ways import cells_within

LOGPROBS: Final = {"logprobs": True, "top_logprobs": 20}
LONG: Final = 16
AT_ONCE: Final = 4
"""Requests at once: more may be too many for a small queue."""
SEEDS: Final = (0, 1, 2, 3, 4, 5, 6, 2**32 - 1)
"""Seeds of the answers that are drawn; the smallest and the largest among them."""
MOST: Final = 16
"""Answers whose draws are looked at where nothing is set; what filters leave out is another check's matter."""
ENOUGH: Final = 32
"""Draws that tell something of a distribution."""
REPEATS: Final = 7
"""How often a token is repeated to see what penalties make of it."""


class ArithmeticChecks(Kit):
    """Where a backend tells log-probabilities, what it does with a parameter is computed and compared.

    The oracle is :mod:`llamaforge.testing.oracle`; what it says holds for every model.
    """

    def test_greedy_answers_follow_the_arithmetic(self, subject: Subject) -> None:
        """At temperature 0 each token is the best one after biases and penalties were added to the logits.

        The check tries small biases on many tokens, penalties and rewards, and both together.

        Why: a penalty with the wrong sign, of the wrong text or count, and a bias that is rounded, all change the
        answer somehow. Look at: what is counted (only the answer), the sign, integers instead of fractions.
        """
        if lacks(subject, "top_logprobs", "temperature"):
            return
        measured = 0
        for pull in self._pulls(subject):
            given: dict[str, Any] = {**subject.limit(LONG), "temperature": 0, **pull}
            answer = subject.ask(**given, **LOGPROBS)
            for step in steps(answer.logprobs):
                wrong = greedy_mistake(step, given)
                expect(wrong is None, f"the best token after {pull or 'no change'} at each step", Told(wrong))
                measured += 1
        _measured(measured, 1, "alternatives of greedy tokens")

    def test_penalties_end_a_repetition_when_they_should(self, subject: Subject) -> None:
        """A token whose bias makes the answer repeat it comes exactly as often as bias and penalties together allow.

        With a bias of 100 the answer is that token again and again, and its log-probabilities show how far it is behind
        the best one each time. From that follows when a smaller bias no longer outweighs the penalties.

        Why: it shows sign, count and text of a penalty at once. Look at: the prompt counted with the answer; a token
        counted once; ``+`` and ``-``.
        """
        if lacks(subject, "logprobs", "logit_bias", "temperature"):
            return
        measured = 0
        for token in self._ids(subject)[:4]:
            gaps = self._gaps(subject, token)
            for pull in self._penalties(subject) if len(gaps) == REPEATS else ():
                bias = _bias(gaps, pull, subject.rounding + 0.1, late=pull == _LATE)
                if bias is None:
                    continue
                given = {"logit_bias": {token: bias}, **pull}
                told = [each.token_id for each in subject.say(REPEATS, logprobs=True, **given).logprobs]
                came = next((place for place, other in enumerate(told) if other != token), len(told))
                wanted = _repeats(gaps, pull, bias)
                expect_equal(came, wanted, f"the times that token {token} comes at the beginning with {given}")
                measured += 1
        _measured(measured, 1, "repetitions that a penalty could end")

    def test_temperature_zero_wins_over_filters(self, subject: Subject) -> None:
        """Temperature 0 is greedy, even with top_k, top_p and min_p.

        Why: programs set all of them at once. Look at: a branch for temperature 0 that other parameters bypass.
        """
        loose = {name: value for name, value in _LOOSE.items() if subject.declares(name)}
        if not loose or not subject.declares("temperature"):
            subject.refuses(top_k=40, top_p=0.9, min_p=0.01)
            return
        wanted = subject.say(LONG, temperature=0)
        usual = {"top_k": 40, "top_p": 0.9, "min_p": 0.01}
        cases = [loose, {name: usual[name] for name in loose}, *({name: value} for name, value in loose.items())]
        for given in cases:
            for seed in (None, 1, 2) if subject.declares("seed") else (None,):
                answer = subject.say(LONG, **{**given, "temperature": 0, "seed": seed})
                subject.agrees(answer, wanted, f"the answer at temperature 0 with {given}")

    def test_a_filter_wider_than_the_vocabulary_is_none(self, subject: Subject) -> None:
        """A top_k beyond the vocabulary keeps every token.

        Why: people pass large numbers for "all". Look at: an index that is passed to native code; a limit of the
        engine's own that is lower.
        """
        if not subject.declares("top_k"):
            subject.refuses(top_k=10**6)
            return
        alike = {**subject.limit(8), **({"seed": 5} if subject.declares("seed") else subject.greedy)}
        came, wanted = subject.ask(**alike, top_k=10**6), subject.ask(**alike)
        if not subject.rounding:
            expect_equal(came, wanted, "the answer with a top_k beyond the vocabulary")

    @slow
    def test_sampled_tokens_are_allowed_ones(self, subject: Subject) -> None:
        """With top_k, top_p and min_p, alone and together with a temperature, no token comes that they exclude.

        Why: at their extremes (a top_k of 1) most mistakes don't show. Look at: the order, in which the temperature
        comes first; ``<`` and ``<=``; filters of the engine's own defaults.
        """
        if lacks(subject, "top_logprobs", "temperature", "top_k"):
            return
        for given, draws in self._draws(subject):
            wrong = forbidden(draws)
            came = wrong and f"{wrong.chosen!r}, which is not among {list(wrong.probabilities)}"
            expect(wrong is None, f"only tokens that {given} leaves", Told(came))

    def test_tokens_are_drawn_as_often_as_they_should_be(self, subject: Subject) -> None:
        """Sampled tokens come from the distribution that the parameters make of the model's own.

        Each of some fifty comparisons fails a sound backend once in a million runs, however many draws there are.

        Why: an answer looks sampled whatever the distribution is. Look at: the temperature, and what is done twice or
        in another order; log-probabilities in another base or of another step.
        """
        if lacks(subject, "top_logprobs", "temperature"):
            return
        measured = 0
        for given, draws in self._draws(subject):
            wrong = improbable(draws) or dependent(draws)
            expect(wrong is None, f"draws from the distribution with {given}", Told(wrong))
            measured = max(measured, sum(max(draw.probabilities.values()) < 0.99 for draw in draws))
        _measured(measured, ENOUGH, "draws of a token that was not certain beforehand")

    @slow
    def test_unset_parameters_filter_nothing(self, subject: Subject) -> None:
        """Where nothing is set, tokens are drawn from the model's own distribution, or the one that it recommends.

        Why: a hidden default changes everybody's answers. Look at: the engine's own defaults (top_k 40, a
        repetition penalty of 1.1), which core's replace.
        """
        if lacks(subject, "top_logprobs", "temperature"):
            return
        plain = subject.ask(**subject.limit(LONG), **LOGPROBS)
        set_for_it = {name: value for name, value in plain.parameters.items() if name in _SHAPES}
        if subject.backend.capabilities.server_defaults or any(
            set_for_it.get(name, neutral) != neutral for name, neutral in _SHAPES.items()
        ):
            pytest.skip("could not be measured: the server, or the model's recommendation, sets parameters")
        enough = min(MOST, max(len(SEEDS), cells_within(subject, LONG, 4.0, least=len(SEEDS))))
        answers = [plain, *(subject.ask(**subject.limit(LONG), **LOGPROBS) for _ in range(enough))]
        draws = [each for answer in answers for step in steps(answer.logprobs) if (each := drawn(step, {})) is not None]
        wrong = improbable(draws)
        expect(wrong is None, "draws from the model's own distribution where nothing is set", Told(wrong))
        seeds = [answer.parameters.get("seed") for answer in answers]
        if subject.declares("seed"):
            expect(len(set(seeds)) > 1, "another seed for each request that sets none", seeds)

    def test_sampled_tokens_have_their_own_logprob(self, subject: Subject) -> None:
        """A sampled token's log-probability is its own: if it is among the alternatives, both numbers are the same.

        There is one for each token, also on a prompt that was never read before, and no more probable alternative is
        left out.

        Why: the best token's number under every token is wrong only where they differ. Look at: which token's entry is
        reported; code that runs only for greedy answers, or for cached prompts.
        """
        if lacks(subject, "top_logprobs", "temperature"):
            return
        cold = f"{subject.prompt} (It is {id(self)} o'clock.)"
        answer = subject.ask(cold, **subject.limit(16), temperature=1.5, logprobs=True, top_logprobs=5)
        if answer.usage is not None and not answer.usage.estimated and not answer.tool_calls:
            said = answer.usage.completion_tokens - answer.usage.reasoning_tokens
            expect_equal(len(answer.logprobs), said, "log-probabilities of a sampled answer")
        for entry in answer.logprobs:
            everything = math.fsum(math.exp(other.logprob) for other in entry.top) > 1 - 1e-6
            expect(len(entry.top) == 5 or everything, "as many alternatives as were asked for, 5", entry)
            alike = [other for other in entry.top if _same(other, entry)]
            expect(
                all(abs(other.logprob - entry.logprob) < 1e-3 for other in alike),
                "the same log-probability for the token and the alternative that is the token",
                entry,
            )
            least = entry.top[-1].logprob
            named = bool(alike) or entry.logprob <= least + 1e-3
            expect(named, f"{entry.token!r} among its alternatives, as it is more probable than the last one", entry)

    # Asking.

    def _gaps(self, subject: Subject, token: int) -> list[float]:
        """How far *token* is behind the best one, each time that it is repeated from the beginning on."""
        answer = subject.say(REPEATS, logit_bias={token: 100.0}, logprobs=True, top_logprobs=1)
        if any(entry.token_id != token or not entry.top for entry in answer.logprobs):
            return []
        return [entry.top[0].logprob - entry.logprob for entry in answer.logprobs]

    def _penalties(self, subject: Subject) -> Iterator[dict[str, float]]:
        penalties = ({"presence_penalty": 2.0}, {"presence_penalty": -2.0}, {"frequency_penalty": 2.0})
        for each in (
            *penalties,
            *_FRACTIONS,
            {"frequency_penalty": -1.5},
            {"presence_penalty": 1.0, "frequency_penalty": 1.0},
        ):
            if subject.declares(*each):
                yield each
        if subject.declares(*_LATE):
            yield _LATE

    def _pulls(self, subject: Subject) -> Iterator[dict[str, Any]]:
        """Biases and penalties that are declared."""
        yield {}
        for name, values in {"presence_penalty": (1.3, -1.1), "frequency_penalty": (0.7, -0.4, -2.0)}.items():
            if subject.declares(name):
                yield from ({name: value} for value in values)
        if subject.declares("presence_penalty", "frequency_penalty"):
            yield {"presence_penalty": 0.9, "frequency_penalty": 0.35}
        ids = self._ids(subject)
        if subject.declares("logit_bias") and ids:
            yield {"logit_bias": {token: round(0.37 * place - 1.5, 2) for place, token in enumerate(ids)}}
            if subject.declares("frequency_penalty"):
                yield {"logit_bias": {ids[0]: 4.25}, "frequency_penalty": 1.75}

    def _ids(self, subject: Subject) -> list[int]:
        answer = subject.say(8, **LOGPROBS)
        told = [other.token_id for entry in answer.logprobs for other in entry.top[:5]]
        return list(dict.fromkeys(token for token in told if token is not None))

    def _draws(self, subject: Subject) -> Iterator[tuple[Mapping[str, Any], list[Drawn]]]:
        """Parameters, and the draws of answers with them. Asked only once for all checks."""
        known = subject.remembered.setdefault("draws", {})
        for given in _samplings(subject):
            key = repr(given)
            if key not in known:
                known[key] = self._drawn_with(subject, given)
            yield given, known[key]

    def _drawn_with(self, subject: Subject, given: Mapping[str, Any]) -> list[Drawn]:
        answers: dict[int, GeneratedText] = {}

        def ask(seed: int) -> None:
            own = {"seed": seed} if subject.declares("seed") else {}
            answers[seed] = subject.ask(**subject.limit(LONG), **LOGPROBS, **given, **own)

        for first in range(0, len(SEEDS), AT_ONCE):
            some = SEEDS[first : first + AT_ONCE]
            together(subject.patience, [lambda seed=seed: ask(seed) for seed in some])  # type: ignore[misc]
        found = [drawn(step, given) for seed in SEEDS for step in steps(answers[seed].logprobs)]
        return [draw for draw in found if draw is not None]


def lacks(subject: Subject, *names: str) -> bool:
    """Whether one of *names* isn't declared. Those are refused then, or the check fails."""
    __tracebackhide__ = True
    if subject.declares(*names):
        return False
    lacking = {name: value for name, value in _EXAMPLES.items() if name in names and not subject.declares(name)}
    if "top_logprobs" in lacking:
        lacking["logprobs"] = True
    subject.refuses(**lacking)
    return True


_EXAMPLES: Final[dict[str, Any]] = {
    "logprobs": True,
    "top_logprobs": 3,
    "temperature": 1.5,
    "top_k": 12,
    "seed": 7,
    "max_tokens": 4,
    "repetition_penalty": 1.2,
    "logit_bias": {65: 1.0},
    "response_format": {"type": "json_object"},
}
_FRACTIONS: Final[tuple[dict[str, float], ...]] = ({"presence_penalty": 0.6}, {"frequency_penalty": 0.45})
_LOOSE: Final[Mapping[str, Any]] = {"top_k": 1000, "top_p": 0.999, "min_p": 1e-4}
"""Filters that leave nearly everything, so that what is sampled after all is hardly the best token each time."""
_LATE: Final = {"frequency_penalty": 1.9}
"""The penalty that is brought to its effect as late as possible."""
_SHAPES: Final = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Parameters that shape the distribution, and the values with which they don't."""


def _samplings(subject: Subject) -> list[Mapping[str, Any]]:
    """Ways to sample whose distribution can be computed, of what is declared. High temperatures make the tokens that a
    filter leaves out as probable as the others, so that a wrong edge shows."""
    plain = {name: value for name, value in _SHAPES.items() if subject.declares(name)}  # a server has its own defaults
    if not subject.declares("top_k"):
        return [plain]
    ways: list[dict[str, Any]] = [
        plain,
        {"temperature": 0.3, "top_k": 18},
        {"temperature": 0.6, "top_k": 18},
        {"temperature": 1.6, "top_k": 12},
        {"temperature": 2.0, "top_k": 3},
    ]
    if subject.declares("top_p"):
        ways.append({"temperature": 2.0, "top_k": 18, "top_p": 0.43})
        ways.append({"temperature": 2.0, "top_k": 18, "top_p": 0.97})
    if subject.declares("min_p"):
        ways.append({"temperature": 2.0, "top_k": 18, "min_p": 0.23})
    # What a server counts for penalties is seen by greedy answers already.
    if subject.declares("presence_penalty", "frequency_penalty") and not subject.backend.capabilities.server_defaults:
        ways.append({"temperature": 1.0, "top_k": 10, "presence_penalty": 1.5, "frequency_penalty": 0.5})
    return [{**plain, **way} for way in ways]


def _repeats(gaps: list[float], pull: Mapping[str, float], bias: float) -> int:
    """How often the token comes at the beginning."""
    for count, gap in enumerate(gaps):
        if bias - _penalty(pull, count) < gap:
            return count
    return len(gaps)


def _bias(gaps: list[float], pull: Mapping[str, float], margin: float, late: bool = False) -> float | None:
    """A bias whose effect depends on the penalty, and hangs by less than *margin* nowhere; None where there is none.

    The least one, or the largest, with which the token comes most often."""
    needed = [gap + _penalty(pull, count) for count, gap in enumerate(gaps)]
    for tenths in range(700, -300, -1) if late else range(-300, 700):
        bias = tenths / 10 + 0.03
        without = _repeats(gaps, {}, bias)
        opposite = _repeats(gaps, {name: -value for name, value in pull.items()}, bias)
        ended = _repeats(gaps, pull, bias)
        if ended in (without, opposite) or bias > 99:
            continue
        if all(abs(bias - each) > margin for each in needed[: ended + 1]):
            return bias
    return None


def _penalty(pull: Mapping[str, float], count: int) -> float:
    """What is taken off a token that the answer has *count* times."""
    return (pull.get("presence_penalty", 0.0) if count else 0.0) + count * pull.get("frequency_penalty", 0.0)


def _same(one: Any, other: Any) -> bool:
    if one.token_id is None or other.token_id is None:
        return bool(one.token == other.token)
    return bool(one.token_id == other.token_id)


def _measured(count: int, least: int, what: str) -> None:
    """Skip where too little was seen to say anything."""
    if count < least:
        pytest.skip(f"could not be measured: {count} {what}")
