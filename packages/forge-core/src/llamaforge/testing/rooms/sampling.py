"""What the sampling parameters do, seen in the text. A parameter that isn't declared is refused instead."""

from __future__ import annotations

import json
from typing import Any, Final

from ...errors import LlamaForgeError
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject

HOT: Final = 2.0
SEEDS: Final = (1, 2, 3, 4)
TOKENS: Final = 8
BIASED: Final = (65, 97, 40)
"""Tokens that every vocabulary has, whatever they mean there."""


class SamplingChecks(Kit):
    """Each sampling parameter is honoured."""

    def test_temperature_zero_is_greedy(self, subject: Subject) -> None:
        """At temperature 0 the same request has the same answer, whatever the seed.

        Why: it is what tests, caches and evaluations stand on. Look at: temperature 0 treated as "not set", or as a
        small number; a seed that is drawn anyway.
        """
        if not subject.declares("temperature"):
            subject.refuses(temperature=0.5)
            return
        wanted = subject.ask(**subject.limit(12), temperature=0)
        for seed in SEEDS[:2]:
            more = {"seed": seed} if subject.declares("seed") else {}
            answer = subject.ask(**subject.limit(12), temperature=0, **more)
            expect_equal(answer, wanted, "the answer at temperature 0, asked again")

    def test_temperature_gives_variety(self, subject: Subject) -> None:
        """At a high temperature different seeds give different answers, and a low one stays closer to the greedy
        answer.

        A model that is certain of each token, by its log-probabilities, has but one answer.

        Why: a temperature that is ignored is not noticed by anything else. Look at: how it reaches your engine; engines
        that need sampling switched on by another option.
        """
        if not subject.declares("temperature"):
            subject.refuses(temperature=0.5)
            return
        greedy = subject.ask(**subject.limit(TOKENS), temperature=0)
        hot = self._drawn(subject, HOT)
        if len(set(hot)) == 1 and subject.only_one_answer(TOKENS, temperature=0):
            expect_equal(hot[0], greedy, "the one answer that this model has, at a high temperature")
            return
        expect(len(set(hot)) > 1, f"several answers at temperature {HOT} with {len(hot)} seeds", hot)
        cold = self._drawn(subject, 0.1)
        near, far = (sum(map(len, (_common(each, greedy) for each in drawn))) for drawn in (cold, hot))
        expect(
            near > far,
            f"answers at temperature 0.1 that begin like the greedy one ({greedy!r}) for longer than those at {HOT}",
            Told(f"{near} characters in common at 0.1, {far} at {HOT}: {cold} and {hot}"),
        )

    def test_top_k_of_one_is_greedy(self, subject: Subject) -> None:
        """With top_k=1 the answer is the greedy one at any temperature.

        Why: it shows that top_k reaches the engine. Look at: its name there, and 0 and 1 taken for "off".
        """
        self._is_greedy(subject, top_k=1)

    def test_a_tiny_top_p_is_greedy(self, subject: Subject) -> None:
        """With a top_p next to 0 only the best token is left, and the answer is the greedy one at any temperature.

        Why: it shows that top_p reaches the engine. Look at: a filter that may leave no token at all, or is off.
        """
        self._is_greedy(subject, top_p=1e-6)

    def test_min_p_of_one_is_greedy(self, subject: Subject) -> None:
        """With min_p=1 only the best token is left, and the answer is the greedy one at any temperature.

        Why: it shows that min_p reaches the engine. Look at: its name there; engines that lack it.
        """
        self._is_greedy(subject, min_p=1.0)

    def test_a_seed_repeats_the_answer(self, subject: Subject) -> None:
        """The same seed gives the same answer, also with other requests between.

        Why: it is all that a seed is for. Look at: a generator that is shared by requests; a seed that is not passed
        on.
        """
        if not subject.declares("seed"):
            subject.refuses(seed=7)
            return
        given = self._sampled(subject)
        first = [subject.ask(**given, seed=seed) for seed in SEEDS[:3]]
        second = [subject.ask(**given, seed=seed) for seed in reversed(SEEDS[:3])]
        expect_equal(second[::-1], first, f"the answers with the seeds {SEEDS[:3]}, asked again")

    def test_seeds_differ(self, subject: Subject) -> None:
        """Different seeds give different answers, unless the model is certain of each token.

        Why: a seed that is always the same looks like determinism. Look at: a constant seed; temperature 0 left on.
        """
        if not subject.declares("seed"):
            subject.refuses(seed=7)
            return
        given = self._sampled(subject)
        answers = [subject.ask(**given, seed=seed) for seed in SEEDS]
        if len(set(answers)) == 1 and subject.only_one_answer(TOKENS, **subject.greedy):
            return
        expect(len(set(answers)) > 1, f"several answers with the seeds {SEEDS}", answers)

    def test_the_reported_seed_repeats_the_answer(self, subject: Subject) -> None:
        """A sampled request without a seed reports the one that was drawn, and with it the answer comes again.

        Why: an answer that nobody can reproduce can't be debugged. Look at: a seed of your own instead of the
        request's.
        """
        if not subject.declares("seed"):
            subject.refuses(seed=7)
            return
        given = self._sampled(subject)
        answer = subject.ask(**given)
        if subject.backend.capabilities.server_defaults:
            expect("seed" not in answer.parameters, "no seed of ours where the server chooses", answer.parameters)
            return
        seed = answer.parameters.get("seed")
        expect(isinstance(seed, int), "result.parameters['seed'] to be the seed that was drawn", answer.parameters)
        expect_equal(subject.ask(**given, seed=seed), answer, f"the answer with the reported seed {seed}")

    def test_presence_penalty_is_honoured(self, subject: Subject) -> None:
        """A strong presence_penalty, or reward, changes the greedy answer.

        Why: it shows that it reaches the engine. Look at: its name there, its sign, and what it counts: the answer
        alone.
        """
        self._changes(subject, {"presence_penalty": 2.0}, {"presence_penalty": -2.0})

    def test_frequency_penalty_is_honoured(self, subject: Subject) -> None:
        """A strong frequency_penalty, or reward, changes the greedy answer.

        Why: it shows that it reaches the engine. Look at: its name there, its sign, and what it counts: the answer
        alone.
        """
        self._changes(subject, {"frequency_penalty": 2.0}, {"frequency_penalty": -2.0})

    def test_repetition_penalty_is_honoured(self, subject: Subject) -> None:
        """A strong repetition_penalty, or reward, changes the greedy answer.

        Why: it shows that it reaches the engine. Look at: its name there (repeat_penalty), and how many tokens it looks
        back: all of prompt and answer.
        """
        self._changes(subject, {"repetition_penalty": 2.0}, {"repetition_penalty": 0.6})

    def test_logit_bias_can_force_a_token(self, subject: Subject) -> None:
        """A bias of 100 makes one token the whole answer.

        Why: it shows that biases reach the engine, and with the right sign. Look at: keys, which are numbers here and
        strings in JSON; a bias that is applied after the choice.
        """
        if not subject.declares("logit_bias"):
            subject.refuses(logit_bias={65: 5})
            return
        plain = subject.known(TOKENS)
        forced = [subject.say(TOKENS, logit_bias={token: 100}) for token in BIASED]
        changed = [answer for answer in forced if answer != plain]
        expect(len(changed) >= 2, f"other answers with a bias of 100 on one of the tokens {BIASED}", forced)
        expect(len(set(changed)) > 1, f"a different answer for each of the tokens {BIASED}", forced)

    def test_logit_bias_can_ban_a_token(self, subject: Subject) -> None:
        """A bias of -100 keeps the token away that would have come first.

        Why: banning is what most people use biases for. Look at: negative values that are clamped or dropped.
        """
        if not subject.declares("logit_bias"):
            subject.refuses(logit_bias={65: -5})
            return
        token = self._first_token_id(subject)
        if token is None:  # it doesn't tell numbers of tokens: force one, and ban it again
            token = BIASED[0]
            given = {"logit_bias": {token: -100, BIASED[1]: 100}}
            expect_equal(subject.say(4, **given), subject.say(4, logit_bias={BIASED[1]: 100}), "the answer with both")
            return
        plain, banned = subject.known(4), subject.say(4, logit_bias={token: -100})
        expect(banned != plain, f"another answer than {plain!r} with its first token {token} banned", banned)

    def test_response_format_is_followed(self, subject: Subject) -> None:
        """With a JSON schema the answer is JSON that follows it.

        Why: programs read it. Look at: how the schema reaches the engine; answers that are cut, or wrapped in prose.
        """
        schema = {
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": ["red", "green"]}, "ripe": {"type": "boolean"}},
            "required": ["colour", "ripe"],
            "additionalProperties": False,
        }
        wanted = {"type": "json_schema", "json_schema": {"name": "fruit", "strict": True, "schema": schema}}
        if not subject.declares("response_format"):
            subject.refuses(response_format=wanted)
            return
        answer = subject.say(64, "Describe an apple as JSON.", response_format=wanted)
        try:
            value = json.loads(answer)
        except ValueError:
            value = None
        follows = isinstance(value, dict) and set(value) == {"colour", "ripe"}
        follows = follows and value["colour"] in ("red", "green") and isinstance(value["ripe"], bool)
        expect(follows, f"JSON that follows {schema}", answer)

    def test_a_grammar_is_followed(self, subject: Subject) -> None:
        """With a grammar of two words the answer is one of them; a grammar that can't be read is refused.

        Why: an answer that ignores it looks right by chance. Look at: how the grammar reaches the engine.
        """
        spellings = ('root ::= "yes" | "no"', 'start: "yes" | "no"')
        if not subject.declares("grammar"):
            subject.refuses(grammar=spellings[0])
            return
        refused: list[Exception] = []
        for spelling in spellings:
            try:
                answer = subject.generate(None, {**subject.greedy, **subject.limit(16), "grammar": spelling})
            except LlamaForgeError as error:
                refused.append(error)
                continue
            expect(answer in ("yes", "no"), f"yes or no, with the grammar {spelling}", answer)
        expect(len(refused) < len(spellings), "one of the usual kinds of grammars (GBNF, Lark) to be taken", refused)

    def test_a_required_tool_is_called(self, subject: Subject) -> None:
        """With tool_choice="required" the answer is a well-formed call of the tool; or the model can't, and says so.

        Why: agents depend on it. Look at: tools that don't reach the model's template, calls that stay in the text.
        """
        parameters = {
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
            "required": ["colour"],
        }
        tools = [
            {"type": "function", "function": {"name": "paint", "description": "Paint it.", "parameters": parameters}}
        ]
        given: dict[str, Any] = {"tools": tools}
        if not subject.declares("tools"):
            subject.refuses(**given)
            return
        if subject.declares("tool_choice"):
            given["tool_choice"] = "required"
        try:
            answer = subject.generate("Paint it green.", {**subject.greedy, **subject.limit(128), **given})
        except LlamaForgeError:
            return  # refused aloud: this model can't
        if subject.declares("tool_choice"):
            expect(answer.tool_calls, "at least one tool call", answer.to_dict())
            expect_equal(answer.finish_reason, "tool_calls", "finish_reason")
        for call in answer.tool_calls:
            expect_equal(call.function.name, "paint", "the name of the called function")
            try:
                arguments = json.loads(call.function.arguments)
            except ValueError:
                arguments = None
            expect(isinstance(arguments, dict), "arguments that are a JSON object", call.function.arguments)

    # What the checks share.

    def _sampled(self, subject: Subject) -> dict[str, Any]:
        return {**subject.limit(TOKENS), **({"temperature": 1.5} if subject.declares("temperature") else {})}

    def _drawn(self, subject: Subject, temperature: float) -> list[str]:
        """Answers with several seeds; without seeds, several answers."""
        seeds = [{"seed": seed} if subject.declares("seed") else {} for seed in SEEDS]
        return [str(subject.ask(**subject.limit(TOKENS), temperature=temperature, **seed)) for seed in seeds]

    def _is_greedy(self, subject: Subject, **filters: Any) -> None:
        """With *filters* at a high temperature, the answer is the greedy one."""
        __tracebackhide__ = True
        if not subject.declares(*filters):
            subject.refuses(**filters)
            return
        heat = {"temperature": HOT} if subject.declares("temperature") else {}
        for seed in SEEDS[:2]:
            more = {"seed": seed} if subject.declares("seed") else {}
            answer = subject.ask(**subject.limit(TOKENS), **heat, **filters, **more)
            expect_equal(answer, subject.known(TOKENS), f"the answer with {filters} and {heat}")

    def _changes(self, subject: Subject, *pulls: dict[str, Any]) -> None:
        """At least one of *pulls* changes the greedy answer, unless the model is certain of it."""
        __tracebackhide__ = True
        if not subject.declares(*pulls[0]):
            subject.refuses(**pulls[0])
            return
        plain = subject.known(32)
        pulled = []
        for pull in pulls:
            pulled.append(subject.say(32, **pull))
            if pulled[-1] != plain:
                return
        if subject.only_one_answer(32, **subject.greedy):
            return
        expect(False, f"another answer than {plain!r} with {' or '.join(map(str, pulls))}", pulled)

    def _first_token_id(self, subject: Subject) -> int | None:
        if not subject.declares("logprobs"):
            return None
        logprobs = subject.say(1, logprobs=True).logprobs
        return logprobs[0].token_id if logprobs else None


def _common(first: str, second: str) -> str:
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return first[:length]
