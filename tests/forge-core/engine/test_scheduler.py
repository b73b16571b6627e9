"""The scheduler, on an engine whose text shows every mistake."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from llamaforge.errors import (
    ContextOverflowError,
    GenerationError,
    GenerationTimeoutError,
    ModelNotLoadedError,
    QueueFullError,
)

from .toy import LETTERS, ToyBackend, ToyEngine, expected, until


class Brake:
    """Holds the engine's steps until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.stepping = threading.Event()
        self.entries: list[int] = []

    def __call__(self, entries) -> None:
        self.entries.append(len(entries))
        self.stepping.set()
        assert self.go.wait(20)


@pytest.fixture
def brake():
    made = Brake()
    yield made
    made.go.set()


def prompts(count: int, seed: int = 1) -> list[str]:
    chance = random.Random(seed)
    shared = "".join(chance.choices(LETTERS, k=60))
    return [
        shared[: chance.choice([0, 1, 30, 60])] + "".join(chance.choices(LETTERS, k=chance.choice([1, 5, 90])))
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"can_trim": False, "can_copy": False},
        {"can_copy": False},
        {"can_trim": False},
        {"capacity": 420},
        {"n_batch": 4},
        {"n_slots": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("lookup", [0, 5])
def test_any_number_of_callers_get_the_text_that_each_would_get_alone(options, lookup):
    with ToyBackend(lambda: ToyEngine(**options), n_parallel=4, prompt_lookup=lookup) as backend:
        asked = prompts(60)
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda prompt: backend.generate(prompt, max_tokens=40), asked))
        assert [str(answer) for answer in answers] == [expected(prompt, 40) for prompt in asked]
        for prompt, answer in zip(asked, answers, strict=True):
            assert answer.usage.prompt_tokens == len(prompt)
            assert answer.usage.completion_tokens == len(answer)
            assert 0 <= answer.usage.cached_tokens < len(prompt)
            assert answer.finish_reason == ("length" if len(answer) == 40 else "stop")
        assert backend.engine.open_samplings == 0


def test_requests_share_their_steps(brake):
    asked = prompts(8)
    with ToyBackend(n_parallel=4) as backend:
        for prompt in asked:
            backend.generate(prompt, max_tokens=30)
        alone = backend.engine.steps
    with ToyBackend(lambda: ToyEngine(before=brake), n_parallel=4) as backend, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(backend.generate, prompt, {"max_tokens": 30}) for prompt in asked]
        until(lambda: len(backend._scheduler._waiting) + len(backend._scheduler._running) == 8)
        brake.go.set()
        assert [str(answer.result()) for answer in answers] == [expected(prompt, 30) for prompt in asked]
        assert backend.engine.steps < alone * 0.6
        assert max(brake.entries) == 4


def test_a_request_joins_between_two_steps_of_another():
    with ToyBackend(lambda: ToyEngine(before=lambda entries: time.sleep(0.002)), n_parallel=2) as backend:
        long = backend.generate_stream("abc", max_tokens=300)
        next(long)
        assert backend.generate("xyz", max_tokens=3) == expected("xyz", 3)
        assert long.text != expected("abc", 300)
        assert long.read() == expected("abc", 300)


def test_what_was_computed_before_is_not_computed_again():
    with ToyBackend() as backend:
        prompt = prompts(1)[0] * 3
        first = backend.generate(prompt, max_tokens=10)
        before = backend.engine.computed
        again = backend.generate(prompt, max_tokens=10)
        assert again == first
        assert again.usage.cached_tokens == len(prompt) - 1
        assert backend.engine.computed - before <= 1 + len(first)
        turn = backend.generate(prompt + first + " and", max_tokens=10)
        assert turn.usage.cached_tokens >= len(prompt + first) - 1
        assert turn == expected(prompt + first + " and", 10)


def test_without_a_prefix_cache_nothing_is_kept():
    with ToyBackend(prefix_cache=0) as backend:
        backend.generate("abcdefgh", max_tokens=5)
        assert backend.generate("abcdefgh", max_tokens=5).usage.cached_tokens == 0
        until(lambda: not any(backend.engine.slots))


def test_requests_with_one_beginning_wait_until_it_is_computed_once():
    beginning = "".join(random.Random(3).choices(LETTERS, k=200))
    with ToyBackend(lambda: ToyEngine(n_slots=8, n_batch=32), n_parallel=8) as backend:
        asked = [beginning + letter for letter in "abcdefgh"]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda prompt: backend.generate(prompt, max_tokens=5), asked))
        assert [str(answer) for answer in answers] == [expected(prompt, 5) for prompt in asked]
        assert backend.engine.computed < 200 + 8 * (32 + 8)


def test_a_short_prompt_overtakes_a_long_one():
    steps: list[int] = []
    with ToyBackend(lambda: ToyEngine(n_batch=16, before=lambda entries: time.sleep(0.002)), n_parallel=2) as backend:
        long = backend.generate_stream("a" * 390, max_tokens=2)
        done = threading.Event()

        def read() -> None:
            long.read()
            steps.append(backend.engine.steps)
            done.set()

        threading.Thread(target=read).start()
        until(lambda: backend.engine.steps > 2)
        backend.generate("bc", max_tokens=2)
        steps.append(backend.engine.steps)
        assert done.wait(20)
        assert steps[0] < steps[1]


def test_answers_under_way_never_fill_a_step():
    feeds_of_a_step = []
    with ToyBackend(lambda: ToyEngine(n_batch=4, n_slots=8, before=feeds_of_a_step.append), n_parallel=8) as backend:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda prompt: backend.generate(prompt, max_tokens=30), prompts(16)))
        assert max(map(len, feeds_of_a_step)) == 2


def test_a_queue_has_an_end(brake):
    with ToyBackend(lambda: ToyEngine(before=brake), n_parallel=1, max_queue=2) as backend:
        streams = [backend.generate_stream(letter, max_tokens=3) for letter in "abcd"]
        threads = []
        for stream in streams[:3]:
            threads.append(threading.Thread(target=stream.read))
            threads[-1].start()
            assert brake.stepping.wait(60)
        until(lambda: len(backend._scheduler._waiting) == 2)
        with pytest.raises(QueueFullError) as caught:
            streams[3].read()
        assert (caught.value.waiting, caught.value.limit) == (2, 2)
        brake.go.set()
        for thread in threads:
            thread.join(60)
        assert [stream.text for stream in streams[:3]] == [expected(letter, 3) for letter in "abc"]


def test_a_queued_request_is_cancelled_at_once(brake):
    with ToyBackend(lambda: ToyEngine(before=brake), n_parallel=1) as backend:
        running = threading.Thread(target=backend.generate, args=("a", {"max_tokens": 3}))
        running.start()
        assert brake.stepping.wait(60)
        queued = backend.generate_stream("b", max_tokens=3)
        results = []
        waiting = threading.Thread(target=lambda: results.append(queued.read()))
        waiting.start()
        until(lambda: len(backend._scheduler._waiting) == 1)
        queued.cancel()
        waiting.join(60)
        assert results[0].finish_reason == "cancelled"
        assert not backend._scheduler._waiting
        brake.go.set()
        running.join(60)


def test_leaving_a_stream_breaks_its_step_off(brake):
    with ToyBackend(lambda: ToyEngine(before=brake)) as backend:
        stream = backend.generate_stream("abc", max_tokens=300)
        reader = threading.Thread(target=stream.read)
        reader.start()
        assert brake.stepping.wait(60)
        stream.cancel()
        assert backend.engine.interrupted.wait(60)
        brake.go.set()
        reader.join(60)
        assert stream.result.finish_reason == "cancelled"
        assert backend.generate("abc", max_tokens=9) == expected("abc", 9)
        assert not backend.engine.interrupted.is_set()


def test_one_that_leaves_does_not_disturb_the_others():
    with ToyBackend(lambda: ToyEngine(before=lambda entries: time.sleep(0.001)), n_parallel=3) as backend:
        with ThreadPoolExecutor(3) as pool:
            stay = [pool.submit(backend.generate, prompt, {"max_tokens": 60}) for prompt in ("bb", "cc")]
            for _ in range(10):
                with backend.generate_stream("aa", max_tokens=100) as stream:
                    next(stream, "")
        assert [future.result() for future in stay] == [expected("bb", 60), expected("cc", 60)]


@pytest.mark.parametrize("queued", [False, True])
def test_a_deadline_holds_while_the_engine_is_stuck(brake, queued):
    with ToyBackend(lambda: ToyEngine(before=brake), n_parallel=1) as backend:
        if queued:
            threading.Thread(target=backend.generate, args=("a", {"max_tokens": 3})).start()
            assert brake.stepping.wait(60)
        with pytest.raises(GenerationTimeoutError):  # the engine goes on only afterwards
            backend.generate("b", max_tokens=3, timeout=0.1)
        brake.go.set()
        assert backend.generate("b", max_tokens=3) == expected("b", 3)


def test_a_failed_step_reaches_everybody_in_it_and_the_model_goes_on():
    failing = threading.Event()

    def before(entries) -> None:
        time.sleep(0.002)
        if failing.is_set():
            failing.clear()
            raise OSError("the card fell off")

    with ToyBackend(lambda: ToyEngine(before=before), n_parallel=4) as backend:
        talkative = [letter for letter in LETTERS if len(expected(letter, 200)) > 100][:4]
        streams = [backend.generate_stream(letter, max_tokens=200) for letter in talkative]
        for stream in streams:
            next(stream)
        failing.set()
        for stream in streams:
            with pytest.raises(GenerationError, match="card fell off") as caught:
                stream.read()
            assert isinstance(caught.value.__cause__, OSError | GenerationError)
        assert backend.generate("abc", max_tokens=9) == expected("abc", 9)
        assert backend.engine.open_samplings == 0


def test_one_failure_of_one_request_is_that_ones_alone():
    class Picky(ToyEngine):
        def _compute(self, entry):
            if entry.tokens[0] == LETTERS.index("z"):
                return GenerationError("no numbers")
            return super()._compute(entry)

    with ToyBackend(Picky, n_parallel=4) as backend, ThreadPoolExecutor(4) as pool:
        asked = [letter for letter in LETTERS if "z" not in letter + expected(letter, 30)][:3]
        good = [pool.submit(backend.generate, prompt, {"max_tokens": 30}) for prompt in asked]
        with pytest.raises(GenerationError, match="no numbers"):
            backend.generate("z", max_tokens=3)
        done = [future.result() for future in good]
        assert done == [expected(prompt, 30) for prompt in asked]


def test_a_request_that_cannot_begin_leaves_the_others_alone():
    class Choosy(ToyEngine):
        def sampling(self, request, prompt, max_new_tokens):
            if prompt[0] == LETTERS.index("z"):
                raise OSError("no such letter")
            return super().sampling(request, prompt, max_new_tokens)

    with ToyBackend(Choosy, n_parallel=2) as backend:
        begun = backend.generate_stream("abc", max_tokens=30)
        first = next(begun)
        with pytest.raises(GenerationError, match="OSError: no such letter"):
            backend.generate("z", max_tokens=3)
        assert first + "".join(begun) == expected("abc", 30)
        assert backend.generate("abd", max_tokens=9) == expected("abd", 9)


def test_a_failed_step_names_the_kind_of_error():
    def before(entries) -> None:
        raise OSError("the card fell off")

    with (
        ToyBackend(lambda: ToyEngine(before=before)) as backend,
        pytest.raises(GenerationError, match="OSError: the card fell off"),
    ):
        backend.generate("abc", max_tokens=3)


def test_a_memory_that_can_hold_nobody_is_an_error_and_no_hang():
    with ToyBackend(lambda: ToyEngine(capacity=10)) as backend:
        with pytest.raises(GenerationError, match="memory"):
            backend.generate("abcdefghijklmnop", max_tokens=3)
        assert backend.generate("abc", max_tokens=4) == expected("abc", 4)


def test_unloading_ends_what_is_under_way(brake):
    backend = ToyBackend(lambda: ToyEngine(before=brake), n_parallel=1)
    streams = [backend.generate_stream(letter, max_tokens=9) for letter in "ab"]
    errors = []

    def read(stream) -> None:
        try:
            stream.read()
        except ModelNotLoadedError as error:
            errors.append(error)

    threads = [threading.Thread(target=read, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    assert brake.stepping.wait(60)
    until(lambda: len(backend._scheduler._waiting) == 1)
    engine = backend.engine
    threading.Thread(target=backend.unload_model).start()
    assert engine.interrupted.wait(60)
    brake.go.set()
    for thread in threads:
        thread.join(60)
    assert len(errors) == 2
    until(lambda: engine.closed)
    assert engine.open_samplings == 0
    with pytest.raises(ModelNotLoadedError):
        backend.generate("a")


def test_unloading_can_wait():
    backend = ToyBackend(lambda: ToyEngine(before=lambda entries: time.sleep(0.002)), n_parallel=2)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(backend.generate, letter, {"max_tokens": 60}) for letter in "abcd"]
        until(lambda: backend.engine.steps > 2)
        backend.unload_model(wait=True)
        assert [future.result() for future in futures] == [expected(letter, 60) for letter in "abcd"]
    assert backend.engine.closed


def test_an_engine_is_closed_after_the_last_caller_has_left_it():
    inside, go = threading.Event(), threading.Event()

    class Slow(ToyEngine):
        def tokenize(self, request):
            inside.set()
            assert go.wait(60)
            assert not self.closed
            return super().tokenize(request)

    backend = ToyBackend(Slow)
    errors = []

    def ask() -> None:
        try:
            backend.generate("abc", max_tokens=3)
        except ModelNotLoadedError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert inside.wait(60)
    unloading = threading.Thread(target=backend.unload_model)
    unloading.start()
    time.sleep(0.05)
    assert not backend.engine.closed
    go.set()
    asking.join(60)
    unloading.join(60)
    assert backend.engine.closed
    assert len(errors) == 1


def test_a_backend_that_is_dropped_takes_its_thread_along():
    backend = ToyBackend()
    backend.generate("abc", max_tokens=3)
    engine, gone = backend.engine, weakref.ref(backend)
    del backend
    gc.collect()
    assert gone() is None
    until(lambda: engine.closed)


def test_event_loops_need_no_thread_for_a_request():
    async def main() -> None:
        before = threading.active_count()
        with ToyBackend(lambda: ToyEngine(before=lambda entries: time.sleep(0.001)), n_parallel=4) as backend:
            tasks = [asyncio.create_task(backend.agenerate(prompt, max_tokens=20)) for prompt in prompts(50)]
            await asyncio.sleep(0.05)
            assert threading.active_count() <= before + 1
            assert [str(answer) for answer in await asyncio.gather(*tasks)] == [expected(p, 20) for p in prompts(50)]

    asyncio.run(main())


def test_cancelling_a_task_frees_its_place(brake):
    async def main(backend) -> None:
        task = asyncio.create_task(backend.agenerate("abc", max_tokens=300))
        assert await asyncio.to_thread(brake.stepping.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert backend.engine.interrupted.wait(60)
        brake.go.set()
        assert await backend.agenerate("b", max_tokens=3) == expected("b", 3)

    with ToyBackend(lambda: ToyEngine(before=brake), n_parallel=1) as backend:
        asyncio.run(main(backend))


def test_a_stop_string_frees_the_slot_and_keeps_what_was_computed():
    with ToyBackend() as backend:
        whole = expected("abc", 30)
        stop = whole[10:13]
        answer = backend.generate("abc", max_tokens=30, stop=stop)
        assert answer == whole[: whole.index(stop)]
        assert backend.generate("abc" + whole, max_tokens=5) == expected("abc" + whole, 5)


def test_guesses_save_steps_and_change_nothing():
    steps = {}
    for lookup in (0, 8):
        with ToyBackend(lambda: ToyEngine(memory=2), prompt_lookup=lookup) as backend:
            assert backend.generate("abc", max_tokens=200) == expected("abc", 200, memory=2)
            steps[lookup] = backend.engine.steps
    assert steps[8] < steps[0] / 2


def test_truncation_is_told_and_leaves_room_for_the_answer():
    with ToyBackend(lambda: ToyEngine(n_ctx=50)) as backend:
        prompt = "".join(random.Random(5).choices(LETTERS, k=70))
        with pytest.raises(ContextOverflowError) as caught:
            backend.generate(prompt, max_tokens=10)
        assert (caught.value.prompt_tokens, caught.value.context_size) == (70, 50)
        answer = backend.generate(prompt, max_tokens=10, truncation="auto")
        assert answer == expected(prompt[30:], 10)
        assert (answer.usage.prompt_tokens, answer.usage.truncated_tokens) == (40, 30)
        fits = backend.generate(prompt[:30], max_tokens=10, truncation="auto")
        assert fits.usage.truncated_tokens == 0
        turns = [
            {"role": "system", "content": "be brief "},
            *({"role": role, "content": role + " talks "} for role in ("user", "assistant") * 3),
            {"role": "user", "content": "now"},
        ]
        chat = backend.chat(turns, max_tokens=10, truncation="auto")
        assert chat == expected("be brief user talks assistant talks now", 10)
        assert chat.usage.truncated_tokens == len("user talks assistant talks ") * 2
        with pytest.raises(ContextOverflowError):
            backend.chat([{"role": "user", "content": prompt}], max_tokens=10, truncation="auto")


def test_a_soak_of_everything_at_once():
    """Arrivals, cancellations, deadlines, full memory: each request ends once, with the right text."""
    with ToyBackend(lambda: ToyEngine(capacity=600, n_slots=8), n_parallel=6, prefix_cache=2) as backend:
        asked = prompts(200, seed=9)
        ended: list[str] = []

        def one(index: int) -> None:
            chance = random.Random(index)
            prompt, tokens = asked[index], chance.choice([1, 10, 60])
            kind = chance.choice(["read", "read", "leave", "deadline", "long"])
            try:
                if kind == "leave":
                    with backend.generate_stream(prompt, max_tokens=tokens) as stream:
                        for _ in range(chance.choice([0, 1, 5])):
                            next(stream, "")
                        assert expected(prompt, tokens).startswith(stream.text)
                elif kind == "deadline":
                    backend.generate(prompt, max_tokens=tokens, timeout=0.001)
                elif kind == "long":
                    backend.generate(prompt * 10 + "a" * 400, max_tokens=tokens)
                else:
                    assert backend.generate(prompt, max_tokens=tokens) == expected(prompt, tokens)
            except (GenerationTimeoutError, ContextOverflowError):
                pass
            ended.append(kind)

        with ThreadPoolExecutor(24) as pool:
            list(pool.map(one, range(len(asked))))
        assert len(ended) == len(asked)
        until(lambda: backend.engine.open_samplings == 0)
        assert not backend._scheduler._running
        assert not backend._scheduler._waiting
