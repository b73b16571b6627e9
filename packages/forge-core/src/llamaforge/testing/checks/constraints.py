"""Answers that must have a form: response_format and grammar, whatever else goes on."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from typing import Any, Final

import pytest

from ...errors import RequestError, UnsupportedError
from ...results import GeneratedText
from ..expect import NotAsExpected, expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject

COLOURS: Final = ("red", "green", "a shade of blue")
CALLERS: Final = 4
HOT: Final = 1000.0
DRAWS: Final = 20


def schema_format(schema: Any) -> dict[str, Any]:
    """The format for answers that are valid under *schema*."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


PAINT: Final = schema_format(
    _object(colour={"type": "string", "enum": list(COLOURS)}, dry={"type": "boolean"}, coats={"enum": [1, 2, 12]})
)
PAINTS: Final = [
    json.dumps({"colour": colour, "dry": dry, "coats": coats}, separators=(",", ":"))
    for colour, dry, coats in product(COLOURS, (True, False), (1, 2, 12))
]


class ConstraintChecks(Kit):
    """response_format and grammar."""

    def test_sampled_answers_follow_their_schema(self, subject: Subject) -> None:
        """Whatever is sampled, even at a high temperature, the answer is JSON that follows the schema, and ``parsed``
        is what it says. What ``max_tokens`` cuts, as JSON may hold much white space, is the beginning of such an
        answer, and whole with four times the tokens.

        Why: the likely tokens are often right by themselves. Look at: masks that are applied after the draw, or after
        filters that have left no allowed token.
        """
        if self._is_refused(subject, PAINT):
            return
        for seed in range(4):
            heat = {"temperature": 1.5} if subject.declares("temperature") else {}
            more = {"seed": seed} if subject.declares("seed") else {}
            given = {**heat, **more, "response_format": PAINT}
            answer = subject.ask("Describe a wall as JSON.", **subject.limit(64), **given)
            if answer.finish_reason == "length":
                bare = _without_space(answer)
                expect(
                    any(each.startswith(bare) for each in PAINTS), f"the beginning of JSON that follows {PAINT}", answer
                )
                expect_equal(answer.parsed, None, "result.parsed of JSON that was cut")
                answer = subject.ask("Describe a wall as JSON.", **subject.limit(256), **given)
            self._is_paint(answer)

    def test_a_cut_answer_with_a_schema_says_length(self, subject: Subject) -> None:
        """An answer that max_tokens cuts inside its JSON ends with ``length``, and has no ``parsed``.

        Why: a program must not mistake half an object for a whole one. Look at: who decides about the finish reason.
        """
        if self._is_refused(subject, PAINT) or not subject.declares("max_tokens"):
            return
        answer = subject.say(2, "Describe a wall as JSON.", response_format=PAINT)
        expect_equal(answer.finish_reason, "length", "the finish reason of JSON that was cut after two tokens")
        expect_equal(answer.parsed, None, "result.parsed of JSON that was cut")

    def test_a_choice_is_followed(self, subject: Subject) -> None:
        """With choices the answer is one of them, whole; a server that knows no choices refuses them by name.

        Why: programs compare it with them. Look at: how the type ``choice`` reaches the engine.
        """
        wanted = {"type": "choice", "choice": list(COLOURS)}
        answer = self._constrained(subject, wanted, "choice")
        if answer is not None:
            expect(answer in COLOURS, f"one of {COLOURS}", answer)
            expect_equal(answer.finish_reason, "stop", "the finish reason of a whole choice")

    def test_parameters_hold_within_a_form(self, subject: Subject) -> None:
        """Where the answer must be one of ten letters, a banned one doesn't come, a token with a large bias does, and
        at a high temperature it is not always the same one.

        Why: a form leaves a choice, and the choice is still the parameters'. Look at: masks that replace the logits; a
        greedy path for constrained answers.
        """
        letters = [chr(ord("a") + number) for number in range(10)]
        wanted = {"type": "choice", "choice": letters}
        plain = self._constrained(subject, wanted, "choice")
        if plain is None:
            return
        asked = {**subject.limit(32), "response_format": wanted}
        if subject.declares("logit_bias", "logprobs"):
            told = subject.say(4, "Name a colour.", response_format=wanted, logprobs=True)
            self._is_the_models_own(subject, told)
            first = told.logprobs[0].token_id if told.logprobs else None
            if first is not None:
                banned = subject.say(
                    4, "Name a colour.", response_format=wanted, logprobs=True, logit_bias={first: -100.0}
                )
                came = [each.token_id for each in banned.logprobs]
                expect(first not in came, f"no token {first}, which is banned, in a choice of letters", came)
        if not subject.declares("temperature", "seed") or subject.backend.capabilities.server_defaults:
            return
        if plain.reasoning:
            pytest.skip("could not be measured: the model thinks before it answers")
        came_hot = {str(subject.ask(**asked, temperature=HOT, seed=seed)) for seed in range(DRAWS)}
        expect(len(came_hot) > 1, f"several letters at temperature {HOT:g} with {DRAWS} seeds", came_hot)

    def test_a_regex_is_followed(self, subject: Subject) -> None:
        """With a regular expression the whole answer matches it; a server that knows none refuses it by name.

        Why: programs take it apart. Look at: how the type ``regex`` reaches the engine, and whether it is anchored.
        """
        pattern = "[A-C]{3}-[0-9]{2}"
        answer = self._constrained(subject, {"type": "regex", "regex": pattern}, "regex")
        if answer is not None:
            expect(re.fullmatch(pattern, answer), f"a text that {pattern} matches", answer)

    def test_callers_at_once_get_formats_of_their_own(self, subject: Subject) -> None:
        """Several callers at once, each with a schema of its own, each get what follows theirs.

        Why: a constraint has a state. Look at: state that is kept for the engine and not for the request.
        """
        if self._is_refused(subject, PAINT):
            return

        def ask(number: int) -> GeneratedText:
            wanted = schema_format(_object(number={"enum": [f"number {number}", f"no. {number}"]}))
            return subject.say(48, f"Give me the number {number} as JSON.", response_format=wanted)

        with ThreadPoolExecutor(CALLERS) as pool:
            for number, answer in enumerate(pool.map(ask, range(CALLERS))):
                said = answer.parsed
                follows = isinstance(said, dict) and said.get("number") in (f"number {number}", f"no. {number}")
                expect(follows, f"JSON with the number {number}, as its own caller asked", answer)

    def test_a_constraint_ends_with_its_request(self, subject: Subject) -> None:
        """After a constrained answer a free one is as free as before.

        Why: callers share the engine. Look at: masks or grammars that stay in a slot.
        """
        if self._is_refused(subject, PAINT):
            return
        free = subject.known(12)
        subject.say(64, "Describe a wall as JSON.", response_format=PAINT)
        subject.agrees(subject.say(12), free, "the free answer after a constrained one")

    def test_a_format_that_can_not_be_read_is_refused(self, subject: Subject) -> None:
        """A format of an unknown type, and a schema format without its schema, are refused before any work.

        Why: an answer without the form looks right by chance. Look at: overrides of ``generate``.
        """
        if self._is_refused(subject, PAINT):
            return
        for wrong in ({"type": "no-such-type"}, {"type": "json_schema"}, {"type": "choice", "choice": []}):
            expect_refusal(RequestError, partial(subject.generate, None, {"response_format": wrong}), f"{wrong}")

    def _is_the_models_own(self, subject: Subject, came: GeneratedText) -> None:
        """The first token's log-probability is what it is where any token may come."""
        free = subject.say(1, "Name a colour.", logprobs=True, **top).logprobs if (top := _top(subject)) else ()
        if not free or not came.logprobs or came.reasoning:
            return
        first = came.logprobs[0]
        same = [each for each in free[0].top if each.token_id == first.token_id]
        near = max(subject.rounding, 2e-3)
        right = (
            abs(same[0].logprob - first.logprob) <= near if same else first.logprob <= free[0].top[-1].logprob + near
        )
        expect(right, f"the model's own log-probability of a token, which is none of {free[0].top} in a form", first)

    def _is_refused(self, subject: Subject, wanted: dict[str, Any]) -> bool:
        """Whether response_format is not declared; it is refused then."""
        if subject.declares("response_format"):
            return False
        subject.refuses(response_format=wanted)
        return True

    def _constrained(self, subject: Subject, wanted: dict[str, Any], kind: str) -> GeneratedText | None:
        """The answer in the format *wanted*; None where it was refused as it must be."""
        if self._is_refused(subject, wanted):
            return None
        asked = {**subject.greedy, **subject.limit(32), "response_format": wanted}
        try:
            return subject.generate("Name a colour.", asked)
        except UnsupportedError as error:
            expect(kind in str(error), f"the error to name the type {kind}", error)
            return None
        except Exception as error:
            raise NotAsExpected(f"an answer with {wanted}", error) from error

    @staticmethod
    def _is_paint(answer: GeneratedText) -> None:
        try:
            said = json.loads(answer)
        except ValueError:
            said = None
        follows = isinstance(said, dict) and list(said) == ["colour", "dry", "coats"]
        follows = (
            follows and said["colour"] in COLOURS and isinstance(said["dry"], bool) and said["coats"] in (1, 2, 12)
        )
        expect(follows and answer.finish_reason == "stop", f"JSON that follows {PAINT}, and ends with stop", answer)
        expect_equal(answer.parsed, said, "result.parsed")


def _top(subject: Subject) -> dict[str, int]:
    """As many alternatives as there are, where they mean what they do elsewhere."""
    able = subject.declares("top_logprobs") and not subject.backend.capabilities.server_defaults
    return {"top_logprobs": 20} if able else {}


def _without_space(text: str) -> str:
    """JSON, or its beginning, without the white space outside strings."""
    return re.sub(r'("[^"]*"?)|[ \t\r\n]+', lambda found: found[1] or "", text)
