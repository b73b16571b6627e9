"""Vectors: the same for the same text, in order, alone and among others."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from ...embeddings import Embeddings
from ...errors import (
    ContextOverflowError,
    EmptyPromptError,
    GenerationTimeoutError,
    InvalidParameterError,
    RequestError,
    UnsupportedError,
)
from ..expect import Told, comes_true, expect, expect_equal, expect_refusal, together
from ..subject import Subject
from .comparing_vectors import LONG, TEXTS, VectorKit, declares, embed, leaves_nothing_running
from .memory import does_not_grow

ODD: Final = (
    "Grüße aus Köln",
    "你好世界。",
    "👩‍👩‍👧 family",
    "e\u0301 and \u00e9",
    "شكرا",
    "a\x00b",
    "\u200b\u200bzero width",
    "line\nline\r\nline\ttab",
    "\ufeffbyte order mark",
    "<s> </s> [CLS] [SEP] <|im_end|>",
)
_CALLERS: Final = 8
_ROUNDS: Final = 10


class VectorChecks(VectorKit):
    """``embed``, its stream and its asynchronous twins."""

    def test_each_text_has_a_vector_of_its_own(self, subject: Subject) -> None:
        """There is a vector for each text, all of one length, and different texts have different ones.

        Why: a pooling that reads the wrong token gives every text the same vector. Look at: ``compute_embeddings``.
        """
        vectors = embed(subject, TEXTS)
        expect_equal(len(vectors), len(TEXTS), "the number of vectors")
        expect(vectors.vectors.dimensions > 0, "vectors with components", vectors)
        for one, other in itertools.combinations(range(len(TEXTS)), 2):
            self.differ(vectors[one], vectors[other], f"{TEXTS[one]!r} and {TEXTS[other]!r}")

    def test_vectors_come_in_order(self, subject: Subject) -> None:
        """Vectors come in the order of the texts, whatever their lengths.

        Why: batching by length reorders texts. Look at: putting rows back in their places.
        """
        forward, backward = embed(subject, TEXTS), embed(subject, TEXTS[::-1])
        for index, text in enumerate(TEXTS):
            self.same(forward[index], backward[len(TEXTS) - 1 - index], f"the vector of {text!r} in another order")

    def test_a_text_has_the_same_vector_each_time(self, subject: Subject) -> None:
        """A text has the same vector each time.

        Why: stored vectors are compared with new ones. Look at: dropout that is still on; state between calls.
        """
        first = embed(subject, TEXTS[0])
        for _ in range(3):
            self.same(first[0], embed(subject, TEXTS[0])[0], "the vector of a text, asked again")

    def test_a_text_has_the_same_vector_alone_and_among_others(self, subject: Subject) -> None:
        """A text has the same vector alone and among others, within rounding.

        Why: padding that is attended to changes every vector of a batch. Look at: the attention mask; the mean over
        padding; positions that go on from one text to the next.
        """
        among = embed(subject, TEXTS)
        for index, text in enumerate(TEXTS):
            self.same(embed(subject, text)[0], among[index], f"the vector of {text!r} alone and among others")

    def test_vectors_have_length_one_on_request(self, subject: Subject) -> None:
        """``normalize=True`` gives vectors of length 1 and ``False`` the same directions, or is refused.

        Why: searches use the dot product if vectors have length 1. Look at: ``request.normalize``.
        """
        if not declares(subject, "normalize"):
            return
        for vector in embed(subject, TEXTS, normalize=True):
            expect(abs(math.hypot(*vector) - 1) < 1e-3, "a vector of length 1", math.hypot(*vector))
        with contextlib.suppress(UnsupportedError):
            raw = subject.backend.embed(TEXTS, normalize=False)
            for vector, unit in zip(raw, embed(subject, TEXTS, normalize=True), strict=True):
                length = math.hypot(*vector) or 1.0
                self.same([each / length for each in vector], unit, "the direction of a vector")

    def test_dimensions_are_the_first_components(self, subject: Subject) -> None:
        """``dimensions`` gives that many first components; more than there are is refused.

        Why: indexes are made for one length. Look at: ``request.dimensions``; scale after cutting, not before.
        """
        if not declares(subject, "dimensions"):
            return
        whole = embed(subject, TEXTS[0])[0]
        try:
            short = subject.backend.embed(TEXTS[0], dimensions=max(1, len(whole) // 2))
        except InvalidParameterError:  # a model that can't be shortened at all, or not to this
            short = None
        if short is not None:
            expect_equal(short.vectors.dimensions, max(1, len(whole) // 2), "the length of a shortened vector")
            first = list(whole[: short.vectors.dimensions])
            scale = (math.hypot(*short[0]) or 1.0) / (math.hypot(*first) or 1.0)
            self.same([each * scale for each in first], short[0], "the direction of a shortened vector")
        expect_refusal(RequestError, lambda: subject.backend.embed(TEXTS[0], dimensions=10**6), "a million dimensions")

    def test_an_unknown_prompt_is_refused(self, subject: Subject) -> None:
        """A ``prompt_name`` that the model doesn't have is refused.

        Why: a query without its prompt finds less, and nobody notices. Look at: ``request.prompt_name``.
        """
        if declares(subject, "prompt_name"):
            expect_refusal(
                InvalidParameterError,
                lambda: subject.backend.embed("x", prompt_name="no such prompt"),
                "a prompt that the model doesn't have",
            )

    def test_options_that_are_not_declared_are_refused(self, subject: Subject) -> None:
        """An option of ``embed`` that is not declared is refused, or dropped and named on request.

        Why: a shortened vector that isn't shortened breaks an index. Look at: ``embedding`` in the capabilities.
        """
        given: dict[str, Any] = {"dimensions": 1, "normalize": True, "prompt_name": "query", "truncation": "auto"}
        for name in sorted(given.keys() - subject.backend.capabilities.embedding):
            option: Any = {name: given[name]}
            expect_refusal(UnsupportedError, lambda option=option: subject.backend.embed("x", **option), name)  # type: ignore[misc]
            dropped = subject.backend.embed("x", **option, on_unsupported="drop").dropped
            expect_equal(dropped, (name,), "what was dropped")

    def test_texts_without_content_are_refused(self, subject: Subject) -> None:
        """An empty text is refused, with its position; and so is anything that is not a text.

        Why: the vector of an empty text is close to many others. Look at: nothing; the base class checks it, unless
        ``embed`` is yours.
        """
        bad: tuple[Any, ...] = (["fine", ""], ["fine", " \n"], ["fine", None], ["fine", []], b"bytes")
        for texts in bad:
            kinds = (EmptyPromptError, InvalidParameterError)
            error = expect_refusal(kinds, lambda texts=texts: subject.backend.embed(texts), f"{texts!r}")  # type: ignore[misc]
            if isinstance(texts, list):
                expect("[1]" in str(error), "the error to name the second text", error)

    def test_odd_texts_have_vectors(self, subject: Subject) -> None:
        """Any Unicode text has a vector, or a typed refusal.

        Why: documents contain anything. Look at: the tokenizer; texts without a single known token.
        """
        for text in ODD:
            try:
                vectors = subject.backend.embed(["plain", text])
            except RequestError:
                continue
            except Exception as error:  # noqa: BLE001 - a backend may raise anything
                expect(False, f"a vector or a RequestError for {text!r}", error)
            expect_equal(len(vectors), 2, f"the number of vectors with {text!r}")

    def test_a_text_that_is_too_long_is_refused_or_cut(self, subject: Subject) -> None:
        """A text that the model can't read whole is refused, and with ``truncation="auto"`` cut and counted.

        Why: a vector of a document's first page looks like one of the whole document. Look at: ``truncation=True`` of a
        tokenizer; the server's own cutting.
        """
        try:
            whole = subject.backend.embed([LONG], timeout=self.patience)
        except ContextOverflowError as error:
            told = (error.prompt_tokens, error.context_size)
            if None not in told:
                expect(told[0] > told[1], "more tokens than the model reads", told)  # type: ignore[operator]
        except (RequestError, GenerationTimeoutError):
            pass
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            expect(False, "a RequestError for a text of 100,000 words", error)
        else:
            read = whole.usage.prompt_tokens if whole.usage is not None else 10**5
            expect(read >= 10**5, "all words to be read, or the text to be refused", whole.usage)
        if declares(subject, "truncation"):
            cut = subject.backend.embed([LONG, "short"], truncation="auto", timeout=self.patience)
            expect_equal(len(cut), 2, "the number of vectors")
            if cut.usage is not None and not cut.usage.estimated:
                read = cut.usage.prompt_tokens + cut.usage.truncated_tokens
                expect(read >= 10**5, "what was cut off to be counted", cut.usage)

    def test_threads_get_their_own_vectors(self, subject: Subject) -> None:
        """Many threads at once each get the vectors of their own texts.

        Why: servers embed for many users. Look at: shared buffers; rows that are views of memory used again.
        """
        alone = [list(vector) for vector in embed(subject, TEXTS)]
        found: dict[int, Embeddings] = {}

        def ask(caller: int) -> None:
            for _ in range(3):
                found[caller] = subject.backend.embed([TEXTS[caller % len(TEXTS)], TEXTS[(caller + 1) % len(TEXTS)]])

        together(self.patience, [lambda caller=caller: ask(caller) for caller in range(_CALLERS)])  # type: ignore[misc]
        for caller, vectors in found.items():
            for place in range(2):
                wanted = alone[(caller + place) % len(TEXTS)]
                self.same(vectors[place], wanted, f"vector {place} of caller {caller}")

    def test_asynchronous_vectors_agree(self, subject: Subject) -> None:
        """``aembed`` and the streams give what ``embed`` gives, and the loop goes on meanwhile.

        Why: one program uses both. Look at: ``acompute_embeddings``; blocking calls in it.
        """
        known = embed(subject, TEXTS)
        ticks = 0

        async def work() -> tuple[Embeddings, list[Any]]:
            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            try:
                whole = await subject.backend.aembed(TEXTS)
                async with subject.backend.aembed_stream(TEXTS) as stream:
                    return whole, [list(vector) async for vector in stream]
            finally:
                ticking.cancel()

        whole, streamed = self.run_async(work)
        with subject.backend.embed_stream(TEXTS) as stream:
            plain = [list(vector) for vector in stream]
        expect(ticks > 1, "the event loop to go on while vectors are computed", Told("it stood still"))
        for way, vectors in (("aembed", list(whole)), ("aembed_stream", streamed), ("embed_stream", plain)):
            expect_equal(len(vectors), len(TEXTS), f"the number of vectors of {way}")
            for vector, wanted in zip(vectors, known, strict=True):
                self.same(vector, wanted, f"a vector of {way}")

    def test_texts_are_read_as_needed(self, subject: Subject) -> None:
        """With an endless iterator of texts, the first vectors come, and only a bounded number of texts is read ahead.

        Why: texts are read from files larger than memory. Look at: ``list(texts)`` in an ``embed`` of your own.
        """
        read = 0

        def endless() -> Iterator[str]:
            nonlocal read
            for read in itertools.count(1):
                yield TEXTS[read % len(TEXTS)]

        with subject.backend.embed_stream(endless(), timeout=self.patience) as stream:
            next(stream)
        limit = 2 * subject.backend.texts_per_request
        expect(read <= limit, f"at most {limit} texts read for the first vector", read)

    def test_a_cancelled_embedding_ends(self, subject: Subject) -> None:
        """A task that is cancelled leaves no request running, and the next one is served.

        Why: clients leave. Look at: ``cancellation.stopped``; waiting for the engine without a deadline.
        """
        leaves_nothing_running(self, subject, lambda: subject.backend.aembed(itertools.repeat(TEXTS[3])))
        embed(subject, TEXTS[0])

    def test_an_embedding_has_a_deadline(self, subject: Subject) -> None:
        """A deadline that has passed ends the call with GenerationTimeoutError, and the next one is served.

        Why: a stuck engine must not hold its callers. Look at: ``cancellation.remaining()``.
        """
        began = time.perf_counter()
        expect_refusal(
            GenerationTimeoutError,
            lambda: subject.backend.embed(itertools.repeat(TEXTS[3]), timeout=0.05),
            "texts without end in 50 ms",
        )
        took = time.perf_counter() - began
        expect(took < 0.05 + self.grace, f"an end within {self.grace:g} s of the deadline", Told(f"{took:.1f} s"))
        expect_refusal(
            GenerationTimeoutError,
            lambda: asyncio.run(subject.backend.aembed(itertools.repeat(TEXTS[3]), timeout=0.05)),
            "the same in an event loop",
        )
        embed(subject, TEXTS[0])

    def test_embedding_leaves_nothing_behind(self, subject: Subject) -> None:
        """Many calls, each with texts of its own, take no more memory, threads or files than a few.

        Why: an index has millions of texts. Look at: caches of texts; results that keep their batch alive.
        """
        numbers = itertools.count(1000)

        def ask() -> None:
            number = next(numbers)
            embed(subject, [f"{number}: {text}" for text in TEXTS])

        does_not_grow(self, ask, _ROUNDS, "calls of embed")

    def test_embedding_usage_is_told(self, subject: Subject) -> None:
        """Tokens of all texts are counted, and more for longer texts; or usage is None.

        Why: providers bill by it. Look at: the ``usage`` of ``EmbeddingBatch``.
        """
        one, all_of_them = embed(subject, TEXTS[0]), embed(subject, TEXTS)
        if one.usage is None or all_of_them.usage is None:
            expect_equal(one.usage, all_of_them.usage, "usage, which is told always or never")
            return
        expect(0 < one.usage.prompt_tokens < all_of_them.usage.prompt_tokens, "more tokens for more texts", one.usage)
        expect_equal(all_of_them.usage.completion_tokens, 0, "completion_tokens")
        expect(all_of_them.timings.total is not None, "timings", all_of_them.timings)

    def test_unloading_ends_an_embedding(self, subject: Subject) -> None:
        """A model can be unloaded while it is used; its callers get a typed error, and nobody hangs.

        Why: servers swap models. Look at: ``unload`` while ``compute_embeddings`` runs.
        """
        from ...errors import LlamaForgeError

        with self.fresh() as other:
            errors: list[BaseException] = []

            def ask() -> None:
                try:
                    other.backend.embed(itertools.repeat(TEXTS[3]), timeout=self.patience)
                except BaseException as error:  # noqa: BLE001 - it is looked at
                    errors.append(error)

            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
            comes_true(lambda: other.backend.requests_in_flight == 1, self.patience)
            other.backend.unload_model()
            thread.join(self.patience)
            expect(errors and isinstance(errors[0], LlamaForgeError), "a typed error", errors)
