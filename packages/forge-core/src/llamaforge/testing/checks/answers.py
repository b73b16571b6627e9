"""What was seen of all answers, whichever check asked for them. These checks run last."""

from __future__ import annotations

from typing import Final

import pytest

from ...errors import LlamaForgeError
from ..audit import Aspect
from ..battery import TOKENS, absolute, telling
from ..expect import Told, expect
from ..kit import Kit
from ..run import run_of
from ..subject import Subject
from ..ways import cells_within, spread, ways

ENOUGH: Final = 200
"""Answers of other checks that are enough. Where fewer were seen, these checks ask for some themselves."""
ROUNDS: Final = 2


class AnswerChecks(Kit):
    """Whatever is asked, some things hold for every answer. Each answer of the other checks is held to them, too."""

    def test_every_answer_keeps_to_its_request(self, subject: Subject) -> None:
        """No answer of any check has a stop string, more tokens than max_tokens, another form than it must have,
        tool calls or log-probabilities that nobody asked for, or reports other parameters.

        Why: what is honoured in a plain request may be lost where two parameters meet, in a crowd, or the tenth time.
        Look at: what is special about the request that is named.
        """
        self._reports(subject, "asked", "every answer to keep to its request")

    def test_every_answer_follows_the_arithmetic(self, subject: Subject) -> None:
        """Wherever an answer has log-probabilities, each token is one that the parameters leave, the best one at
        temperature 0; and the same text always has the same numbers after it.

        Why: as above. Look at: whether the choice is wrong, or what is told of it.
        """
        self._reports(subject, "arithmetic", "every token to be one that its parameters leave, with its own numbers")

    def test_every_answer_is_told_truthfully(self, subject: Subject) -> None:
        """Counts, times and reasons of every answer are possible ones, and a prompt has always as many tokens.

        Why: a number that is wrong on one path, or the second time, is on somebody's bill. Look at: the path and the
        parameters that are named.
        """
        self._reports(subject, "told", "counts, times and reasons that are possible")

    def test_every_answer_comes_again(self, subject: Subject) -> None:
        """A request that is greedy, or has a seed, has the same answer whenever and however it is asked for, in all
        checks together; a shorter greedy one has the beginning of it.

        Why: state of all kinds shows here: of the engine, of an instance, of a slot. Look at: what was different the
        other time.
        """
        self._reports(subject, "again", "the same request to have the same answer each time")

    def _reports(self, subject: Subject, aspect: Aspect, expected: str) -> None:
        __tracebackhide__ = True
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        audit = run_of(type(self)).audit
        if audit.answers < ENOUGH and "answers" not in subject.remembered:
            subject.remembered["answers"] = {}
            self._ask_for_some(subject)
        if not audit.answers:
            pytest.skip("could not be measured: there is no answer")
        wrong = audit.mistakes(aspect)
        expect(not wrong, expected, Told("\n          ".join(wrong)))

    def _ask_for_some(self, subject: Subject) -> None:
        """Some answers on all paths."""
        requests = [*telling(subject), *absolute(subject)]
        cells = [(way, given) for _ in range(ROUNDS) for given in requests for way in ways(subject)]
        for way, given in spread(cells, min(ENOUGH, cells_within(subject, TOKENS, 8.0))):
            try:
                way.ask(subject.prompt, given)
            except LlamaForgeError:
                continue  # this model can't, and says so
