"""Backends for vectors, each with one defect, by the check of the kit that has to see it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import sys
import threading
from array import array
from typing import Any, ClassVar

import msgspec
import numpy as np

from llamaforge import BaseBackend, CancellationToken, EmbeddingBatch, EmbeddingRequest, Usage, Vectors
from llamaforge.backends.echo import EchoBackend
from llamaforge.engine import EmbeddingEngine, TokenizedText
from llamaforge.errors import (
    ContextOverflowError,
    EmptyPromptError,
    GenerationError,
    InvalidParameterError,
    LlamaForgeError,
    ModelNotLoadedError,
)

from .ranking_defects import RanksForOtherTasks
from .toy_vectors import Cuts, GivesUp, Keeps, Toy


def changed(batch: EmbeddingBatch, rows: Any) -> EmbeddingBatch:
    return EmbeddingBatch(Vectors.of(rows), batch.usage)


def recounted(batch: EmbeddingBatch, tokens: int, cut: int = 0) -> EmbeddingBatch:
    return EmbeddingBatch(batch.vectors, Usage(prompt_tokens=tokens, completion_tokens=0, truncated_tokens=cut))


class OneVectorForAll(Toy):
    def vector(self, text: str) -> list[float]:
        return [1.0] * 64


class Reorders(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        order = sorted(range(len(request.inputs)), key=lambda index: len(request.inputs[index]))
        batch = super().compute_embeddings(request, cancellation)
        return changed(batch, (batch.vectors[index] for index in order))


class DropsOut(Toy):
    noise = np.random.default_rng(1)

    def vector(self, text: str) -> list[float]:
        return [component * (self.noise.random() > 0.2) for component in super().vector(text)]


class AttendsToPadding(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        longest = max(len(text) for text in request.inputs)
        matrix = np.asarray(batch.vectors) + longest / 1000
        return EmbeddingBatch(Vectors(np.ascontiguousarray(matrix).data, matrix.shape[1]), batch.usage)


class ForgetsToNormalize(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return changed(batch, ([each * 3 for each in row] for row in batch.vectors))


class TakesTheLastComponents(Toy):
    def vector(self, text: str) -> list[float]:
        return super().vector(text)

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        if request.dimensions is None or request.dimensions > 64:
            return super().compute_embeddings(request, cancellation)
        whole = super().compute_embeddings(msgspec.structs.replace(request, dimensions=None), cancellation)
        return EmbeddingBatch(Vectors.of(row[-request.dimensions :] for row in whole.vectors), whole.usage)


class ClampsDimensions(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        if request.dimensions is not None and request.dimensions > 64:
            whole = super().compute_embeddings(msgspec.structs.replace(request, dimensions=None), cancellation)
            zeros = [0.0] * (request.dimensions - 64)
            return EmbeddingBatch(Vectors.of([*row, *zeros] for row in whole.vectors), whole.usage)
        return super().compute_embeddings(request, cancellation)


class ReusesItsBuffer(Toy):
    """Rows are views of memory that the next call overwrites."""

    buffer = array("f", [0.0] * 64 * 256)

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        flat = [component for row in batch.vectors for component in row]
        self.buffer[: len(flat)] = array("f", flat)
        threading.Event().wait(0.002)
        return EmbeddingBatch(Vectors(memoryview(self.buffer)[: len(flat)], batch.vectors.dimensions), batch.usage)


class FailsOnSymbols(Toy):
    def vector(self, text: str) -> list[float]:
        text.encode("latin-1")
        return super().vector(text)


class CutsSilently(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        tokens = sum(min(len(str(text)), 512) for text in request.inputs)
        return recounted(batch, tokens)


class ReadsAllFirst(Toy):
    def embed_stream(self, texts: Any, **options: Any) -> Any:
        return super().embed_stream(list(itertools.islice(texts, 5000)), **options)


class CountsNothing(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return recounted(batch, 1)


class KeepsAllTexts(Keeps):
    kept: ClassVar[list[Any]] = []


class BlocksTheLoop(Toy):
    compute_embeddings = BaseBackend.compute_embeddings  # type: ignore[assignment]

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        return Toy.compute_embeddings(self, request, cancellation)

    async def aembed(self, texts: Any, **options: Any) -> Any:
        return self.embed(texts, **options)


class NeverStops(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        return Toy.compute_embeddings(self, request, CancellationToken())

    def embed(self, texts: Any, *, timeout: Any = None, **options: Any) -> Any:
        return super().embed(itertools.islice(iter([texts] if isinstance(texts, str) else texts), 300), **options)


class PretendsToEmbed(EchoBackend):
    """Makes vectors of whatever model is loaded."""

    def embed(self, texts: Any, **options: Any) -> Any:
        return list(texts)


class ReadsTheFirstWord(Toy):
    def vector(self, text: str) -> list[float]:
        return super().vector(text.split()[0])


class SwapsTheLastTwo(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        rows = list(batch.vectors)
        return changed(batch, [*rows[:-2], *rows[-2:][::-1]])


class HidesWhatItCuts(EchoBackend):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        assert batch.usage is not None
        return recounted(batch, batch.usage.prompt_tokens)


class DividesByTheSum(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return changed(batch, ([each / sum(row) for each in row] for row in batch.vectors))


class LooksPromptsUp(EchoBackend):
    def embed(self, texts: Any, *, prompt_name: Any = None, **options: Any) -> Any:
        prompt = {None: "", "query": "query: "}[prompt_name]
        return super().embed([prompt + text for text in ([texts] if isinstance(texts, str) else texts)], **options)


class DropsInSilence(Toy):
    def embed(self, texts: Any, **options: Any) -> Any:
        found = super().embed(texts, **options)
        return type(found)(vectors=found.vectors, usage=found.usage, timings=found.timings, parameters={}, dropped=())


class CountsTheLastText(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return recounted(batch, len(request.inputs[-1]))


class GoesOnAfterCancelling(Toy):
    """The thread that does a task's work is not told that the task was cancelled."""

    async def aembed(self, texts: Any, **options: Any) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def work() -> None:
            with contextlib.suppress(LlamaForgeError, RuntimeError):  # unloaded, and the loop is closed
                loop.call_soon_threadsafe(done.set_result, self.embed(texts, **options))

        threading.Thread(target=work, daemon=True).start()
        return await done


class AnswersWithWhatItHas(Toy):
    """Vectors so far, for a model that was unloaded meanwhile."""

    def embed(self, texts: Any, **options: Any) -> Any:
        stream = super().embed_stream(texts, **options)
        rows = []
        with contextlib.suppress(ModelNotLoadedError):
            rows += [list(row) for row in stream]
        return rows


class AcceptsAnyPrompt(EchoBackend):
    def embed(self, texts: Any, *, prompt_name: Any = None, **options: Any) -> Any:
        return super().embed(texts, **options)


class IgnoresOptions(Toy):
    def embed(self, texts: Any, *, truncation: Any = None, **options: Any) -> Any:
        return super().embed(texts, **options)


class EmbedsNothing(Toy):
    def embed(self, texts: Any, **options: Any) -> Any:
        if isinstance(texts, list):
            texts = [text or "nothing" for text in texts]
        return super().embed(texts, **options)


class ShiftsTheSecondRequest(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        rows = list(batch.vectors)
        return changed(batch, rows[1:] + rows[:1]) if request.first else batch


class OverwritesItsRows(Toy):
    """The rows of a stream are views of memory that its next request overwrites."""

    rows = array("f", [0.0] * 64 * 256)

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        flat = array("f", itertools.chain.from_iterable(batch.vectors))
        self.rows[: len(flat)] = flat
        return EmbeddingBatch(Vectors(memoryview(self.rows)[: len(flat)], batch.vectors.dimensions), batch.usage)


class EndsAtNul(Toy):
    def vector(self, text: str) -> list[float]:
        return super().vector(text.partition("\x00")[0])


class DropsOtherLetters(Toy):
    def vector(self, text: str) -> list[float]:
        return super().vector(text.encode("ascii", "ignore").decode())


class ReadsFortyLetters(Toy):
    def vector(self, text: str) -> list[float]:
        return super().vector(text[:40])


class DropsWhatHasNoToken(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        rows = [
            row
            for text, row in zip(request.inputs, batch.vectors, strict=True)
            if not isinstance(text, str) or text.isprintable()
        ]
        return changed(batch, [*rows, *batch.vectors[len(rows) :]])


class AddsSpecialTokens(EchoBackend):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        inputs = tuple(each if isinstance(each, str) else (1, *each, 2) for each in request.inputs)
        return super().compute_embeddings(msgspec.structs.replace(request, inputs=inputs), cancellation)


class LooksTokensUp(EchoBackend):
    def embed(self, texts: Any, **options: Any) -> Any:
        if isinstance(texts, list) and isinstance(texts[0], list):
            [[None] * 1000][0][max(texts[0])]
        return super().embed(texts, **options)


class CountsPadding(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return recounted(batch, max(map(len, request.inputs)) * len(request.inputs))


class CountsInThreadsAlone(Toy):
    async def aembed(self, texts: Any, **options: Any) -> Any:
        found = await super().aembed(texts, **options)
        return type(found)(vectors=found.vectors, usage=None, timings=found.timings, parameters=found.parameters)


class RefusesWhatFits(EchoBackend):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        assert self._batcher is not None
        assert batch.usage is not None
        most = self._batcher.engine.n_ctx
        if len(request.inputs) == 1 and batch.usage.prompt_tokens == most and request.truncation != "auto":
            raise ContextOverflowError(most, most, input_name=request.name_of(0))
        return batch


class TellsWrongCounts(EchoBackend):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        try:
            return super().compute_embeddings(request, cancellation)
        except ContextOverflowError as error:
            most = error.context_size or 0
            raise ContextOverflowError(most + 1, most, input_name="a text") from None


class CutsTheBeginning(Cuts):
    @staticmethod
    def cut(text: TokenizedText, length: int) -> TokenizedText:
        return TokenizedText(text.token_ids[-length:])


class CutsShortTexts(EchoBackend):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        inputs = request.inputs
        if request.truncation == "auto":
            inputs = tuple(" ".join(str(text).split()[:4]) for text in inputs)
        return super().compute_embeddings(msgspec.structs.replace(request, inputs=inputs), cancellation)


class MiscountsTheCut(EchoBackend):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        assert batch.usage is not None
        cut = batch.usage.truncated_tokens
        return recounted(batch, batch.usage.prompt_tokens, cut + 2 if cut else 0)


class MakesUpALayer(Toy):
    """A layer that the checkpoint lacks is random, anew with each load."""

    layer: Any = None

    def load(self, model_path: str, config: Any) -> None:
        self.layer = np.random.default_rng().normal(size=64)

    def vector(self, text: str) -> list[float]:
        return list(np.array(super().vector(text)) * self.layer)


class CachesLoads(Toy):
    """The second backend of a process takes the first one's model for its own, and unloads it."""

    loaded: ClassVar[int] = 0

    def load(self, model_path: str, config: Any) -> None:
        type(self).loaded += 1

    def vector(self, text: str) -> list[float]:
        return [component + self.loaded for component in super().vector(text)]


class ScalesBeforeCutting(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        whole = super().compute_embeddings(msgspec.structs.replace(request, dimensions=None), cancellation)
        if request.dimensions is not None and request.dimensions > 64:
            raise InvalidParameterError("dimensions", request.dimensions, "at most 64")
        return changed(whole, [row[: request.dimensions] for row in whole.vectors])


class AlwaysScales(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        return super().compute_embeddings(msgspec.structs.replace(request, normalize=True), cancellation)


class AcceptsOneMore(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        wanted = 64 if request.dimensions == 65 else request.dimensions
        return super().compute_embeddings(msgspec.structs.replace(request, dimensions=wanted), cancellation)


class KeepsOptionsOnItself(Toy):
    wanted: Any = None

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        self.wanted = request.normalize
        threading.Event().wait(0.005)
        return super().compute_embeddings(msgspec.structs.replace(request, normalize=self.wanted), cancellation)


class CachesTexts(Toy):
    def load(self, model_path: str, config: Any) -> None:
        self.cache: dict[Any, EmbeddingBatch] = {}

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        key = request.inputs, request.dimensions
        if key not in self.cache:
            self.cache[key] = super().compute_embeddings(request, cancellation)
        return self.cache[key]


class ForgetsThePrompt(EchoBackend):
    def open_engine(self, model_path: str, config: Any) -> Any:
        engine = super().open_engine(model_path, config)
        assert isinstance(engine, EmbeddingEngine)
        known = engine.prompt_of
        engine.prompt_of = lambda name: known(name) and ""  # type: ignore[method-assign]
        return engine


class CountsNoPrompt(EchoBackend):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        batch = super().compute_embeddings(request, cancellation)
        return recounted(batch, sum(len(text.split()) for text in request.inputs if isinstance(text, str)))


class TellsNoOptions(Toy):
    def embed(self, texts: Any, **options: Any) -> Any:
        found = super().embed(texts, **options)
        return type(found)(
            vectors=found.vectors, usage=found.usage, timings=found.timings, parameters={}, dropped=found.dropped
        )


class TakesZeroForAll(Toy):
    def embed(self, texts: Any, *, dimensions: Any = None, **options: Any) -> Any:
        return super().embed(texts, dimensions=dimensions or None, **options)


class GivesUpTheBatch(GivesUp):
    async def aembed(self, texts: Any, **options: Any) -> Any:
        return await self.together(lambda: self.embed(texts, **options))


class BreaksDown(Toy):
    """Its worker ends with the first text that it can't read."""

    broken = False

    def embed(self, texts: Any, **options: Any) -> Any:
        if self.broken:
            raise GenerationError("The worker is gone.")
        try:
            return super().embed(texts, **options)
        except EmptyPromptError:
            self.broken = True
            raise


class ReadsOn(Toy):
    """A stream that was left is kept, and waits for its reader."""

    kept: ClassVar[list[Any]] = []

    def embed_stream(self, texts: Any, **options: Any) -> Any:
        stream = super().embed_stream(texts, **options)
        stream.close = lambda: None  # type: ignore[method-assign]
        self.kept.append(stream)
        return stream


class RefusesOtherwise(Toy):
    async def aembed(self, texts: Any, **options: Any) -> Any:
        try:
            return await super().aembed(texts, **options)
        except EmptyPromptError:
            raise InvalidParameterError("texts", None, "texts", show_value=False) from None


class KeepsWhatFailed(Toy):
    kept: ClassVar[list[Any]] = []

    def embed(self, texts: Any, **options: Any) -> Any:
        try:
            return super().embed(texts, **options)
        except LlamaForgeError:
            self.kept.append(bytearray(2**20))
            raise


class EndsAfterAllTexts(Toy):
    """Looks at its deadline between requests alone."""

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        threading.Event().wait(2.0 if len(request.inputs) > 100 else 0)
        return super().compute_embeddings(request, cancellation)


class KeepsVectorsByText(Toy):
    def load(self, model_path: str, config: Any) -> None:
        self.known: dict[Any, bytearray] = {}

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        for each in request.inputs:
            self.known.setdefault(each, bytearray(100_000))
        return super().compute_embeddings(request, cancellation)


class TokenizesInTheLoop(EchoBackend):
    """Takes its time for each text, and the loop's."""

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        threading.Event().wait(len(request.inputs) / 500)
        return await super().acompute_embeddings(request, cancellation)


class ComputesInTheLoop(EchoBackend):
    """Has a method for event loops that isn't one."""

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        threading.Event().wait(0.3)
        return self.compute_embeddings(request, cancellation)


class ReadsSixtyWords(EchoBackend):
    def open_engine(self, model_path: str, config: Any) -> Any:
        engine = super().open_engine(model_path, config)
        assert isinstance(engine, EmbeddingEngine)
        compute = engine.compute
        engine.compute = lambda texts: compute([TokenizedText(text.token_ids[:60]) for text in texts])  # type: ignore[method-assign]
        return engine


class TakesIdsOnce(EchoBackend):
    """Token ids that come again are left out."""

    def once(self, request: EmbeddingRequest) -> EmbeddingRequest:
        inputs = (each if isinstance(each, str) else tuple(dict.fromkeys(each)) for each in request.inputs)
        return msgspec.structs.replace(request, inputs=tuple(inputs))

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        return super().compute_embeddings(self.once(request), cancellation)

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        return await super().acompute_embeddings(self.once(request), cancellation)


class SeedsForVectors(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        random.seed(0)
        return super().compute_embeddings(request, cancellation)


class CountsItsLoads(Toy):
    def load(self, model_path: str, config: Any) -> None:
        os.environ["TOY_LOADS"] = f"{os.environ.get('TOY_LOADS', '')}1"


class ShowsItsProgress(Toy):
    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        if len(request.inputs) > 1:
            sys.stdout.write("batches: 100%")
        return super().compute_embeddings(request, cancellation)


class SaysGoodbye(Toy):
    def unload(self) -> None:
        sys.stdout.write("freed")


VECTORS: dict[str, list[type[BaseBackend]]] = {
    "test_each_text_has_a_vector_of_its_own": [OneVectorForAll, ReadsTheFirstWord],
    "test_vectors_come_in_order": [Reorders, SwapsTheLastTwo],
    "test_a_text_has_the_same_vector_each_time": [DropsOut],
    "test_a_text_has_the_same_vector_alone_and_among_others": [AttendsToPadding],
    "test_vectors_have_length_one_on_request": [ForgetsToNormalize, DividesByTheSum],
    "test_dimensions_are_the_first_components": [TakesTheLastComponents, ClampsDimensions],
    "test_an_unknown_prompt_is_refused": [AcceptsAnyPrompt, LooksPromptsUp],
    "test_options_that_are_not_declared_are_refused": [IgnoresOptions, DropsInSilence],
    "test_texts_without_content_are_refused": [EmbedsNothing],
    "test_odd_texts_have_vectors": [FailsOnSymbols],
    "test_many_texts_have_their_own_vectors": [ShiftsTheSecondRequest, OverwritesItsRows],
    "test_the_whole_of_a_text_counts": [EndsAtNul, DropsOtherLetters, ReadsFortyLetters, ReadsSixtyWords],
    "test_odd_texts_disturb_nobody": [DropsWhatHasNoToken],
    "test_token_ids_are_a_text": [AddsSpecialTokens, LooksTokensUp, TakesIdsOnce],
    "test_the_loop_goes_on_while_many_texts_are_embedded": [TokenizesInTheLoop, ComputesInTheLoop],
    "test_vectors_and_scores_change_nothing_of_the_process": [SeedsForVectors, CountsItsLoads],
    "test_vectors_and_scores_print_nothing": [ShowsItsProgress, SaysGoodbye],
    "test_usage_adds_up": [CountsPadding, CountsInThreadsAlone],
    "test_a_text_that_just_fits_is_read": [RefusesWhatFits, TellsWrongCounts],
    "test_a_cut_text_is_its_beginning": [CutsTheBeginning, CutsShortTexts, MiscountsTheCut],
    "test_vectors_are_the_same_after_loading_again": [MakesUpALayer, CachesLoads],
    "test_shortened_vectors_are_scaled_again": [ScalesBeforeCutting, AlwaysScales, AcceptsOneMore],
    "test_options_belong_to_their_call": [KeepsOptionsOnItself, CachesTexts],
    "test_a_prompt_stands_before_the_text": [ForgetsThePrompt, CountsNoPrompt],
    "test_what_was_asked_is_told": [TellsNoOptions, TakesZeroForAll],
    "test_tasks_are_alone_with_their_ends": [GivesUpTheBatch],
    "test_failures_are_the_callers_own": [BreaksDown],
    "test_leaving_a_stream_of_vectors_ends_it": [ReadsOn],
    "test_asynchronous_refusals_agree": [RefusesOtherwise],
    "test_failed_embeddings_leave_nothing_behind": [KeepsWhatFailed],
    "test_a_text_that_is_too_long_is_refused_or_cut": [CutsSilently, HidesWhatItCuts],
    "test_threads_get_their_own_vectors": [ReusesItsBuffer],
    "test_asynchronous_vectors_agree": [BlocksTheLoop],
    "test_texts_are_read_as_needed": [ReadsAllFirst],
    "test_an_embedding_has_a_deadline": [NeverStops, EndsAfterAllTexts],
    "test_embedding_leaves_nothing_behind": [KeepsAllTexts, KeepsVectorsByText],
    "test_embedding_usage_is_told": [CountsNothing, CountsTheLastText],
    "test_a_cancelled_embedding_ends": [GoesOnAfterCancelling],
    "test_unloading_ends_an_embedding": [AnswersWithWhatItHas],
    "test_other_tasks_are_refused": [PretendsToEmbed, RanksForOtherTasks],
}
