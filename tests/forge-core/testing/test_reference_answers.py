"""A plain implementation of the contract answers what the toy backends answer: slow and obvious, and nothing of theirs
but the model itself."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from typing import Any

import pytest

from llamaforge import BaseBackend
from llamaforge.errors import ConstraintError, ContextOverflowError
from llamaforge.testing.fakes import AsyncToyBackend, QueueingToyBackend, ToyBackend, ToyLanguage
from llamaforge.testing.subject import Subject
from llamaforge.testing.ways import ways

N_CTX = 160
MODEL = ToyLanguage(48)
PROMPTS = (
    "Tell me of the sea.",
    "The keeper, his dog <|im_end|> and the fog: é, 東, 🦊. " * 2,
    "In the morning the boat came home, and the bird had the bread. " * 3,
    "a",
)
REQUESTS = 40


@dataclass
class Expected:
    text: str
    finish_reason: str
    stop: str | None
    prompt_tokens: int
    completion_tokens: int
    logprobs: list[tuple[int, float, int]]


def rendered(prompt: str, given: dict[str, Any]) -> str:
    return prompt if given.get("raw") else f"<user>{prompt}</>\n<assistant>"


def answer(prompt: str, given: dict[str, Any]) -> Expected:
    """By the contract, step by step. Raises ContextOverflowError."""
    read = MODEL.tokenize(rendered(prompt, given), special=bool(given.get("raw")))
    if len(read) >= N_CTX:
        raise ContextOverflowError(len(read), N_CTX)
    most = min(given.get("max_tokens", N_CTX), N_CTX - len(read))
    dice, written, told = random.Random(given.get("seed")), [], []
    reason, stop, text = "length", None, ""
    while len(written) < most:
        logits = MODEL.logits(MODEL.fingerprint(read), written)
        token = choose(logits, read, written, given, dice)
        if token == MODEL.end:
            reason = "stop"
            break
        written.append(token)
        total = math.log(math.fsum(math.exp(logit) for logit in logits))
        told.append((token, logits[token] - total, given.get("top_logprobs", 0)))
        text, stop = before_stop(decoded(written, complete=False), given.get("stop", []))
        if stop is not None:
            reason = "stop"
            break
    if stop is None:
        text, stop = before_stop(decoded(written, complete=True), given.get("stop", []))
        reason = "stop" if stop is not None else reason
    return Expected(text, reason, stop, len(read), len(written), told if given.get("logprobs") else [])


def choose(logits: list[float], read: list[int], written: list[int], given: dict[str, Any], dice: random.Random) -> int:
    values = list(logits)
    for token, bias in given.get("logit_bias", {}).items():
        values[token] += bias
    for token in {*read, *written}:
        penalty = given.get("repetition_penalty", 1.0)
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
    for token in set(written):
        values[token] -= given.get("presence_penalty", 0.0)
        values[token] -= given.get("frequency_penalty", 0.0) * written.count(token)
    best_first = sorted(range(len(values)), key=lambda token: -values[token])
    heat = given.get("temperature", 1.0)
    if heat == 0:
        return best_first[0]
    weights = [math.exp((values[token] - values[best_first[0]]) / heat) for token in best_first]
    kept = given.get("top_k") or len(weights)
    share, reached = given.get("top_p", 1.0) * math.fsum(weights[:kept]), 0.0
    if given.get("top_p", 1.0) < 1:
        for place in range(kept):
            reached += weights[place]
            if reached >= share:
                kept = place + 1
                break
    kept = sum(weight >= given.get("min_p", 0.0) for weight in weights[:kept])
    return dice.choices(best_first[:kept], weights[:kept])[0]


def decoded(tokens: list[int], *, complete: bool) -> str:
    """All of the bytes; while more may come, without the beginning of a character at the end."""
    data = b"".join(MODEL.tokens[token] for token in tokens)
    text = data.decode("utf-8", "replace")
    if not complete:
        for cut in range(1, 4):
            try:
                data[-cut:].decode("utf-8")
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data" and error.start == 0:
                    return data[:-cut].decode("utf-8", "replace")
    return text


def before_stop(text: str, stops: list[str]) -> tuple[str, str | None]:
    for end in range(len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            return text[: end - max(map(len, met))], max(met, key=len)
    return text, None


def request(number: int) -> tuple[str, dict[str, Any]]:
    """A prompt, and parameters of every kind."""
    dice = random.Random(number)
    given: dict[str, Any] = {"temperature": dice.choice([0, 0, 0.3, 1.0, 2.0]), "seed": dice.choice([0, 7, 2**32 - 1])}
    every = {
        "max_tokens": dice.choice([1, 2, 9, 30, 500]),
        "top_k": dice.choice([1, 3, 17, 10**6]),
        "top_p": dice.choice([0.2, 0.9, 1.0]),
        "min_p": dice.choice([0.0, 0.05, 0.6]),
        "presence_penalty": dice.uniform(-2, 2),
        "frequency_penalty": dice.uniform(-2, 2),
        "repetition_penalty": dice.choice([0.7, 1.2, 1.9]),
        "logit_bias": {dice.randrange(256, 350): dice.uniform(-5, 9) for _ in range(12)},
        "stop": dice.sample([" a", "e", "ee", "ck", " the", "\n\n", "a b", "東", "né", "keeper", "oo", ". "], 4),
        "raw": True,
        "logprobs": True,
    }
    given |= {name: value for name, value in every.items() if dice.random() < 0.4}
    return dice.choice(PROMPTS), given


@pytest.fixture(scope="module", params=[ToyBackend, AsyncToyBackend, QueueingToyBackend])
def subject(request: pytest.FixtureRequest) -> Any:
    backend: BaseBackend = request.param()
    backend.load_model("toy", {"n_ctx": N_CTX})
    yield Subject(backend, prompt=PROMPTS[0], greedy=None, patience=60)
    backend.unload_model()


@pytest.mark.parametrize("number", range(REQUESTS))
def test_every_way_answers_as_the_contract_says(subject: Subject, number: int) -> None:
    prompt, given = request(number)
    every = [way for way in ways(subject) if not way.is_raw]
    way = every[number % len(every)]
    if given.get("raw") and "chat" in way.name:
        given.pop("raw")
    try:
        wanted = answer(prompt, given)
    except ContextOverflowError as error:
        counts = error.prompt_tokens, N_CTX
        with pytest.raises(ContextOverflowError) as raised:
            way.ask(prompt, given)
        assert (raised.value.prompt_tokens, raised.value.context_size) == counts
        return
    came = way.ask(prompt, given)
    assert str(came) == wanted.text, (way.name, given)
    assert (came.finish_reason, came.stop) == (wanted.finish_reason, wanted.stop), (way.name, given)
    assert came.usage is not None
    assert came.usage.prompt_tokens == wanted.prompt_tokens
    assert came.usage.completion_tokens == wanted.completion_tokens
    told = [(entry.token_id, entry.logprob, len(entry.top)) for entry in came.logprobs]
    assert told == [(token, pytest.approx(value), top) for token, value, top in wanted.logprobs]


@pytest.mark.parametrize("backend", [ToyBackend, AsyncToyBackend, QueueingToyBackend])
def test_arguments_that_are_not_strict(backend: type[BaseBackend]) -> None:
    """They are an object all the same, also where nothing could enforce the schema."""
    function = {"name": "look", "parameters": {"properties": {"a": {"uniqueItems": True}}, "required": ["a"]}}
    with backend() as toy:
        toy.load_model("toy")

        def called(seed: int, strict: bool) -> list[Any]:
            tools = [{"type": "function", "function": {**function, "strict": strict}}]
            came = toy.generate("Look.", tools=tools, tool_choice="required", seed=seed, max_tokens=99)
            whole = came.finish_reason == "tool_calls"
            return [json.loads(call.function.arguments) for call in came.tool_calls if whole]

        found = [arguments for seed in range(9) for arguments in called(seed, strict=False)]
        assert found
        assert all(isinstance(each, dict) and "a" not in each for each in found)
        with pytest.raises(ConstraintError, match="tools at /0/function/parameters/properties/a"):
            called(0, strict=True)
