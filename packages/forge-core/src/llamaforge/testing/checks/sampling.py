"""What the sampling parameters do, seen in the text. A parameter that isn't declared is refused instead."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from ...errors import LlamaForgeError
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..refusing import expect_a_refusal
from ..subject import Subject, common_beginning

HOT: Final = 2.0
SEEDS: Final = (1, 2, 3, 4)
SURE: Final = 10.0
"""Tokens other than the greedy ones that must be expected before all draws being alike is no accident."""
TOKENS: Final = 8
COLD: Final = 0.01
MOST: Final = 64
"""Draws after which nobody waits for two that differ any more."""


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
            subject.agrees(answer, wanted, "the answer at temperature 0, asked again")

    def test_temperature_gives_variety(self, subject: Subject) -> None:
        """At a high temperature different seeds give different answers, and at a low one answers stay closer to the
        greedy one.

        A model that is certain of each token, by its log-probabilities, has but one answer.

        Why: a temperature that is ignored is not noticed by anything else. Look at: how it reaches your engine; engines
        that need sampling switched on by another option.
        """
        if not subject.declares("temperature"):
            subject.refuses(temperature=0.5)
            return
        greedy = subject.ask(**subject.limit(TOKENS), temperature=0)
        hot = self._several(subject, temperature=HOT)
        if hot is None:
            return
        expect(len(set(hot)) > 1, f"several answers at temperature {HOT} with {len(hot)} seeds", hot)
        cold = [self._draw(subject, seed, temperature=COLD) for seed, _ in enumerate(hot, 1)]
        near, far = (sum(map(len, (common_beginning(each, greedy) for each in drawn))) for drawn in (cold, hot))
        expect(
            near > far,
            f"answers at temperature {COLD} that begin like the greedy one ({greedy!r}) for longer than those at {HOT}",
            Told(f"{near} characters in common at {COLD}, {far} at {HOT}: {cold} and {hot}"),
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
        heat = {"temperature": 1.5} if subject.declares("temperature") else {}
        answers = self._several(subject, **heat)
        if answers is not None:
            expect(len(set(answers)) > 1, f"several answers with {len(answers)} seeds", answers)

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
            "additionalProperties": False,
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
        if subject.declares("parallel_tool_calls"):
            given["parallel_tool_calls"] = False
        try:
            answer = subject.generate("Paint it green.", {**subject.greedy, **subject.limit(128), **given})
        except LlamaForgeError as error:
            expect_a_refusal(error, "a call of the tool")  # this model can't, and says so
            return
        if subject.declares("tool_choice"):
            expect(answer.tool_calls, "at least one tool call", answer.to_dict())
        if subject.declares("parallel_tool_calls"):
            expect(
                len(answer.tool_calls) <= 1, "at most one tool call with parallel_tool_calls=False", answer.to_dict()
            )
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
        """What draws are repeated with. Where probabilities move, only a likely token can be expected again."""
        tokens, heat = (1, 0.2) if subject.rounding else (TOKENS, 1.5)
        return {**subject.limit(tokens), **({"temperature": heat} if subject.declares("temperature") else {})}

    def _draw(self, subject: Subject, seed: int, **more: Any) -> str:
        """One answer; without seeds, any."""
        seeded = {"seed": seed} if subject.declares("seed") else {}
        return str(subject.ask(**subject.limit(TOKENS), **more, **seeded))

    def _several(self, subject: Subject, **heat: Any) -> list[str] | None:
        """Answers with seeds from 1 on, until two differ or surely would have. None: this model has but one answer."""
        surprise = subject.surprise(TOKENS)
        if surprise is not None and surprise * MOST < SURE:
            return None
        enough = MOST if surprise is None else max(len(SEEDS), math.ceil(SURE / surprise))
        answers: list[str] = []
        while len(answers) < enough and (len(answers) < len(SEEDS) or len(set(answers)) < 2):
            answers.append(self._draw(subject, len(answers) + 1, **heat))
        return answers

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
            subject.agrees(answer, subject.known(TOKENS), f"the answer with {filters} and {heat}")
