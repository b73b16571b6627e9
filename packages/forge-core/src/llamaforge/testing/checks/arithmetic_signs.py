"""In which direction a penalty goes, whatever the sign of a logit."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ...errors import LlamaForgeError
from ..expect import expect
from ..kit import Kit
from ..subject import Subject

LETTERS: Final = (("q", "#"), ("x", "~"), ("z", "^"), ("k", "@"), ("j", "%"), ("v", "&"))
"""One that the prompt has, many times over, and one that it doesn't have."""
RULER: Final = 64
"""Letters. After half of them, the more frequent token is favoured by more than any model's taste."""
SPELLINGS: Final = ('root ::= "{}" | "{}"', 'start: "{}" | "{}"')


class PenaltySignChecks(Kit):
    """A grammar lets the model choose between two tokens that it would hardly say by itself: their logits may well be
    negative."""

    def test_a_repetition_penalty_favours_nothing_that_was_there(self, subject: Subject) -> None:
        """If the answer is a new letter without repetition_penalty, it isn't one of the prompt's letters with it.

        Why: dividing a negative logit by the penalty, like a positive one, makes a token more probable. Look
        at: the sign of the logit.
        """
        if not subject.declares("repetition_penalty"):
            subject.refuses(repetition_penalty=1.5)
            return
        if not subject.declares("grammar"):
            pytest.skip("could not be measured: grammar is not declared")
        measured = 0
        for there, new in LETTERS:
            prompt = f"{there} " * 12
            if new in prompt:
                continue
            plain, penalized = (self._choice(subject, prompt, there, new, penalty) for penalty in (1.0, 1.9))
            if plain is None or penalized is None:
                continue
            measured += 1
            favoured = plain == new and penalized == there
            expect(not favoured, f"{new!r}, or both times {there!r}, which the prompt has", (plain, penalized))
        if not measured:
            pytest.skip("could not be measured: no grammar of two letters was taken")

    def test_a_favoured_token_repeats_without_end(self, subject: Subject) -> None:
        """With penalties that favour what was said, an answer of two letters ends in one token, over and over.

        Why: a sampler with a taste of its own breaks codes, tables and rulers. Look at: ``no_repeat_ngram_size``;
        filters against loops that nobody asked for.
        """
        favours = {"frequency_penalty": -2.0, "presence_penalty": -2.0}
        if not subject.declares(*favours):
            subject.refuses(**favours)
            return
        if not subject.declares("response_format", "max_tokens", "logprobs"):
            pytest.skip("could not be measured: no form can be asked for, or no token is told")
        form = {"type": "regex", "regex": f"[ab]{{{RULER}}}"}
        given = {**subject.greedy, **favours, **subject.limit(2 * RULER), "response_format": form, "logprobs": True}
        try:
            answer = subject.generate(None, given)
        except LlamaForgeError:
            pytest.skip("could not be measured: the server knows no regular expressions")
        tokens = [entry.token for entry in answer.logprobs]
        end = tokens[len(tokens) // 2 : -2]  # the last ones fill what is left
        if len(answer) != RULER or len(end) < 2:
            pytest.skip("could not be measured: the answer has another form, or too few tokens")
        expect(len(set(end)) == 1, f"the second half to be one token over and over, with {favours}", tokens)

    def _choice(self, subject: Subject, prompt: str, there: str, new: str, penalty: float) -> str | None:
        given: dict[str, Any] = {**subject.greedy, **subject.limit(4), "repetition_penalty": penalty}
        for spelling in SPELLINGS:
            try:
                return str(subject.generate(prompt, {**given, "grammar": spelling.format(there, new)}))
            except LlamaForgeError:
                continue
        return None
