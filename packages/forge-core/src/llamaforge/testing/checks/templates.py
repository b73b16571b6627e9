"""What a request may tell the chat template, and what a message may not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest

from ...errors import InvalidParameterError
from ..expect import expect, expect_refusal
from ..kit import Kit
from ..subject import Subject
from ..ways import ways

SPELLED: Final = "<|im_end|> <|endoftext|> <|eot_id|> <end_of_turn> </s> <|end|>"
"""Control tokens of well-known models. Most models have one of them."""

MARKED: Final = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>")
"""Those that no text has by chance."""
TIMES: Final = 8
ONE_EACH: Final = TIMES + 2
"""At most so many tokens are so many control tokens: the text beside them may be divided in another way."""


class TemplateChecks(Kit):
    """``chat_template_kwargs`` and ``parse_special``."""

    def test_template_variables_reach_the_template(self, subject: Subject) -> None:
        """A variable that the chat template doesn't read is refused by name, and so is one that replaces the messages.

        Why: a misspelt ``enable_thinking`` changes nothing, and nobody notices. Look at: ``llamaforge.chat``, which
        knows what a template reads.
        """
        wrong: tuple[dict[str, Any], ...] = ({"no_such_variable_of_a_template": 1}, {"messages": []})
        if not subject.declares("chat_template_kwargs"):
            subject.refuses(chat_template_kwargs=wrong[0])
            return
        if not subject.has_template:
            return
        turns = [{"role": "user", "content": "Hello"}]
        for variables in wrong:
            given = {"chat_template_kwargs": variables, **subject.limit(1)}
            calls: dict[str, Callable[[], object]] = {
                "chat": partial(subject.backend.chat, turns, given),
                "render": partial(subject.backend.render, messages=turns, parameters=given),
            }
            for what, call in calls.items():
                error = expect_refusal(InvalidParameterError, call, f"{what}() with chat_template_kwargs={variables}")
                expect(min(variables) in str(error), f"the error to name the variable {min(variables)!r}", error)
                told = isinstance(error.expected, str) and error.expected.strip()
                expect(told, "error.expected to say what it may be", error.expected)

    def test_spelled_control_tokens_are_text(self, subject: Subject) -> None:
        """A control token spelled in a message is as many tokens as its letters are, unless parse_special=True.

        Why: a user who can write a control token can forge a turn. Look at: the tokenizer's option for special tokens,
        which is only for the template's own text.
        """
        if not subject.declares("parse_special"):
            subject.refuses(parse_special=True)
            return
        if not subject.has_template:
            return
        if not any(way.is_raw for way in ways(subject)):
            pytest.skip("could not be measured: the backend takes no raw prompt")
        measured = 0
        for word in SPELLED.split():
            alone = self._added(subject, word, raw=True)  # in a raw prompt they always are control tokens
            if alone is None:
                pytest.skip("could not be measured: the engine counts no tokens")
            spelled = self._added(subject, word) or 0
            most = f"{TIMES} times {word} in a raw prompt to be no more tokens than in a message, {spelled}"
            expect(alone <= spelled + 2, most, alone)
            asked = [self._added(subject, word, raw=raw, parse_special=True) or 0 for raw in (True, False)]
            if min(alone, *asked) > ONE_EACH:
                continue  # this model has no such token, and reads it as text everywhere
            expect(alone <= ONE_EACH, f"{TIMES} times {word} in a raw prompt to be {TIMES} tokens", alone)
            measured += 1
            for given in ({}, {"parse_special": False}):
                came = self._added(subject, word, **given) or 0
                several = f"{TIMES} times {word} in a message to be {2 * TIMES} tokens or more, {given}"
                expect(came >= 2 * TIMES, several, came)
            for came, where in zip(asked, ("a raw prompt", "a message"), strict=True):
                one = f"{TIMES} times {word} in {where} to be {TIMES} tokens with parse_special=True"
                expect(TIMES <= came <= ONE_EACH, one, came)
        if not measured:
            pytest.skip("could not be measured: the model has none of the usual control tokens")

    def test_a_control_token_is_several_tokens_unasked(self, subject: Subject) -> None:
        """Without parse_special, a control token that a message spells out takes at least two tokens.

        Why: comparing with parse_special=False shows nothing where both are wrong. Look at: the tokenizer's default.
        """
        if not subject.declares("parse_special"):
            subject.refuses(parse_special=True)
            return
        if not subject.has_template:
            return
        given = {**subject.greedy, **subject.limit(1)}
        for token in MARKED:
            counts = [
                subject.chat([{"role": "user", "content": f"What is {text}?"}], **given).usage
                for text in ("it", "it" + TIMES * token)
            ]
            if any(each is None or each.estimated for each in counts):
                pytest.skip("could not be measured: the engine counts no tokens")
            without, spelled = (each.prompt_tokens for each in counts if each is not None)
            expect(spelled >= without + 2 * TIMES, f"{TIMES} times {token} to be {2 * TIMES} tokens or more", counts)

    def _added(self, subject: Subject, word: str, raw: bool = False, **given: Any) -> int | None:
        """How many tokens a prompt has more with *word* written several times."""
        counts = []
        asked = {**subject.greedy, **subject.limit(1), **given}
        for text in ("it", "it" + TIMES * word):
            prompt = f"The meaning of {text} is this:"
            if raw:
                usage = subject.ask(prompt, **asked, raw=True).usage
            else:
                usage = subject.chat([{"role": "user", "content": prompt}], **asked).usage
            if usage is None or usage.estimated:
                return None
            counts.append(usage.prompt_tokens)
        return counts[1] - counts[0]
