"""Requests in which each parameter tells: without it, the answer is another one, or breaks what arithmetic allows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from ..errors import LlamaForgeError
from ..results import GeneratedText
from .subject import Subject

Given = dict[str, Any]

LOGPROBS: Final = {"logprobs": True, "top_logprobs": 20}
TOKENS: Final = 8
LONGER: Final = 14
"""Tokens of two answers that are no accident if they are alike."""
SEEDS: Final = range(12, 22)
"""Seeds that are tried until each parameter tells in one of them."""
EQUAL: Final = 6
"""Tokens that biases bring near to each other, so that penalties and filters decide among them."""
LETTERS: Final = ["e", "a", "o", "i"]
"""Stop strings that hardly an answer gets by."""
TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": "paint",
            "description": "Paint.",
            "parameters": {
                "type": "object",
                "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
                "required": ["colour"],
                "additionalProperties": False,
            },
        },
    }
]
_PULLS: Final[tuple[Given, ...]] = (
    {"presence_penalty": 1.2, "frequency_penalty": 0.8},
    {"repetition_penalty": 1.3},
    {"presence_penalty": 1.9, "frequency_penalty": 0.1},
    {"presence_penalty": -0.6, "frequency_penalty": 1.6},
    {"repetition_penalty": 0.8},
)
"""Together, one hides the other."""
_SHAPES: Final[tuple[Given, ...]] = (
    {"top_k": 4, "top_p": 0.6, "presence_penalty": 1.2, "frequency_penalty": 1.4},
    {"min_p": 0.4, "top_k": 12, "repetition_penalty": 1.15},
)


def telling(subject: Subject) -> list[Given]:
    """A few requests of many parameters at once. Leave one out, and one of them at least has another answer.

    Asked only once. A parameter that never tells is left to the checks of that parameter. Empty where answers depend on
    rounding, or a server chooses what isn't set.
    """
    known = subject.remembered.setdefault("telling", {})
    if "it" not in known:
        exact = not subject.rounding and not subject.backend.capabilities.server_defaults
        known["it"] = [*_cover(subject), *_formed(subject)] if exact else []
    found: list[Given] = known["it"]
    return found


def absolute(subject: Subject, seed: int = 5, prompts: str = "") -> Iterator[Given]:
    """Requests whose answers to any of *prompts* can be judged by themselves; by :mod:`.audit`."""
    limit = subject.limit(TOKENS)
    greedy = {**subject.greedy, **limit}
    hot = {"temperature": 3.0, "seed": seed, **limit}
    letters = {"type": "choice", "choice": list("abcdefghij")}
    for given in (
        {**greedy, "stop": LETTERS},
        {**greedy, "response_format": {"type": "choice", "choice": ["red", "green"]}},
        {**greedy, "grammar": 'root ::= "yes" | "no"'},
        {**greedy, **halved(subject, prompts), "logprobs": True},
        {**hot, "top_k": 18, "top_p": 0.3, **LOGPROBS},
        {**hot, "top_k": 18, "min_p": 0.5, **LOGPROBS},
        *({**hot, **subject.limit(LONGER), "top_k": 18, **LOGPROBS, "seed": seed + 2**20 * step} for step in range(2)),
        {**hot, "stop": LETTERS},
        {**hot, "response_format": letters},
        {**hot, "grammar": 'root ::= "yes" | "no"'},
        {**hot, "temperature": 0.4, **halved(subject, prompts), "logprobs": True},
    ):
        if subject.declares(*given) and given.get("logit_bias", True):
            yield given


def crowded(subject: Subject, given: Given) -> Given:
    """*given* with all other parameters, at values that change nothing."""
    others: Given = {
        "stop": ["\u2603\u2603"],
        "top_p": 0.9999,
        "min_p": 1e-6,
        "presence_penalty": 1e-4,
        "frequency_penalty": 1e-4,
        "truncation": "auto",
        "timeout": 600.0,
        **LOGPROBS,
    }
    if given.keys() & {"response_format", "grammar"}:
        del others["stop"]  # it contradicts a form
    elif "temperature" in given:
        others["seed"] = 3
    bias = equalized(subject).get("logit_bias", {})
    if bias and "logit_bias" not in given:
        others["logit_bias"] = {min(bias): -1e-3}
    return {**{name: value for name, value in others.items() if subject.declares(name) or name == "timeout"}, **given}


def beside_tools(subject: Subject, given: Given) -> Given:
    """*given* with tools, none of which may be called."""
    tools = {"tools": TOOLS, "tool_choice": "none"}
    return given | tools if subject.declares(*tools) and not given.keys() & {"response_format", "grammar"} else given


def halved(subject: Subject, prompts: str) -> Given:
    """A repetition_penalty, and biases with which a token comes once, and then another: none that *prompts* have."""
    words = words_of(subject) if subject.declares("repetition_penalty", "logit_bias", *LOGPROBS) else []
    words = [(word, token) for word, token in words if word.strip() not in prompts.lower()]
    if len(words) < 2:
        return {"logit_bias": {}}
    (_, one), (_, other) = words[:2]
    return {"repetition_penalty": 2.0, "logit_bias": {one: 100.0, other: 80.0}, **subject.limit(2)}


def tipped(subject: Subject, ask: Callable[[Given], GeneratedText]) -> tuple[int, int, Given] | None:
    """Two tokens, and biases with which the first comes twice after the prompt of *ask*, and the other follows it once
    penalties of 2 take effect. None where they can't be found."""
    known = words_of(subject) if subject.declares("logit_bias", *LOGPROBS) else []
    for _, token in known[:3]:
        forced = {**subject.greedy, **subject.limit(2), "logit_bias": {token: 100.0}, **LOGPROBS}
        told = ask(forced).logprobs
        if [each.token_id for each in told] != [token] * 2:
            continue
        first = {each.token_id: each.logprob for each in told[0].top[:19]}
        for other in told[1].top[:19]:
            ahead = other.logprob - told[1].logprob
            before = first.get(other.token_id, min(first.values())) - told[0].logprob
            if other.token_id not in (token, None) and other.token and before < ahead + 0.5:
                return token, int(other.token_id or 0), {"logit_bias": {token: 60.0, other.token_id: 59.0 - ahead}}
    return None


def words_of(subject: Subject) -> list[tuple[str, int]]:
    """Words that are one token each and don't stand in the prompt, with their ids."""
    known = subject.remembered.setdefault("words of", {})
    if "it" not in known:
        found: dict[int, str] = {}
        for entry in subject.say(24, **LOGPROBS).logprobs:
            for each in entry.top[:5]:
                word = each.token
                plain = word.startswith(" ") and word[1:].isalpha() and word.isascii() and len(word) > 3
                if each.token_id is not None and plain and word.strip() not in subject.prompt.lower():
                    found[each.token_id] = word
        known["it"] = [(word, token) for token, word in found.items()][:5]
    words: list[tuple[str, int]] = known["it"]
    return words


def equalized(subject: Subject) -> Given:
    """Biases that bring the most probable first tokens near to each other, and before all others."""
    if not subject.declares("logit_bias", *LOGPROBS):
        return {}
    known = subject.remembered.setdefault("equalized", {})
    if "it" not in known:
        told = subject.say(1, **LOGPROBS).logprobs
        best = [each for each in (told[0].top if told else ()) if each.token_id is not None][:EQUAL]
        bias = {each.token_id: round(min(60.0, 8.0 + best[0].logprob - each.logprob), 2) for each in best}
        known["it"] = {"logit_bias": bias} if len(bias) > 1 else {}
    found: Given = known["it"]
    return found


def _cover(subject: Subject) -> list[Given]:
    chosen: list[Given] = []
    for candidates, shapes in ((_cold(subject), _PULLS), (_hot(subject), _SHAPES)):
        told: set[str] = set()
        able = {name for shape in shapes for name in (*shape, "max_tokens") if subject.declares(name)}
        for given in candidates:
            able |= set(given) - set(LOGPROBS)
            if able <= told:
                break
            whole = str(subject.generate(None, given))
            more = {name for name in (able - told) & set(given) if _without(subject, given, name) != whole}
            if more or not told:
                chosen.append(given)
                told |= more
    return chosen


def _formed(subject: Subject) -> list[Given]:
    """Requests of a form, sampled where that is possible."""
    heat = {"temperature": 5.0, "seed": 3} if subject.declares("temperature", "seed") else subject.greedy
    base = {**heat, **subject.limit(32)}
    forms: tuple[Given, ...] = (
        {"response_format": {"type": "choice", "choice": list("abcdefghij")}},
        {"grammar": 'root ::= "yes" | "no"'},
        {"tools": TOOLS, "tool_choice": "required"},
    )
    found = []
    for form in forms:
        if subject.declares(*form):
            with contextlib.suppress(LlamaForgeError):  # this model can't, and says so
                subject.generate(None, {**base, **form})
                found.append({**base, **form})
    return found


def _cold(subject: Subject) -> Iterator[Given]:
    base = {**subject.greedy, **subject.limit(TOKENS), **equalized(subject), **_told(subject)}
    for place, pulls in enumerate(_PULLS):
        given = {**base, **{name: value for name, value in pulls.items() if subject.declares(name)}}
        yield _stopped(subject, given) if place % 2 else given


def _hot(subject: Subject) -> Iterator[Given]:
    if not subject.declares("temperature", "seed"):
        return
    base = {"temperature": 1.6, **subject.limit(TOKENS), **equalized(subject), **_told(subject)}
    for seed in SEEDS:
        shape = {name: value for name, value in _SHAPES[seed % 2].items() if subject.declares(name)}
        given = {**base, **shape, "seed": seed}
        yield _stopped(subject, given) if seed % 3 else given


def _told(subject: Subject) -> Given:
    return dict(LOGPROBS) if subject.declares(*LOGPROBS) else {}


def _stopped(subject: Subject, given: Given) -> Given:
    """With a stop string that takes the end of the answer."""
    if not subject.declares("stop"):
        return given
    text = str(subject.generate(None, given)).rstrip("\ufffd")
    ends = (text[-length:] for length in range(3, len(text)))
    stop = next((end for end in ends if text.index(end) == len(text) - len(end)), text)
    return {**given, "stop": ["\u2603", stop]} if stop else given


def _without(subject: Subject, given: Given, name: str) -> str:
    """The answer to less. A seed is changed instead, max_tokens is a little larger, and temperature 0 is left."""
    if name == "temperature" and not given[name]:
        return "\0"
    if name == "max_tokens":
        return str(subject.generate(None, {**given, name: given[name] + 1}))
    other = {each: value for each, value in given.items() if each != name}
    if name == "seed":
        other["seed"] = given["seed"] + 2**20
    return str(subject.generate(None, other))
