"""Constraints behind the scheduler, with an engine that writes whatever it may."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest

from llamaforge.engine import BytesDetokenizer
from llamaforge.errors import ConflictingParametersError, ConstraintError, GenerationError, UnsupportedError
from support.dice_engine import CALL, TABLE, DiceBackend, DiceEngine

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["teacher", "student", "something else"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "tags"],
    "additionalProperties": False,
}


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": schema}}


@pytest.fixture
def backend() -> Iterator[DiceBackend]:
    with DiceBackend() as made:
        yield made


def check(text: str, schema: Any = PERSON) -> None:
    jsonschema.validate(json.loads(text), schema)


def test_every_answer_that_stops_is_valid(backend: DiceBackend) -> None:
    for seed in range(50):
        answer = backend.generate("x", response_format=schema_format(PERSON), seed=seed, max_tokens=300)
        assert answer.finish_reason == "stop", answer
        check(answer)


def test_properties_come_in_the_schemas_order_with_one_space(backend: DiceBackend) -> None:
    answer = backend.generate("x", response_format=schema_format(PERSON), seed=1)
    assert list(json.loads(answer)) == list(PERSON["properties"])  # type: ignore[call-overload]
    assert json.loads(answer) == json.loads(json.dumps(json.loads(answer)))
    assert '", "age": ' in answer


def test_many_callers_each_get_what_they_get_alone(backend: DiceBackend) -> None:
    kinds = [schema_format(PERSON), {"type": "regex", "regex": "[a-c]{3,9}x"}, {"type": "text"}, None]

    def ask(number: int) -> str:
        return backend.generate("x", response_format=kinds[number % 4], seed=number, max_tokens=120)

    alone = [ask(number) for number in range(24)]
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, range(24))) == alone
    for number in range(0, 24, 4):
        check(alone[number])


@pytest.mark.parametrize("temperature", [0, 1])
def test_guesses_change_nothing(temperature: int) -> None:
    schema = {"type": "array", "items": {"enum": ["abcabc", "abc", "true false true"]}, "minItems": 20, "maxItems": 20}
    texts = []
    for lookup in (0, 8):
        with DiceBackend(prompt_lookup=lookup) as backend:
            texts.append(
                [
                    backend.generate(
                        'abcabc", "abcabc", "abcabc", "abc"',
                        response_format=schema_format(schema),
                        seed=seed,
                        temperature=temperature,
                    )
                    for seed in range(8)
                ]
            )
            steps = backend.engine.steps
    assert texts[0] == texts[1]
    assert steps
    for text in texts[0]:
        check(text, schema)


def test_what_is_forced_takes_few_steps(backend: DiceBackend) -> None:
    schema = {"const": "a rather long constant that nobody can get wrong"}
    backend.generate("x", response_format=schema_format(schema))  # compiled
    before = backend.engine.steps
    answer = backend.generate("y", response_format=schema_format(schema))
    assert json.loads(answer) == schema["const"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 40
    assert backend.engine.steps - before <= 3


def test_an_engine_that_cant_cut_gets_no_guesses_and_answers_alike(backend: DiceBackend) -> None:
    with DiceBackend(lambda: DiceEngine(can_trim=False)) as other:
        for seed in range(5):
            wanted = {"response_format": schema_format(PERSON), "seed": seed}
            assert other.generate("x", wanted) == backend.generate("x", wanted)


def test_a_cut_answer_says_so(backend: DiceBackend) -> None:
    answer = backend.generate("x", response_format=schema_format(PERSON), max_tokens=5, seed=1)
    assert answer.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def test_an_answer_that_is_whole_with_its_last_token_was_not_cut(backend: DiceBackend) -> None:
    whole = backend.generate("x", response_format={"type": "choice", "choice": ["truefalse"]}, seed=1)
    assert whole.usage is not None
    length = whole.usage.completion_tokens
    again = backend.generate(
        "x", response_format={"type": "choice", "choice": ["truefalse"]}, seed=1, max_tokens=length
    )
    assert (again, again.finish_reason) == (whole, "stop")


def test_text_regex_choice_and_grammar(backend: DiceBackend) -> None:
    free = backend.generate("x", seed=3, max_tokens=9)
    assert backend.generate("x", seed=3, max_tokens=9, response_format={"type": "text"}) == free
    assert backend.generate("x", response_format={"type": "regex", "regex": "a/b\\d"})[:3] == "a/b"
    assert backend.generate("x", response_format={"type": "choice", "choice": ["yes", "no"]}) in {"yes", "no"}
    assert backend.generate("x", grammar='start: "<" /[ab]{3}/ ">"').strip("<>ab") == ""


def test_a_special_token_in_a_grammar(backend: DiceBackend) -> None:
    from llamaforge.constraints import Grammar, special_token

    scheduler = backend._scheduler
    assert scheduler is not None
    vocabulary = scheduler.constraints.vocabulary("grammar")
    grammar = Grammar(f"start: {special_token('[CALL]')} {special_token('<none>')} @rest", (("rest", 'start: "x"'),))
    matcher = vocabulary.matcher(grammar)
    assert matcher.forced()[0] == CALL
    matcher.accept(CALL)
    assert matcher.valid(list(b"<none>x")) == 7


def test_an_unloaded_engine_is_forgotten() -> None:
    """llguidance's tokenizer and ours hold each other, and the engine, where the garbage collector doesn't see it."""
    with DiceBackend() as made:
        assert made.generate("x", response_format={"type": "choice", "choice": ["yes", "no"]}) in {"yes", "no"}
        scheduler = made._scheduler
        assert scheduler is not None
        engine = weakref.ref(scheduler.engine)
    del made, scheduler
    gc.collect()
    assert engine() is None


def test_bias_counts_only_among_allowed_tokens(backend: DiceBackend) -> None:
    answer = backend.generate(
        "x", response_format={"type": "choice", "choice": ["a", "b"]}, logit_bias={ord("b"): 50, ord("z"): 100}
    )
    assert answer == "b"


def test_logprobs_change_nothing(backend: DiceBackend) -> None:
    wanted = {"response_format": schema_format(PERSON), "seed": 5}
    plain = backend.generate("x", wanted)
    told = backend.generate("x", wanted, logprobs=True)
    assert told == plain
    assert told.usage is not None
    assert len(told.logprobs) == told.usage.completion_tokens


def test_an_engine_that_ignores_masks_fails_only_that_request() -> None:
    with DiceBackend(lambda: DiceEngine(ignores_masks=True)) as backend, ThreadPoolExecutor(2) as pool:
        free = pool.submit(backend.generate, "x", {"seed": 1, "max_tokens": 200})
        with pytest.raises(GenerationError, match="constraint"):
            backend.generate("x", response_format=schema_format(PERSON), seed=1)
        assert free.result().finish_reason in {"stop", "length"}


def test_an_engine_without_masks_or_bytes_is_refused_by_name() -> None:
    class Maskless(DiceEngine):
        can_mask = False

    class Tableless(DiceEngine):
        def token_table(self) -> Any:
            return None

        def detokenizer(self, request: Any, prompt: Any) -> Any:
            return BytesDetokenizer(TABLE.__getitem__)

    for kind, why in ((Maskless, "it can't mask tokens"), (Tableless, "its tokens have no bytes of their own")):
        with DiceBackend(kind) as backend:
            with pytest.raises(UnsupportedError, match=f"{kind.__name__}.*response_format.*{why}"):
                backend.generate("x", response_format={"type": "json_object"})
            assert backend.generate("x", max_tokens=2, seed=1).finish_reason in {"stop", "length"}


def test_what_cant_be_enforced_is_refused_at_its_place(backend: DiceBackend) -> None:
    schema = {"type": "object", "properties": {"a/b": {"type": "array", "uniqueItems": True}}}
    with pytest.raises(ConstraintError, match="uniqueItems") as caught:
        backend.generate("x", response_format=schema_format(schema))
    assert caught.value.place == "/json_schema/schema/properties/a~1b"
    with pytest.raises(ConstraintError, match="look"):
        backend.generate("x", response_format={"type": "regex", "regex": "a(?=b)"})
    with pytest.raises(ConstraintError, match="grammar"):
        backend.generate("x", grammar="start: nowhere")


def test_a_grammar_that_turns_out_too_large_is_the_requests_fault(backend: DiceBackend) -> None:
    """Its first token is found, and a later one isn't within the limits: no failure of the engine."""
    many = {"anyOf": [{"type": "object", "properties": {f"{each}{n}": {} for n in range(400)}} for each in "pq"]}
    with pytest.raises(ConstraintError, match=r"^response_format: it can't be followed.*max is 2000"):
        backend.generate("x", response_format=schema_format(many), seed=1, max_tokens=300)
    assert backend.generate("x", response_format=schema_format(PERSON), seed=1).finish_reason == "stop"


def test_stop_strings_are_refused_with_a_constraint(backend: DiceBackend) -> None:
    for wanted in ({"response_format": {"type": "json_object"}}, {"grammar": 'start: "a"'}):
        with pytest.raises(ConflictingParametersError, match="stop"):
            backend.generate("x", wanted, stop="a")
    backend.generate("x", response_format={"type": "text"}, stop="a", max_tokens=3)


def test_leaving_early_leaves_the_others(backend: DiceBackend) -> None:
    long = {"type": "array", "items": PERSON, "minItems": 20}
    with backend.generate_stream("x", response_format=schema_format(long), seed=1) as stream:
        next(stream)
    check(backend.generate("x", response_format=schema_format(PERSON), seed=2))


def test_streams_batches_and_loops_are_constrained_alike(backend: DiceBackend) -> None:
    wanted = {"response_format": schema_format(PERSON), "seed": 7}
    answer = backend.generate("x", wanted)
    assert "".join(backend.generate_stream("x", wanted)) == answer
    assert backend.chat([{"role": "user", "content": "x"}], wanted) == answer
    assert [item.text for item in backend.generate_batch(["x", "x"], wanted)] == [answer, answer]
    assert asyncio.run(_twice(backend, wanted)) == [answer, answer]


async def _twice(backend: DiceBackend, wanted: dict[str, Any]) -> list[str]:
    return [await backend.agenerate("x", wanted), await backend.achat([{"role": "user", "content": "x"}], wanted)]


def test_an_answer_that_is_forced_leaves_what_was_computed(backend: DiceBackend) -> None:
    prompt = "abcabcabcabc"
    backend.generate(prompt, max_tokens=1)
    steps = backend.engine.steps
    forced = backend.generate(f"{prompt}xyz", response_format={"type": "regex", "regex": "abc"})
    assert (forced, backend.engine.steps) == ("abc", steps), "nothing had to be computed"
    again = backend.generate(f"{prompt}cba", max_tokens=1)
    assert forced.usage is not None
    assert again.usage is not None
    assert again.usage.cached_tokens == forced.usage.cached_tokens == len(prompt)
