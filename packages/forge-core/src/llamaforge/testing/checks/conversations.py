"""Conversations of an unusual shape, and what roles are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...errors import LlamaForgeError, RequestError, UnsupportedError
from ..expect import NotAsExpected, expect
from ..kit import Kit
from ..refusing import expect_a_refusal
from ..subject import Subject

_LAMP: Final = "The lamp burns all day."
_WHO: Final = "Who lit it?"
UNUSUAL: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "a system turn alone": [{"role": "system", "content": _LAMP}],
    "an assistant turn alone": [{"role": "assistant", "content": _LAMP}],
    "two user turns": [{"role": "user", "content": _LAMP}, {"role": "user", "content": _WHO}],
    "a system turn at the end": [{"role": "user", "content": _WHO}, {"role": "system", "content": _LAMP}],
}


class ConversationChecks(Kit):
    """What templates differ in: it is answered, or refused by an error that says so."""

    def test_unusual_conversations_are_answered_or_refused(self, subject: Subject) -> None:
        """A conversation of an unusual shape is answered or raises a typed error, which names this backend.

        Why: templates index into their messages, and what they raise then means nothing to a caller. Look at: errors
        of the template, and a first or last turn that is taken for a user's.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template:
            return
        for what, turns in UNUSUAL.items():
            refusal: LlamaForgeError | None = None
            try:
                subject.backend.chat(turns, {**subject.greedy, **subject.limit(2)})
            except LlamaForgeError as error:
                refusal = error
            except Exception as error:
                raise NotAsExpected(f"an answer to {what}, or a typed error", error) from error
            if refusal is not None:
                expect_a_refusal(refusal, f"an answer to {what}")
                expect(str(refusal).strip(), f"an error for {what} that says something", repr(refusal))
            if isinstance(refusal, UnsupportedError):
                named = refusal.backend == subject.backend.name
                expect(named, f"error.backend to be {subject.backend.name!r} for {what}", refusal.backend)

    def test_a_turns_role_reaches_the_model(self, subject: Subject) -> None:
        """A turn renders otherwise as the user's than as the assistant's, and a system turn otherwise than both.

        Why: without roles the model takes its own words for the user's. Look at: templates with one branch for all.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template:
            return
        rendered: dict[str, str] = {}
        for role in ("user", "assistant", "system"):
            turns = [{"role": "user", "content": _WHO}, {"role": role, "content": _LAMP}]
            if role == "system":
                turns.reverse()
            try:
                rendered[role] = subject.backend.render(messages=[*turns, {"role": "user", "content": "Tell me."}])
            except RequestError:
                continue  # this model's conversations have no such turn there, or it isn't shown
            except Exception as error:
                raise NotAsExpected(f"a turn of the {role} to be rendered or refused", error) from error
        expect(len(set(rendered.values())) == len(rendered), "another text for each role", rendered)
