"""The backend under test with a loaded model, and the requests that checks make of it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from ..backends.base import BaseBackend
from ..backends.basic import BasicBackendAdapter
from ..errors import LlamaForgeError, NoChatTemplateError, UnsupportedError
from ..messages import Message
from ..results import GeneratedText
from ..streams import TextStream
from .audit import FEW, Asked, Audit, canonically
from .expect import NotAsExpected, expect, expect_refusal, shown, within
from .heartbeat import beat

T = TypeVar("T")

_TIES: Final = 20
"""Alternatives of each token, to see which were as probable."""
_SERVERS_TIES: Final = 4
"""The same of a server, which may have a limit of its own."""

MOST: Final = 128
"""Tokens of the longest answer that most checks ask for."""
MOST_DIGITS: Final = 1500
ONE_HOT: Final = -1e-6
"""Log-probabilities above this mean certainty: then no sampling parameter has a visible effect."""


class Subject:
    """A backend, with the requests and comparisons that many checks need.

    Args:
        backend: the backend; most checks want a model loaded.
        prompt: a text that gets a long answer.
        greedy: parameters that always give the same answer. None: temperature 0, if that is declared.
        patience: seconds that one request may take before it counts as hung.
        rounding: the difference of two tokens' log-probabilities up to which either may be chosen.
        printed: what loading printed.
        audit: what looks at every answer.
        loaded: load parameters that are not the author's.
    """

    def __init__(
        self,
        backend: BaseBackend,
        *,
        prompt: str,
        greedy: Mapping[str, Any] | None,
        patience: float,
        rounding: float = 0.0,
        printed: str = "",
        audit: Audit | None = None,
        loaded: Mapping[str, Any] | None = None,
    ) -> None:
        self.audit = audit or Audit()
        self._loaded = dict(loaded or {})
        self.backend = backend
        self.prompt = prompt
        self.patience = patience
        self.rounding = rounding
        self.printed_at_load = printed
        self.full = not backend.is_basic
        self._caller = backend if self.full else BasicBackendAdapter(backend)
        if greedy is None:
            greedy = {"temperature": 0} if self.declares("temperature") else {}
        self.greedy = dict(greedy)
        self.remembered: dict[str, dict[str, Any]] = {}
        """What groups of checks have already asked, by the group's name."""
        self._known: dict[tuple[str, int], GeneratedText] = {}
        self._has_template: bool | None = None
        self._pace: float | None = None
        self._first_ids: list[int] | None = None
        self._askings: dict[int, tuple[GeneratedText, Callable[[], GeneratedText]]] = {}

    # What it declares.

    def declares(self, *names: str) -> bool:
        """Whether all these parameters are declared. A basic backend declares none."""
        return self.full and set(names) <= self.backend.capabilities.parameters

    def limit(self, tokens: int) -> dict[str, Any]:
        """``max_tokens``, if it is declared."""
        return {"max_tokens": tokens} if self.declares("max_tokens") else {}

    @property
    def has_template(self) -> bool:
        """Whether the model has a chat template."""
        if self._has_template is None:
            self._has_template = self._find_template()
        return self._has_template

    def knows(self, other: Subject) -> None:
        """Take over what *other* knows of the model, so that nothing has to be asked for it."""
        self._has_template = other.has_template
        self.remembered["renders"] = other.remembered.get("renders", {})

    def _find_template(self) -> bool:
        if not self.full:
            return False
        turns = [{"role": "user", "content": "Hello"}]
        try:
            self.backend.render(messages=turns)
        except NoChatTemplateError:
            return False
        except UnsupportedError:  # it does not show what the engine sees, so ask
            try:
                self.backend.chat(turns, self.limit(1))
            except NoChatTemplateError:
                return False
        return True

    # Asking.

    def ask(self, prompt: str | None = None, /, **parameters: Any) -> GeneratedText:
        """The answer. Any error fails the check."""
        __tracebackhide__ = True
        return self.answered(lambda: self.generate(prompt, parameters), f"an answer with {parameters}")

    def generate(self, prompt: str | None = None, parameters: Mapping[str, Any] | None = None) -> GeneratedText:
        """The answer, through the adapter if the backend is basic. Errors are raised unchanged."""
        beat()
        given = self.prompt if prompt is None else prompt
        answer: GeneratedText = self._caller.generate(given, parameters)
        self.note("generate()", given, parameters, answer)
        return answer

    def note(self, way: str, prompt: Any, parameters: Mapping[str, Any] | None, answer: Any) -> None:
        """Have the *answer* of a call looked at."""
        given = canonically(parameters) if self.full and not self.audit.paused else None
        if given is None or not isinstance(answer, GeneratedText):
            return
        effective = {name: value for name, value in answer.parameters.items() if value is not None}
        asked = Asked(
            way,
            prompt,
            given,
            {name: value for name, value in (effective | given).items() if name not in answer.dropped},
            context=self._loaded.get("n_ctx", FEW),
            instance=f"{self.backend.model_path} {self._loaded or ''}",
            rounding=self.rounding,
            server=self.backend.capabilities.server_defaults,
        )
        self.audit.note(asked, answer)

    def stream(self, prompt: str | None = None, /, **parameters: Any) -> TextStream:
        """The same as :meth:`generate`, as a stream."""
        beat()
        given = self.prompt if prompt is None else prompt
        stream: TextStream = self._caller.generate_stream(given, parameters)
        return stream

    def chat(self, messages: Iterable[Message | Mapping[str, Any]], **parameters: Any) -> GeneratedText:
        """The answer to a conversation. Any error fails the check."""
        __tracebackhide__ = True
        turns = list(messages)
        answer = self.answered(lambda: self.backend.chat(messages, parameters), f"an answer to {turns}")
        self.note("chat()", turns, parameters, answer)
        if self.rounding:
            self._askings[id(answer)] = answer, lambda: self.backend.chat(turns, {**parameters, **self._ties})
        return answer

    def say(self, tokens: int = 16, prompt: str | None = None, /, **more: Any) -> GeneratedText:
        """The greedy answer of at most *tokens* tokens."""
        __tracebackhide__ = True
        asked = {**self.greedy, **self.limit(tokens), **more}
        answer = self.ask(prompt, **asked)
        if self.rounding:
            self._askings[id(answer)] = answer, lambda: self.generate(prompt, {**asked, **self._ties})
        return answer

    def known(self, tokens: int = 16, prompt: str | None = None) -> GeneratedText:
        """The answer of :meth:`say`, requested only once."""
        __tracebackhide__ = True
        key = (self.prompt if prompt is None else prompt, tokens)
        if key not in self._known:
            self._known[key] = self.say(tokens, prompt)
        return self._known[key]

    def material(self) -> GeneratedText:
        """The greedy answer of 24 tokens, long enough to cut stop strings out of it."""
        __tracebackhide__ = True
        answer = self.say(24) if self.rounding else self.known(24)
        enough = len(answer) >= 20 and len(set(answer)) >= 6
        expect(enough, "20 characters or more; set prompt to one that is answered at length", answer)
        return answer

    def prompts(self, count: int) -> list[str]:
        """*count* different prompts."""
        subjects = ("the sea", "a fox", "bread", "winter", "a train", "the moon", "gardens", "a bridge")
        return [
            f"Tell me something long about {subjects[index % len(subjects)]}, please, as number {index}."
            for index in range(count)
        ]

    @staticmethod
    def answered(call: Callable[[], T], what: str) -> T:
        """The result of *call*. An exception fails the check, with *what* was expected."""
        __tracebackhide__ = True
        beat()
        try:
            return call()
        except NotAsExpected:
            raise
        except Exception as error:
            raise NotAsExpected(what, error) from error

    def in_time(self, call: Callable[[], T], what: str) -> T:
        """The result of *call*. An exception fails the check, and so does taking longer than ``patience``."""
        __tracebackhide__ = True
        return self.answered(lambda: within(self.patience, call, what), what)

    # Comparing.

    def agrees(self, came: str, wanted: str, what: str) -> None:
        """Fail unless the greedy answer *came* is *wanted*, or deviates from it where two tokens are nearly tied."""
        __tracebackhide__ = True
        if came != wanted and not self._is_tied(came, wanted):
            raise NotAsExpected(f"{what} to be {shown(str(wanted))}", str(came))

    def begins(self, came: str, whole: str, what: str) -> None:
        """Fail unless *whole* begins with *came*, or *came* deviates from it where two tokens are nearly tied."""
        __tracebackhide__ = True
        if not whole.startswith(came) and not self._is_tied(came, whole):
            raise NotAsExpected(f"{what} to be the beginning of {shown(str(whole))}", str(came))

    @property
    def _ties(self) -> dict[str, Any]:
        return {"logprobs": True, "top_logprobs": _SERVERS_TIES if self.backend.capabilities.server_defaults else _TIES}

    def _is_tied(self, came: str, wanted: str) -> bool:
        """Whether *came* deviates from *wanted* by a token that is as probable, within ``rounding``."""
        _, ask = self._askings.get(id(wanted), (None, None))
        if not self.rounding or ask is None or not self.declares("top_logprobs"):
            return False
        plain = came.isascii() and wanted.isascii()
        start = 0
        for each in self.answered(ask, "log-probabilities of an answer").logprobs:
            # Where a form is asked for, what it rules out may be more probable than the token that was chosen.
            near = {other.token for other in each.top if abs(each.logprob - other.logprob) <= self.rounding}
            if not plain:  # pieces of a character are shown in many ways: any tie may be the one
                if len(near) > 1:
                    return True
                continue
            rests = [text[start:] for text in (wanted, came)]
            ways = [_longest(near | {each.token}, rest) for rest in rests]
            # Where even the last alternative is as probable, there may be more that are, and aren't shown.
            more = all(rests) and bool(each.top) and each.logprob - each.top[-1].logprob <= self.rounding
            if ways[0] != ways[1]:
                return "" not in ways or more
            if ways[0] != each.token:  # asked once more, it went a third way; as far as it goes, all is well
                return bool(ways[0]) or more
            start += len(each.token)
        return False

    # Refusing.

    def refuses(self, **parameters: Any) -> None:
        """Check that undeclared parameters are refused, and with ``on_unsupported="drop"`` dropped and reported.

        A basic backend takes any parameters; it must refuse the calls of the full contract instead.
        """
        __tracebackhide__ = True
        if not self.full:
            self.refuses_the_full_contract(**parameters)
            return
        unable = [name for name in parameters if not self.declares(name)]
        expect(unable, "a check of undeclared parameters to have some", parameters)
        for call in (self.backend.generate, self.backend.generate_stream):
            error = expect_refusal(
                UnsupportedError,
                partial(call, self.prompt, parameters),
                f"{unable}, not declared",
            )
            expect(all(name in str(error) for name in unable), f"the error to name {unable}", error)
        given = {**self.limit(1), **parameters, "on_unsupported": "drop"}
        answer = self.ask(**given)
        expect(set(unable) <= set(answer.dropped), f"result.dropped to name {unable}", answer.dropped)
        kept = [name for name in unable if name in answer.parameters]
        expect(not kept, f"no dropped parameter among result.parameters, {unable} least of all", answer.parameters)

    def refuses_the_full_contract(self, **parameters: Any) -> None:
        """Check that a basic backend refuses the calls that only the full contract has."""
        __tracebackhide__ = True
        turns = [{"role": "user", "content": self.prompt}]
        backend = self.backend
        for name, call in {
            "chat": lambda: backend.chat(turns, parameters),
            "chat_stream": lambda: backend.chat_stream(turns, parameters),
            "achat_stream": lambda: backend.achat_stream(turns, parameters),
            "agenerate_stream": lambda: backend.agenerate_stream(self.prompt, parameters),
        }.items():
            expect_refusal(UnsupportedError, call, f"{name}() of a backend with only the basic methods")
        expect(not backend.capabilities.parameters, "no declared parameters", backend.capabilities)

    # Measuring.

    def is_certain(self, answer: GeneratedText) -> bool:
        """Whether each token of *answer* had a probability of 1, by its log-probabilities."""
        return bool(answer.logprobs) and all(each.logprob >= ONE_HOT for each in answer.logprobs)

    def only_one_answer(self, tokens: int, **parameters: Any) -> bool:
        """Whether this model has only one possible answer, so that sampling has no visible effect."""
        if not self.declares("logprobs"):
            return False
        return self.is_certain(self.ask(**{**self.limit(tokens), **parameters, "logprobs": True}))

    def surprise(self, tokens: int) -> float | None:
        """A lower bound on how many of *tokens* sampled tokens differ from the greedy ones on average, at a temperature
        of 1 or more. None without log-probabilities."""
        if not self.declares("logprobs", "temperature"):
            return None
        answer = self.ask(**self.limit(tokens), temperature=0, logprobs=True)
        return math.fsum(1 - math.exp(min(0.0, each.logprob)) for each in answer.logprobs)

    def first_ids(self) -> list[int]:
        """The most probable first tokens of the answer, best first. Empty if the backend reports no ids."""
        if not self.declares("logprobs", "top_logprobs"):
            return []
        if self._first_ids is None:
            first = self.say(1, logprobs=True, top_logprobs=5).logprobs
            told = [each.token_id for each in (first[0].top if first else ())]
            self._first_ids = [token for token in told if token is not None]
        return self._first_ids

    def lasting(self, seconds: float, most: int = MOST) -> int:
        """About how many tokens take *seconds*, at most *most*."""
        if self._pace is None:
            paces = []
            for _ in range(2):  # the first may be slow for reasons of its own: a cold cache, a prompt to be read
                began = time.perf_counter()
                answer = self.say(8)
                tokens = answer.usage.completion_tokens if answer.usage is not None else len(answer.split())
                paces.append((time.perf_counter() - began) / max(1, tokens))
            self._pace = min(paces)
        return max(8, min(most, math.ceil(seconds / max(self._pace, 1e-9))))

    def whole(self, asked: int | Mapping[str, Any]) -> float:
        """The seconds that an answer takes: a greedy one of so many tokens, or one with these parameters."""
        given = {**self.greedy, **self.limit(asked)} if isinstance(asked, int) else asked
        began = time.perf_counter()
        self.ask(**given)
        return time.perf_counter() - began

    def lengthy(self, seconds: float) -> tuple[dict[str, Any], GeneratedText, float]:
        """Parameters of an answer that takes about *seconds*, the answer, and how long it took. Asked only once.

        The greedy answer of a fast engine ends too early; where a form of answers can be asked for, it is some hundred
        digits.
        """
        key = f"lengthy {seconds}"
        if key not in self.remembered:
            tokens = self.lasting(seconds)
            given: dict[str, Any] = {**self.greedy, **self.limit(tokens)}
            if tokens == MOST and self.declares("response_format", "max_tokens"):
                digits = self.lasting(seconds, MOST_DIGITS)
                form = {"response_format": {"type": "regex", "regex": f"[0-9]{{{digits}}}"}}
                with contextlib.suppress(LlamaForgeError):  # a server may know no such form
                    self.generate(None, {**given, **form, **self.limit(1)})
                    given |= {**form, **self.limit(digits)}
            began = time.perf_counter()
            answer = self.ask(**given)
            self.remembered[key] = {"it": (given, answer, time.perf_counter() - began)}
            if self.rounding:
                self._askings[id(answer)] = answer, lambda: self.generate(None, {**given, **self._ties})
        found: tuple[dict[str, Any], GeneratedText, float] = self.remembered[key]["it"]
        return found


def common_beginning(first: str, second: str) -> str:
    """The common prefix of both texts."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return first[:length]


def _longest(tokens: set[str], text: str) -> str:
    """The longest of *tokens* that *text* begins with; empty if there is none."""
    return max((token for token in tokens if text.startswith(token)), key=len, default="")
