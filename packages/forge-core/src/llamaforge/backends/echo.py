"""The echo backend: answers with the prompt. For documents, tests and dry runs; and a complete engine to read."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ..engine import (
    BatchEntry,
    Choice,
    Engine,
    EngineBackend,
    EngineConfig,
    InterruptedStepError,
    Prompt,
    StepResult,
    choose_while_guessed,
)
from ..errors import UnsupportedError
from ..requests import GenerationRequest
from ..results import TokenLogprob
from .echo_embedding import EchoEmbeddingEngine
from .spec import BackendSpec, Capabilities

_TOKEN = re.compile(r"\s*\S+|\s+")
_END: Final = 1 << 32
"""The token that ends an answer."""


class EchoConfig(EngineConfig, frozen=True, kw_only=True):
    """Load parameters of the echo backend."""

    n_ctx: Annotated[int, Meta(ge=2, description="Context length, in tokens (words).")] = 4096
    n_batch: Annotated[int, Meta(ge=1, description="Tokens that a step has at most.")] = 512
    delay: Annotated[float, Meta(ge=0, description="Seconds that each step takes.")] = 0.0
    prompts: Annotated[
        dict[str, str], Meta(description="With task embed: more texts to put before others, for prompt_name.")
    ] = msgspec.field(default_factory=dict)


SPEC = BackendSpec(
    name="echo",
    target="llamaforge.backends.echo:EchoBackend",
    config="llamaforge.backends.echo:EchoConfig",
    summary="Answers with the prompt: for tests and dry runs",
    capabilities=Capabilities(
        # All probability is on one token, so whatever reshapes the distribution leaves the answer as it is.
        parameters=frozenset(
            {"max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "presence_penalty"}
            | {"frequency_penalty", "repetition_penalty", "logprobs", "top_logprobs", "truncation"}
        ),
        tasks=frozenset({"generate", "embed", "rerank"}),
        embedding=frozenset({"dimensions", "normalize", "prompt_name", "truncation"}),
    ),
)


class EchoBackend(EngineBackend):
    """Answers with the last user turn, word by word. The model path may be anything."""

    spec = SPEC
    config_class = EchoConfig

    def open_engine(self, model_path: str, config: EchoConfig) -> EchoEngine | EchoEmbeddingEngine:
        """There is nothing to load."""
        if config.task is None or config.task == "generate":
            return EchoEngine(config)
        return EchoEmbeddingEngine(
            lambda text: [_number(word.strip() or word) for word in _words(text)],
            n_ctx=config.n_ctx,
            n_batch=config.n_batch,
            delay=config.delay,
            task=config.task,
            prompts=config.prompts,
        )


class EchoEngine(Engine["_Echo"]):
    """Its tokens are words, with the space before them; its state is which tokens each slot holds."""

    can_trim = True
    can_copy = True
    vocab_size = _END + 1
    end_tokens = frozenset({_END})

    def __init__(self, config: EchoConfig) -> None:
        self.n_ctx = config.n_ctx
        self.n_batch = max(config.n_batch, config.n_parallel)
        self.n_slots = config.n_parallel + config.prefix_cache
        self._delay = config.delay
        self._slots: list[list[int]] = [[] for _ in range(self.n_slots)]
        self._interrupted = threading.Event()

    def render(self, request: GenerationRequest) -> str:
        """A user turn, and so a prompt, is its text; any other turn is a line of its own, after its role."""
        if request.prompt is not None:
            return request.prompt
        turns = ((message.role, message.text) for message in request.messages)
        return "\n".join(text if role == "user" else f"{role}: {text}" for role, text in turns)

    def tokenize(self, request: GenerationRequest) -> Prompt:
        """A number for each word."""
        return Prompt([_number(word) for word in _words(self.render(request))])

    def token_table(self) -> None:
        """There is a token for every word that anybody may write: no table holds them."""
        return

    def check(self, request: GenerationRequest) -> None:
        """There must be something to echo."""
        _answer(request)

    def detokenizer(self, request: GenerationRequest, prompt: Sequence[int]) -> _Words:
        """Knows the words of the answer."""
        return _Words(_answer(request, len(prompt)))

    def interrupt(self, wanted: bool) -> None:
        """Wake the step."""
        if wanted:
            self._interrupted.set()
        else:
            self._interrupted.clear()

    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> _Echo:
        """Which word comes next."""
        return _Echo(request, len(prompt))

    def compute(self, entries: Sequence[BatchEntry[_Echo]]) -> list[StepResult]:
        """Remember the tokens, and say the next word."""
        if self._delay and self._interrupted.wait(self._delay):
            raise InterruptedStepError
        return [self._compute(entry) for entry in entries]

    def _compute(self, entry: BatchEntry[_Echo]) -> list[Choice]:
        held = self._slots[entry.slot]
        if len(held) != entry.start:
            raise ValueError(f"Slot {entry.slot} holds {len(held)} tokens, not {entry.start}.")
        held.extend(entry.tokens)
        sampling = entry.sampling
        return [] if sampling is None else choose_while_guessed(entry, lambda _: sampling.choose())

    def trim(self, slot: int, length: int) -> int:
        """Forget what comes after."""
        del self._slots[slot][length:]
        return length

    def copy(self, source: int, target: int, length: int) -> int:
        """Remember the same."""
        self._slots[target] = self._slots[source][:length]
        return length


class _Echo:
    """The answer of one request, said word by word."""

    def __init__(self, request: GenerationRequest, read: int) -> None:
        self._words = iter(_answer(request, read))
        self._logprobs = bool(request.logprobs)
        self._top = bool(request.top_logprobs)

    def choose(self) -> Choice:
        """The next word; at the end the token that says so."""
        word = next(self._words, None)
        if word is None:
            return Choice(_END)
        logprob = None
        if self._logprobs:
            number = _number(word)
            logprob = TokenLogprob(word, 0.0, number, (TokenLogprob(word, 0.0, number),) if self._top else ())
        return Choice(_number(word), logprob)

    def close(self) -> None:
        """Nothing is held."""


class _Words:
    """The bytes of an answer's words, in turn."""

    def __init__(self, words: list[str]) -> None:
        self._bytes = iter([word.encode() for word in words])

    def feed(self, token: int) -> bytes:
        """Those of the next word, which *token* stands for."""
        return next(self._bytes)

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""


def _answer(request: GenerationRequest, read: int | None = None) -> list[str]:
    """The words of the last user turn; of a text that was cut, those that were *read*, which stand at its end."""
    said = [message.text for message in request.as_messages() if message.role == "user"]
    if not said:
        raise UnsupportedError("a conversation without a user turn", SPEC.name)
    words = _words(said[-1])
    return words if read is None or read >= len(words) else words[len(words) - read :]


def _words(text: str) -> list[str]:
    words: list[str] = _TOKEN.findall(text)
    return words


def _number(word: str) -> int:
    """The same for the same word in every process, so that a beginning that was computed before is known again."""
    return zlib.crc32(word.encode())
