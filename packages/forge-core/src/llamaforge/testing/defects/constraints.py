"""Faults with answers that must have a form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, Finished
from ..fakes.backends import ToyBackend


class ConstrainsGreedyAnswersOnly(ToyBackend):
    """Applies the schema where the best token is taken, and draws from all tokens."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without the schema where it samples."""
        return super().stream(replace(request, response_format=None) if request.temperature else request, cancellation)


class TakesHalfForWhole(ToyBackend):
    """Says stop of JSON that was cut."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With stop for every constrained answer."""
        for event in super().stream(request, cancellation):
            cut = isinstance(event, Finished) and event.finish_reason == "length" and request.response_format
            yield replace(event, finish_reason="stop") if cut else event


class CutsChoices(ToyBackend):
    """Leaves the last letter of a choice out."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With shorter choices."""
        wanted: Any = request.response_format
        if wanted is not None and wanted["type"] == "choice":
            request = replace(request, response_format={"type": "choice", "choice": [c[:-1] for c in wanted["choice"]]})
        return super().stream(request, cancellation)


class SearchesForTheRegex(ToyBackend):
    """Lets a text stand before what the regular expression matches."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With another expression."""
        wanted: Any = request.response_format
        if wanted is not None and wanted["type"] == "regex":
            request = replace(request, response_format={"type": "regex", "regex": f" the {wanted['regex']}"})
        return super().stream(request, cancellation)


class KeepsOneConstraint(ToyBackend):
    """Keeps the format of the first request for the engine."""

    _kept: Any = None

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With the first format."""
        if request.response_format is not None:
            self._kept = self._kept or request.response_format
            request = replace(request, response_format=self._kept)
        return super().stream(request, cancellation)


class ConstrainsTheNextRequest(ToyBackend):
    """Leaves the constraint on for one request more."""

    _left: Any = None

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With what the last request left."""
        left, self._left = self._left, request.response_format
        if left is not None and request.response_format is None and request.grammar is None:
            request = replace(request, response_format=left, stop=None)
        return super().stream(request, cancellation)


class ReadsNoFormats(ToyBackend):
    """Drops a format that it can't read."""

    def generate(self, prompt: str, parameters: Any = None, **more: Any) -> Any:
        """Without it."""
        given = {**(parameters or {}), **more}
        wanted = given.get("response_format")
        if isinstance(wanted, dict) and set(wanted) != {"type", wanted.get("type")}:
            del given["response_format"]
        return super().generate(prompt, given)
