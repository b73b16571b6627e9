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

    def _choice(self, subject: Subject, prompt: str, there: str, new: str, penalty: float) -> str | None:
        given: dict[str, Any] = {**subject.greedy, **subject.limit(4), "repetition_penalty": penalty}
        for spelling in SPELLINGS:
            try:
                return str(subject.generate(prompt, {**given, "grammar": spelling.format(there, new)}))
            except LlamaForgeError:
                continue
        return None
