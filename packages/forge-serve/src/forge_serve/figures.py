"""The figures themselves, in Prometheus' format. Names follow vLLM's where there is one, so that existing dashboards
find them: https://docs.vllm.ai/en/latest/usage/metrics/."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from llamaforge.observers import RequestEnd
from llamaforge.pool import ModelPool

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKEN_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_TOKENS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_REASONS: Final = {"cancelled": "abort"}
"""Finish reasons that vLLM calls otherwise."""


class Figures:
    """What one server has counted, in a registry of its own. Not for two threads at once.

    Args:
        pool: the loaded models.
        waiting: the requests that wait for each model to be loaded.
    """

    def __init__(self, pool: ModelPool, waiting: Callable[[], Mapping[str, int]]) -> None:
        self._registry = CollectorRegistry()
        self._known: dict[tuple[Any, ...], Any] = {}
        """Labelled figures, by figure and labels. Prometheus' own lookup takes a lock, and as long as counting."""
        self._requests = self._counter("llamaforge_requests", "HTTP requests, by how they ended.", "dialect", "ending")
        self._requests_running = Gauge(
            "llamaforge_requests_running", "HTTP requests under way.", registry=self._registry
        )
        self._requests_seconds = self._histogram(
            "llamaforge_request_duration_seconds", "HTTP requests: time to the end.", _SECONDS, "dialect"
        )
        self._outcomes = self._counter(
            "llamaforge_outcomes", "What models were asked for, by how it ended.", "operation", "outcome"
        )
        self._running = Gauge(
            "vllm:num_requests_running", "Requests in a model.", ["model_name"], registry=self._registry
        )
        self._answers = self._counter("vllm:request_success", "Answers, by finish reason.", "finished_reason")
        self._prompt = self._counter("vllm:prompt_tokens", "Tokens of prompts.")
        self._generated = self._counter("vllm:generation_tokens", "Tokens of answers.")
        self._queries = self._counter("vllm:prefix_cache_queries", "Tokens of prompts that were looked for.")
        self._hits = self._counter("vllm:prefix_cache_hits", "Tokens of prompts that were cached.")
        self._first_token = self._histogram(
            "vllm:time_to_first_token_seconds", "Time to the first token, without the model's load.", _SECONDS
        )
        self._token_seconds = self._histogram(
            "vllm:request_time_per_output_token_seconds", "Time for each token after the first.", _TOKEN_SECONDS
        )
        self._queued = self._histogram(
            "vllm:request_queue_time_seconds", "Time in the queue, of engines that tell it.", _SECONDS
        )
        self._seconds = self._histogram(
            "vllm:e2e_request_latency_seconds", "Time to the end, without the model's load.", _SECONDS
        )
        self._prompt_sizes = self._histogram("vllm:request_prompt_tokens", "Tokens of each prompt.", _TOKENS)
        self._answer_sizes = self._histogram("vllm:request_generation_tokens", "Tokens of each answer.", _TOKENS)
        self._registry.register(_Pool(pool, waiting))

    def request_began(self) -> None:
        """An HTTP request."""
        self._requests_running.inc()

    def request_ended(self, dialect: str, model: str, ending: str, seconds: float) -> None:
        """The end of an HTTP request, so many seconds after its head."""
        self._requests_running.dec()
        self._of(self._requests, model, dialect, ending).inc()
        self._of(self._requests_seconds, model, dialect).observe(seconds)

    def began(self, model: str) -> None:
        """A model was asked for something; *model* is empty where there is none of the name that was asked for."""
        if model:
            self._of(self._running, model).inc()

    def ended(self, operation: str, model: str, end: RequestEnd) -> None:
        """The model has done it, or not."""
        if model:
            self._of(self._running, model).dec()
        self._of(self._outcomes, model, operation, end.outcome).inc()
        usage, timings, writes = end.usage, end.timings, operation in ("generate", "chat")
        if usage is not None:
            self._of(self._prompt, model).inc(usage.prompt_tokens)
            self._of(self._prompt_sizes, model).observe(usage.prompt_tokens)
            if writes:
                self._of(self._generated, model).inc(usage.completion_tokens)
                self._of(self._answer_sizes, model).observe(usage.completion_tokens)
                self._of(self._queries, model).inc(usage.prompt_tokens)
                self._of(self._hits, model).inc(usage.cached_tokens)
        if end.finish_reason is not None:
            self._of(self._answers, model, _REASONS.get(end.finish_reason, end.finish_reason)).inc()
        if timings.first_token is not None and writes:
            self._of(self._first_token, model).observe(timings.first_token)
        if timings.queued is not None:
            self._of(self._queued, model).observe(timings.queued)
        if end.outcome == "finished" and timings.total is not None:
            self._of(self._seconds, model).observe(timings.total)
            if writes and usage is not None and usage.completion_tokens > 1 and timings.first_token is not None:
                each = (timings.total - timings.first_token) / (usage.completion_tokens - 1)
                self._of(self._token_seconds, model).observe(each)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _of(self, figure: Any, *labels: str) -> Any:
        """``figure.labels(*labels)``."""
        found = self._known.get((figure, labels))
        if found is None:
            found = self._known[figure, labels] = figure.labels(*labels)
        return found

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, ["model_name", *labels], registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(name, what, ["model_name", *labels], buckets=tuple(buckets), registry=self._registry)


class _Pool(Collector):
    """The loaded models, read when they are asked for."""

    def __init__(self, pool: ModelPool, waiting: Callable[[], Mapping[str, int]]) -> None:
        self._pool = pool
        self._waiting = waiting

    def collect(self) -> Iterator[GaugeMetricFamily]:
        memory = GaugeMetricFamily("llamaforge_model_memory_bytes", "Memory of loaded models.", labels=["model_name"])
        inside = GaugeMetricFamily("llamaforge_model_requests", "Requests that hold a model.", labels=["model_name"])
        for model in self._pool.loaded():
            if model.memory is not None:
                memory.add_metric([model.name], model.memory.total)
            inside.add_metric([model.name], model.requests)
        waiting = GaugeMetricFamily(
            "vllm:num_requests_waiting", "Requests that wait for a model to be loaded.", labels=["model_name"]
        )
        for name, count in self._waiting().items():
            waiting.add_metric([name], count)
        yield memory
        yield inside
        yield waiting
