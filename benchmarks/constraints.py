"""Constraints: what a mask costs, what an answer costs, and whether answers are valid.

    hatch run bench:constraints masks             processor time a token, mask and application
    hatch run bench:constraints throughput        constrained requests beside free ones of equal length
    hatch run bench:constraints valid --runs 1000  answers that end with "stop" and are not valid
    hatch run bench:constraints forced --runs 200  calls that are forced: which are not valid
    hatch run bench:constraints big                a mask of a vocabulary of 262,144 tokens

The schemas of `valid` and the tools of `forced` are real ones (real_schemas.py), beside a few of our own. Each engine
loads SmolLM2-135M-Instruct, or the model named with --model.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
import statistics
import string
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from real_schemas import real_tools

from llamaforge import BaseBackend, get_backend
from llamaforge.constraints import Grammar, format_grammar, read_format
from llamaforge.constraints.vocabulary import Vocabulary
from llamaforge.engine import apply_mask
from llamaforge.errors import ConstraintError
from llamaforge.models import DEFAULT_MODEL
from llamaforge.sources import resolve

STRING = {"type": "string", "maxLength": 40}
ADDRESS = {
    "type": "object",
    "properties": {"street": STRING, "city": STRING, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
    "required": ["street", "city", "zip"],
    "additionalProperties": False,
}
PERSON = {
    "type": "object",
    "properties": {
        "first_name": STRING,
        "last_name": STRING,
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "role": {"enum": ["engineer", "teacher", "nurse", "student"]},
        "active": {"type": "boolean"},
        "address": ADDRESS,
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
        "since": {"type": "string", "format": "date"},
    },
    "required": ["first_name", "last_name", "age", "role", "active", "address", "tags", "since"],
    "additionalProperties": False,
}
FORCING = {
    "type": "object",
    "properties": {
        f"measurement_number_{number}_of_the_station": {"type": "integer", "minimum": 0, "maximum": 9}
        for number in range(6)
    },
    "additionalProperties": False,
    "required": [f"measurement_number_{number}_of_the_station" for number in range(6)],
}
TEXT = {
    "type": "object",
    "properties": {"story": {"type": "string", "minLength": 400, "maxLength": 600}},
    "required": ["story"],
    "additionalProperties": False,
}
SCHEMAS: list[Any] = [
    PERSON,
    FORCING,
    ADDRESS,
    {"type": "array", "items": ADDRESS, "minItems": 1, "maxItems": 2},
    {"anyOf": [{"type": "null"}, {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 1000}]},
    {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "anyOf": [{"type": "boolean"}, {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/node"}}]
            }
        },
    },
    {
        "type": "object",
        "patternProperties": {"^[a-c]$": {"type": "boolean"}},
        "additionalProperties": False,
        "maxProperties": 3,
    },
    {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "at": {"type": "string", "format": "date-time"},
            "ip": {"type": "string", "format": "ipv4"},
        },
        "required": ["id", "at", "ip"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"price": {"type": "number", "minimum": 0, "maximum": 100}, "unit": {"const": "EUR"}},
        "required": ["price", "unit"],
        "additionalProperties": False,
    },
    {
        "type": "array",
        "prefixItems": [{"enum": ["north", "south"]}, {"type": "integer", "minimum": 1, "maximum": 9}],
        "items": False,
        "minItems": 2,
    },
]
ANSWER = {
    "first_name": "Maria",
    "last_name": "van den Berg",
    "age": 43,
    "role": "engineer",
    "active": True,
    "address": {"street": "12 Long Market Street", "city": "Leiden", "zip": "23111"},
    "tags": ["red", "blue"],
    "since": "2019-04-17",
}


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": schema}}


@contextmanager
def loaded(asked: argparse.Namespace, **parameters: Any) -> Iterator[BaseBackend]:
    model = asked.model or resolve(DEFAULT_MODEL.path, sha256=DEFAULT_MODEL.sha256).location
    with get_backend(asked.engine)() as backend:
        backend.load_model(model, {**json.loads(asked.load), **parameters})
        yield backend


def masks(asked: argparse.Namespace) -> None:
    """Walk along a valid answer: fill the mask, apply it, accept the token."""
    with loaded(asked) as backend:
        engine: Any = backend._engine
        began = time.perf_counter()
        vocabulary = backend._scheduler.constraints.vocabulary("response_format")  # type: ignore[attr-defined]
        print(f"vocabulary of {vocabulary.size} tokens: {time.perf_counter() - began:.2f} s")
        grammar = format_grammar(read_format(schema_format(PERSON)))
        assert grammar is not None
        began = time.thread_time()
        vocabulary.matcher(grammar)
        print(f"compiling: {1e3 * (time.thread_time() - began):.1f} ms")
        tokens = list(engine.tokenize_text(json.dumps(ANSWER)))
        time_masks(vocabulary, grammar, tokens, asked.runs)


def time_masks(vocabulary: Vocabulary, grammar: Grammar, tokens: Sequence[int], runs: int) -> None:
    """Walk along *tokens*; print what a mask and its application take of processor time."""
    buffer = bytearray(vocabulary.mask_bytes)
    address = ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
    logits = np.zeros(vocabulary.size, dtype=np.float32)
    times = []
    for _ in range(runs):
        matcher = vocabulary.matcher(grammar)
        for token in tokens:
            began = time.thread_time()
            matcher.forced()
            matcher.fill(address, vocabulary.mask_bytes, [])
            logits[:] = 0
            apply_mask(logits, buffer)
            matcher.accept(token)
            times.append(1e6 * (time.thread_time() - began))
    times.sort()
    mean, p50, p99 = statistics.mean(times), times[len(times) // 2], times[len(times) * 99 // 100]
    print(f"mask and application, {len(tokens)} tokens: p50 {p50:.0f} us, p99 {p99:.0f} us, mean {mean:.0f} us")


def throughput(asked: argparse.Namespace) -> None:
    """Free and constrained requests in turn, of equal length; processor time beside the clock's."""
    with loaded(asked) as backend:
        for callers, schema, name in ((1, TEXT, "text"), (8, TEXT, "text"), (1, FORCING, "forcing")):
            ratios, cpu = [], []
            for wanted in ({}, {"response_format": schema_format(schema)}):  # compiled, and warm
                backend.generate("Tell a long story of a station, as JSON.", wanted, max_tokens=4)
            for run in range(asked.runs):
                rate: dict[bool, tuple[float, float]] = {}
                for constrained in (False, True) if run % 2 else (True, False):
                    wanted = {"response_format": schema_format(schema)} if constrained else {}

                    def ask(seed: int, wanted: Any = wanted) -> int:
                        prompt = "Tell a long story of a station, as JSON."
                        answer = backend.generate(prompt, wanted, temperature=1, seed=seed, max_tokens=asked.tokens)
                        return answer.usage.completion_tokens if answer.usage else 0

                    began, used = time.perf_counter(), time.process_time()
                    with ThreadPoolExecutor(callers) as pool:
                        tokens = sum(pool.map(ask, range(run * callers, (run + 1) * callers)))
                    rate[constrained] = (
                        tokens / (time.perf_counter() - began),
                        tokens / (time.process_time() - used),
                    )
                ratios.append(rate[True][0] / rate[False][0])
                cpu.append(rate[True][1] / rate[False][1])
            ratio, share = statistics.median(ratios), statistics.median(cpu)
            print(
                f"{callers} callers, {name}: constrained/free {ratio:.2f} by the clock, {share:.2f} by processor time"
            )


def big(asked: argparse.Namespace) -> None:
    """Masks of a made-up vocabulary of 262,144 tokens: all bytes, and pieces of two to eight letters and digits."""
    dice = random.Random(0)
    pieces: dict[bytes, None] = {bytes([byte]): None for byte in range(256)}
    letters = string.ascii_letters + string.digits + " _-{}[]:,\"'"
    while len(pieces) < 262_143:
        pieces["".join(dice.choices(letters, k=dice.randint(2, 8))).encode()] = None
    end = len(pieces)
    began = time.perf_counter()
    vocabulary = Vocabulary([*pieces, b""], {end: "<end>"}, {end})
    print(f"vocabulary of {vocabulary.size} tokens: {time.perf_counter() - began:.2f} s")
    grammar = format_grammar(read_format(schema_format(PERSON)))
    assert grammar is not None
    vocabulary.matcher(grammar)
    time_masks(vocabulary, grammar, vocabulary.tokenizer.tokenize_str(json.dumps(ANSWER)), asked.runs)


def valid(asked: argparse.Namespace) -> None:
    """Every schema in turn at temperature 1; guesses on and off; one caller and eight."""
    real = [tool["function"]["parameters"] for tool in real_tools(100, asked.wheel)]
    schemas = [schema for schema in real if is_enforced(schema)]
    print(f"{len(schemas)} of {len(real)} real schemas can be enforced")
    schemas += SCHEMAS
    for lookup in (0, 8):
        with loaded(asked, prompt_lookup=lookup) as backend:
            for callers in (1, 8):

                def ask(number: int, backend: BaseBackend = backend) -> tuple[str, bool]:
                    schema = schemas[number % len(schemas)]
                    wanted = schema_format(schema)
                    answer = backend.generate(
                        "Answer as JSON.", response_format=wanted, temperature=1, seed=number, max_tokens=asked.tokens
                    )
                    if answer.finish_reason != "stop":
                        return answer.finish_reason, True
                    return "stop", jsonschema.Draft202012Validator(schema).is_valid(json.loads(answer))

                with ThreadPoolExecutor(callers) as pool:
                    found = list(pool.map(ask, range(asked.first, asked.first + asked.runs)))
                stopped = sum(reason == "stop" for reason, _ in found)
                wrong = sum(not sound for _, sound in found)
                print(
                    f"guesses {lookup}, {callers} callers: {len(found)} answers, {stopped} stopped, {wrong} not valid",
                    flush=True,
                )


def is_enforced(schema: Any) -> bool:
    """Whether the schema is not refused."""
    try:
        format_grammar(read_format(schema_format(schema)))
    except ConstraintError:
        return False
    return True


def forced(asked: argparse.Namespace) -> None:
    """Each tool in turn, forced by name, at temperature 1."""
    tools = [tool for tool in real_tools(100, asked.wheel) if is_enforced(tool["function"]["parameters"])]
    with loaded(asked) as backend:

        def ask(number: int) -> tuple[str, bool]:
            tool = tools[number % len(tools)]
            function = tool["function"]
            choice = {"type": "function", "function": {"name": function["name"]}}
            plain_tool = {"type": "function", "function": function}
            given = {"temperature": 1, "seed": number, "max_tokens": asked.tokens}
            answer = backend.generate(tool["question"][:400], given, tools=[plain_tool], tool_choice=choice)
            if answer.finish_reason == "length":
                return "length", True
            (call,) = answer.tool_calls
            sound = call.function.name == function["name"] and jsonschema.Draft202012Validator(
                function["parameters"]
            ).is_valid(json.loads(call.function.arguments))
            return answer.finish_reason, sound

        with ThreadPoolExecutor(asked.callers) as pool:
            found = list(pool.map(ask, range(asked.first, asked.first + asked.runs)))
        whole = sum(reason == "tool_calls" for reason, _ in found)
        print(f"{len(found)} forced calls, {whole} whole, {sum(not sound for _, sound in found)} not valid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("masks", "big", "throughput", "valid", "forced"))
    parser.add_argument("--engine", default="llama.cpp")
    parser.add_argument("--model")
    parser.add_argument("--load", default="{}", help="load parameters, as JSON")
    parser.add_argument("--callers", type=int, default=8, help="how many ask at once; of `forced`")
    parser.add_argument("--wheel", type=Path, help="the wheel of bfcl-eval, instead of downloading it")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first run's seed; of `valid` and `forced`")
    parser.add_argument("--tokens", type=int, default=120)
    asked = parser.parse_args()
    {"masks": masks, "big": big, "throughput": throughput, "valid": valid, "forced": forced}[asked.what](asked)


if __name__ == "__main__":
    main()
