"""What holds for every answer, whatever was asked for it and on whichever path it came.

Each answer that the kit gets is held against its own request and against the answers before it, without a further
request. What is wrong is kept, and the checks of :mod:`.checks.answers` tell it.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..errors import LlamaForgeError
from ..parameters import canonical
from ..results import GeneratedText, TokenLogprob
from .heartbeat import running_check
from .oracle import drawn, forbidden, greedy_mistake, steps

Aspect = Literal["asked", "arithmetic", "told", "again"]
Found = Iterator[tuple[Aspect, str]]
Given = Mapping[str, Any]

NEAR: Final = 2e-3
"""Log-probabilities that differ by less are equal, as far as rounding tells."""
FEW: Final = 256
"""Tokens that every context holds."""
LONGEST: Final = 160
"""Characters of an answer that are kept to compare others with."""
MOST: Final = 3
"""Mistakes of one aspect that are kept: the first ones say enough."""
IMPROBABLE: Final = -16.0
"""The logarithm of a probability at which two equal draws are no accident."""
_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "unknown"})
_FORMS: Final = frozenset({"response_format", "grammar", "tools"})
_READ: Final = (
    _FORMS
    | {"tool_choice", "parallel_tool_calls"}
    | {"chat_template_kwargs", "reasoning_effort", "max_reasoning_tokens", "parse_special"}
)
"""What may change the text that the model reads."""
_SILENT: Final = frozenset({"timeout", "on_unsupported"})
"""What changes nothing in an answer that comes."""
_WORDS: Final = re.compile(r'(?:root ::=|start:) "([a-z]+)" \| "([a-z]+)"')


@dataclass(frozen=True)
class Asked:
    """A request, and what is known of the model that it went to."""

    way: str
    """The call."""
    prompt: Any
    """A text, or turns."""
    given: Given
    """Parameters by their canonical names, without what is None."""
    effective: Given
    """The same, and what else was in effect."""
    context: int = FEW
    """Tokens that the context has at least."""
    instance: str = ""
    """The model, and load parameters that are not the author's."""
    rounding: float = 0.0
    server: bool = False
    """Whether a server chooses what isn't set, and counts in its own way."""

    def key(self, names: frozenset[str] | set[str]) -> int:
        """A number for the text and what of these parameters is given."""
        told = [(name, repr(self.effective[name])) for name in sorted(names & set(self.effective))]
        return hash((repr(self.prompt), bool(self.given.get("raw")), self.instance, *told))

    def __str__(self) -> str:
        text = repr(self.prompt)
        return f"{self.way} of {text if len(text) < 60 else f'{text[:56]}...'} with {dict(self.given)}"


class Audit:
    """Of all answers of a test class: what is wrong with them. Any thread may note one."""

    def __init__(self) -> None:
        self.paused = False
        """Whether nothing is looked at."""
        self.answers = 0
        """How many were looked at."""
        self._wrong: defaultdict[Aspect, list[str]] = defaultdict(list)
        self._texts: dict[int, str] = {}
        self._counts: dict[int, int] = {}
        self._seeds: dict[int, int] = {}
        self._numbers: dict[int, float] = {}
        self._counted: set[bool] = set()
        self._lock = threading.Lock()

    def note(self, asked: Asked, answer: Any) -> None:
        """Look at *answer*. What is wrong is kept."""
        if self.paused or not isinstance(answer, GeneratedText) or answer.finish_reason == "cancelled":
            return
        with self._lock:
            self.answers += 1
            for look in (_asked, _arithmetic, _told, self._again, self._varied, self._numbered):
                for aspect, wrong in look(asked, answer):
                    if len(self._wrong[aspect]) < MOST:
                        self._wrong[aspect].append(f"{wrong}; {asked}, in {running_check() or 'a check'}")

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Keep nothing in this block: memory is measured."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False

    def mistakes(self, aspect: Aspect) -> list[str]:
        """What is wrong, in words."""
        return self._wrong[aspect]

    def _again(self, asked: Asked, answer: GeneratedText) -> Found:
        """The same request has the same answer, and a shorter one the beginning of it."""
        given = asked.effective
        repeatable = given.get("temperature") == 0 or "seed" in given
        if asked.rounding or not repeatable or "engine" in given or answer.dropped:
            return
        greedy = given.get("temperature") == 0
        cut = given.get("truncation") == "auto"  # it leaves room for max_tokens
        ignored = _SILENT | ({"max_tokens"} if greedy and not cut else set())
        key = asked.key(set(given) - ignored)
        text = str(answer)[:LONGEST].rstrip("\ufffd")
        before = self._texts.setdefault(key, text)
        if len(text) > len(before):
            self._texts[key] = text
        alike = before.startswith(text) or text.startswith(before)
        if not alike or (not greedy and text != before):
            yield "again", f"the same request had the answer {before!r} before, and has {text!r} now"

    def _varied(self, asked: Asked, answer: GeneratedText) -> Found:
        """Two seeds have the same answer only where that is no accident."""
        given = asked.effective
        if "seed" not in given or given.get("temperature") == 0 or asked.server or not _is_free(given):
            return
        draws = [drawn(step, given) for step in steps(answer.logprobs)]
        chances = [draw.probabilities.get(draw.chosen, 1.0) for draw in draws if draw is not None]
        if math.fsum(map(math.log, chances)) > IMPROBABLE:
            return
        place = hash((asked.key(set(given) - _SILENT - {"seed"}), str(answer)))
        before = self._seeds.setdefault(place, given["seed"])
        if before != given["seed"]:
            yield "again", f"seed {before} had the same answer {str(answer)[:LONGEST]!r} as seed {given['seed']}"

    def _numbered(self, asked: Asked, answer: GeneratedText) -> Found:
        """The tokens of a prompt, and the model's own probabilities after it, are always the same."""
        usage, read = answer.usage, asked.key(set(_READ))
        if usage is not None and not usage.estimated and not asked.server and not usage.truncated_tokens:
            count = self._counts.setdefault(read, usage.prompt_tokens)
            if count != usage.prompt_tokens:
                yield "told", f"the same prompt had {count} prompt_tokens before, and has {usage.prompt_tokens} now"
        if asked.server:
            return
        self._counted.add(usage is None)
        if len(self._counted) > 1:
            yield "told", "some answers have usage, and others have none"
        ids: tuple[int, ...] = ()
        for entry in answer.logprobs:
            if entry.token_id is None:
                return
            for name, each in (("", entry), ("best", entry.top[0] if entry.top else None)):
                if each is None:
                    continue
                place = hash((read, ids, name or each.token_id))
                known = self._numbers.setdefault(place, each.logprob)
                if abs(known - each.logprob) > max(NEAR, asked.rounding):
                    what = "the most probable alternative" if name else f"the token {each.token!r}"
                    numbers = f"{known:.4f} before, and has {each.logprob:.4f} now"
                    yield "arithmetic", f"after the same text, {what} had the log-probability {numbers}"
            ids = (*ids, entry.token_id)


def canonically(given: Given | None) -> dict[str, Any] | None:
    """*given* by canonical names; None where that can't be told."""
    try:
        return {name: value for name, value in canonical(given).items() if value is not None}
    except LlamaForgeError:
        return None


def _asked(asked: Asked, answer: GeneratedText) -> Found:
    given, text, usage = asked.effective, str(answer), answer.usage
    stops = given.get("stop") or ()
    stops = (stops,) if isinstance(stops, str) else tuple(stops)
    met = [stop for stop in stops if stop in text]
    if met and not answer.tool_calls:
        yield "asked", f"the stop string {met[0]!r} is in the answer {text[:LONGEST]!r}"
    if answer.stop is not None and (answer.stop not in stops or answer.finish_reason != "stop"):
        yield "asked", f"result.stop is {answer.stop!r} with finish_reason {answer.finish_reason!r}"
    most = given.get("max_tokens")
    if most is not None and usage is not None and not usage.estimated and "max_tokens" not in answer.dropped:
        if usage.completion_tokens > most:
            yield "asked", f"the answer has {usage.completion_tokens} tokens"
        short = usage.completion_tokens < most and usage.total_tokens < asked.context - 1
        if answer.finish_reason == "length" and short and not asked.server:
            yield "asked", f"the reason is length after {usage.completion_tokens} tokens"
    for name, value in asked.given.items():
        plain = isinstance(value, str | int | float) and name not in ("raw", *_SILENT, *answer.dropped)
        if plain and name in answer.parameters and answer.parameters[name] != value:
            yield "asked", f"result.parameters has {answer.parameters[name]!r} for {name}"
    if answer.dropped and given.get("on_unsupported") != "drop":
        yield "asked", f"{answer.dropped} were dropped"
    if answer.logprobs and not given.get("logprobs"):
        yield "asked", "there are log-probabilities"
    if not asked.server:
        yield from _formed(asked, answer)


def _formed(asked: Asked, answer: GeneratedText) -> Found:
    """Whether it has the form that was asked for."""
    given, text = asked.effective, str(answer)
    if answer.dropped:
        return
    if answer.tool_calls:
        if not given.get("tools") or given.get("tool_choice") == "none":
            yield "asked", f"the tool {answer.tool_calls[0].function.name!r} is called"
        return
    if given.get("tools") and answer.finish_reason == "tool_calls":
        yield "asked", "the reason is tool_calls, and no tool is called"
    whole = answer.finish_reason == "stop" and answer.stop is None
    words = _WORDS.fullmatch(given["grammar"]) if isinstance(given.get("grammar"), str) else None
    form = given.get("response_format")
    form = form if isinstance(form, Mapping) else {}
    choices = words.groups() if words is not None else form.get("choice") if form.get("type") == "choice" else None
    if choices and not given.get("stop"):
        fits = text in choices if whole else any(str(each).startswith(text.rstrip("\ufffd")) for each in choices)
        if not fits:
            yield "asked", f"the answer {text[:LONGEST]!r} is none of the choices"
    if whole and form.get("type") in ("json_object", "json_schema") and not given.get("tools"):
        try:
            json.loads(text)
        except ValueError:
            yield "asked", f"the answer {text[:LONGEST]!r} is no JSON"
    if whole and form.get("type") == "regex" and not re.fullmatch(str(form.get("regex")), text):
        yield "asked", f"the answer {text[:LONGEST]!r} doesn't match the regular expression"


def _arithmetic(asked: Asked, answer: GeneratedText) -> Found:
    """The tokens are those that the parameters leave, and their numbers are log-probabilities."""
    given = effective = asked.effective
    number = given.get("top_logprobs") or 0
    for entry in answer.logprobs:
        values = [each.logprob for each in entry.top]
        if not math.isfinite(entry.logprob) or entry.logprob > 1e-4:
            yield "arithmetic", f"{entry.logprob} is no log-probability of a token that came"
        if values != sorted(values, reverse=True) or math.fsum(map(math.exp, values)) > 1.001:
            yield "arithmetic", f"the alternatives {values} are not in order, or too probable together"
        if asked.server:
            continue
        if len(values) != number and not (values and math.fsum(map(math.exp, values)) > 1 - 1e-6):
            yield "arithmetic", f"a token has {len(values)} alternatives"
        yield from _own(entry)
    free = _is_free(given)
    if not asked.server and given.get("temperature") == 0 and free:
        yield from _forced(asked, answer)
    if not asked.server and given.get("repetition_penalty") == 2 and free:
        yield from _halved(asked, answer)
    if asked.server or not number or not free or effective.get("repetition_penalty") not in (None, 1, 1.0):
        return
    for step in steps(answer.logprobs):
        wrong = None
        if effective.get("temperature", 1.0) == 0:
            wrong = greedy_mistake(step, effective)
        elif (draw := drawn(step, effective)) is not None and forbidden([draw]) is not None:
            wrong = f"{step.chosen!r} was drawn, which is not among {list(draw.probabilities)}"
        if wrong is not None:
            yield "arithmetic", wrong


def _forced(asked: Asked, answer: GeneratedText) -> Found:
    """A token with a bias of 100 comes first, unless it ends the answer, or others have biases, too."""
    bias = asked.effective.get("logit_bias") or {}
    strong = [token for token, value in bias.items() if value == 100]
    alone = len(strong) == 1 and all(value <= 0 or token in strong for token, value in bias.items())
    if alone and asked.effective.get("repetition_penalty") in (None, 1, 1.0) and not answer.reasoning:
        told = [entry.token_id for entry in answer.logprobs[:1]]
        if told and told != strong and told != [None]:
            yield "arithmetic", f"the token {told[0]} came first, though {strong[0]} has a bias of 100"


def _halved(asked: Asked, answer: GeneratedText) -> Found:
    """A bias of 100 that is halved, as the answer has its token, is less than one of 80 that isn't."""
    strong = [token for token, bias in (asked.effective.get("logit_bias") or {}).items() if bias == 100]
    next_ones = [token for token, bias in (asked.effective.get("logit_bias") or {}).items() if bias == 80]
    ids = [entry.token_id for entry in answer.logprobs]
    if len(strong) == len(next_ones) == 1 and ids[:2] == strong * 2:
        yield "arithmetic", f"the token {strong[0]} came twice, though the repetition_penalty halves its bias of 100"


def _is_free(given: Given) -> bool:
    """Whether the answer needs to have no form."""
    forms = _FORMS & set(given)
    return not forms or (forms == {"tools"} and given.get("tool_choice") == "none")


def _own(entry: TokenLogprob) -> Found:
    """A token that is among its alternatives has one number and one text."""
    same = [each for each in entry.top if each.token_id == entry.token_id and entry.token_id is not None]
    if any(abs(each.logprob - entry.logprob) > NEAR or each.token != entry.token for each in same):
        yield "arithmetic", f"{entry.token!r} with {entry.logprob:.4f} is {same[0]} among the alternatives"
    if entry.token_id is not None and entry.top and not same and entry.logprob > entry.top[-1].logprob + NEAR:
        yield "arithmetic", f"{entry.token!r} with {entry.logprob:.4f} is not among the alternatives {entry.top}"


def _told(asked: Asked, answer: GeneratedText) -> Found:
    """Counts, times and reasons are possible ones."""
    usage, timings = answer.usage, answer.timings
    if answer.finish_reason not in _REASONS:
        yield "told", f"the reason is {answer.finish_reason!r}"
    # The limit may come after a first call.
    called = ("tool_calls", "length", "content_filter") if answer.tool_calls else _REASONS - {"tool_calls"}
    if answer.finish_reason not in called and not asked.server:
        yield "told", f"the reason is {answer.finish_reason!r} with {len(answer.tool_calls)} tool calls"
    if usage is not None:
        counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
        possible = usage.cached_tokens <= usage.prompt_tokens and usage.reasoning_tokens <= usage.completion_tokens
        if min(*counts, usage.truncated_tokens) < 0 or not possible:
            yield "told", f"{usage} is impossible"
        if usage.reasoning_tokens and not answer.reasoning and not asked.server:
            yield "told", f"there are {usage.reasoning_tokens} reasoning_tokens and no reasoning"
        if usage.truncated_tokens and asked.effective.get("truncation") != "auto":
            yield "told", f"there are {usage.truncated_tokens} truncated_tokens unasked"
        if str(answer) and not usage.completion_tokens - usage.reasoning_tokens and not usage.estimated:
            yield "told", "no token was generated, and there is an answer"
        expected = usage.completion_tokens - usage.reasoning_tokens
        told = len(answer.logprobs)
        counted = not usage.estimated and not asked.server and not answer.tool_calls
        if asked.effective.get("logprobs") and counted and "logprobs" not in answer.dropped and told != expected:
            yield "told", f"{expected} tokens have {told} log-probabilities"
    first, total, queued = timings.first_token, timings.total, timings.queued
    if total is None or not 0 <= (first or 0.0) <= total or not 0 <= (queued or 0.0) <= total:
        yield "told", f"{timings} is impossible"
