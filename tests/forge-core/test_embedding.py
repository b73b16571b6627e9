"""embed and rerank, on echo and on backends that are written for the test."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge import (
    BackendSpec,
    BaseBackend,
    CancellationToken,
    Capabilities,
    EmbeddingBatch,
    EmbeddingRequest,
    LlamaForge,
    RerankRequest,
    ScoreBatch,
    Usage,
    Vectors,
    get_backend,
)
from llamaforge.errors import (
    ContextOverflowError,
    ContractError,
    EmptyPromptError,
    GenerationError,
    GenerationTimeoutError,
    InvalidParameterError,
    ModelNotLoadedError,
    RequestError,
    UnsupportedError,
)

Loader = Callable[..., BaseBackend]


@pytest.fixture
def load() -> Iterator[Loader]:
    loaded: list[BaseBackend] = []

    def load(task: str = "embed", **parameters: Any) -> BaseBackend:
        backend = get_backend("echo")()
        backend.load_model("m", {"task": task, **parameters})
        loaded.append(backend)
        return backend

    yield load
    for backend in loaded:
        backend.close()


def test_vectors_come_in_the_order_of_the_texts(load: Loader) -> None:
    echo = load()
    texts = [f"text number {number}" for number in range(600)]
    together = echo.embed(texts)
    assert together.vectors.shape == (600, 256)
    assert [list(row) for row in together] == [list(echo.embed(text)[0]) for text in texts[:20]] + [
        list(row) for row in echo.embed(texts[20:])
    ]
    assert np.allclose(np.linalg.norm(np.asarray(together), axis=1), 1)
    assert together.usage == Usage(prompt_tokens=1800, completion_tokens=0)
    assert together.timings.total is not None
    assert together.dropped == ()
    assert len(together) == 600


def test_options_mean_what_they_say(load: Loader) -> None:
    echo = load()
    raw = np.asarray(echo.embed("a b c", normalize=False))
    unit = np.asarray(echo.embed("a b c", normalize=True))
    assert np.allclose(raw / np.linalg.norm(raw), unit)
    short = echo.embed(["a b c d e f g h"], dimensions=100)
    assert short.vectors.shape == (1, 100)
    assert np.linalg.norm(np.asarray(short)) == pytest.approx(1, abs=1e-6)
    assert short.parameters == {"dimensions": 100}
    assert echo.embed("x", prompt_name="query").vectors == echo.embed("query: x").vectors
    assert echo.embed("x").vectors != echo.embed("query: x").vectors


def test_token_ids_are_used_as_they_are(load: Loader) -> None:
    echo = load()
    one = echo.embed([1, 2, 3])
    assert len(one) == 1
    assert one.usage == Usage(prompt_tokens=3, completion_tokens=0)
    both = echo.embed([[1, 2, 3], "and a text", np.array([4, 5])])
    assert len(both) == 3
    assert list(both[0]) == list(one[0])
    with pytest.raises(InvalidParameterError, match="prompt_name"):
        echo.embed([[1]], prompt_name="query")


@pytest.mark.parametrize(
    ("texts", "error", "match"),
    [
        ("", EmptyPromptError, "texts is empty"),
        (["a", " \n"], EmptyPromptError, r"texts\[1\] is empty"),
        (["a", []], EmptyPromptError, r"texts\[1\] has no tokens"),
        (["a", "\ud800"], InvalidParameterError, r"texts\[1\].*surrogate"),
        (["a", None], InvalidParameterError, r"texts\[1\]"),
        (["a", [1, "b"]], InvalidParameterError, r"texts\[1\]"),
        (["a", [True]], InvalidParameterError, r"texts\[1\]"),
        (["a", [-1]], InvalidParameterError, r"texts\[1\]"),
        (b"bytes", InvalidParameterError, "texts must be"),
        ({"a": 1}, InvalidParameterError, "texts must be"),
        (5, InvalidParameterError, "texts must be"),
    ],
)
def test_a_text_that_is_none_is_named(load: Loader, texts: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        load().embed(texts)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dimensions": 0}, "dimensions must be a whole number"),
        ({"dimensions": 257}, "at most 256"),
        ({"dimensions": True}, "dimensions"),
        ({"normalize": "yes"}, "normalize must be true or false"),
        ({"prompt_name": "quary"}, "'document', 'query'"),
        ({"truncation": "end"}, "truncation"),
        ({"timeout": 0}, "timeout must be a number above 0"),
        ({"timeout": "soon"}, "timeout"),
        ({"on_unsupported": "ignore"}, "on_unsupported"),
    ],
)
def test_a_wrong_option_is_named(load: Loader, options: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidParameterError, match=match):
        load().embed("text", **options)


def test_a_text_that_is_too_long_is_refused_or_cut(load: Loader) -> None:
    echo = load(n_ctx=4)
    with pytest.raises(ContextOverflowError, match=r"texts\[1\] has 6 tokens.*at most 4") as caught:
        echo.embed(["a b", "1 2 3 4 5 6"])
    assert (caught.value.prompt_tokens, caught.value.context_size, caught.value.input_name) == (6, 4, "texts[1]")
    cut = echo.embed(["a b", "1 2 3 4 5 6"], truncation="auto")
    assert cut.usage == Usage(prompt_tokens=6, completion_tokens=0, truncated_tokens=2)
    assert list(cut[1]) == list(echo.embed("1 2 3 4")[0])


def test_no_texts_give_no_vectors(load: Loader) -> None:
    empty = load().embed([])
    assert len(empty) == 0
    assert empty.vectors.shape == (0, 0)
    assert empty.usage == Usage(prompt_tokens=0, completion_tokens=0)


def test_any_number_of_texts_takes_constant_memory(load: Loader) -> None:
    echo = load()
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for read in itertools.count(1):
            yield f"text {read}"

    with echo.embed_stream(texts()) as stream:
        for _ in range(1000):
            next(stream)
        assert read < 1000 + 2 * echo.texts_per_request
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(5000):
                next(stream)
            assert tracemalloc.get_traced_memory()[0] - before < 2_000_000  # all vectors take 5 MB
        finally:
            tracemalloc.stop()
    assert echo.requests_in_flight == 0
    with pytest.raises(StopIteration):
        next(stream)
    with pytest.raises(GenerationError, match="closed"):
        stream.read()


def test_the_asynchronous_calls_say_the_same(load: Loader) -> None:
    echo = load()
    texts = [f"text number {number}" for number in range(300)]

    async def main() -> tuple[Any, list[Any]]:
        vectors, other = await asyncio.gather(echo.aembed(texts), echo.aembed(texts[::-1]))
        assert other.vectors == echo.embed(texts[::-1]).vectors
        async with echo.aembed_stream(texts) as stream:
            return vectors, [list(row) async for row in stream]

    vectors, rows = asyncio.run(main())
    assert vectors.vectors == echo.embed(texts).vectors
    assert rows == [list(row) for row in vectors]


def test_a_ranking_has_the_best_first(load: Loader) -> None:
    echo = load("rerank")
    documents = ["nothing of it", "the red fox", "a red fox runs", "a fox"]
    ranking = echo.rerank("a red fox", documents)
    assert [document.index for document in ranking] == [2, 1, 3, 0]  # equal scores keep their order
    assert [document.document for document in ranking[:1]] == ["a red fox runs"]
    assert all(0 <= document.score <= 1 for document in ranking)
    assert ranking.usage == Usage(prompt_tokens=24, completion_tokens=0)
    assert [each.index for each in echo.rerank("a red fox", iter(documents), top_n=2)] == [2, 1]
    assert asyncio.run(echo.arerank("a red fox", documents)).documents == ranking.documents
    many = [f"word{number}" for number in range(700)]
    assert echo.rerank("word650", many)[0].index == 650
    assert len(echo.rerank("q", [])) == 0


@pytest.mark.parametrize(
    ("query", "documents", "options", "match"),
    [
        ("", ["a"], {}, "query is empty"),
        (5, ["a"], {}, "query must be a string"),
        ("q", "document", {}, r"pass \[document\]"),
        ("q", ["a", ""], {}, r"documents\[1\] is empty"),
        ("q", ["a", 5], {}, r"documents\[1\] must be a string"),
        ("q", ["a"], {"top_n": 0}, "top_n"),
        ("q", ["a"], {"top_n": True}, "top_n"),
        ("q", ["a"], {"truncation": "start"}, "truncation"),
        ("a b", ["c d e"], {}, r"documents\[0\] with the query has 5 tokens.*at most 4"),
    ],
)
def test_a_wrong_ranking_is_refused(load: Loader, query: Any, documents: Any, options: Any, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        load("rerank", n_ctx=4).rerank(query, documents, **options)
    assert load("rerank", n_ctx=4).rerank("a b", ["c d e"], truncation="auto").usage == Usage(
        prompt_tokens=4, completion_tokens=0, truncated_tokens=1
    )


def test_a_task_that_is_not_declared_is_refused_by_name_before_any_work(load: Loader) -> None:
    def never() -> Iterator[str]:
        raise AssertionError("read")
        yield ""

    with pytest.raises(UnsupportedError, match=r"embeddings \(task embed\).*The model is loaded for generate"):
        load("generate").embed(never())
    with pytest.raises(
        UnsupportedError,
        match=r"reranking \(task rerank\).*loaded for embed. .*or this one with task='rerank'",
    ):
        load("embed").rerank("q", never())
    with pytest.raises(UnsupportedError, match=r"generating text \(task generate\).*loaded for embed"):
        load("embed").generate("hi")
    with pytest.raises(UnsupportedError, match="generating text"):
        load("rerank").render("hi")
    with pytest.raises(UnsupportedError, match="embeddings"):
        asyncio.run(load("rerank").aembed(never()))
    with pytest.raises(ModelNotLoadedError):
        get_backend("echo")().embed("x")


def test_named_models_have_the_calls() -> None:
    with LlamaForge() as forge:
        forge.add_model("vectors", "m", backend="echo", parameters={"task": "embed"})
        forge.add_model("scores", "m", backend="echo", parameters={"task": "rerank"})
        forge.load_model("vectors")
        forge.load_model("scores")
        assert forge.embed("x", model="vectors").vectors.shape == (1, 256)
        assert forge.rerank("x", ["y", "x"])[0].index == 1
        with forge.embed_stream(["x"], model="vectors") as stream:
            assert len(list(stream)) == 1

        async def main() -> None:
            assert (await forge.aembed("x", model="vectors")).vectors == forge.embed("x", model="vectors").vectors
            assert len([row async for row in forge.aembed_stream(["a", "b"], model="vectors")]) == 2
            assert (await forge.arerank("x", ["y", "x"]))[0].index == 1

        asyncio.run(main())
        with pytest.raises(UnsupportedError):
            forge.embed("x")


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def capabilities(**more: Any) -> Capabilities:
    return Capabilities(tasks=frozenset({"embed", "rerank"}), embedding=frozenset({"dimensions"}), **more)


class Own(BaseBackend):
    """Vectors of the author's own making: one dimension, the text's length."""

    spec = BackendSpec(name="own", target="m:Own", config="m:C", summary="", capabilities=capabilities())
    step: Callable[[CancellationToken], Any] = staticmethod(lambda token: None)

    def load(self, model_path: str, config: Any) -> None: ...

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        given = type(self).step(cancellation)
        rows = [[float(len(text))] for text in request.inputs]
        return given if isinstance(given, EmbeddingBatch) else EmbeddingBatch(Vectors.of(rows))

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        given = type(self).step(cancellation)
        return given if isinstance(given, ScoreBatch) else ScoreBatch([len(text) for text in request.documents])


class OwnAsync(Own):
    """The same, asynchronous alone."""

    compute_embeddings = BaseBackend.compute_embeddings  # type: ignore[assignment]
    compute_scores = BaseBackend.compute_scores  # type: ignore[assignment]

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        await asyncio.sleep(0)
        return Own.compute_embeddings(self, request, cancellation)

    async def acompute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        await asyncio.sleep(0)
        return Own.compute_scores(self, request, cancellation)


Ask = Callable[[BaseBackend], Any]
ASKS: list[Ask] = [
    lambda backend: backend.embed(["ab"], timeout=60),
    lambda backend: asyncio.run(backend.aembed(["ab"], timeout=60)),
    lambda backend: backend.rerank("q", ["ab"], timeout=60),
    lambda backend: asyncio.run(backend.arerank("q", ["ab"], timeout=60)),
]


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("kind", [Own, OwnAsync])
def test_both_kinds_of_author_serve_both_kinds_of_caller(
    kind: type[Own], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(kind, "step", staticmethod(lambda token: seen.append(variable.get("unset"))))
    token = variable.set("the caller's")
    try:
        backend = kind()
        assert not backend.is_basic
        backend.load_model("m")
        result = ask(backend)
    finally:
        variable.reset(token)
    assert seen == ["the caller's"]
    assert result.usage is None
    assert len(result) == 1


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("kind", [Own, OwnAsync])
def test_what_an_author_raises_is_typed(kind: type[Own], ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(token: CancellationToken) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(kind, "step", staticmethod(fail))
    backend = kind()
    backend.load_model("m")
    with pytest.raises(GenerationError, match=r"'own' failed: KeyError: 'oops'"):
        ask(backend)
    assert backend.requests_in_flight == 0


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (EmbeddingBatch(Vectors()), ContractError, "0 vectors for 1 texts"),
        (EmbeddingBatch(Vectors.of([[1, 2], [3, 4]])), ContractError, "2 vectors for 1 texts"),
        (EmbeddingBatch(Vectors.of([[float("nan")]])), GenerationError, "NaN"),
        (ScoreBatch([]), ContractError, "0 scores for 1 documents"),
        (ScoreBatch([float("nan")]), GenerationError, "NaN"),
    ],
)
def test_what_no_caller_should_get_is_refused(
    given: Any, error: type[Exception], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Own, "step", staticmethod(lambda token: given))
    backend = Own()
    backend.load_model("m")
    ask = ASKS[0] if isinstance(given, EmbeddingBatch) else ASKS[2]
    with pytest.raises(error, match=match):
        ask(backend)


def test_other_dimensions_than_asked_for_are_a_breach(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Own()
    backend.load_model("m")
    with pytest.raises(ContractError, match="1 dimensions instead of 2"):
        backend.embed("text", dimensions=2)


def test_an_option_that_a_backend_lacks_is_refused_or_dropped() -> None:
    backend = Own()
    backend.load_model("m")
    with pytest.raises(UnsupportedError, match="the parameters normalize, truncation"):
        backend.embed("text", normalize=True, truncation="auto")
    dropped = backend.embed("text", normalize=True, on_unsupported="drop")
    assert dropped.dropped == ("normalize",)
    assert dropped.parameters == {}
    with pytest.raises(UnsupportedError, match="truncation"):
        backend.rerank("q", ["d"], truncation="auto")
    assert backend.rerank("q", ["d"], truncation="auto", on_unsupported="drop").dropped == ("truncation",)


@pytest.mark.parametrize(
    "ask",
    [
        lambda backend: backend.embed(["ab"], timeout=0.05),
        lambda backend: asyncio.run(backend.aembed(["ab"], timeout=0.05)),
        lambda backend: backend.rerank("q", ["ab"], timeout=0.05),
        lambda backend: asyncio.run(backend.arerank("q", ["ab"], timeout=0.05)),
    ],
)
@pytest.mark.parametrize("kind", [Own, OwnAsync])
def test_the_deadline_ends_the_wait(kind: type[Own], ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def stuck(token: CancellationToken) -> None:
        while not token.stopped:
            ended.wait(0.001)
        ended.set()

    monkeypatch.setattr(kind, "step", staticmethod(stuck))
    backend = kind()
    backend.load_model("m")
    with pytest.raises(GenerationTimeoutError, match="fewer or shorter texts"):
        ask(backend)
    assert ended.wait(30)


def test_a_cancelled_task_stops_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    started, stopped = threading.Event(), threading.Event()

    def work(token: CancellationToken) -> None:
        started.set()
        while not token.stopped:
            stopped.wait(0.001)
        stopped.set()

    monkeypatch.setattr(Own, "step", staticmethod(work))
    backend = Own()
    backend.load_model("m")

    async def main() -> None:
        task = asyncio.create_task(backend.aembed(["text"]))
        await asyncio.to_thread(started.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert stopped.wait(30)
    assert backend.requests_in_flight == 0


@given(st.lists(st.one_of(st.text(max_size=30), st.lists(st.integers(-1, 2**33), max_size=4)), max_size=8))
def test_any_texts_give_vectors_or_a_typed_error(texts: list[Any]) -> None:
    with get_backend("echo")() as backend:
        backend.load_model("m", {"task": "embed"})
        try:
            assert len(backend.embed(texts)) == (1 if texts and isinstance(texts[0], int) else len(texts))
        except RequestError:
            assert any(not text or isinstance(text, list) or text.isspace() for text in texts) or any(
                0xD800 <= ord(character) < 0xE000 for text in texts for character in text
            )
