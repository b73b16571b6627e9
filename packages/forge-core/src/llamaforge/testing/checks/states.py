"""Every parameter in every state: of the engine, of an instance, and of what was read before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pytest

from ...errors import LlamaForgeError
from ...results import GeneratedText
from ..audit import Aspect
from ..battery import absolute, beside_tools, crowded, telling, tipped
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..run import run_of
from ..subject import Subject
from ..ways import Way, cells_within, first_way, spread, ways

IN_A_ROW: Final = 12
OPEN: Final = 5
"""Streams that are being read meanwhile."""
A_PROMPT: Final = 120
"""Tokens of all answers to one prompt."""
FEW: Final = 3
"""Prompts that are tried with the slowest engine, each with other companions."""
LARGE: Final = 900
"""Tokens of a long answer, which is left soon."""
NO_TOKEN: Final = 2_000_000_000
Turn = Mapping[str, Any]
Ask = Callable[[str, Mapping[str, Any]], GeneratedText]
LONG: Final = "The fog came in over the sea, and nobody but the dog saw boat number {}. "


class StateChecks(Kit, slow=True):
    """Requests of all parameters at once, each of which tells if it is lost: asked in one state after another."""

    def test_every_request_in_a_row_means_the_same(self, subject: Subject) -> None:
        """The first, second, tenth and twelfth request of an instance have the answer that the same request has
        elsewhere, with every parameter honoured, on each path; and those of another instance beside it.

        Why: what is set up by the first request, counted, or shared by instances is seen only here. Look at: lazy
        initialisation; class attributes; counters.
        """
        requests = self._telling(subject)
        ways(subject)  # it knows then which there are
        with self.fresh() as other:
            for place in range(len(requests)):
                with self.fresh() as one:
                    for number in range(IN_A_ROW):
                        given = requests[(place + number) % len(requests)]
                        for which, instance in (("one", one), ("another", other)) if number == 1 else (("one", one),):
                            way = self._one_way(instance, subject, number * 5 + place if number else 0, given)
                            what = f"request {number + 1} of {which} instance, {way.name} with {given}"
                            self._is_as_alone(subject, way, given, what)

    def test_every_parameter_holds_on_every_path(self, subject: Subject) -> None:
        """On each path, a request of all parameters at once has the answer that ``generate`` gives.

        Why: the other checks try one parameter at a time. Look at: the path that is named, and what it does with the
        parameters.
        """
        for given in self._telling(subject):
            for way in ways(subject)[1:]:
                if way.is_raw and "tools" in given:
                    continue
                self._is_as_alone(subject, way, given, f"{way.name} with {given}")

    def test_every_parameter_holds_whatever_came_before(self, subject: Subject) -> None:
        """After a request that was refused, one that ran out of time, a stream that was left and a batch that failed,
        a request of all parameters at once has the answer that it had before.

        Why: what is undone at the end of an answer stays where there is none. Look at: ``finally``.
        """
        for place, given in enumerate(self._telling(subject)):
            every = list(self._disturbances(subject, given).items())
            for what, before in every[place % 2 :: 2]:
                with contextlib.suppress(LlamaForgeError):
                    before()
                self._is_as_alone(subject, ways(subject)[0], given, f"an answer after {what}, with {given}")

    def test_every_parameter_holds_whatever_the_limit(self, subject: Subject) -> None:
        """With a large max_tokens, and with none, an answer begins as it does with a small one, with every parameter in
        force.

        Why: long answers are often another path, or another buffer. Look at: what is laid out by the limit.
        """
        for given in self._telling(subject):
            if given.keys() & {"response_format", "grammar", "tools"}:
                continue
            wanted = str(self._answer_alone(subject, given)).rstrip("\ufffd")
            for limit in ({}, subject.limit(LARGE)):
                asked = {name: value for name, value in given.items() if name != "max_tokens"} | limit
                came = ""
                with subject.stream(**asked) as stream:
                    for piece in stream:
                        came += piece
                        if len(came) >= len(wanted):
                            break
                expect_equal(came[: len(wanted)], wanted, f"the beginning of the answer with {asked}")

    def test_every_parameter_holds_beside_open_streams(self, subject: Subject) -> None:
        """Beside one stream that is being read, and beside several, a request of all parameters at once has the answer
        that it has alone, on each path; and so have the streams.

        Why: what is computed together shares arrays, buffers and settings. Look at: parameters that are kept for a
        whole step, or for the engine.
        """
        requests = self._telling(subject)
        every = ways(subject)
        for number, given in enumerate(requests):
            for beside in (1, min(OPEN, self.crowd - 1)):
                with contextlib.ExitStack() as stack:
                    streams = [
                        stack.enter_context(subject.stream(**requests[(number + place) % len(requests)]))
                        for place in range(beside)
                    ]
                    for stream in streams:
                        next(stream, "")
                    for step in range(2):
                        way = every[(number * 2 + step) % len(every)]
                        if not (way.is_raw and "tools" in given):
                            what = f"{way.name} beside {beside} streams with {given}"
                            self._is_as_alone(subject, way, given, what)
                    for place, stream in enumerate(streams):
                        wanted = self._answer_alone(subject, requests[(number + place) % len(requests)])
                        came = subject.in_time(stream.read, "a stream to its end")
                        expect_equal(str(came), str(wanted), f"the text of a stream beside {beside} requests")

    def test_every_parameter_holds_after_any_prompt(self, subject: Subject) -> None:
        """A prompt that is long, short, in another script, empty but for a mark, or of many turns, parts or a begun
        answer leaves every parameter in force.

        Each answer is judged by itself: by its stop strings, its form, and by arithmetic where there are
        log-probabilities.

        Why: code for histories and long prompts is other code. Look at: the prompt that is named.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        before = {aspect: len(run_of(type(self)).audit.mistakes(aspect)) for aspect in _JUDGED}
        asked = 0
        every = repr([*_TEXTS.values(), *_CONVERSATIONS.values()])
        every_one = list(self._askings_with_prompts(subject).items())
        some = spread(every_one, cells_within(subject, A_PROMPT, 16.0, least=FEW))
        for number, (what, ask) in enumerate(some):
            with contextlib.suppress(LlamaForgeError):  # a template may refuse system turns
                self._penalizes(subject, what, lambda given: ask(f" ({number})", given))  # noqa: B023
            ends: dict[str, int] = {}
            for given in absolute(subject, number, every):
                given = (dict, partial(crowded, subject), partial(beside_tools, subject))[number % 3](given)
                seedless = {name: value for name, value in given.items() if name != "seed"}
                place = ends.setdefault(repr(seedless), len(ends))
                try:
                    answer = ask(f" ({number}.{place})", given)
                except LlamaForgeError:
                    continue  # this model can't, and says so
                asked += 1
                met = [stop for stop in given.get("stop", ()) if stop in answer]
                expect(not met, f"none of the stop strings in the answer to {what} with {given}", str(answer))
        plain = {**subject.greedy, **subject.limit(3)}
        cells = [(way, text) for text in _TEXTS.values() for way in ways(subject)]
        for way, text in spread(cells, cells_within(subject, 3)):
            subject.in_time(partial(way.ask, text, plain), f"{way.name} with another prompt")
        if not asked:
            pytest.skip("could not be measured: no parameter is declared that shows by itself")
        for aspect in _JUDGED:
            wrong = run_of(type(self)).audit.mistakes(aspect)[before[aspect] :]
            expect(
                not wrong,
                f"every parameter in force after {', '.join(self._askings_with_prompts(subject))}",
                Told(wrong),
            )

    # How.

    def _telling(self, subject: Subject) -> list[dict[str, Any]]:
        """Those of all parameters; skips where there is none."""
        if not subject.full:
            subject.refuses_the_full_contract()
            pytest.skip("could not be measured: there is one way to ask, and no parameter")
        requests = telling(subject)
        if not requests:
            pytest.skip("could not be measured: answers depend on rounding, or a server chooses what isn't set")
        return requests

    def _penalizes(self, subject: Subject, what: str, ask: Callable[[dict[str, Any]], GeneratedText]) -> None:
        """Penalties and biases are in force, at temperature 0 and next to it."""
        __tracebackhide__ = True
        found = tipped(subject, ask)
        if found is None or subject.rounding or not subject.declares("temperature", "presence_penalty", "seed"):
            return
        one, other, bias = found
        for heat in ({"temperature": 0}, {"temperature": 0.02, "seed": 1}):
            for pull in ({}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}):
                if subject.declares(*pull):
                    given = {**heat, **pull, **bias, **subject.limit(2), "logprobs": True}
                    told = [each.token_id for each in ask(given).logprobs]
                    expect_equal(told, [one, other] if pull else [one, one], f"tokens after {what} with {given}")

    def _one_way(self, subject: Subject, shared: Subject, number: int, given: Mapping[str, Any]) -> Way:
        """One of the ways that are one request each. The first is found without any."""
        if not number:
            return first_way(subject)
        subject.knows(shared)
        every = [way for way in ways(subject) if "batch" not in way.name and not (way.is_raw and "tools" in given)]
        return every[number % len(every)]

    def _is_as_alone(self, subject: Subject, way: Way, given: Mapping[str, Any], what: str) -> None:
        """Its answer is the one that ``generate`` has on the shared instance."""
        __tracebackhide__ = True
        wanted = self._answer_alone(subject, given)
        came = subject.in_time(partial(way.ask, subject.prompt, given), what)
        expect_equal(str(came), str(wanted), f"the text of {what}")
        ends = [
            (each.finish_reason, each.stop, [(call.function.name, call.function.arguments) for call in each.tool_calls])
            for each in (came, wanted)
        ]
        expect_equal(ends[0], ends[1], f"the end of {what}")

    @staticmethod
    def _answer_alone(subject: Subject, given: Mapping[str, Any]) -> GeneratedText:
        """What ``generate`` answers. Asked only once."""
        known = subject.remembered.setdefault("states", {})
        if repr(given) not in known:
            known[repr(given)] = subject.generate(None, given)
        answer: GeneratedText = known[repr(given)]
        return answer

    def _disturbances(self, subject: Subject, given: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
        plain = {**subject.limit(4)}

        def leave() -> None:
            with subject.stream(**plain) as stream:
                next(stream, "")

        return {
            "a request that was refused": lambda: subject.generate(None, {**plain, "no_such_parameter": 1}),
            "a bias that was refused": lambda: subject.generate(None, {**plain, "logit_bias": {NO_TOKEN: 1.0}}),
            "one that ran out of time": lambda: subject.generate(None, {**subject.greedy, "timeout": 1e-4}),
            "a stream that was left": leave,
            "a batch with an empty prompt": lambda: list(subject.backend.generate_batch(["", "And?"], plain)),
            "another prompt": lambda: subject.generate("Something else.", {**given}),
        }

    def _askings_with_prompts(self, subject: Subject) -> dict[str, Ask]:
        """What asks with each: the same text with another end each time, so that nothing is kept of it."""
        asks: dict[str, Ask] = {what: partial(self._text, subject, text) for what, text in _TEXTS.items()}
        if subject.has_template:
            asks |= {what: partial(self._talk, subject, turns) for what, turns in _CONVERSATIONS.items()}
        return asks

    @staticmethod
    def _text(subject: Subject, text: str, end: str, given: Mapping[str, Any]) -> GeneratedText:
        return subject.generate(text + end, given)

    @staticmethod
    def _talk(subject: Subject, turns: Sequence[Turn], end: str, given: Mapping[str, Any]) -> GeneratedText:
        content = turns[-1]["content"]
        last = content + end if isinstance(content, str) else [*content, {"type": "text", "text": end}]
        told = [*turns[:-1], {**turns[-1], "content": last}]
        answer = subject.backend.chat(told, given)
        subject.note("chat()", told, given, answer)
        return answer


_TEXTS: Final[Mapping[str, str]] = {
    "a long prompt": "".join(LONG.format(number) for number in range(12)),
    "a short one": "A",
    "one in another script": "東京の海はきれいですか。Ελλάδα, עברית, 🦊?",
    "one of a mark": "?",
    "one with line ends": "\n\nTell me.\n\n",
}
_JUDGED: Final[tuple[Aspect, ...]] = ("asked", "arithmetic", "told", "again")
_CONVERSATIONS: Final[Mapping[str, Sequence[Turn]]] = {
    "a system turn": [
        {"role": "system", "content": "You tell stories of the sea."},
        {"role": "user", "content": "Which boat came in first?"},
    ],
    "many turns": [
        {"role": role, "content": LONG.format(number)} for number in range(6) for role in ("user", "assistant")
    ]
    + [{"role": "user", "content": "And then?"}],
    "content in parts": [
        {"role": "user", "content": [{"type": "text", "text": "Which boat"}, {"type": "text", "text": " was it?"}]}
    ],
    "a begun answer": [
        {"role": "user", "content": "Which boat came in first?"},
        {"role": "assistant", "content": "The boat that"},
    ],
}
