"""Event loops: never blocked, never held on to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from ...errors import LlamaForgeError, ModelNotLoadedError, UnknownParameterError
from ...results import GeneratedText
from ..expect import Told, expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject
from ..watching import longest_wait

TOKENS: Final = 6
ATTEMPTS: Final = 3
SHORTEST: Final = 0.15
"""Seconds that a loaded machine may keep a loop waiting for reasons of its own."""


class AsyncChecks(Kit):
    """The asynchronous twins. A basic backend has none, and says so."""

    def test_the_event_loop_goes_on(self, subject: Subject) -> None:
        """While an answer of a second or so is computed, a task that ticks every 5 ms goes on ticking.

        It fails only where the loop stood still for half of the answer, three times out of three.

        Why: a blocked loop stops every other request of a server. Look at: synchronous work inside ``astream`` or an
        ``agenerate`` of your own; write ``stream`` instead, and the base class runs it in a thread.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given = {**subject.greedy, **subject.limit(subject.lasting(0.8))}
        seen = []
        for _ in range(ATTEMPTS):
            waited, took = self.run_async(
                lambda: longest_wait(lambda: subject.backend.agenerate(subject.prompt, given))
            )
            if waited <= max(SHORTEST, took / 2):
                return
            seen.append(f"{waited:.2f} s of {took:.2f} s")
        expect(False, "an event loop that goes on during an answer", Told(f"it stood still for {', '.join(seen)}"))

    def test_many_at_once_keep_their_own_text(self, subject: Subject) -> None:
        """Requests that run together in one loop each get their own answer.

        Why: a server's daily work. Look at: state of one request that is kept on the backend.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        prompts = subject.prompts(4)
        wanted = [subject.known(TOKENS, prompt) for prompt in prompts]
        given = {**subject.greedy, **subject.limit(TOKENS)}

        async def together() -> list[GeneratedText]:
            return list(await asyncio.gather(*(subject.backend.agenerate(prompt, given) for prompt in prompts)))

        came = Subject.answered(lambda: self.run_async(together), "answers to requests in one loop")
        for answer, own in zip(came, wanted, strict=True):
            subject.agrees(answer, own, "the answer to one of several requests in one loop")

    def test_a_second_event_loop_works(self, subject: Subject) -> None:
        """A backend that was used in one event loop works in the next, and between the two without one.

        Why: each ``asyncio.run`` makes a new loop, and scripts and tests have many. Look at: clients, locks and queues
        that are made once and belong to the first loop.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given = {**subject.greedy, **subject.limit(TOKENS)}
        for turn in ("first", "second"):
            came = Subject.answered(
                lambda: self.run_async(lambda: subject.backend.agenerate(subject.prompt, given)),
                f"the {turn} loop's answer",
            )
            subject.agrees(came, subject.known(TOKENS), f"the {turn} loop's answer")
            subject.agrees(
                subject.say(TOKENS), subject.known(TOKENS), f"the answer without a loop, after the {turn} one"
            )

    def test_synchronous_calls_work_inside_a_loop(self, subject: Subject) -> None:
        """``generate`` may be called by code that runs in an event loop.

        Why: notebooks always run one. Look at: ``asyncio.run`` inside ``generate`` or ``stream``.
        """
        given = {**subject.greedy, **subject.limit(TOKENS)}

        async def inside() -> GeneratedText:
            return subject.generate(None, given)

        came = Subject.answered(lambda: self.run_async(inside), "generate() inside an event loop")
        subject.agrees(came, subject.known(TOKENS), "the answer inside an event loop")

    def test_leaving_an_asynchronous_stream_ends_it(self, subject: Subject) -> None:
        """Left after its first piece, an asynchronous stream says "cancelled", and the next request is answered.

        Why: clients hang up. Look at: ``finally`` in ``stream`` or ``astream``.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given = {**subject.greedy, **subject.limit(24)}

        async def leave() -> GeneratedText:
            async with subject.backend.agenerate_stream(subject.prompt, given) as stream:
                async for _ in stream:
                    break
            return stream.result

        left = Subject.answered(lambda: self.run_async(leave), "a result of a stream that was left")
        if left != subject.known(24):
            expect_equal(left.finish_reason, "cancelled", "finish_reason of a stream that was left")
            subject.begins(left, subject.known(24), "what came of a stream that was left")
        subject.agrees(subject.say(TOKENS), subject.known(TOKENS), "the answer to the next request")

    def test_a_cancelled_task_frees_the_backend(self, subject: Subject) -> None:
        """A task that is cancelled while it waits for an answer ends with CancelledError, and the next one is answered.

        Why: frameworks cancel tasks when clients hang up. Look at: ``except Exception`` and bare ``except`` around
        awaits.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        given, _, _ = subject.lengthy(0.8)

        async def cancel() -> str:
            task = asyncio.create_task(subject.backend.agenerate(subject.prompt, given))
            await asyncio.sleep(0.02)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                return "cancelled"
            return "answered"

        came = Subject.answered(lambda: self.run_async(cancel), "a cancelled task to end")
        expect(came in ("cancelled", "answered"), "a task that is cancelled, or done already", came)
        subject.agrees(subject.say(TOKENS), subject.known(TOKENS), "the answer to the next request")

    def test_nothing_is_left_in_the_loop(self, subject: Subject) -> None:
        """After answers, streams that were left and failures, the loop has no task left and had no unhandled error.

        Why: such tasks pile up, and warn when the program ends. Look at: ``create_task`` without an await.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        complaints: list[str] = []
        given = {**subject.greedy, **subject.limit(TOKENS)}

        async def use() -> list[str]:
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: complaints.append(str(context["message"]))
            )
            ours = asyncio.all_tasks()
            await subject.backend.agenerate(subject.prompt, given)
            async with subject.backend.agenerate_stream(subject.prompt, given) as stream:
                async for _ in stream:
                    break
            with contextlib.suppress(LlamaForgeError):
                await subject.backend.agenerate("")
            left = asyncio.all_tasks() - ours
            if left:
                _, left = await asyncio.wait(left, timeout=self.grace)
            return [repr(task) for task in left]

        left = Subject.answered(lambda: self.run_async(use), "requests in a loop")
        expect(not left, "no task left in the loop", left)
        expect(not complaints, "no unhandled error in the loop", complaints)

    def test_asynchronous_calls_raise_the_same_errors(self, subject: Subject) -> None:
        """Wrong parameters are refused when the asynchronous call is made, and an unloaded backend refuses, too.

        Why: one meaning. Look at: overrides of the asynchronous methods.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        wrong: dict[str, Any] = {"no_such_parameter": 1}
        expect_refusal(
            UnknownParameterError,
            lambda: subject.backend.agenerate_stream(subject.prompt, wrong),
            f"agenerate_stream({wrong})",
        )
        made = self.make()
        expect_refusal(
            ModelNotLoadedError, lambda: made.agenerate_stream("Hello"), "agenerate_stream() without a model"
        )

    def test_loops_in_two_threads_work(self, subject: Subject) -> None:
        """Two threads, each with an event loop, use one backend at a time and both get their answers.

        Why: frameworks run loops in worker threads. Look at: a client or a lock that belongs to one loop.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        prompts = subject.prompts(2)
        given = {**subject.greedy, **subject.limit(TOKENS)}

        async def nested() -> list[GeneratedText]:
            def elsewhere(prompt: str) -> GeneratedText:
                return asyncio.run(subject.backend.agenerate(prompt, given))

            return list(await asyncio.gather(*(asyncio.to_thread(elsewhere, prompt) for prompt in prompts)))

        came = Subject.answered(lambda: self.run_async(nested), "answers in two loops")
        for answer, prompt in zip(came, prompts, strict=True):
            subject.agrees(answer, subject.known(TOKENS, prompt), "an answer in one of two loops")
