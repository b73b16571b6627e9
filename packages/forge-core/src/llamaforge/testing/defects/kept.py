"""Defects of what is kept on one path alone, and too little to be seen in a few requests of one kind."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar

from ...backends.batch import BatchItem
from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, Finished, GeneratedText
from ..fakes import AsyncToyBackend, ToyBackend
from .entry import ASYNC, Defect, defects_of

LITTLE = 60_000
"""Bytes."""


class KeepsBatchItems(ToyBackend):
    """Keeps something of each item of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []

    def generate_batch(self, *given: Any, **more: Any) -> Iterator[BatchItem]:
        """For a report that nobody asked for."""
        for item in super().generate_batch(*given, **more):
            self.kept.append(bytes(LITTLE))
            yield item


class KeepsItemsOfAsynchronousBatches(ToyBackend):
    """Keeps each item of an asynchronous batch."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[BatchItem] = []

    async def agenerate_batch(self, *given: Any, **more: Any) -> AsyncIterator[BatchItem]:
        """The items themselves."""
        async for item in super().agenerate_batch(*given, **more):
            self.kept.append(item)
            yield item


class KeepsEverySeed(ToyBackend):
    """Keeps a generator for each seed, for all instances."""

    generators: ClassVar[dict[int, bytes]] = {}

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """As if they came again."""
        if request.seed is not None:
            self.generators[request.seed] = bytes(LITTLE)
        return super().stream(request, cancellation)


class KeepsAnswers(ToyBackend):
    """Keeps each answer of generate()."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[GeneratedText] = []

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """The object that the caller gets."""
        answer = super().generate(prompt, parameters, **more)
        self.answers.append(answer)
        return answer


class KeepsContextsOfLoops(AsyncToyBackend):
    """Keeps something of each asynchronous call."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytearray] = []

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """A little."""
        self.kept.append(bytearray(LITTLE))
        async for event in super().astream(request, cancellation):
            yield event


class StartsAThreadForEachBatch(ToyBackend):
    """Has a thread for each batch, which never ends."""

    def generate_batch(self, *given: Any, **more: Any) -> Iterator[BatchItem]:
        """Beside the batch."""
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return super().generate_batch(*given, **more)


class KeepsConversationsThatAreLeft(ToyBackend):
    """Keeps what it computed of a conversation whose answer was left."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """To go on from there."""
        done = False
        try:
            for event in super().stream(request, cancellation):
                done = isinstance(event, Finished)
                yield event
        finally:
            if not done and request.messages:
                self.kept.append(bytes(2 * LITTLE))


class KeepsEverySystemTurn(ToyBackend):
    """Keeps what it read of each system turn, for all conversations that begin so."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, bytes] = {}

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without a bound."""
        for turn in request.messages or ():
            if turn.role == "system":
                self.kept[turn.text] = bytes(2 * LITTLE)
        return super().stream(request, cancellation)


class KeepsWhatItShows(ToyBackend):
    """Keeps each text that it rendered for somebody to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, str] = {}

    def render(self, *given: Any, **more: Any) -> str:
        """Many times over."""
        text: str = super().render(*given, **more)
        return self.kept.setdefault(text, (text + " ") * 300)[: len(text)]


_KEPT = ("test_no_path_leaves_anything_behind",)

DEFECTS: tuple[Defect, ...] = defects_of(
    "kept",
    ("KeepsBatchItems", "keeps something of each batch item", _KEPT),
    ("KeepsItemsOfAsynchronousBatches", "keeps each item of asynchronous batches", _KEPT),
    ("KeepsEverySeed", "keeps something of each seed", _KEPT),
    ("KeepsAnswers", "keeps each answer", _KEPT),
    ("KeepsContextsOfLoops", "keeps something of each asynchronous call", _KEPT, {"sound": ASYNC}),
    ("StartsAThreadForEachBatch", "starts a thread for each batch", _KEPT),
    ("KeepsEverySystemTurn", "keeps each system turn", _KEPT),
    ("KeepsWhatItShows", "keeps what it renders", _KEPT),
    ("KeepsConversationsThatAreLeft", "keeps conversations that were left", _KEPT),
)
