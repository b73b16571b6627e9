"""What is known of each request. All times are seconds from the beginning of its trial, by one monotonic clock."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec


class Call(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A request to send."""

    messages: list[dict[str, Any]] | None = None
    """A conversation; or else *prompt*."""
    prompt: str | None = None
    """One user turn, or, with *raw*, a text to continue."""
    raw: bool = False
    """Whether *prompt* is sent without a chat template."""
    max_tokens: int | None = None
    """Length of the answer, at most."""
    exact_length: bool = False
    """Whether the answer should be exactly *max_tokens* long, where the engine can ignore the model's end."""
    parameters: dict[str, Any] = {}
    """Other generation parameters."""


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What happened to a request."""

    index: int
    """Which request of its trial, from 0, in the order of arrival."""
    turn: int = 0
    """Which turn of its conversation, from 0."""
    worker: int = 0
    """The worker process that sent it."""
    intended: float = 0.0
    """When it should have been sent. Without a schedule: when its place became free."""
    sent: float | None = None
    """When it was sent."""
    chunk_times: list[float] = []
    """When each chunk with a part of the answer (text, reasoning, tool calls) was read from the socket."""
    end: float | None = None
    """When the answer, or the failure, was complete."""
    first_characters: int = 0
    """Characters in the first chunk."""
    characters: int = 0
    """Characters in the whole answer."""
    prompt_tokens: int | None = None
    """As the engine counts them, like all tokens here."""
    completion_tokens: int | None = None
    """Tokens of the answer, reasoning included."""
    first_chunk_tokens: int | None = None
    """Tokens of the answer that the first chunk brought. None: the engine doesn't say."""
    cached_tokens: int | None = None
    """Tokens of the prompt that came from a cache."""
    wanted_tokens: int | None = None
    """The length that the load asked for."""
    queued: float | None = None
    """Seconds in the engine's queue, where the engine says so."""
    drafted: int | None = None
    """Tokens that were guessed (speculative decoding), where the engine says so."""
    accepted: int | None = None
    """Guesses that came true."""
    finish_reason: str | None = None
    """Why the answer ended."""
    error: str | None = None
    """Why the request failed. None: it succeeded."""
    server_times: list[float] = []
    """When the calibration server sent each chunk."""

    @property
    def succeeded(self) -> bool:
        """Whether the whole answer arrived."""
        return self.error is None and self.end is not None

    @property
    def lateness(self) -> float | None:
        """Seconds between the intended and the actual sending."""
        return None if self.sent is None else self.sent - self.intended

    @property
    def ttft(self) -> float | None:
        """Time to the first token, from the intended arrival."""
        return self.chunk_times[0] - self.intended if self.chunk_times else None

    @property
    def e2e(self) -> float | None:
        """Time to the end of the answer, from the intended arrival."""
        return None if self.end is None else self.end - self.intended

    @property
    def tokens_of_first_chunk(self) -> int | None:
        """Those that the engine reports, else an estimate; None if the tokens of the answer are unknown.

        As many tokens as chunks: one each. Otherwise the first chunk has the share of the tokens that it has of the
        characters, and every other chunk has at least one.
        """
        tokens, chunks = self.completion_tokens, len(self.chunk_times)
        if self.first_chunk_tokens is not None:
            return self.first_chunk_tokens
        if tokens is None or not chunks or tokens <= 0:
            return None
        if chunks >= tokens:
            return 1
        share = self.first_characters / self.characters if self.characters else 1 / chunks
        return max(1, min(round(tokens * share), tokens - chunks + 1))

    @property
    def tpot(self) -> float | None:
        """Time per output token: between the first and the last chunk, by the tokens after the first chunk.

        None for an answer in one chunk, or without a count of tokens.
        """
        first = self.tokens_of_first_chunk
        if first is None or self.completion_tokens is None or len(self.chunk_times) < 2:
            return None
        rest = self.completion_tokens - first
        return (self.chunk_times[-1] - self.chunk_times[0]) / rest if rest > 0 else None

    @property
    def gaps(self) -> list[float]:
        """Times between two chunks."""
        times = self.chunk_times
        return [after - before for before, after in pairwise(times)]


class Observation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the client saw of itself in a trial."""

    lag: dict[str, float] = {}
    """How late the event loop ran what was due, in seconds: mean, p50, p90, p95, p99, max."""
    cpu_share: float = 0.0
    """Share of a processor that the event loop's thread used."""
    process_cpu: float = 0.0
    """Seconds of processor time that the whole process used, an engine in it included."""
    waiting_share: float | None = None
    """Share of the time in which the event loop's thread was ready but had to wait for a processor. Linux only."""
    load: tuple[float, float] | None = None
    """The machine's load average (one minute) at the beginning and at the end."""


class Trial(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One trial of one level."""

    records: list[Record]
    """Its requests, by index and turn."""
    duration: float
    """Seconds from the first intended arrival to the last end."""
    observations: list[Observation] = []
    """One for each worker process."""
    counters: dict[str, float] = {}
    """What the server counted meanwhile, other clients' requests included; see :mod:`forge_bench.targets.counters`."""
    offered: float | None = None
    """Requests a second that were asked for. None without a schedule."""
