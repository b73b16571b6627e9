"""Counts, times and reasons: what is told of an answer, and that nothing is made up."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any, Final

import pytest

from ...errors import LlamaForgeError
from ...results import TextDelta
from ..battery import TOOLS
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from ..ways import ways

NEVER: Final = "\u2603\u2603"
STREAMED: Final = 16
SHARED: Final = 4
"""Tokens that two raw prompts with other first words may have in common: one that begins a text, half a word."""
SLOW: Final = 0.25
ATTEMPTS: Final = 3
FEW: Final = 24
"""Characters of a token or two."""


class TellingChecks(Kit):
    """What nobody would miss, and somebody bills by."""

    def test_nothing_is_cached_of_a_new_prompt(self, subject: Subject) -> None:
        """A raw prompt that begins as no earlier one did has no cached tokens, nor has the first request of all.

        Why: cached tokens are cheaper, and people compare what they save. Look at: a count that is guessed from the
        length, or that belongs to the slot and not to the prompt.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        with self.fresh() as first:
            usage = first.say(2).usage
            expect(usage is None or not usage.cached_tokens, "no cached_tokens of the first request of all", usage)
        if not any(way.is_raw for way in ways(subject)):
            pytest.skip("could not be measured: the backend takes no raw prompt")
        for word in ("Zinnober", "Quark"):
            usage = subject.ask(f"{word} {id(self)}: {subject.prompt}", raw=True, **subject.limit(1)).usage
            few = usage is None or usage.cached_tokens <= SHARED
            expect(few, f"at most {SHARED} cached_tokens of a prompt with another beginning", usage)

    def test_the_template_is_counted(self, subject: Subject) -> None:
        """usage.prompt_tokens of a prompt counts what the chat template adds, on every path, and each message more.

        Why: what is not counted overflows the context. Look at: counting the text of the messages alone.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        text = "Which bird is it?"
        given = {**subject.greedy, **subject.limit(1)}
        counts: dict[str, int] = {}
        for way in ways(subject):
            usage = way.ask(text, given).usage
            if usage is None or usage.estimated:
                pytest.skip("could not be measured: the engine counts no tokens")
            counts[way.name] = usage.prompt_tokens
        expect(len(set(counts.values())) == 1, "the same prompt_tokens on each path", counts)
        if subject.declares("tools", "tool_choice"):
            beside_tools = {"tools": TOOLS, "tool_choice": "none"}
            with contextlib.suppress(LlamaForgeError):  # this model's template knows no tools
                more: list[int] = []
                for prompt in (text, subject.prompt):
                    without, beside = (subject.generate(prompt, {**given, **each}).usage for each in ({}, beside_tools))
                    if without is not None and beside is not None:
                        more.append(beside.prompt_tokens - without.prompt_tokens)
                expect(
                    not more or max(more) - min(more) <= SHARED, "as many prompt_tokens more with tools each time", more
                )
        if not subject.has_template or not any(way.is_raw for way in ways(subject)):
            return
        raw = subject.ask(text, raw=True, **given).usage
        longer = raw is not None and raw.prompt_tokens < counts["generate()"]
        rendered = subject.backend.render(text)
        expect(
            longer or rendered == text, f"more prompt_tokens for {rendered!r} than for {text!r} alone", (raw, counts)
        )

    def test_counts_are_not_made_up(self, subject: Subject) -> None:
        """Without reasoning in the answer there are no reasoning tokens, and without truncation no truncated ones; on
        every path and of every kind of end.

        Why: an invented number is worse than none. Look at: fields that are filled because they are there.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given = {**subject.greedy, **subject.limit(4)}
        for way in ways(subject):
            answer = way.ask(subject.prompt, given)
            usage = answer.usage
            if usage is None:
                continue
            expect(answer.reasoning or not usage.reasoning_tokens, f"no reasoning_tokens of {way.name}", usage)
            expect(not usage.truncated_tokens, f"no truncated_tokens of {way.name}", usage)
            expect(usage.cached_tokens <= usage.prompt_tokens, f"cached_tokens among the prompt's of {way.name}", usage)
            if not usage.estimated and answer.finish_reason == "length" and subject.declares("max_tokens"):
                expect_equal(usage.completion_tokens, 4, f"completion_tokens of {way.name} with max_tokens=4")

    def test_an_unmet_stop_string_is_not_named(self, subject: Subject) -> None:
        """With stop strings that the answer doesn't have, ``result.stop`` is None and the reason is what it is without.

        Why: programs branch on which stop string was met. Look at: the first of the list, named by default.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        for tokens in (6, 56):
            wanted = subject.known(tokens)
            answer = subject.say(tokens, stop=[NEVER, f"{wanted}{NEVER}"])
            expect_equal(answer.stop, None, "result.stop of an answer without any of the stop strings")
            if str(answer) == str(wanted):
                expect_equal(answer.finish_reason, wanted.finish_reason, "finish_reason where no stop string was met")

    def test_a_stopped_answer_is_not_generated_further(self, subject: Subject) -> None:
        """The tokens of an answer that a stop string ended are those up to the stop string.

        Why: what is generated is paid for. Look at: a stop string that is cut off after the answer is complete.
        """
        if not subject.declares("stop", "logprobs", "max_tokens"):
            subject.refuses(**{"stop": ["x"]} if not subject.declares("stop") else {"logprobs": True})
            return
        for prompt in [subject.prompt, *subject.prompts(6)]:
            told = subject.say(16, prompt, logprobs=True)
            texts = itertools.accumulate(entry.token for entry in told.logprobs)
            spelled = list(itertools.takewhile(str(told).startswith, texts))
            text = spelled[-1] if spelled else ""
            if len(text) >= 6 and text.isascii():
                break
        else:
            pytest.skip("could not be measured: the tokens' texts don't spell an answer")
        stop = text[len(text) // 3 : len(text) // 3 + 2]
        end = text.index(stop) + len(stop)
        tokens = 1 + sum(len(each) < end for each in spelled)
        answer = subject.say(16, prompt, stop=[stop])
        if answer.usage is not None and not answer.usage.estimated and str(answer) == text[: text.index(stop)]:
            answered = answer.usage.completion_tokens - answer.usage.reasoning_tokens
            expect_equal(answered, tokens, f"completion_tokens of an answer up to {stop!r}")

    def test_a_form_is_no_part_of_the_prompt(self, subject: Subject) -> None:
        """usage.prompt_tokens of a request that demands a form, or offers tools, are those of what ``render`` shows.

        Why: what is counted is paid for. Look at: a form's tokens that are added to those of the prompt; a template's
        words about tools, which are left out.
        """
        forms: dict[str, Any] = {
            "response_format": {"type": "choice", "choice": ["red", "green"]},
            "grammar": 'root ::= "yes" | "no"',
            "tools": TOOLS,
        }
        declared = [name for name in forms if subject.declares(name)]
        if not declared:
            subject.refuses(response_format=forms["response_format"])
            return
        if not any(way.is_raw for way in ways(subject)):
            pytest.skip("could not be measured: the backend takes no raw prompt")
        given = {**subject.greedy, **subject.limit(1)}
        for name in declared:
            asked = {**given, name: forms[name]}
            try:
                usage = subject.generate(subject.prompt, asked).usage
                text = subject.backend.render(subject.prompt, parameters=asked)
            except LlamaForgeError:  # another spelling of grammars; test_a_grammar_is_followed looks at it
                continue
            plain = subject.ask(text, raw=True, **given).usage
            if usage is None or plain is None or usage.estimated or plain.estimated:
                pytest.skip("could not be measured: the engine counts no tokens")
            expect_equal(usage.prompt_tokens, plain.prompt_tokens, f"prompt_tokens with {name}, beside the text itself")

    def test_a_lone_request_does_not_queue(self, subject: Subject) -> None:
        """Of a request that nothing waits before, ``timings.queued`` is next to nothing, and never beyond first_token.

        Why: the time in the queue says whether more slots are needed. Look at: the time until the first token, told as
        the time in the queue.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        subject.say(2)
        seen = []
        for _ in range(3):
            timings = subject.say(6).timings
            if timings.queued is None:
                return
            first = timings.first_token if timings.first_token is not None else timings.total or 0.0
            expect(timings.queued <= first, "queued of at most first_token", timings)
            if timings.queued <= max(0.002, 0.5 * first):
                return
            seen.append(f"{timings.queued:.4f} s of {first:.4f} s")
        expect(False, "hardly a time in the queue for a lone request", Told(", ".join(seen)))

    def test_the_first_token_has_its_time(self, subject: Subject) -> None:
        """``timings.first_token`` is the time until the first text came, and well before the end of a long answer.

        Why: it is what people wait for. Look at: the time of the first event that has no text; the end's.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given, answer, _ = subject.lengthy(0.8)
        seen: list[str] = []
        while len(seen) < ATTEMPTS:
            timings = (subject.ask(**given) if seen else answer).timings
            total, first = timings.total or 0.0, timings.first_token
            if first is None or total < SLOW:
                pytest.skip(f"could not be measured: the longest answer takes {total:.2f} s")
            if 0 < first < 0.8 * total:
                break
            seen.append(f"{first:.3f} s of {total:.3f} s")
        expect(len(seen) < ATTEMPTS, "a first token well before the end", Told(", ".join(seen)))

    def test_log_probabilities_come_with_their_text(self, subject: Subject) -> None:
        """While streaming, text comes with the tokens that spell it, on every path: no more is held back than what may
        begin a stop string.

        Why: text that comes late is a slow model to those who wait. Look at: as many characters held back as the
        longest stop string has; events collected for a rhythm of their own.
        """
        if not subject.declares("stop", "logprobs"):
            subject.refuses(**{"stop": ["x"]} if not subject.declares("stop") else {"logprobs": True})
            return
        stop = f"{NEVER}{'x' * 60}"
        for what, read in self._streams_of_events(subject, stop).items():
            events = Subject.answered(read, f"the events of {what} to their end")
            deltas = [event for event in events if isinstance(event, TextDelta)]
            spelled = shown = ""
            behind = tokens = 0
            for event in deltas:
                shown += event.text
                spelled += "".join(entry.token for entry in event.logprobs)
                lag = _plain(spelled) - _plain(shown)
                behind += lag > 0
                tokens += len(event.logprobs)
                expect(lag <= FEW, f"text that can't begin {stop[:4]!r}... to come with its tokens", (shown, spelled))
            if subject.backend.capabilities.server_defaults or tokens < 8:
                continue
            told = Told(f"{behind} of {len(deltas)} late: {[event.text for event in deltas]}")
            expect(behind <= len(deltas) // 2, f"text of {what} that comes with its token, not with the next one", told)
            expect(len(deltas) > tokens // 2, f"about as many pieces of {what} as tokens, {tokens}", told)

    def _streams_of_events(self, subject: Subject, stop: str) -> dict[str, Callable[[], list[Any]]]:
        """The streams of all paths, sampled and with stop strings; each read to its end."""
        backend, prompt = subject.backend, subject.prompt
        turns = [{"role": "user", "content": prompt}]
        given = {**subject.greedy, **subject.limit(STREAMED), "logprobs": True}
        heat = {"temperature": 0.7, "seed": 3}

        async def later(stream: Any) -> list[Any]:
            return [event async for event in stream.events()]

        made: dict[str, Callable[[], list[Any]]] = {
            "a stream with stop strings": lambda: list(subject.stream(**given, stop=[stop]).events()),
            "a stream": lambda: list(subject.stream(**given).events()),
            "agenerate_stream()": lambda: self.run_async(lambda: later(backend.agenerate_stream(prompt, given))),
        }
        if subject.declares(*heat):
            made["a sampled stream"] = lambda: list(subject.stream(**(given | heat)).events())
        if subject.has_template:
            made["chat_stream()"] = lambda: list(backend.chat_stream(turns, given).events())
            made["achat_stream()"] = lambda: self.run_async(lambda: later(backend.achat_stream(turns, given)))
        if any(way.is_raw for way in ways(subject)):
            raw = {**given, "raw": True}
            made["a raw stream"] = lambda: list(backend.generate_stream(backend.render(prompt), raw).events())
        return made


def _plain(text: str) -> int:
    """Its ASCII characters. Pieces of others are shown in many ways."""
    return sum(letter.isascii() for letter in text)
