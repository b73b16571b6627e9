"""Made-up schemas, regular expressions, grammars, chat templates and answers: none may do harm.

    hatch run bench:fuzz-answers --count 10000      so many of each
    hatch run bench:fuzz-answers schemas --seed 7   one kind, from another beginning

Each is given to what reads such things, as a stranger might send it. It may be refused with an error of LlamaForge's; a
crash of the process, any other error, and more than two seconds of processor time are findings. A constraint that is
taken also chooses some tokens, at random among those that it allows.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llamaforge.chat import AnswerParser, BrokenTemplateError, ChatTemplate
from llamaforge.constraints import Grammar, accepts, format_grammar, read_format, text_grammar
from llamaforge.constraints.vocabulary import Vocabulary
from llamaforge.errors import LlamaForgeError
from llamaforge.messages import read_messages
from llamaforge.requests import GenerationRequest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.chat_templates import PLAIN, TEMPLATES

SLOW = 2.0
KEYWORDS = (
    *("type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const", "anyOf"),
    *("oneOf", "allOf", "not", "if", "then", "else", "$ref", "$defs", "pattern", "format", "minimum", "maximum"),
    *("exclusiveMinimum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "contains"),
    *("patternProperties", "propertyNames", "minProperties", "maxProperties", "dependentRequired", "title"),
)
KINDS = ("string", "integer", "number", "boolean", "null", "object", "array")
REGEX = ("a", "b", ".", "\\d", "\\w", "[a-z]", "[^0-9]", "(", ")", "|", "*", "+", "?", "{2,3}", "{,9999}", "^", "$")
REGEX += ("(?=", "(?i)", "\\1", "[", "]", "\\", "é", "\\p{L}", "{", "}", "\\b", "(?:", "-")
GRAMMARS = (
    'start: "a" b+\nb: /[a-z]+/ | "x" start',
    'root ::= "yes" | "no" ws root\nws ::= [ \\t\\n]*',
    'root ::= object\nobject ::= "{" pair ("," pair)* "}"\npair ::= [a-z]+ ":" [0-9]{1,3}',
    'start: "{" (pair ("," pair)*)? "}"\npair: KEY ":" /[0-9]{1,3}/\nKEY: /[a-z]{1,8}/',
    '%llguidance {}\nstart: @sub\nsub: %json {"type": "boolean"}',
)
SIGNS = [*"{}[]()|*+?:=\"'/\\#%@<>,.;~-_ \n\t", "::=", "start", "root", "%json", "[lazy]", "é", "\0"]
MARKS = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "<|tool_call>",
    "<|channel>",
    '{"name": ',
)

_CALL = {"id": "call00000", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}}
ASKED = GenerationRequest(
    messages=read_messages(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What time is it?"},
            {"role": "assistant", "content": "", "tool_calls": [_CALL], "reasoning_content": "hm"},
            {"role": "tool", "tool_call_id": "call00000", "name": "now", "content": "noon"},
        ]
    ),
    tools=({"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}},),
)


def schema(dice: random.Random, depth: int = 0) -> Any:
    """A schema, or something like one."""
    roll = dice.random()
    if depth > 4 or roll < 0.08:
        return dice.choice([True, False, None, 3, "string", [], {}, "a", -1, 1.5, 10**12])
    made: dict[str, Any] = {}
    if roll < 0.8:
        made["type"] = dice.choice(KINDS) if dice.random() < 0.85 else dice.choice([list(KINDS[:2]), 3, None, "any"])
    for keyword in dice.sample(KEYWORDS, dice.randint(0, 4)):
        if keyword in ("properties", "$defs", "patternProperties", "dependentRequired"):
            made[keyword] = {dice.choice("abc^$"): schema(dice, depth + 1) for _ in range(dice.randint(0, 3))}
        elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            made[keyword] = [schema(dice, depth + 1) for _ in range(dice.randint(0, 3))]
        elif keyword in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
            made[keyword] = schema(dice, depth + 1)
        elif keyword in ("enum", "required"):
            made[keyword] = [dice.choice(["a", "b", 1, None, {}]) for _ in range(dice.randint(0, 3))]
        elif keyword == "$ref":
            made[keyword] = dice.choice(["#", "#/$defs/a", "#/nowhere", "http://example.org/x", 3])
        elif keyword in ("pattern", "format", "title"):
            made[keyword] = dice.choice(["^a+$", "(", "date", "uuid", "email", regex(dice), "x" * 50])
        else:
            made[keyword] = dice.choice([0, 1, 2, 5, -1, 0.5, 1e9, "2", None])
    return made


def regex(dice: random.Random) -> str:
    """A regular expression, or something like one."""
    return "".join(dice.choice(REGEX) for _ in range(dice.randint(1, 7)))


def changed(dice: random.Random, text: str, signs: list[str], most: int = 6) -> str:
    """*text* with some of it gone, doubled, or replaced, in *most* places at most."""
    for _ in range(dice.randint(1, most)):
        place, length = dice.randint(0, len(text)), dice.randint(0, 12)
        kept = text[place : place + length] * dice.randint(0, 2) if dice.random() < 0.4 else dice.choice(signs)
        text = text[:place] + kept + text[place + length :]
    return text


@functools.cache
def vocabulary() -> Vocabulary:
    """All bytes, and the marks of formats."""
    tokens = [*(bytes([byte]) for byte in range(256)), b""]
    return Vocabulary(tokens, {256: "<end>"}, {256})


def walk(dice: random.Random, grammar: Grammar | None) -> None:
    """Choose some tokens that *grammar* allows."""
    if grammar is None:
        return
    matcher = vocabulary().matcher(grammar)
    for _ in range(12):
        mask = matcher.native.compute_bitmask()
        allowed = [token for token in range(257) if mask[token >> 3] >> (token & 7) & 1]
        token = dice.choice(allowed) if allowed else 256
        if token == 256:
            return
        matcher.accept(token)


def try_schema(dice: random.Random) -> Any:
    """A schema as a format."""
    given = schema(dice)
    wanted = {"type": "json_schema", "json_schema": {"schema": given}}
    return given, lambda: (walk(dice, format_grammar(read_format(wanted))), accepts(wanted, '{"a": 1}'))


def try_regex(dice: random.Random) -> Any:
    """A regular expression as a format."""
    given = regex(dice)
    wanted = {"type": "regex", "regex": given}
    return given, lambda: (walk(dice, format_grammar(read_format(wanted))), accepts(wanted, "ab"))


def try_grammar(dice: random.Random) -> Any:
    """A grammar, in either notation."""
    given = changed(dice, dice.choice(GRAMMARS), SIGNS, 2)
    return given, lambda: walk(dice, text_grammar(given))


def try_template(dice: random.Random) -> Any:
    """A chat template: what it can do, and a prompt that it makes."""
    given = changed(dice, dice.choice(list(TEMPLATES.values())), [*SIGNS, "{%", "%}", "{{", "}}", "endfor", "if"], 3)

    def use() -> None:
        template = ChatTemplate(given)
        assert template.capabilities
        template.render(ASKED)

    return given, use


@functools.cache
def compiled(name: str) -> ChatTemplate:
    """A template."""
    return ChatTemplate(TEMPLATES.get(name, PLAIN))


@functools.cache
def answers() -> list[tuple[str, str]]:
    """Templates, and sound answers to begin with."""
    file = Path(__file__).resolve().parents[1] / "tests/forge-core/chat/answers.json"
    return [(each["format"], each["text"]) for each in json.loads(file.read_text("utf-8"))]


def try_answer(dice: random.Random) -> Any:
    """An answer, taken apart in pieces, and once more where it ends early."""
    name, text = dice.choice(answers())
    given = changed(dice, text, [*SIGNS, *MARKS])
    tools = [{"type": "function", "function": {"name": each}} for each in ("now", "run", "get_weather")]

    def parse() -> None:
        parser = AnswerParser(template=compiled(name), tools=tools, id_seed=1)
        at = 0
        while at < len(given):
            size = dice.randint(1, 9)
            parser.feed(given[at : at + size])
            at += size
        parser.finish()
        whole = AnswerParser(template=compiled(name), tools=tools, id_seed=1)
        whole.feed(given)
        whole.finish()
        if whole.answer != parser.answer:
            raise AssertionError("in pieces it comes out otherwise")
        stop = dice.randint(0, len(given))
        once, twice = (AnswerParser(template=compiled(name), tools=tools, id_seed=1) for _ in range(2))
        once.feed(given[:stop])
        for begin in range(stop):
            twice.feed(given[begin : begin + 1])
        once.finish(cut=True)
        twice.finish(cut=True)
        if once.answer != twice.answer:
            raise AssertionError("ended early and in pieces it comes out otherwise")

    return (name, given), parse


WHAT: dict[str, Callable[[random.Random], Any]] = {
    "schemas": try_schema,
    "regexes": try_regex,
    "grammars": try_grammar,
    "templates": try_template,
    "answers": try_answer,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*WHAT, []], help="which kinds; all if left out")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = 0
    for name in asked.what or WHAT:
        refused = slowest = 0.0
        began = time.process_time()
        for number in range(asked.count):
            dice = random.Random(f"{asked.seed} {name} {number}")
            given, act = WHAT[name](dice)
            start = time.process_time()
            try:
                act()
            except (LlamaForgeError, BrokenTemplateError):
                refused += 1
            except Exception:  # noqa: BLE001 - that is what is looked for
                found += 1
                print(f"{name} {number}: {given!r}\n{traceback.format_exc(limit=-3)}", flush=True)
            took = time.process_time() - start
            slowest = max(slowest, took)
            if took > SLOW:
                found += 1
                print(f"{name} {number} took {took:.1f} s: {given!r}", flush=True)
        spent = time.process_time() - began
        print(
            f"{name}: {asked.count}, {refused:.0f} refused, slowest {slowest:.2f} s, {spent:.0f} s in all", flush=True
        )
    print(f"{found} findings")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
