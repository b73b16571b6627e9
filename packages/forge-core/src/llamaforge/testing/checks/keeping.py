"""What is kept of requests that differ: a cache without a bound is not seen with one prompt that is asked again."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ...errors import LlamaForgeError
from ...results import GeneratedText
from ..audit import FEW
from ..expect import Told, comes_true, expect
from ..kit import Kit
from ..mixed import mixtures
from ..subject import Subject
from ..ways import ways
from .memory import NOISE, does_not_grow

REQUESTS: Final = 16
FORMS: Final = 6
"""How often all of them are compiled."""
ROUNDS: Final = 3
"""Within so many times as many requests a cache with a bound has reached it."""
KEPT: Final = replace(NOISE, traced=NOISE.traced // 8)
"""What may be kept of so many requests: some 8 KB each of Python objects is more than any bookkeeping."""
TIMES: Final = 3
"""How often each path is taken before memory is measured again; once with slower engines."""
ANYWHERE: Final = replace(NOISE, traced=NOISE.traced // 16)
"""What so many requests on all paths may leave together."""
FAST: Final = 400
"""Tokens that an engine computes in a second on which each path can be taken often."""
Answers = list[GeneratedText]
FILLER: Final = (
    "The keeper of the light and his dog look at the sea, and the boat that nobody sees goes by in the fog. "
)


class KeepingChecks(Kit, slow=True):
    """As in :class:`.memory.MemoryChecks`, but no two requests are alike."""

    def test_different_prompts_leave_nothing_behind(self, subject: Subject) -> None:
        """Many requests, each with a prompt of its own, take no more memory, threads or files than a few.

        Why: a server never sees the same prompt twice. Look at: dicts by prompt, ``functools.cache``, histories.
        """
        given = {**subject.greedy, **subject.limit(1)}
        texts = _texts()
        does_not_grow(self, lambda: subject.generate(next(texts), given), REQUESTS, "different prompts", KEPT, ROUNDS)

    def test_different_streams_leave_nothing_behind(self, subject: Subject) -> None:
        """The same with streams that are left after their first piece.

        Why: what is cleared at the end of an answer stays where there is none. Look at: ``finally``.
        """
        texts = _texts()

        def leave() -> None:
            with subject.stream(next(texts), **subject.greedy, **subject.limit(8)) as stream:
                next(stream, "")

        does_not_grow(self, leave, REQUESTS, "different streams that were left", KEPT, ROUNDS)

    def test_different_conversations_leave_nothing_behind(self, subject: Subject) -> None:
        """The same with conversations that grow by turns, and with others.

        Why: nothing of a conversation is kept between two calls. Look at: sessions by user; caches of rendered text.
        """
        if not subject.has_template:
            return
        texts = _texts()

        def talk() -> None:
            turns: list[dict[str, Any]] = []
            for _ in range(2):
                turns.append({"role": "user", "content": next(texts)})
                turns.append(
                    {"role": "assistant", "content": subject.chat(turns, **subject.greedy, **subject.limit(1))}
                )

        does_not_grow(self, talk, REQUESTS // 2, "different conversations", KEPT, ROUNDS)

    def test_different_asynchronous_requests_leave_nothing_behind(self, subject: Subject) -> None:
        """The same in event loops, one for each request.

        Why: what belongs to a loop is easily kept for ever. Look at: clients, locks and queues by loop.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given = {**subject.greedy, **subject.limit(1)}
        texts = _texts()

        def ask() -> None:
            self.run_async(lambda: subject.backend.agenerate(next(texts), given))

        does_not_grow(self, ask, REQUESTS, "different asynchronous requests", KEPT, ROUNDS)

    def test_different_parameters_leave_nothing_behind(self, subject: Subject) -> None:
        """The same with seeds, stop strings and limits of their own, raw and not.

        Why: what is compiled for a parameter may be kept, but not for ever. Look at: caches by parameters.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        numbers = itertools.count(1)

        def ask() -> None:
            number = next(numbers)
            given: dict[str, Any] = {**subject.limit(1), "raw": number % 2 == 0}
            if subject.declares("seed"):
                given["seed"] = number
            if subject.declares("stop"):
                given["stop"] = [f"the end of number {number}"]
            subject.generate(None, given)

        does_not_grow(self, ask, REQUESTS, "different parameters", KEPT, ROUNDS)

    def test_different_forms_leave_nothing_behind(self, subject: Subject) -> None:
        """The same with schemas, grammars and tools of their own.

        Why: what is compiled of a form is large, and each caller has others. Look at: caches by schema without a bound.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        numbers = itertools.count(1)

        def ask() -> None:
            for given in mixtures(subject, next(numbers)).values():
                with contextlib.suppress(LlamaForgeError):  # what the model can't do, or an answer that is cut
                    subject.backend.generate(subject.prompt, {**subject.limit(1), **given})

        does_not_grow(self, ask, FORMS, "different forms", NOISE, ROUNDS)

    def test_no_path_leaves_anything_behind(self, subject: Subject) -> None:
        """Requests on every path, in batches, left, cancelled and refused, each with a prompt, a seed and a stop string
        of its own, take no more memory, threads or files than a few; and no answer is kept.

        Why: what one path keeps a little of fills the memory in a month. Look at: histories, lists of what was
        answered; threads and contexts of a batch, of an asynchronous call.
        """
        texts, numbers, seen = _texts(), itertools.count(1), list[weakref.ref[GeneratedText]]()
        calls = list(self._calls(subject))

        def work() -> None:
            for call in calls:
                number = next(numbers)
                given: dict[str, Any] = subject.limit(1)
                if subject.declares("seed"):
                    given["seed"] = number
                if subject.declares("stop"):
                    given["stop"] = [f"the end of number {number}"]
                seen.extend(weakref.ref(answer) for answer in call(texts, given))

        # Whole answers take long, and so does reading a prompt where an engine is slow.
        is_fast = subject.lasting(1.0, FAST) >= FAST and (subject.declares("max_tokens") or not subject.full)
        does_not_grow(self, work, TIMES if is_fast else 1, "requests on all paths", ANYWHERE)
        first = seen[: len(seen) // 2]

        def kept() -> Answers:
            gc.collect()
            return [answer for answer in (each() for each in first) if answer is not None]

        comes_true(lambda: not kept(), self.grace)
        told = Told(f"{len(kept())} are kept")
        expect(not kept(), f"of {len(seen)} answers the first {len(first)} to be garbage", told)

    def _calls(self, subject: Subject) -> Iterator[Callable[[Iterator[str], Mapping[str, Any]], Answers]]:
        """Everything that can be done with a prompt: what takes prompts and parameters, and has answers."""
        for way in ways(subject):
            yield lambda texts, given, way=way: [way.ask(next(texts), given)]  # type: ignore[misc]

        def leave(texts: Iterator[str], given: Mapping[str, Any]) -> Answers:
            with subject.stream(next(texts), **{**given, **subject.limit(8)}) as stream:
                next(stream, "")
            return []

        yield leave
        if not subject.full:
            return
        backend = subject.backend

        def refused(texts: Iterator[str], given: Mapping[str, Any]) -> Answers:
            for wrong in ({"no_such_parameter": 1}, {"timeout": 1e-6}):
                for call in (backend.generate, backend.agenerate):
                    with contextlib.suppress(LlamaForgeError):
                        self._got(call(next(texts), {**given, **wrong}))
            return []

        def batch(texts: Iterator[str], given: Mapping[str, Any]) -> Answers:
            items = backend.generate_batch([next(texts), "", next(texts)], given, concurrency=2)
            return [item.answer for item in items if item.answer is not None]

        def later(texts: Iterator[str], given: Mapping[str, Any]) -> Answers:
            async def all_of_them() -> Answers:
                items = backend.agenerate_batch([next(texts), "", next(texts)], given, concurrency=2)
                return [item.answer async for item in items if item.answer is not None]

            return self.run_async(all_of_them)

        def gone(texts: Iterator[str], given: Mapping[str, Any]) -> Answers:
            longer = {**given, **subject.limit(8)}

            async def leave_both() -> None:
                async with backend.agenerate_stream(next(texts), longer) as stream:
                    async for _ in stream:
                        break
                task = asyncio.ensure_future(backend.agenerate(next(texts), longer))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])

            self.run_async(leave_both)
            return []

        def left_conversation(texts: Iterator[str], given: Mapping[str, Any]) -> Answers:
            turns = [{"role": "user", "content": next(texts)}]
            with backend.chat_stream(turns, {**given, **subject.limit(8)}) as stream:
                next(stream, "")
            return []

        def told(texts: Iterator[str], given: Mapping[str, Any]) -> Answers:
            text = next(texts)
            number = int(text.split()[0])
            turns = [{"role": "system", "content": text}, {"role": "user", "content": "Bark."}]
            tool = {"type": "function", "function": {"name": f"bark_{number}", "parameters": {"type": "object"}}}
            bias = {"logit_bias": {number % FEW: 0.5}}
            tools = {"tools": [tool], "tool_choice": "none"}
            answers: Answers = []
            for more in ({}, tools, bias):
                if subject.declares(*more):
                    with contextlib.suppress(LlamaForgeError):  # some templates know neither system turns nor tools
                        answers.append(backend.chat(turns, {**given, **more}))
            return answers

        def looked_at(texts: Iterator[str], given: Mapping[str, Any]) -> Answers:
            bool(backend.health())
            with contextlib.suppress(LlamaForgeError):  # some servers don't show what they read
                backend.render(next(texts))
                backend.render(messages=[{"role": "user", "content": next(texts)}])
            return []

        yield from (refused, batch, later, gone, told, looked_at)
        if subject.has_template:
            yield left_conversation

    def _got(self, answer: Any) -> Any:
        return self.run_async(lambda: answer) if isinstance(answer, Awaitable) else answer


def _texts() -> Iterator[str]:
    """Texts of some 40 words, each different from its beginning on."""
    return (f"{number} times: {FILLER * 2}" for number in itertools.count(1000))
