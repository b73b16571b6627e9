"""Batches: in order, each item on its own, and no prompt before it is needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

from ...backends.batch import BatchItem
from ...errors import EmptyPromptError
from ..expect import expect, expect_equal, expect_refusal, within
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 4
MANY: Final = 26
FAR: Final = 8
"""Prompts that may be taken for each request that runs at once, before the first answer is read."""


class BatchChecks(Kit):
    """``generate_batch`` and its asynchronous twin."""

    def test_a_batch_keeps_the_order(self, subject: Subject) -> None:
        """Items come in the order of the prompts, each with the answer that its prompt gets alone.

        Why: callers match results to prompts by their position. Look at: a ``generate_batch`` of your own.
        """
        prompts = subject.prompts(6)
        given = {**subject.greedy, **subject.limit(TOKENS)}
        for way, items in self._both(subject, prompts, given):
            expect_equal([item.index for item in items], list(range(len(prompts))), f"the indices of {way}")
            for item, prompt in zip(items, prompts, strict=True):
                subject.agrees(item.text, subject.known(TOKENS, prompt), f"the answer of {way} to {prompt!r}")
        many = [prompts[number % len(prompts)] for number in range(MANY)]
        for way, items in self._both(subject, many, {**subject.greedy, **subject.limit(1)}, concurrency=2):
            expect_equal([item.index for item in items], list(range(MANY)), f"the indices of {way}, of {MANY} prompts")
            for item, prompt in zip(items, many, strict=True):
                subject.agrees(item.text, subject.known(1, prompt), f"the answer of {way} to {prompt!r} among {MANY}")

    def test_an_item_that_fails_spoils_no_other(self, subject: Subject) -> None:
        """A prompt that is refused has its error in its own item, and the others have their answers.

        Why: one bad row must not cost a night's work. Look at: an exception that leaves the iterator.
        """
        good = subject.prompts(2)
        given = {**subject.greedy, **subject.limit(TOKENS)}
        for way, items in self._both(subject, [good[0], "", good[1]], given):
            expect(isinstance(items[1].error, EmptyPromptError), f"EmptyPromptError in the item of {way}", items[1])
            expect_equal(items[1].answer, None, f"the answer of the failed item of {way}")
            expect_refusal(EmptyPromptError, lambda item=items[1]: item.text, f"the text of the failed item of {way}")  # type: ignore[misc]
            for place, prompt in ((0, good[0]), (2, good[1])):
                subject.agrees(items[place].text, subject.known(TOKENS, prompt), f"the answer of {way} beside it")

    def test_a_batch_takes_prompts_as_it_needs_them(self, subject: Subject) -> None:
        """With an endless iterator of prompts, the first answers come, and only a bounded number of prompts is read
        ahead.

        Why: prompts are read from files larger than memory. Look at: ``list(prompts)``.
        """
        if not subject.full:
            self._basic(subject)
            return
        taken = 0

        def endless() -> Iterator[str]:
            nonlocal taken
            for number in itertools.count():
                taken += 1
                yield f"{subject.prompt} ({number})"

        def read() -> int:
            items = subject.backend.generate_batch(endless(), {**subject.greedy, **subject.limit(1)}, concurrency=2)
            try:
                next(iter(items))
                return taken
            finally:
                items.close()  # type: ignore[attr-defined]

        ahead = within(self.patience, read, "the first item of a batch without end")
        expect(ahead <= 2 * FAR, f"at most {2 * FAR} prompts taken when the first answer is read", ahead)
        taken = 0

        async def later() -> int:
            given = {**subject.greedy, **subject.limit(1)}
            items = subject.backend.agenerate_batch(endless(), given, concurrency=2)
            async for _ in items:
                break
            read_ahead = taken
            await items.aclose()  # type: ignore[attr-defined]
            return read_ahead

        ahead = subject.answered(lambda: self.run_async(later), "the first item of an asynchronous batch without end")
        expect(ahead <= 2 * FAR, f"at most {2 * FAR} prompts taken by agenerate_batch() for the first answer", ahead)

    def _both(
        self, subject: Subject, prompts: list[str], given: dict[str, object], **more: Any
    ) -> Iterator[tuple[str, list[BatchItem]]]:
        """The items of both ways."""
        __tracebackhide__ = True
        if not subject.full:
            self._basic(subject)
            return
        backend = subject.backend
        yield "generate_batch", subject.in_time(lambda: list(backend.generate_batch(prompts, given, **more)), "a batch")

        async def items() -> list[BatchItem]:
            return [item async for item in backend.agenerate_batch(prompts, given, **more)]

        yield "agenerate_batch", subject.answered(lambda: self.run_async(items), "an asynchronous batch")

    def _basic(self, subject: Subject) -> None:
        subject.refuses_the_full_contract()
