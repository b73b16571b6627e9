"""The scheduler's small print: counts, bounds, and what it tells an engine."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from llamaforge.cancellation import CancellationToken
from llamaforge.engine import BatchEntry, Choice, scheduler
from llamaforge.engine.event_queue import ThreadEventQueue
from llamaforge.engine.preparation import Preparation
from llamaforge.engine.prompt_lookup import PromptLookup
from llamaforge.engine.sequence import SequenceState
from llamaforge.errors import GenerationError, ModelLoadError, ModelNotLoadedError, QueueFullError
from llamaforge.requests import read_request
from llamaforge.results import Finished

from .toy import LETTERS, Greedy, ToyBackend, ToyEngine, expected, until

TALKATIVE = next(letter for letter in LETTERS if len(expected(letter, 300)) == 300)


def prepared(backend: ToyBackend, prompt: str, **parameters: Any) -> SequenceState:
    request = read_request(prompt, None, parameters)
    assert backend._scheduler is not None
    made = Preparation(backend.engine, backend._scheduler, request, CancellationToken(), ThreadEventQueue(), 0.0).wait()
    assert made is not None
    return made


def outcome(sequence: SequenceState) -> Finished:
    """The end of a request that was submitted."""
    assert isinstance(sequence.event_queue, ThreadEventQueue)
    while not isinstance(item := sequence.event_queue.get(60), Finished):
        assert item is not None, "it never ends"
        assert not isinstance(item, Exception), item
    return item


class Brake:
    """Holds the engine's steps until they are let go, and knows their entries."""

    def __init__(self) -> None:
        self.go, self.stepping = threading.Event(), threading.Event()
        self.slots: list[list[int]] = []

    def __call__(self, entries: Any) -> None:
        self.slots.append([entry.slot for entry in entries])
        self.stepping.set()
        assert self.go.wait(60)


@pytest.fixture
def brake() -> Any:
    made = Brake()
    yield made
    made.go.set()


def test_who_finds_a_place_at_once_does_not_count_as_waiting() -> None:
    with ToyBackend(n_parallel=2, max_queue=1) as backend:
        queue = backend._scheduler
        assert queue is not None
        sequences = [prepared(backend, "abc", max_tokens=3) for _ in range(4)]
        with queue._changed:  # so that nobody is let in meanwhile
            for sequence in sequences[:3]:
                queue.submit(sequence)
            with pytest.raises(QueueFullError) as caught:
                queue.submit(sequences[3])
        assert (caught.value.waiting, caught.value.limit) == (1, 1)
        assert [sequence.number for sequence in sequences[:3]] == [0, 1, 2]
        assert [outcome(sequence).finish_reason for sequence in sequences[:3]] == ["length"] * 3


def test_who_runs_takes_a_place_and_who_waits_one_in_the_queue(brake: Brake) -> None:
    with ToyBackend(lambda: ToyEngine(before=brake), n_parallel=2, max_queue=1) as backend:
        queue = backend._scheduler
        assert queue is not None
        sequences = [prepared(backend, letter, max_tokens=3) for letter in "abcde"]
        for count, sequence in enumerate(sequences[:2], 1):
            queue.submit(sequence)
            if count == 1:
                assert brake.stepping.wait(60)
        queue.submit(sequences[2])
        with pytest.raises(QueueFullError) as caught:
            queue.submit(sequences[3])
        assert (caught.value.waiting, caught.value.limit) == (1, 1)
        brake.go.set()
        for sequence in sequences[:3]:
            assert outcome(sequence).finish_reason == "length"
        queue.submit(sequences[3])
        assert outcome(sequences[3]).finish_reason == "length"


def test_a_step_goes_on_while_anybody_in_it_stays(brake: Brake) -> None:
    with ToyBackend(lambda: ToyEngine(before=brake), n_parallel=2) as backend:
        queue = backend._scheduler
        assert queue is not None
        one, other = (prepared(backend, letter, max_tokens=300) for letter in "ab")
        with queue._changed:
            queue.submit(one)
            queue.submit(other)
        assert brake.stepping.wait(60)
        assert len(brake.slots[0]) == 2
        queue.drop(one)
        assert not backend.engine.interrupted.is_set()
        queue.drop(other)
        assert backend.engine.interrupted.is_set()
        brake.go.set()
        for sequence in (one, other):
            assert outcome(sequence).finish_reason == "cancelled"
        assert backend.generate("abc", max_tokens=9) == expected("abc", 9)


def test_who_leaves_leaves_what_was_computed_to_others() -> None:
    prompt = "".join(LETTERS[number * 7 % 27] for number in range(60))
    with ToyBackend() as backend:
        with backend.generate_stream(prompt + TALKATIVE, max_tokens=300) as stream:
            next(stream)
        until(lambda: not backend._scheduler._running)
        again = backend.generate(prompt + TALKATIVE, max_tokens=2)
        assert again.usage.cached_tokens == 60


def test_a_request_that_has_too_little_memory_keeps_none_of_it() -> None:
    with ToyBackend(lambda: ToyEngine(capacity=10, n_batch=4)) as backend:
        with pytest.raises(GenerationError, match="memory"):
            backend.generate("abcdefghijklmnop", max_tokens=3)
        assert not any(backend.engine.slots)


def test_an_engine_knows_how_long_an_answer_may_become() -> None:
    told: list[tuple[str | None, list[int], int]] = []

    class Curious(ToyEngine):
        def sampling(self, request: Any, prompt: Any, max_new_tokens: int) -> Greedy:
            told.append((request.prompt, list(prompt), max_new_tokens))
            return super().sampling(request, prompt, max_new_tokens)

    with ToyBackend(lambda: Curious(n_ctx=50)) as backend:
        backend.generate("abc", max_tokens=7)
        backend.generate("abcd")
    assert told == [("abc", [0, 1, 2], 7), ("abcd", [0, 1, 2, 3], 46)]


def test_guesses_go_no_further_than_the_answer_or_the_context() -> None:
    drafts: list[tuple[int, int]] = []

    def before(entries: Any) -> None:
        drafts.extend((entry.start + len(entry.tokens), entry.draft) for entry in entries)

    with ToyBackend(lambda: ToyEngine(memory=2, before=before, n_ctx=120), prompt_lookup=8) as backend:
        answer = backend.generate("abc", max_tokens=80)
        assert answer == expected("abc", 80, memory=2)
        assert max(draft for _, draft in drafts) == 8
        assert max(end for end, _ in drafts) <= 3 + 80 - 1  # the last token is not computed
        drafts.clear()
        assert len(backend.generate("abc")) == 117
        assert max(end for end, _ in drafts) <= 119


def test_guesses_share_what_a_step_has_left() -> None:
    steps: list[list[int]] = []

    def before(entries: Any) -> None:
        steps.append([entry.draft for entry in entries])

    with ToyBackend(lambda: ToyEngine(memory=2, before=before, n_batch=8), n_parallel=2, prompt_lookup=8) as backend:
        queue = backend._scheduler
        assert queue is not None
        sequences = [prepared(backend, "abc", max_tokens=150) for _ in range(2)]
        with queue._changed:
            for sequence in sequences:
                queue.submit(sequence)
        assert [outcome(sequence).finish_reason for sequence in sequences] == ["length"] * 2
        both = [drafts for drafts in steps if len(drafts) == 2]
        assert max(map(sum, both)) == 6  # one token of each is no guess


def test_an_engine_that_can_not_cut_gets_no_guesses() -> None:
    drafts: list[int] = []

    def before(entries: Any) -> None:
        drafts.extend(entry.draft for entry in entries)

    with ToyBackend(lambda: ToyEngine(memory=2, before=before, can_trim=False), prompt_lookup=8) as backend:
        assert backend.generate("abc", max_tokens=60) == expected("abc", 60, memory=2)
    assert not any(drafts)


@pytest.mark.parametrize("name", ["n_ctx", "n_slots", "n_batch", "vocab_size"])
def test_an_engine_has_room_for_something(name: str) -> None:
    def make() -> ToyEngine:
        engine = ToyEngine()
        setattr(engine, name, 0)
        return engine

    with pytest.raises(ModelLoadError, match=f"ToyEngine.{name} must be at least 1, not 0"):
        ToyBackend(make)


def test_an_engine_of_the_smallest_size_is_enough() -> None:
    with ToyBackend(lambda: ToyEngine(n_ctx=5, n_slots=1, n_batch=1)) as backend:
        assert backend.generate("abc") == expected("abc", 2)


@pytest.mark.parametrize("token", [-1, len(LETTERS) + 1])
def test_a_token_beyond_the_vocabulary_fails_its_request(token: int) -> None:
    class Wild(ToyEngine):
        def _compute(self, entry: BatchEntry[Greedy]) -> list[Choice]:
            return [Choice(token) for _ in super()._compute(entry)]

    with ToyBackend(Wild) as backend, pytest.raises(GenerationError, match=str(token)):
        backend.generate("abc", max_tokens=3)


def test_no_sampling_state_is_an_error_by_name() -> None:
    class Stateless(ToyEngine):
        def sampling(self, request: Any, prompt: Any, max_new_tokens: int) -> Any:
            return None

    with (
        ToyBackend(Stateless) as backend,
        pytest.raises(GenerationError, match=r"Stateless\.sampling\(\) returned None"),
    ):
        backend.generate("abc", max_tokens=3)


def waits(thread: threading.Thread) -> bool:
    """Whether *thread* waits for a condition."""
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code is threading.Condition.wait.__code__:
            return True
        frame = frame.f_back
    return False


def test_a_scheduler_without_work_sleeps() -> None:
    with ToyBackend() as backend:
        queue = backend._scheduler
        assert queue is not None
        until(lambda: waits(queue._thread), 10)
        backend.generate("abc", max_tokens=3)
        until(lambda: waits(queue._thread), 10)


def named(records: list[logging.LogRecord], text: str) -> logging.LogRecord:
    found = [record for record in records if text in record.getMessage()]
    assert len(found) == 1, records
    assert found[0].name == "llamaforge"
    return found[0]


def test_a_state_that_can_not_be_closed_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Greedy):
        def close(self) -> None:
            super().close()
            raise OSError("stuck")

    class Careless(ToyEngine):
        def sampling(self, request: Any, prompt: Any, max_new_tokens: int) -> Greedy:
            super().sampling(request, prompt, max_new_tokens)
            return Stuck(self)

    with ToyBackend(Careless) as backend:
        assert backend.generate("abc", max_tokens=9) == expected("abc", 9)
        assert backend.generate("abd", max_tokens=9) == expected("abd", 9)
    assert sum("close() of a sampling state failed" in record.getMessage() for record in caplog.records) == 2
    assert {record.name for record in caplog.records} == {"llamaforge"}


def test_a_step_that_never_ends_is_told_when_unloading(
    brake: Brake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduler, "_PATIENCE", 0.05)
    backend = ToyBackend(lambda: ToyEngine(before=brake))
    engine = backend.engine
    asking = threading.Thread(target=_fails, args=(backend,))
    asking.start()
    assert brake.stepping.wait(60)
    backend.unload_model()
    assert named(caplog.records, "could not be interrupted").levelno == logging.WARNING
    assert not engine.closed
    brake.go.set()
    until(lambda: engine.closed)
    asking.join(60)


def test_a_tokenizer_that_never_ends_is_told_when_unloading(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduler, "_PATIENCE", 0.05)
    backend = ToyBackend()
    engine, queue = backend.engine, backend._scheduler
    assert queue is not None
    with queue.users:
        backend.unload_model()
        until(lambda: not queue._thread.is_alive())
    assert named(caplog.records, "still being tokenized").levelno == logging.WARNING
    assert not engine.closed


def _fails(backend: ToyBackend) -> None:
    with pytest.raises(ModelNotLoadedError):
        backend.generate("abc", max_tokens=300)


def test_unloading_within_the_engines_own_thread_does_not_wait_for_itself() -> None:
    calls: list[Callable[[], None]] = []
    done = threading.Event()

    def before(entries: Any) -> None:
        while calls:
            calls.pop()()
            done.set()

    backend = ToyBackend(lambda: ToyEngine(before=before))
    queue = backend._scheduler
    assert queue is not None
    calls.append(queue.close)
    with pytest.raises(ModelNotLoadedError, match="unloaded"):
        backend.generate("abc", max_tokens=300)
    assert done.is_set()
    until(lambda: backend.engine.closed)
    backend.close()


def test_what_came_of_guesses_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[int, int]] = []
    learn = PromptLookup.learn

    def counted(lookup: PromptLookup, guessed: int, right: int) -> None:
        learned.append((guessed, right))
        learn(lookup, guessed, right)

    monkeypatch.setattr(PromptLookup, "learn", counted)
    with ToyBackend(lambda: ToyEngine(memory=2), prompt_lookup=4) as backend:
        assert backend.generate("abc", max_tokens=200) == expected("abc", 200, memory=2)
    assert learned
    assert all(1 <= guessed <= 4 and 0 <= right <= guessed for guessed, right in learned)
    assert max(right for _, right in learned) == 4


def test_who_leaves_the_queue_has_used_nothing(brake: Brake) -> None:
    with ToyBackend(lambda: ToyEngine(before=brake), n_parallel=1) as backend:
        queue = backend._scheduler
        assert queue is not None
        running, waiting = (prepared(backend, letter, max_tokens=3) for letter in "ab")
        queue.submit(running)
        assert brake.stepping.wait(60)
        queue.submit(waiting)
        queue.drop(waiting)
        end = outcome(waiting)
        assert end.finish_reason == "cancelled"
        assert end.usage is not None
        counts = (end.usage.prompt_tokens, end.usage.completion_tokens, end.usage.cached_tokens)
        assert (*counts, end.usage.truncated_tokens, end.usage.reasoning_tokens) == (1, 0, 0, 0, 0)
        assert (end.stop, end.timings.queued, end.dropped) == (None, None, ())
        brake.go.set()
        assert outcome(running).finish_reason == "length"


def test_the_engines_thread_has_a_name_and_its_openers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    def make() -> ToyEngine:
        seen.append(variable.get())
        return ToyEngine()

    variable.set("mine")
    with ToyBackend(make) as backend:
        queue = backend._scheduler
        assert queue is not None
        assert (queue._thread.name, queue._thread.daemon) == ("llamaforge-engine", True)
    assert seen == ["mine"]


def test_order_of_arrival_is_kept_when_memory_is_short() -> None:
    """The newest makes room, and goes on before those that came after it."""
    ended: list[str] = []
    with ToyBackend(lambda: ToyEngine(capacity=60, n_slots=4), n_parallel=3, prefix_cache=0) as backend:
        queue = backend._scheduler
        assert queue is not None
        letters = [letter for letter in LETTERS if len(expected(letter, 40)) == 40][:5]
        sequences = [prepared(backend, letter, max_tokens=40) for letter in letters]
        for letter, sequence in zip(letters, sequences, strict=True):
            finish = sequence.finish

            def told(letter: str = letter, finish: Callable[[], None] = finish) -> None:
                ended.append(letter)
                finish()

            sequence.finish = told  # type: ignore[method-assign]
        with queue._changed:
            for sequence in sequences:
                queue.submit(sequence)
        for sequence in sequences:
            assert outcome(sequence).finish_reason == "length"
    assert ended == letters


@pytest.mark.parametrize("first", ["finish", "cancel", "fail"])
def test_a_request_ends_once(first: str) -> None:
    with ToyBackend() as backend:
        sequence = prepared(backend, "abc", max_tokens=1)
        assert sequence.take(Choice(3), ends=False)
        ends: dict[str, Callable[[], None]] = {
            "finish": sequence.finish,
            "cancel": sequence.cancel,
            "fail": lambda: sequence.fail(GenerationError("x")),
        }
        assert not sequence.over
        ends[first]()
        assert sequence.over
        for end in ends.values():
            end()
        queue = sequence.event_queue
        assert isinstance(queue, ThreadEventQueue)
        items = [queue.get(0.001) for _ in range(3)]
        assert items[2] is None
        told = {"finish": "length", "cancel": "cancelled"}.get(first)
        assert getattr(items[1], "finish_reason", None) == told


def test_a_stop_string_in_what_was_held_back_to_the_end() -> None:
    class Held:
        def __init__(self) -> None:
            self.data = b""

        def feed(self, token: int) -> bytes:
            self.data += LETTERS[token].encode()
            return b""

        def finish(self) -> bytes:
            return self.data

    class Late(ToyEngine):
        def detokenizer(self, request: Any, prompt: Any) -> Held:
            return Held()

    whole = expected(TALKATIVE, 6)
    with ToyBackend(Late) as backend:
        plain = backend.generate(TALKATIVE, max_tokens=6)
        assert (plain, plain.finish_reason, plain.stop) == (whole, "length", None)
        stopped = backend.generate(TALKATIVE, max_tokens=6, stop=whole[3:5])
        cut = whole[: whole.index(whole[3:5])]
        assert (stopped, stopped.finish_reason, stopped.stop) == (cut, "stop", whole[3:5])
