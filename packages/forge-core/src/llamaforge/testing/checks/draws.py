"""Sampling where its extremes don't show it: penalties and biases at low temperatures, seeds, and what nobody set."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import pytest

from ...errors import InvalidParameterError, LlamaForgeError
from ...parameters import DEFAULTS
from ...results import GeneratedText
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from ..ways import cells_within, spread, ways
from .arithmetic import lacks

COLD: Final = {"temperature": 0.02}
"""As good as greedy, and sampled nevertheless."""
WORDS: Final = 4
LONG: Final = 16
IMPROBABLE: Final = -16.0
"""The logarithm of a probability at which two equal draws are no accident."""
STEPS: Final = (2**8, 2**16, 2**24, 2**31, 10**3, 10**6, 2**16 - 1, 2**31 - 1)
"""What is added to a seed: in each, something that is smaller than a seed may be comes round again."""
NEIGHBOURS: Final = (2**32 - 3, 2**32 - 2, 2**31 + 7, 2**31 + 8)
"""Large seeds that differ in their last bits."""
MANY: Final = 400
MANY_TOKENS: Final = 300
"""More than the usual limits of 128 and 256."""
NEUTRAL: Final = {name: DEFAULTS[name] for name in ("temperature", "top_p", "top_k", "min_p") if name in DEFAULTS}


class DrawChecks(Kit):
    """What goes wrong between greedy and fully random."""

    def test_repetition_penalty_counts_prompt_and_answer(self, subject: Subject) -> None:
        """A repetition_penalty divides the logit of a token that prompt or answer has, once, however often it came.

        Two tokens get large biases, so that their logits are known well enough. Tried are words that the prompt has,
        words that the answer has got meanwhile, penalties above and below 1, at temperature 0 and next to it. Some
        words are tokenized otherwise in a prompt; one must do what the arithmetic says.

        Why: an answer changes somehow with any penalty. Look at: what is counted (all of prompt and answer), whether it
        is divided once, and what happens below 1.
        """
        if lacks(subject, "repetition_penalty", "logit_bias", "temperature", "logprobs", "top_logprobs"):
            return
        if subject.backend.capabilities.server_defaults:
            pytest.skip("could not be measured: what a server counts is up to the server")
        words = self._words(subject)
        if len(words) < 2:
            pytest.skip("could not be measured: the answer has no words whose tokens are known")
        pairs = [*pairwise(words), *pairwise(words[::-1])][:WORDS]
        cases: dict[str, list[tuple[Any, Any]]] = {}
        for (word, token), (_, other) in pairs:
            told = f"{subject.prompt} And say{word}{word}{word}."
            given = {"repetition_penalty": 2.0, "logit_bias": {token: 100.0, other: 75.0}}
            cases.setdefault("a word of the prompt to be divided by 2", []).append(
                (self._first(subject, told, 1, **given), [other])
            )
            given = {"repetition_penalty": 4.0, "logit_bias": {token: 100.0, other: 40.0}}
            cases.setdefault("a word of the prompt to be divided by 4", []).append(
                (self._first(subject, told, 1, **given), [other])
            )
            given = {"repetition_penalty": 0.5, "logit_bias": {token: 50.0, other: 80.0}}
            cases.setdefault("a word of the prompt to be divided by 0.5", []).append(
                (self._first(subject, told, 1, **given), [token])
            )
            for heat in ({"temperature": 0}, COLD):
                given = {"repetition_penalty": 2.0, "logit_bias": {token: 100.0, other: 80.0}}
                cases.setdefault(f"a word of the answer to be divided by 2, with {heat}", []).append(
                    (self._first(subject, None, 2, **given, **heat), [token, other])
                )
            given = {"repetition_penalty": 1.5, "logit_bias": {token: 100.0, other: 48.0}}
            cases.setdefault("a word to be divided by 1.5 once, and not each time", []).append(
                (self._first(subject, None, 5, **given), [token] * 5)
            )
        for what, seen in cases.items():
            told_ids = Told(f"tokens {[came for came, _ in seen]}, and not {[wanted for _, wanted in seen]}")
            expect(any(came == wanted for came, wanted in seen), what, told_ids)

    def test_biases_have_their_full_range(self, subject: Subject) -> None:
        """Of two tokens with biases of 60 and 100 the second comes, also beside four hundred other biases, or all
        that a small vocabulary has, and at a temperature above 0.

        Why: a limit on size or number changes nothing in small examples. Look at: clipping, arrays of a fixed length,
        and where the temperature is applied.
        """
        if lacks(subject, "logit_bias", "temperature", "logprobs", "top_logprobs"):
            return
        ids = [token for _, token in self._words(subject)] or subject.first_ids()
        if len(ids) < 2:
            pytest.skip("could not be measured: the backend tells no ids of tokens")
        many = {token: -1.0 for token in range(self._known_ids(subject, MANY)) if token not in ids}
        some = {ids[0]: 60.0, ids[1]: 100.0}
        for bias in (some, {**many, **some}, {**some, **many}):
            for heat in ({"temperature": 0}, {"temperature": 2.0}):
                came = self._first(subject, None, 2, logit_bias=bias, **heat)
                shown = f"{len(bias)} biases, of which token {ids[1]} has the largest, and {heat}"
                expect_equal(came, [ids[1]] * 2, f"tokens with {shown}")

    def test_penalties_hold_when_sampled(self, subject: Subject) -> None:
        """Next to temperature 0, biases and penalties end a repetition where they do at temperature 0.

        Why: the two ways to choose a token are often two pieces of code. Look at: penalties that only one of them
        applies; logits that are divided by the temperature before biases and penalties are added.
        """
        if lacks(subject, "logit_bias", "temperature", "logprobs", "top_logprobs"):
            return
        names = [name for name in ("presence_penalty", "frequency_penalty") if subject.declares(name)]
        seeded = {"seed": 5} if subject.declares("seed") else {}
        for name in names:
            for token in [token for _, token in self._words(subject)][:2]:
                steps = subject.say(3, logit_bias={token: 100.0}, logprobs=True, top_logprobs=1).logprobs
                gaps = [each.top[0].logprob - each.logprob for each in steps if each.token_id == token and each.top]
                if len(gaps) < 3:
                    continue
                bias = max(gaps[0], gaps[1] + 1.0) + 0.5 + subject.rounding
                if gaps[1] + 2.0 < bias + 0.4 + subject.rounding:
                    continue
                given = {"logit_bias": {token: bias}, name: 2.0, "logprobs": True, **subject.limit(2), **seeded}
                told = [[each.token_id for each in subject.ask(**given, **heat).logprobs] for heat in _HEATS]
                came, greedy = ([ids[:1] == [token], ids[:2] == [token] * 2] for ids in told)
                expect_equal(came, greedy, f"whether token {token} comes and comes again with {given} and {COLD}")

    def test_every_bit_of_a_seed_counts(self, subject: Subject) -> None:
        """Seeds that differ only in one high bit, or by a round number, have different answers.

        Why: seeds are often times or hashes, which differ in a few bits. Look at: masks, and integers of native code.
        """
        if lacks(subject, "seed", "temperature", "logprobs"):
            return
        given = {**subject.limit(LONG), "temperature": 1.0, "logprobs": True}
        first = subject.ask(**given, seed=5)
        if _logprob(first) > IMPROBABLE:
            pytest.skip("could not be measured: the model is too certain of its answer")
        for step in STEPS:
            other = subject.ask(**given, seed=5 + step)
            expect(str(other) != str(first), f"another answer with seed {5 + step} than with seed 5", other)
        large = [subject.ask(**given, seed=seed) for seed in NEIGHBOURS]
        told = {str(answer) for answer in large}
        if all(_logprob(answer) < IMPROBABLE for answer in large):
            expect(len(told) == len(large), f"another answer with each of the seeds {NEIGHBOURS}", told)

    def test_the_largest_seed_is_a_seed(self, subject: Subject) -> None:
        """Seeds 0 and 4294967295, the smallest and the largest, repeat their answers as any other does.

        Why: seeds are made of hashes. Look at: values that an engine takes for "draw one": 0, -1, and 4294967295,
        which is -1 with a sign.
        """
        if lacks(subject, "seed", "temperature"):
            return
        tokens, heat = (1, 0.5) if subject.rounding else (LONG, 1.2)
        given = {**subject.limit(tokens), "temperature": heat}
        for seed in (0, 2**32 - 1):
            answers = [str(subject.ask(**given, seed=seed)) for _ in range(3)]
            if not subject.rounding or len(set(answers)) == 1:
                expect(len(set(answers)) == 1, f"the same answer with seed {seed} each time", answers)

    def test_unset_seeds_differ(self, subject: Subject) -> None:
        """Requests that set no seed have different answers, on every path.

        Why: callers who ask for three suggestions want three. Look at: a constant seed; a generator that each request
        seeds anew with few bits.
        """
        if lacks(subject, "temperature", "logprobs"):
            return
        every = ways(subject)
        asked = min(15, cells_within(subject, 2 * LONG, least=len(every)))
        given = {**subject.limit(2 * LONG), "temperature": 1.0, "logprobs": True}
        seen: dict[str, str] = {}
        for number in range(asked):
            way = every[number % len(every)]
            answer = subject.answered(lambda: way.ask(subject.prompt, given), f"{way.name} without a seed")  # noqa: B023
            if _logprob(answer) > IMPROBABLE - 2 * math.log(asked):
                continue
            expect(
                str(answer) not in seen,
                f"another answer of {way.name} than of {seen.get(str(answer))}, unseeded",
                answer,
            )
            seen[str(answer)] = way.name

    def test_what_is_not_set_is_neutral_on_every_path(self, subject: Subject) -> None:
        """A seeded request that sets nothing else has, on every path, the answer that it has with core's defaults.

        Why: a default of one path's own is found by nobody. Look at: temperatures and filters that an endpoint for
        conversations, or a client, adds.
        """
        if lacks(subject, "seed", "temperature"):
            return
        plain = {**subject.limit(LONG), "seed": 11}
        wanted = subject.ask(**plain)
        own = {name: value for name, value in wanted.parameters.items() if name in NEUTRAL}
        if subject.rounding or any(own.get(name) != NEUTRAL[name] for name in NEUTRAL if subject.declares(name)):
            pytest.skip("could not be measured: the server or the model chooses, or answers depend on rounding")
        neutral = {name: value for name, value in NEUTRAL.items() if subject.declares(name)}
        expect_equal(str(subject.ask(**plain, **neutral)), str(wanted), f"the answer with {neutral}")
        for way in ways(subject):
            answer = subject.answered(lambda: way.ask(subject.prompt, plain), f"{way.name} with {plain}")  # noqa: B023
            expect_equal(str(answer), str(wanted), f"the answer of {way.name} with {plain} and nothing else")

    def test_answers_have_no_limit_of_their_own(self, subject: Subject) -> None:
        """Without max_tokens, an answer that a bias keeps from ending goes on to the end of the context, on every path.

        Streams are left after some hundred tokens, where the context is larger or its size is not known.

        Why: a cap that nobody asked for cuts one answer in ten. Look at: the engine's own default, such as 16, 20, 128
        or 256.
        """
        if lacks(subject, "logit_bias", "max_tokens", "logprobs", "top_logprobs"):
            return
        ids = [token for _, token in self._words(subject)] or subject.first_ids()[1:]
        if not ids:
            pytest.skip("could not be measured: the backend tells no ids of tokens")
        tokens = max(40, subject.lasting(1.0, MANY_TOKENS))
        given = {**subject.greedy, "logit_bias": {ids[0]: 100.0}}
        if not self._has_n_ctx():
            with subject.stream(**given) as stream:
                pieces = [piece for piece, _ in zip(stream, range(tokens), strict=False)]
                if len(pieces) < tokens:
                    expect_equal(stream.result.finish_reason, "length", "finish_reason of an answer without end")
                    full = stream.result.usage is None or stream.result.usage.total_tokens >= 512
                    expect(full, "an answer that goes on to the end of the context", stream.result.usage)
            return
        used = subject.known(4).usage
        if used is None or used.estimated:
            pytest.skip("could not be measured: the engine counts no tokens")
        with self.fresh(n_ctx=used.prompt_tokens + tokens) as tight:
            every = ways(tight)
            for way in spread(
                every, max(3, cells_within(tight, tokens) if tight.lasting(1.0, MANY_TOKENS) == MANY_TOKENS else 3)
            ):
                answer = tight.answered(lambda: way.ask(tight.prompt, given), f"{way.name} without max_tokens")  # noqa: B023
                if answer.finish_reason == "stop":
                    continue  # it ended by itself nevertheless
                came = (answer.finish_reason, answer.usage and answer.usage.completion_tokens)
                expect_equal(came, ("length", tokens), f"finish_reason and tokens of {way.name} without max_tokens")

    # How.

    def _has_n_ctx(self) -> bool:
        return "n_ctx" in self.config_class().__struct_fields__

    def _known_ids(self, subject: Subject, most: int) -> int:
        """How many ids from 0 on the model has, at most *most*: it refuses the others, each alone."""
        low, high, tried = 0, most, most
        while low < high:
            try:
                subject.generate(None, {**subject.limit(1), "logit_bias": {tried - 1: -1.0}})
            except InvalidParameterError:
                high = tried - 1
            else:
                low = tried
            tried = (low + high + 1) // 2
        return low

    def _words(self, subject: Subject) -> list[tuple[str, int]]:
        """Words of the greedy answer that are one token each and not in the prompt; asked only once."""
        known = subject.remembered.setdefault("words", {})
        if "it" not in known:
            found: dict[int, str] = {}
            for entry in subject.say(24, logprobs=True, top_logprobs=5).logprobs:
                for each in (entry, *entry.top):
                    word = each.token
                    plain = word[1:].isalpha() and word.isascii() and word.startswith(" ") and len(word) > 3
                    if each.token_id is not None and plain and word.strip() not in subject.prompt.lower():
                        found[each.token_id] = word
            known["it"] = [(word, token) for token, word in found.items()][: WORDS + 1]
        words: list[tuple[str, int]] = known["it"]
        return words

    def _first(self, subject: Subject, prompt: str | None, tokens: int, **given: Any) -> list[int | None]:
        seeded = {"seed": 5} if subject.declares("seed") else {}
        asked = {"temperature": 0, **seeded, **given, **subject.limit(tokens), "logprobs": True, **unthinking(subject)}
        try:
            answer = subject.generate(prompt, asked)
        except LlamaForgeError as error:
            expect(False, f"an answer with {asked}", error)
            raise
        return [entry.token_id for entry in answer.logprobs]


_HEATS: Final[tuple[Mapping[str, Any], ...]] = (COLD, {"temperature": 0})


def unthinking(subject: Subject) -> dict[str, Any]:
    """What keeps a model that thinks from doing so: its first tokens are to be those of the answer."""
    known = subject.remembered.setdefault("unthinking", {})
    if "it" not in known:
        known["it"] = {}
        if subject.known(8).reasoning:
            known["it"] = None
            given = {"max_reasoning_tokens": 0}
            if subject.declares(*given):
                with contextlib.suppress(LlamaForgeError):
                    quiet = subject.generate(None, {**subject.greedy, **subject.limit(8), **given})
                    known["it"] = None if quiet.reasoning else given
    if known["it"] is None:
        pytest.skip("could not be measured: the model thinks before it answers")
    found: dict[str, Any] = known["it"]
    return found


def _logprob(answer: GeneratedText) -> float:
    """The logarithm of the probability of the whole answer, at temperature 1."""
    return math.fsum(entry.logprob for entry in answer.logprobs)
