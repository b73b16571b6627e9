"""The echo backend's engine is itself: what it was asked for shows in the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llamaforge.backends.echo import EchoBackend
from llamaforge.errors import GenerationTimeoutError

from .base import ASK, Boundary

_SHAPES = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty")
"""All probability is on the next word, so whatever reshapes the distribution leaves it there."""


@contextmanager
def open_echo(name: str, folder: Path) -> Iterator[Boundary]:
    """The echo backend."""
    with EchoBackend() as backend:
        backend.load_model("anything")
        yield _Echo(backend)


class _Echo(Boundary):
    def __init__(self, backend: EchoBackend) -> None:
        super().__init__(backend)
        self._events = 0
        stream = backend.stream

        def counted(request: Any, cancellation: Any) -> Any:
            for event in stream(request, cancellation):
                self._events += 1
                yield event

        backend.stream = counted  # type: ignore[method-assign]

    def work(self) -> int:
        return self._events

    def honours(self, name: str) -> None:
        if name in _SHAPES or name == "repetition_penalty":
            result = self.answer(**ASK[name])
            assert result == "one two three"
            assert result.parameters[name] == ASK[name][name]
        else:
            super().honours(name)

    def honours_max_tokens(self) -> None:
        result = self.backend.generate("one two three four", max_tokens=3)
        assert (result, result.finish_reason) == ("one two three", "length")

    def honours_stop(self) -> None:
        result = self.answer(stop=["tw"])
        assert (result, result.finish_reason, result.stop) == ("one ", "stop", "tw")

    def honours_logprobs(self) -> None:
        assert [entry.logprob for entry in self.answer(logprobs=True).logprobs] == [0.0] * 3

    def honours_top_logprobs(self) -> None:
        result = self.answer(logprobs=True, top_logprobs=2)
        assert [entry.top[0].token for entry in result.logprobs] == ["one", " two", " three"]

    def honours_raw(self) -> None:
        assert self.answer(raw=True) == "one two three"
        assert self.backend.render("  x", parameters={"raw": True}) == "  x"

    def honours_timeout(self) -> None:
        with EchoBackend() as slow:
            slow.load_model("anything", {"delay": 0.05})
            with pytest.raises(GenerationTimeoutError):
                slow.generate("one two three four five six seven eight", timeout=0.01)
