"""An engine whose tokens are drawn at random: whatever a constraint allows, it writes sooner or later."""

from __future__ import annotations

import random
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
    Prompt,
    SamplingParams,
    StepResult,
    TokenTable,
    choose_while_guessed,
    only_token,
)
from llamaforge.requests import GenerationRequest
from llamaforge.results import TokenLogprob

WORDS = ['{"', '": ', '", "', '"}', "}]", ", ", "true", "false", "null", "name", "age", "abc", "12", " a", "é"]
TABLE = [*(bytes([byte]) for byte in range(256)), *(word.encode() for word in WORDS), b"", b"", b""]
END, TURN, CALL = len(TABLE) - 3, len(TABLE) - 2, len(TABLE) - 1
SPECIAL = {END: "<|end|>", TURN: "<|turn|>", CALL: "[CALL]"}


class DiceEngine(Engine["Dice"]):
    """Its vocabulary has all bytes, a few words and special tokens. *ignores_masks* makes it a faulty one."""

    can_copy = can_mask = True
    end_tokens = frozenset({END, TURN})
    vocab_size = len(TABLE)

    def __init__(self, *, can_trim: bool = True, ignores_masks: bool = False, memory: int = 3) -> None:
        self.can_trim, self.ignores_masks, self.remembers = can_trim, ignores_masks, memory
        self.n_ctx, self.n_batch, self.n_slots = 2000, 64, 9
        self.slots: list[list[int]] = [[] for _ in range(self.n_slots)]
        self.steps = 0

    def render(self, request: GenerationRequest) -> str:
        return "".join(message.text for message in request.as_messages())

    def tokenize(self, request: GenerationRequest) -> Prompt:
        return Prompt(list(self.render(request).encode()))

    def token_table(self) -> TokenTable:
        return TokenTable(TABLE, SPECIAL)

    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> Dice:
        return Dice(SamplingParams.of(request))

    def compute(self, entries: Sequence[BatchEntry[Dice]]) -> list[StepResult]:
        self.steps += 1
        return [self._compute(entry) for entry in entries]

    def _compute(self, entry: BatchEntry[Dice]) -> StepResult:
        slot = self.slots[entry.slot]
        assert len(slot) == entry.start
        slot.extend(entry.tokens)
        if entry.sampling is None:
            return []
        sampling, end = entry.sampling, len(slot) - entry.draft

        def choose(row: int) -> Choice:
            allowed = list(range(self.vocab_size))
            if entry.masks is not None and not self.ignores_masks:
                mask = entry.masks[row]
                allowed = [token for token in allowed if mask[token >> 3] >> (token & 7) & 1]
                assert allowed, "a mask allows no token"
            state = zlib.crc32(repr(slot[end + row - self.remembers : end + row]).encode())
            return sampling.choose(state, allowed, None if entry.masks is None else only_token(entry.masks[row]))

        return choose_while_guessed(entry, choose)

    def trim(self, slot: int, length: int) -> int:
        if length and not self.can_trim and length < len(self.slots[slot]):
            length = 0
        del self.slots[slot][length:]
        return length

    def copy(self, source: int, target: int, length: int) -> int:
        if not self.can_trim and length < len(self.slots[source]):
            return 0
        self.slots[target] = self.slots[source][:length]
        return length


class Dice:
    """Every token is as good as any other; at temperature 0 the state decides."""

    def __init__(self, params: SamplingParams) -> None:
        self._params, self._random = params, random.Random(params.seed)
        self.chosen: list[int] = []

    def choose(self, state: int, allowed: list[int], only: int | None) -> Choice:
        bias = self._params.logit_bias
        best = max((bias.get(token, 0.0) for token in allowed), default=0.0)
        allowed = [token for token in allowed if bias.get(token, 0.0) == best]
        # Of one token nothing is drawn, so that guesses of what must come anyway change no answer.
        greedy = self._params.temperature == 0 or only is not None
        token = allowed[state % len(allowed)] if greedy else self._random.choice(allowed)
        self.chosen.append(token)
        logprob = None if self._params.top_logprobs is None else TokenLogprob(str(token), -5.0, token)
        return Choice(token, logprob)

    def close(self) -> None:
        pass


class DiceBackend(EngineBackend):
    """*make* makes the engine."""

    spec = BackendSpec(
        name="dice",
        target="",
        config="",
        summary="",
        capabilities=Capabilities(
            parameters=frozenset(
                {"max_tokens", "temperature", "seed", "stop", "truncation", "logit_bias", "logprobs", "top_logprobs"}
                | {"response_format", "grammar"}
            )
        ),
    )
    config_class = EngineConfig

    def __init__(self, make: Callable[[], DiceEngine] = DiceEngine, **parameters: Any) -> None:
        super().__init__()
        self._make = make
        self.load_model("dice", parameters)

    def open_engine(self, model_path: str, config: EngineConfig) -> DiceEngine:
        self.engine = self._make()
        return self.engine
