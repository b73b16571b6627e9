"""An engine whose every token depends on all tokens before it: a state that is wrong anywhere shows in the text."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from llamaforge.backends.spec import BackendSpec, Capabilities
from llamaforge.engine import (
    BatchEntry,
    Choice,
    Engine,
    EngineBackend,
    EngineConfig,
    InterruptedStepError,
    OutOfRoomError,
    Prompt,
    StepResult,
    TokenTable,
)
from llamaforge.requests import GenerationRequest

LETTERS = "abcdefghijklmnopqrstuvwxyz "
END = len(LETTERS)


def next_token(tokens: Sequence[int], memory: int = 10**6) -> int:
    """What follows *tokens*: any letter, and seldom the end. A short *memory* makes it repeat itself."""
    number = zlib.crc32(bytes(tokens[-memory:]))
    return END if number % 97 == 0 and memory > 99 else number % END


def expected(prompt: str, max_tokens: int, memory: int = 10**6) -> str:
    """The answer, computed plainly."""
    tokens = [LETTERS.index(letter) for letter in prompt]
    answer = ""
    while len(answer) < max_tokens and (token := next_token(tokens, memory)) != END:
        tokens.append(token)
        answer += LETTERS[token]
    return answer


class ToyEngine(Engine["Greedy"]):
    """Options: *capacity* (tokens in all slots), what it *can* do, *before* (sees each step's entries), *memory*."""

    def __init__(
        self,
        *,
        n_ctx: int = 400,
        n_slots: int = 4,
        n_batch: int = 64,
        capacity: int | None = None,
        can_trim: bool = True,
        can_copy: bool = True,
        can_rest: bool = False,
        before: Callable[[Sequence[BatchEntry[Greedy]]], None] | None = None,
        memory: int = 10**6,
    ) -> None:
        self.n_ctx, self.n_slots, self.n_batch = n_ctx, n_slots, n_batch
        self.vocab_size, self.end_tokens = END + 1, frozenset({END})
        self.can_trim, self.can_copy, self.can_rest = can_trim, can_copy, can_rest
        self.capacity = capacity
        self.before = before
        self.remembers = memory
        self.slots: list[list[int]] = [[] for _ in range(n_slots)]
        self.resting: dict[int, list[int]] = {}
        self.steps = 0
        self.computed = 0
        self.open_samplings = 0
        self.closed = False
        self.interrupted = threading.Event()
        self._thread = threading.get_ident()  # who opens it, owns it

    def render(self, request: GenerationRequest) -> str:
        if request.prompt is not None:
            return request.prompt
        return "".join(message.text for message in request.messages)

    def tokenize(self, request: GenerationRequest) -> Prompt:
        return Prompt([LETTERS.index(letter) for letter in self.render(request)])

    def token_table(self) -> TokenTable:
        return TokenTable([*(letter.encode() for letter in LETTERS), b""], {END: "<end>"})

    def interrupt(self, wanted: bool) -> None:
        if wanted:
            self.interrupted.set()
        else:
            self.interrupted.clear()

    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> Greedy:
        self._own_thread()
        self.open_samplings += 1
        return Greedy(self)

    def compute(self, entries: Sequence[BatchEntry[Greedy]]) -> list[StepResult]:
        self._own_thread()
        total = sum(len(entry.tokens) for entry in entries)
        assert 0 < total <= self.n_batch, total
        assert len({entry.slot for entry in entries}) == len(entries)
        for entry in entries:
            assert entry.tokens
            assert entry.start == len(self.slots[entry.slot]), (entry.start, len(self.slots[entry.slot]))
            assert entry.start + len(entry.tokens) <= self.n_ctx
        if self.before is not None:
            self.before(entries)
        if self.capacity is not None and sum(map(len, self.slots)) + total > self.capacity:
            raise OutOfRoomError
        if self.interrupted.is_set():
            for entry in entries:  # what they hold is unknown
                self.slots[entry.slot] = [0] * 7
            raise InterruptedStepError
        self.steps += 1
        self.computed += total
        return [self._compute(entry) for entry in entries]

    def _compute(self, entry: BatchEntry[Greedy]) -> list[Choice]:
        slot = self.slots[entry.slot]
        slot.extend(entry.tokens[: entry.certain])
        choices: list[Choice] = []
        if entry.sampling is not None:
            choices.append(Choice(next_token(slot, self.remembers)))
        for guess in entry.tokens[entry.certain :]:
            right = choices[-1].token == guess and len(choices) == len(slot) - entry.start - entry.certain + 1
            slot.append(guess)
            if right:
                choices.append(Choice(next_token(slot, self.remembers)))
        return choices

    def trim(self, slot: int, length: int) -> int:
        self._own_thread()
        if slot in self.resting:
            assert length == 0
            del self.resting[slot]
            return 0
        assert length <= len(self.slots[slot]) or length == 0
        if 0 < length < len(self.slots[slot]) and not self.can_trim:
            length = 0
        del self.slots[slot][length:]
        return length

    def copy(self, source: int, target: int, length: int) -> int:
        self._own_thread()
        assert self.can_copy
        assert not self.slots[target]
        assert target not in self.resting
        held = self.resting.get(source) or self.slots[source]
        assert length <= len(held)
        if length < len(held) and not self.can_trim:
            return 0
        self.slots[target] = held[:length]
        return length

    def swap_out(self, slot: int) -> bool:
        self._own_thread()
        if self.can_rest:
            self.resting[slot], self.slots[slot] = self.slots[slot], []
        return self.can_rest

    def swap_in(self, slot: int) -> bool:
        self._own_thread()
        held = self.resting.pop(slot)
        if self.capacity is not None and sum(map(len, self.slots)) + len(held) > self.capacity:
            return False
        self.slots[slot] = held
        return True

    def close(self) -> None:
        self._own_thread()
        self.closed = True

    def _own_thread(self) -> None:
        assert not self.closed
        assert self._thread == threading.get_ident(), "one thread owns the model"


class Greedy:
    def __init__(self, engine: ToyEngine) -> None:
        self.engine = engine

    def close(self) -> None:
        self.engine.open_samplings -= 1


class ToyBackend(EngineBackend):
    """*make* makes the engine of each model that is loaded."""

    spec = BackendSpec(
        name="toy",
        target="",
        config="",
        summary="",
        capabilities=Capabilities(parameters=frozenset({"max_tokens", "stop", "truncation", "temperature"})),
    )
    config_class = EngineConfig

    def __init__(self, make: Callable[[], ToyEngine] = ToyEngine, **parameters: Any) -> None:
        super().__init__()
        self.make = make
        self.load_model("toy", parameters)

    def open_engine(self, model_path: str, config: EngineConfig) -> ToyEngine:
        self.engine = self.make()
        return self.engine


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for *condition*; fail where it doesn't come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.002)
