"""Prompts that are read in several steps."""

from __future__ import annotations

from typing import Final

import pytest

from ..expect import expect_equal
from ..kit import Kit
from ..subject import Subject

BATCH: Final = 16


class PrefillChecks(Kit):
    """A backend with a load parameter ``n_batch`` is loaded with a small one; of others, nothing can be seen here."""

    def test_a_prompt_read_in_steps_has_the_same_answer(self, subject: Subject) -> None:
        """With ``n_batch`` much smaller than the prompt, the answer is what it is when the prompt is read at once.

        Why: all but the last step of a long prompt choose no token, and no test with short prompts sees that. Look at:
        batch entries without a choice, and the positions where a step goes on.
        """
        if "n_batch" not in self.config_class().__struct_fields__:
            pytest.skip("could not be measured: there is no load parameter n_batch")
        long = f"{subject.prompt} " * 3
        wanted = subject.known(8, long)
        with self.fresh(n_batch=BATCH) as small:
            for prompt in (long, f"{long}And then?", long):  # cold, with another's beginning, and with its own
                answer = small.say(8, prompt)
                if prompt == long:
                    subject.agrees(answer, wanted, f"the answer with n_batch={BATCH}")
                    if answer.usage is not None and wanted.usage is not None:
                        expect_equal(answer.usage.prompt_tokens, wanted.usage.prompt_tokens, "prompt_tokens")
