"""Guesses (``prompt_lookup``) and kept prefixes (``prefix_cache``): they save time, and can be switched off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pytest

from ...results import GeneratedText
from ..expect import expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from ..ways import ways

VERSE: Final = "The sea is grey, the fog is grey, the gull is grey, and the boat is grey. "
TOKENS: Final = 16


class GuessChecks(Kit):
    """A backend with such a load parameter is loaded with and without it."""

    def test_guesses_change_no_text(self, subject: Subject) -> None:
        """With ``prompt_lookup`` the answers are what they are without: text, reason, counts and log-probabilities;
        greedy and sampled, with penalties, stop strings and limits, on prompts whose parts come again, on every path.

        Why: a guess that is taken unseen is a word that the model didn't choose. Look at: which row of the logits
        belongs to which guess; penalties that count guesses; where an answer ends among guesses.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        fields = self.config_class().__struct_fields__
        if "prompt_lookup" not in fields:
            pytest.skip("could not be measured: there is no load parameter prompt_lookup")
        whole = str(subject.say(TOKENS, VERSE * 3))
        with self._with_and_without() as (plain, guessing):
            for given in _requests(subject, whole[len(whole) // 2 :][:3]):
                wanted = plain.ask(VERSE * 3, **given)
                every = ways(guessing) if "seed" in given or given.keys() <= {*subject.greedy, "max_tokens"} else []
                for way in every or ways(guessing)[:1]:
                    came = guessing.answered(
                        lambda: way.ask(VERSE * 3, given),  # noqa: B023
                        f"{way.name} with {given} and guesses",
                    )
                    if subject.rounding:
                        if "temperature" not in given:
                            plain.agrees(came, wanted, f"the answer of {way.name} with {given} and guesses")
                        continue
                    expect_equal(_told(came), _told(wanted), f"the answer of {way.name} with {given} and guesses")

    def test_a_cache_that_is_off_reuses_nothing(self, subject: Subject) -> None:
        """With ``prefix_cache=0`` no prompt has cached_tokens, also where it comes again.

        Why: whoever switches it off wants answers that depend on nothing else. Look at: ``or`` with a default; a count
        that is guessed.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if "prefix_cache" not in self.config_class().__struct_fields__:
            pytest.skip("could not be measured: there is no load parameter prefix_cache")
        with self.fresh(prefix_cache=self._off("prefix_cache")) as cold:
            for _ in range(3):
                usage = cold.say(4).usage
                told = usage is None or not usage.cached_tokens
                expect(told, "no cached_tokens of a prompt that comes again, with prefix_cache=0", usage)

    def test_a_beginning_that_comes_again_is_reused(self, subject: Subject) -> None:
        """A prompt that goes on where an earlier one ended, or with another end, has cached_tokens: sent as it is, raw,
        or as a conversation.

        Why: a long conversation is read again with each turn otherwise, and nobody sees why it is slow. Look at:
        ``prefix_cache``, which never reaches the engine; tokens that differ from the first one on.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if "prefix_cache" not in self.config_class().__struct_fields__:
            pytest.skip("could not be measured: there is no load parameter prefix_cache")
        if not self.parameters.get("prefix_cache", getattr(self.config_class()(), "prefix_cache", True)):
            pytest.skip("could not be measured: prefix_cache is 0")
        with self.fresh() as keeping:
            first = keeping.say(4)
            if first.usage is None:
                pytest.skip("could not be measured: the engine counts no tokens")
            turn = {"role": "user", "content": subject.prompt}
            more = {**subject.greedy, **subject.limit(2)}
            asked: list[Callable[[], GeneratedText]] = [lambda: keeping.say(2, f"{subject.prompt} And then?")]
            if subject.has_template:
                turns = [turn, {"role": "assistant", "content": str(first)}, {**turn, "content": "And then?"}]
                asked.append(lambda: keeping.chat(turns, **more))
            texts = (subject.prompt, f"{subject.prompt}{keeping.say(4, raw=True)} And then?")
            asked += [partial(keeping.ask, text, **more, raw=True) for text in texts]
            reused = [ask().usage for ask in asked]
        told = any(usage is not None and usage.cached_tokens for usage in reused)
        expect(told, "cached_tokens of a prompt whose beginning was read before", reused)

    @contextlib.contextmanager
    def _with_and_without(self) -> Iterator[tuple[Subject, Subject]]:
        with (
            self.fresh(prompt_lookup=self._off("prompt_lookup")) as plain,
            self.fresh(prompt_lookup=self._on()) as guessing,
        ):
            yield plain, guessing

    def _off(self, name: str) -> Any:
        """The load parameter's value for "none": it is a number or a switch."""
        default = getattr(self.config_class()(), name, None)
        return False if isinstance(default, bool) or default is None else 0

    def _on(self) -> Any:
        return 4 if self._off("prompt_lookup") == 0 and self._off("prompt_lookup") is not False else True


def _requests(subject: Subject, stop: str) -> Iterator[Mapping[str, Any]]:
    base = {**subject.greedy, **subject.limit(TOKENS)}
    pulls = {"presence_penalty": 1.5, "frequency_penalty": 0.8, "repetition_penalty": 1.3}
    changes: list[dict[str, Any]] = [
        {},
        {"max_tokens": 3},
        pulls,
        {"logprobs": True, "top_logprobs": 2},
        {"stop": [stop, "grey"]} if stop else {},
        {"temperature": 1.3, "seed": 3, "top_k": 9},
        {"temperature": 0.6, "seed": 2**31},
    ]
    for change in changes:
        able = {name: value for name, value in change.items() if subject.declares(name)}
        if able or not change:
            yield {**base, **able}


def _told(answer: GeneratedText) -> Any:
    usage = answer.usage
    return (
        str(answer),
        answer.finish_reason,
        answer.stop,
        usage and (usage.prompt_tokens, usage.completion_tokens),
        [(entry.token, round(entry.logprob, 3), len(entry.top)) for entry in answer.logprobs],
    )
