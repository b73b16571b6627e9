"""Figures for Prometheus. Names follow vLLM's where there is one, so that existing dashboards find them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from llamaforge.arriving import arriving
from llamaforge.pool import ModelPool
from llamaforge.results import Timings, Usage

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Counted:
    """One request, as it is counted."""

    def __init__(self, metrics: Metrics, dialect: str) -> None:
        self._metrics = metrics
        self.dialect = dialect
        self.model = ""
        self.ending = "finished"
        self.arrival: arriving | None = None
        """The same request, as observers see it while it has reached no model."""
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def asks_for(self, model: str) -> None:
        """The client asks for that model, whether or not there is one of that name."""
        if self.arrival is not None:
            self.arrival.model = model

    def answered(self, finish_reason: str, usage: Usage | None, timings: Timings | None) -> None:
        """An answer has ended."""
        metrics = self._metrics
        metrics.answers.labels(self.model, finish_reason).inc()
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens
            metrics.prompt_tokens.labels(self.model).inc(usage.prompt_tokens)
            metrics.generation_tokens.labels(self.model).inc(usage.completion_tokens)
            metrics.cached_tokens.labels(self.model).inc(usage.cached_tokens)
        if timings is not None and timings.first_token is not None:
            metrics.first_token.labels(self.model).observe(timings.first_token)


class Metrics:
    """What is counted. Each server has its own registry."""

    def __init__(self, pool: ModelPool) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "llamaforge_requests",
            "Requests, by how they ended.",
            ["dialect", "model", "ending"],
            registry=self.registry,
        )
        self.running = Gauge("llamaforge_requests_running", "Requests under way.", registry=self.registry)
        self.answers = Counter(
            "vllm:request_success",
            "Answers, by finish reason.",
            ["model_name", "finished_reason"],
            registry=self.registry,
        )
        self.prompt_tokens = Counter("vllm:prompt_tokens", "Tokens of prompts.", ["model_name"], registry=self.registry)
        self.generation_tokens = Counter(
            "vllm:generation_tokens", "Tokens of answers.", ["model_name"], registry=self.registry
        )
        self.cached_tokens = Counter(
            "llamaforge_cached_tokens", "Tokens of prompts that were cached.", ["model_name"], registry=self.registry
        )
        self.first_token = Histogram(
            "vllm:time_to_first_token_seconds",
            "Time to the first token.",
            ["model_name"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.duration = Histogram(
            "vllm:e2e_request_latency_seconds",
            "Time to the end of the answer.",
            ["model_name"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Pool(pool))

    @contextlib.contextmanager
    def request(self, dialect: str) -> Iterator[Counted]:
        """Count a request from its beginning to its end."""
        counted = Counted(self, dialect)
        start = time.perf_counter()
        self.running.inc()
        try:
            yield counted
        finally:
            self.running.dec()
            self.requests.labels(dialect, counted.model, counted.ending).inc()
            if counted.ending == "finished":
                self.duration.labels(counted.model).observe(time.perf_counter() - start)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)


class _Pool(Collector):
    """The loaded models, read when they are asked for."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        memory = GaugeMetricFamily("llamaforge_model_memory_bytes", "Memory of loaded models.", labels=["model_name"])
        requests = GaugeMetricFamily("llamaforge_model_requests", "Requests in a model.", labels=["model_name"])
        for model in self._pool.loaded():
            if model.memory is not None:
                memory.add_metric([model.name], model.memory.total)
            requests.add_metric([model.name], model.requests)
        yield memory
        yield requests
