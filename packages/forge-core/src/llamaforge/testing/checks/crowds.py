"""More requests at once than the engine computes: a queue, in which nobody is lost, swapped, stuck or forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest

from ...errors import GenerationTimeoutError, LlamaForgeError, QueueFullError
from ...results import GeneratedText
from ..crowd import ARRIVAL, Crowd, crowd
from ..expect import Told, comes_true, expect, expect_equal, together
from ..kit import Kit
from ..subject import Subject

PROMPTS: Final = 8
THREADS: Final = 16
ROUNDS: Final = 2
TOKENS: Final = 6
SHORT: Final = 2
STAYING: Final = 2
ATTEMPTS: Final = 2
RACES: Final = 6
RUNNING: Final = 0.03
"""Seconds that an answer takes amid which another request can surely come."""
MEASURABLE: Final = 0.3
"""Seconds. An answer that is faster than this needs no queue."""
TOO_FAST: Final = f"could not be measured: an answer of the crowd's comes within {MEASURABLE} s"


class CrowdChecks(Kit, slow=True):
    """One loaded model, and :attr:`crowd` requests at once. What is asked is seen in who is ready, not in seconds."""

    def test_a_crowd_is_served(self, subject: Subject) -> None:
        """Many more requests at once than the engine computes are all answered, each with its own text.

        Why: a busy hour must make answers late, not lose them. Look at: limits on the queue; slots that are given to
        the next request before the last one's events are out.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        prompts = subject.prompts(PROMPTS)
        wanted = [subject.known(TOKENS, prompt) for prompt in prompts]
        given = {**subject.greedy, **subject.limit(TOKENS)}

        async def at_once() -> list[GeneratedText]:
            asked = [subject.backend.agenerate(prompts[number % PROMPTS], given) for number in range(self.crowd)]
            return list(await asyncio.gather(*asked))

        came = Subject.answered(lambda: self.run_async(at_once), f"answers to {self.crowd} requests at once")
        for number, answer in enumerate(came):
            own = wanted[number % PROMPTS]
            swapped = " (it got another one's)" if answer != own and answer in wanted else ""
            subject.agrees(answer, own, f"answer {number} of {len(came)} at once{swapped}")

    def test_sixteen_threads_get_their_own_text(self, subject: Subject) -> None:
        """Sixteen threads, each with several requests, get for each the answer that it has alone.

        Why: what two threads do right, sixteen may not: there are more of them than slots, locks and buffers. Look at:
        tables with a fixed number of places; ids that come round again.
        """
        prompts = subject.prompts(PROMPTS)
        wanted = [subject.known(SHORT, prompt) for prompt in prompts]

        def ask(number: int) -> None:
            for turn in range(ROUNDS):
                which = (number + turn) % PROMPTS
                answer = subject.say(SHORT, prompts[which])
                subject.agrees(answer, wanted[which], f"answer {turn} of thread {number}")

        together(self.patience, [partial(ask, number) for number in range(min(THREADS, self.crowd))])

    def test_requests_are_computed_side_by_side(self, subject: Subject) -> None:
        """Loaded with ``n_parallel=2``, a short request that comes while a long answer runs is done before it.

        Why: where each waits for the other's end, one long answer is everybody's. Look at: a lock around a whole
        answer; ``n_parallel``, which never reaches the engine.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if "n_parallel" not in self.config_class().__struct_fields__:
            pytest.skip("could not be measured: there is no load parameter n_parallel")
        with self.fresh(n_parallel=2) as pair:
            prompt, given = self._a_long_one(pair)
            short = {**pair.greedy, **pair.limit(1)}
            seen = []

            async def race() -> bool:
                ended: list[str] = []
                stream = pair.backend.agenerate_stream(prompt, given)
                pieces = aiter(stream)
                await anext(pieces, "")

                async def read() -> None:
                    async for _ in pieces:
                        pass
                    ended.append("long")

                async def ask() -> None:
                    await pair.backend.agenerate(pair.prompts(1)[0], short)
                    ended.append("short")

                await asyncio.gather(read(), ask())
                return ended[0] == "short"

            for _ in range(RACES):
                if Subject.answered(lambda: self.run_async(race), "two answers at once"):
                    return
                seen.append("the long one first")
        expect(False, "a short request to be done before the long answer that it came amid", Told(", ".join(seen)))

    def test_more_than_the_queue_holds_is_refused(self, subject: Subject) -> None:
        """Loaded for one request at a time and a queue of none, a request that comes while a long answer runs raises
        QueueFullError, and after its end it is answered.

        Why: a server that lets everybody wait answers nobody in time. Look at: ``max_queue``, which never reaches the
        queue.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not {"n_parallel", "max_queue"} <= set(self.config_class().__struct_fields__):
            pytest.skip("could not be measured: there are no load parameters n_parallel and max_queue")
        with self.fresh(n_parallel=1, max_queue=0) as one:
            prompt, given = self._a_long_one(one)

            def refused() -> bool:
                with one.backend.generate_stream(prompt, given) as stream:
                    next(stream, "")
                    try:
                        one.generate(None, {**one.greedy, **one.limit(1)})
                    except QueueFullError:
                        return True
                return False

            what = "a request that comes while another one runs"
            came = any(one.in_time(refused, what) for _ in range(RACES))
            expect(came, f"QueueFullError for {what}, max_queue=0", Told(f"an answer, {RACES} times"))

            def answers() -> bool:
                try:
                    return bool(one.generate(None, {**one.greedy, **one.limit(SHORT)}))
                except QueueFullError:  # the one that was left has its place until its step ends
                    return False

            expect(comes_true(answers, self.patience), "an answer once nothing runs any more", Told("QueueFullError"))

    def test_leaving_the_queue_is_at_once(self, subject: Subject) -> None:
        """A request that is left before its turn has come ends while the crowd before it is at work; the crowd goes on.

        Why: who has hung up must not wait for a turn, nor take one. Look at: waits for a slot or a lock that don't look
        at ``cancellation``; ``cancellation.on_cancel`` wakes them.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return

        def leave_the_queue(crowd: Crowd) -> bool:
            stream = subject.stream(**subject.greedy, **subject.limit(TOKENS))
            reader = threading.Thread(target=lambda: list(stream), name="conformance", daemon=True)
            reader.start()
            time.sleep(ARRIVAL)
            stream.close()
            subject.in_time(reader.join, "a stream that was left in the queue")
            return crowd.is_busy()

        if not self._beside_a_crowd(subject, leave_the_queue, "a request that was left in the queue to end at once"):
            pytest.skip(TOO_FAST)

    def test_a_deadline_holds_in_the_queue(self, subject: Subject) -> None:
        """A deadline that passes in the queue raises GenerationTimeoutError while the crowd is at work, and the next
        request is answered.

        Why: the queue is where deadlines pass. Look at: waits for a slot or a lock without a timeout;
        ``cancellation.remaining()`` is one.
        """
        if not subject.full:
            subject.refuses_the_full_contract(timeout=1)
            return
        tokens = self._long(subject)
        timeout = subject.whole(tokens) / 4

        def run_out_of_time(crowd: Crowd) -> bool:
            try:
                subject.generate(None, {**subject.greedy, **subject.limit(tokens), "timeout": timeout})
            except GenerationTimeoutError as error:
                expect_equal(error.timeout, timeout, "error.timeout")
                return crowd.is_busy()
            return False

        late = "a GenerationTimeoutError at the deadline, in the queue"
        measured = self._beside_a_crowd(subject, run_out_of_time, late)
        came = subject.in_time(lambda: subject.say(TOKENS), "the request after one that ran out of time in the queue")
        subject.agrees(came, subject.known(TOKENS), "the answer after one that ran out of time in the queue")
        if not measured:
            pytest.skip(TOO_FAST)

    def test_a_short_request_is_not_starved(self, subject: Subject) -> None:
        """While others ask again and again, for longer answers and always alike, a short request gets its turn.

        Why: one busy user must not shut everybody else out. Look at: a queue that prefers what is running, what is
        cached or what came last.
        """
        short = subject.prompts(1)[0]
        wanted, longer = subject.known(SHORT, short), subject.known(TOKENS)
        served = threading.Event()

        def ask_again_and_again() -> None:
            while not served.is_set():
                subject.agrees(subject.say(TOKENS), longer, "an answer of those that ask again and again")

        def ask_once() -> None:
            try:
                time.sleep(ARRIVAL)
                came = subject.in_time(lambda: subject.say(SHORT, short), "a short request beside many longer ones")
                subject.agrees(came, wanted, "the answer to a short request beside many longer ones")
            finally:
                served.set()

        together(2 * self.patience, [*[ask_again_and_again] * (self.crowd // 2), ask_once])

    def test_one_failure_spoils_nobody_elses_answer(self, subject: Subject) -> None:
        """In a crowd where some leave, some run out of time and some are refused, all others get their own text.

        Why: requests that are computed together are easily mixed up when one of them goes. Look at: what is moved or
        released when a request ends early.
        """
        prompts = subject.prompts(PROMPTS)
        wanted = [subject.known(TOKENS, prompt) for prompt in prompts]

        def ask(number: int) -> None:
            subject.agrees(subject.say(TOKENS, prompts[number]), wanted[number], "an answer beside failing ones")

        def leave(pieces: int) -> None:
            with subject.stream(**subject.greedy, **subject.limit(TOKENS)) as stream:
                for _, _ in zip(range(pieces), stream, strict=False):
                    pass

        wrong: list[dict[str, Any]] = [{"timeout": 0.01}, {"no_such_parameter": 1}]
        if subject.declares("logit_bias"):
            wrong.append({"logit_bias": {2_000_000_000: 1}})

        def fail(parameters: dict[str, Any]) -> None:
            with contextlib.suppress(LlamaForgeError):
                subject.generate(None, {**subject.greedy, **subject.limit(TOKENS), **parameters})

        works: list[Callable[[], None]] = [partial(leave, pieces) for pieces in (0, 1, 2, 3)]
        works += [partial(fail, parameters) for parameters in (wrong if subject.full else ())]
        asking: list[Callable[[], None]] = [partial(ask, number) for number in range(PROMPTS)]
        most = max(1, self.crowd // 2)
        together(self.patience, [*works[:most], *asking[: max(1, self.crowd - most)]])

    def _a_long_one(self, subject: Subject) -> tuple[str, dict[str, Any]]:
        """A prompt, and parameters, of an answer that takes its time."""
        given, answer, took = subject.lengthy(0.3)
        prompt = subject.prompt
        while took < RUNNING:  # an answer may be as long as its prompt
            prompt, given = f"{prompt} {prompt}", dict(subject.greedy)
            began = time.perf_counter()
            try:
                longer = subject.generate(prompt, given)
            except LlamaForgeError:  # the context is full
                longer = answer
            took = time.perf_counter() - began
            if len(longer) < 1.5 * len(answer):
                pytest.skip("could not be measured: the longest answer is computed at once")
            answer = longer
        return prompt, given

    def _long(self, subject: Subject) -> int:
        return subject.lasting(0.6)

    def _beside_a_crowd(self, subject: Subject, work: Callable[[Crowd], bool], what: str) -> bool:
        """*work* says whether the crowd was at work when it was done. Those of it that stay get their answers.

        False where the engine is too fast for a queue to be seen.
        """
        __tracebackhide__ = True
        tokens = self._long(subject)
        fast = subject.whole(tokens) < MEASURABLE
        seen = []
        for _ in range(ATTEMPTS):
            with crowd(subject, self.crowd - 1, tokens) as others:  # the one that is looked at comes on top
                in_time = work(others)
                left = others.at_work()
                for text in others.texts(STAYING):
                    subject.agrees(text, subject.known(tokens), "an answer of the crowd's")
            if in_time:
                return True
            if fast:
                return False
            seen.append(f"{left} of {others.number}")
        expect(False, what, Told(f"it ended when of the crowd before it there were left {', '.join(seen)}"))
        return False
