"""Observers hear of each request's start and of exactly one end, whichever way it is made and however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llamaforge import (
    BackendSpec,
    BaseBackend,
    Capabilities,
    LlamaForge,
    Message,
    Usage,
    get_backend,
    observers,
    observing,
)
from llamaforge.backends.basic import BasicBackendAdapter
from llamaforge.backends.echo import EchoBackend
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import (
    ContextOverflowError,
    GenerationError,
    GenerationTimeoutError,
    InvalidParameterError,
    ModelNotLoadedError,
    RequestError,
    UnsupportedError,
)
from llamaforge.observers import ObservedRequest, Observer, RequestEnd
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, TextDelta
from support.ear import Ear
from support.forking import in_child
from support.plugins import make_distribution


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    with observers.attach(ear):
        yield ear


@pytest.fixture
def nosy() -> Iterator[Ear]:
    """Wants content, too."""
    ear = Ear(content=True)
    with observers.attach(ear):
        yield ear


SPEC = BackendSpec(
    name="written",
    target="x:X",
    config="x:X",
    summary="",
    capabilities=Capabilities(parameters=frozenset({"max_tokens"})),
)


def _scripted(request: GenerationRequest) -> Iterator[Event]:
    yield TextDelta("one ")
    yield TextDelta("two")
    if request.prompt == "fail":
        raise ValueError("boom")
    yield Finished(finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=2))


class Sync(BaseBackend):
    spec = SPEC

    def load(self, model_path: str, config: Any) -> None:
        """Nothing to open."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        self.headers = cancellation.headers
        return _scripted(request)


class Async(BaseBackend):
    spec = SPEC

    def load(self, model_path: str, config: Any) -> None:
        """Nothing to open."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        self.headers = cancellation.headers
        for event in _scripted(request):
            yield event


class Basic(BaseBackend):
    """The four methods of the reference."""

    def load_model(self, model_path: Any, parameters: Mapping[str, object] | None = None) -> None:
        self._model_path = str(model_path)

    def generate(self, prompt: str, parameters: Mapping[str, object] | None = None) -> str:  # type: ignore[override]
        if prompt == "fail":
            raise ValueError("boom")
        return "one two"

    def generate_stream(self, prompt: str, parameters: Mapping[str, object] | None = None) -> Iterator[str]:  # type: ignore[override]
        yield "one "
        yield "two"
        if prompt == "fail":
            raise ValueError("boom")

    def is_model_loaded(self) -> bool:
        return self._model_path is not None


def make(kind: str) -> BaseBackend:
    made = {
        "echo": EchoBackend,
        "sync": Sync,
        "async": Async,
        "basic": lambda: BasicBackendAdapter(Basic()),
    }[kind]()
    made.load_model("the/model")
    return made


KINDS = pytest.mark.parametrize("kind", ["echo", "sync", "async", "basic"])


@pytest.fixture
def backend(kind: str) -> Iterator[BaseBackend]:
    with contextlib.closing(make(kind)) as made:
        yield made


async def _read(stream: Any) -> None:
    async with stream:
        async for _ in stream:
            pass


WAYS: dict[str, Callable[[BaseBackend, str], object]] = {
    "generate": lambda backend, prompt: backend.generate(prompt),
    "stream": lambda backend, prompt: list(backend.generate_stream(prompt)),
    "async": lambda backend, prompt: asyncio.run(backend.agenerate(prompt)),  # type: ignore[arg-type]
    "async stream": lambda backend, prompt: asyncio.run(_read(backend.agenerate_stream(prompt))),
    "batch": lambda backend, prompt: [item.text for item in list(backend.generate_batch([prompt]))],
}
EACH_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@KINDS
@EACH_WAY
def test_a_finished_request(ear: Ear, backend: BaseBackend, way: Callable[..., Any]) -> None:
    way(backend, "one two")
    request, end = ear.only()
    assert (request.operation, request.backend, request.model) == ("generate", backend.name, "the/model")
    assert (end.outcome, end.error) == ("finished", None)
    assert end.timings.total is not None
    assert end.timings.first_token is not None
    assert 0 < end.timings.first_token <= end.timings.total
    assert end.pieces in (1, 2)
    assert (request.prompt, end.text) == (None, None), "content that nobody asked for"
    if backend.name in ("echo", "written"):
        assert end.finish_reason == "stop"
        assert end.usage is not None
        assert end.usage.completion_tokens == 2


@KINDS
@EACH_WAY
def test_a_failed_request(ear: Ear, backend: BaseBackend, way: Callable[..., Any], monkeypatch: Any) -> None:
    if isinstance(backend, EchoBackend):
        assert backend._engine is not None

        def fail(*_: object) -> None:
            raise ValueError("boom")

        monkeypatch.setattr(backend._engine, "compute", fail)
    with pytest.raises(GenerationError) as caught:
        way(backend, "fail")
    _, end = ear.only()
    assert end.outcome == "failed"
    assert end.error is caught.value
    assert end.timings.total is not None


@KINDS
@EACH_WAY
def test_a_refused_request(ear: Ear, backend: BaseBackend, way: Callable[..., Any]) -> None:
    with pytest.raises(RequestError) as caught:
        way(backend, " ")  # an empty prompt
    request, end = ear.only()
    assert end.outcome == "refused"
    assert end.error is caught.value
    assert request.backend == backend.name


@KINDS
def test_without_a_model_it_is_refused(ear: Ear, kind: str) -> None:
    backend = {"echo": EchoBackend, "sync": Sync, "async": Async}.get(kind, lambda: BasicBackendAdapter(Basic()))()
    with pytest.raises(ModelNotLoadedError):
        backend.generate("hello")
    assert ear.only()[1].outcome == "refused"


def test_a_prompt_that_is_too_long_is_refused(ear: Ear) -> None:
    with contextlib.closing(EchoBackend()) as backend:
        backend.load_model("m", {"n_ctx": 4})
        with pytest.raises(ContextOverflowError):
            backend.generate("a b c d e f g h")
        assert ear.only()[1].outcome == "refused"


def test_a_refused_request_has_the_callers_parameters(ear: Ear) -> None:
    with contextlib.closing(make("echo")) as backend, pytest.raises(InvalidParameterError):
        backend.generate("hello", {"max_tokens": -5})
    assert ear.only()[0].parameters == {"max_tokens": -5}


@KINDS
def test_closing_a_stream_cancels(ear: Ear, backend: BaseBackend) -> None:
    with backend.generate_stream("one two") as stream:
        next(stream)
    _, end = ear.only()
    assert (end.outcome, end.finish_reason, end.pieces) == ("cancelled", "cancelled", 1)
    stream.close()
    del stream
    ear.only()


@KINDS
def test_cancelling_from_outside_is_told_when_the_stream_ends(ear: Ear, backend: BaseBackend) -> None:
    stream = backend.generate_stream("one two")
    next(stream)
    stream.cancel()
    assert list(stream) == []
    assert ear.only()[1].outcome == "cancelled"


@KINDS
def test_a_stream_that_is_closed_unread_was_cancelled(ear: Ear, backend: BaseBackend) -> None:
    backend.generate_stream("one two").close()
    assert ear.only()[1].outcome == "cancelled"


@KINDS
@pytest.mark.parametrize("pieces", [0, 1])
def test_a_dropped_stream_was_abandoned(ear: Ear, backend: BaseBackend, pieces: int) -> None:
    stream = backend.generate_stream("one two")
    for _ in range(pieces):
        next(stream)
    del stream
    gc.collect()
    _, end = ear.only()
    assert (end.outcome, end.pieces) == ("abandoned", pieces)
    assert end.timings.total is not None


@KINDS
def test_a_cancelled_task(ear: Ear, backend: BaseBackend) -> None:
    async def run() -> None:
        read = asyncio.Event()

        async def answer() -> None:
            stream = backend.agenerate_stream("one two")
            await anext(stream)
            read.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(answer())
        await read.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del task
        gc.collect()

    asyncio.run(run())
    assert ear.only()[1].outcome == "abandoned"


def test_a_task_that_is_cancelled_while_it_waits(ear: Ear) -> None:
    entered = threading.Event()
    leave = threading.Event()

    class Stuck(Sync):
        def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
            entered.set()
            assert leave.wait(30)
            yield Finished(finish_reason="stop")

    async def run() -> None:
        task = asyncio.ensure_future(backend.agenerate("hello"))  # type: ignore[arg-type]
        await asyncio.to_thread(entered.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    backend = Stuck()
    backend.load_model("m")
    try:
        asyncio.run(run())
        assert ear.only()[1].outcome == "cancelled"
    finally:
        leave.set()


@KINDS
def test_an_asynchronous_stream_that_is_left(ear: Ear, backend: BaseBackend) -> None:
    async def run() -> None:
        async with backend.agenerate_stream("one two") as stream:
            await anext(stream)

    asyncio.run(run())
    assert ear.only()[1].outcome == "cancelled"


def test_the_deadline_is_a_failure(ear: Ear) -> None:
    with contextlib.closing(EchoBackend()) as backend:
        backend.load_model("m", {"delay": 0.05})
        with pytest.raises(GenerationTimeoutError):
            backend.generate("a b c d e f", timeout=0.01)
    _, end = ear.only()
    assert end.outcome == "failed"
    assert isinstance(end.error, GenerationTimeoutError)


def test_content_is_there_for_those_who_ask_for_it(ear: Ear, nosy: Ear) -> None:
    with contextlib.closing(make("echo")) as backend:
        backend.chat([{"role": "user", "content": "one two"}])
    request, end = nosy.only()
    assert request.operation == "chat"
    assert request.messages == (Message(role="user", content="one two"),)
    assert end.text == "one two"
    without, end = ear.only()
    assert (without.messages, without.prompt, end.text, end.reasoning) == ((), None, None, None)
    assert without.id == request.id


@KINDS
def test_partial_answers_are_content_too(nosy: Ear, backend: BaseBackend) -> None:
    with backend.generate_stream("one two") as stream:
        piece = next(stream)
    request, end = nosy.only()
    assert request.prompt == "one two"
    assert end.text == piece


def test_parameters_in_effect(ear: Ear) -> None:
    with contextlib.closing(make("echo")) as backend:
        answer = backend.generate("hello", {"max_tokens": 7}, on_unsupported="drop", logit_bias={1: 1.0})
    request, end = ear.only()
    assert request.parameters["max_tokens"] == 7
    assert "temperature" in request.parameters
    assert end.parameters == answer.parameters
    assert end.dropped == answer.dropped == ("logit_bias",)


def test_the_named_model_is_told(ear: Ear) -> None:
    with LlamaForge() as forge:
        forge.add_model("mine", "some/path", backend="echo")
        forge.load_model("mine")
        forge.generate("hello")
    assert ear.only()[0].model == "mine"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_vectors(nosy: Ear, ear: Ear, asynchronous: bool) -> None:
    with contextlib.closing(get_backend("echo")()) as backend:
        backend.load_model("m", {"task": "embed"})
        if asynchronous:
            asyncio.run(backend.aembed(["a b", "c"]))  # type: ignore[arg-type]
        else:
            backend.embed(["a b", "c"])
    request, end = nosy.only()
    assert request.operation == "embed"
    assert request.texts == ["a b", "c"]
    assert end.outcome == "finished"
    assert end.usage == Usage(prompt_tokens=3, completion_tokens=0)
    assert ear.only()[0].texts == []


def test_vectors_that_fail_or_are_left(ear: Ear) -> None:
    with contextlib.closing(get_backend("echo")()) as backend:
        backend.load_model("m", {"task": "embed", "n_ctx": 3})
        with pytest.raises(ContextOverflowError):
            backend.embed("a b c d e")
        with pytest.raises(UnsupportedError):
            backend.generate("hello")
        with pytest.raises(InvalidParameterError):
            backend.embed("a", dimensions=0)
        many = [str(number) for number in range(600)]
        with backend.embed_stream(many) as stream:
            next(stream)
        stream = backend.embed_stream(many)
        next(stream)
        del stream
        gc.collect()
        unread = backend.embed_stream(many)
        del unread
        gc.collect()
    assert [end.outcome for _, end in ear.ended] == [
        *("refused", "refused", "refused", "cancelled", "abandoned", "abandoned")
    ]
    assert len(ear.started) == 6


@pytest.mark.parametrize("asynchronous", [False, True])
def test_rankings(nosy: Ear, asynchronous: bool) -> None:
    with contextlib.closing(get_backend("echo")()) as backend:
        backend.load_model("m", {"task": "rerank"})
        if asynchronous:
            asyncio.run(backend.arerank("a", ["a b", "c"]))  # type: ignore[arg-type]
        else:
            backend.rerank("a", ["a b", "c"])
        with pytest.raises(InvalidParameterError):
            backend.rerank("a", "b")
    request, end = nosy.ended[0]
    assert (request.operation, request.prompt, request.texts) == ("rerank", "a", ["a b", "c"])
    assert end.outcome == "finished"
    assert end.usage is not None
    assert [end.outcome for _, end in nosy.ended] == ["finished", "refused"]


def test_each_item_of_a_batch(ear: Ear) -> None:
    with contextlib.closing(make("sync")) as backend:
        items = list(backend.generate_batch(["a", "fail", "b", " "]))
    assert [item.error is None for item in items] == [True, False, True, False]
    assert Counter(end.outcome for _, end in ear.ended) == {"finished": 2, "failed": 1, "refused": 1}


class Broken(Observer):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def on_start(self, request: ObservedRequest) -> None:
        raise self.error("start")

    def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
        raise self.error("end")


@pytest.mark.parametrize("error", [ValueError, SystemExit, RecursionError, MemoryError])
def test_an_observers_failure_reaches_no_caller(
    ear: Ear, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    class Mine(Broken):
        """A class of its own: what fails is logged once for each."""

    after = Ear()
    with contextlib.closing(make("echo")) as backend, observers.attach(Mine(error)), observers.attach(after):
        assert backend.generate("hello there") == "hello there"
        assert backend.generate("hello there") == "hello there"
    assert len(ear.ended) == len(after.ended) == 2
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "Mine" in warnings[0].getMessage()


def test_ctrl_c_in_an_observer_passes_once_all_have_heard(ear: Ear) -> None:
    after = Ear()
    with contextlib.closing(make("echo")) as backend:
        with (
            observers.attach(Broken(KeyboardInterrupt)),
            observers.attach(after),
            pytest.raises(KeyboardInterrupt),
        ):
            backend.generate("hello")
        assert len(after.started) == len(after.ended) == 1


def test_an_observer_may_ask_the_model_itself() -> None:
    class Asks(Ear):
        def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
            super().on_end(request, end)
            assert backend.generate("again") == "again"

    asks = Asks()
    with contextlib.closing(make("echo")) as backend, observers.attach(asks):
        backend.generate("hello")
    asks.only()


def test_an_end_inside_an_observer_is_told_afterwards() -> None:
    """As where the garbage collector finds a stream just while an observer holds a lock."""

    class Locks(Ear):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()
            self.left: list[Any] = []

        def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
            assert self.lock.acquire(blocking=False), "told again before it was done"
            try:
                self.left.clear()
                super().on_end(request, end)
            finally:
                self.lock.release()

    locks = Locks()
    with contextlib.closing(make("echo")) as backend, observers.attach(locks):
        locks.left.append(backend.generate_stream("dropped"))
        backend.generate("hello")
    assert [end.outcome for _, end in locks.ended] == ["finished", "abandoned"]


def test_who_comes_late_hears_no_end_of_what_it_did_not_see_begin(ear: Ear) -> None:
    late = Ear()
    with contextlib.closing(make("echo")) as backend:
        stream = backend.generate_stream("one two")
        with observers.attach(late):
            observers.detach(ear)
            stream.read()
    ear.only()
    assert (late.started, late.ended) == ([], [])


def test_attaching_and_detaching() -> None:
    ear = Ear()
    before = observers.attached()
    attachment = observers.attach(ear)
    observers.attach(ear)
    assert observers.attached() == [*before, ear]
    with attachment:
        pass
    observers.detach(ear)
    assert observers.attached() == before
    assert ear.closed == 1
    with pytest.raises(InvalidParameterError, match="derived from"):
        observers.attach(object())  # type: ignore[arg-type]


def test_requests_wait_until_the_environments_observers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Ear()
    backend = make("echo")
    other = threading.Thread(target=backend.generate, args=("other",))

    def load(name: str) -> Observer:
        assert backend.generate("its own") == backend.generate("its own")  # what an observer asks is not observed
        other.start()
        other.join(0.2)  # while it waits, as it must, it can't end
        return late

    monkeypatch.setattr(observers, "load", load)
    monkeypatch.setattr(observing, "pending", "late")
    monkeypatch.setattr(observing, "wanted", True)
    try:
        backend.generate("first")
        other.join()
    finally:
        observers.detach(late)
        backend.close()
    assert (len(late.started), len(late.ended)) == (2, 2)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_headers_reach_the_backend(backend: BaseBackend) -> None:
    class Traces(Observer):
        def on_start(self, request: ObservedRequest) -> None:
            request.headers["traceparent"] = "00-1-2-01"

    with observers.attach(Traces()):
        backend.generate("hello")
    assert backend.headers == {"traceparent": "00-1-2-01"}  # type: ignore[attr-defined]
    backend.generate("hello")
    assert backend.headers == {}  # type: ignore[attr-defined]


def test_a_forked_child_tells_nothing_of_its_parents_requests(ear: Ear) -> None:
    with contextlib.closing(make("sync")) as backend:
        stream = backend.generate_stream("hello")
        next(stream)

        def drop() -> int:
            nonlocal stream
            stream.close()
            backend.generate("of its own")
            return len(ear.ended)

        assert in_child(drop) == "1"
        stream.read()
    ear.only()


def test_ids_are_unique_in_children_too(ear: Ear) -> None:
    with contextlib.closing(make("sync")) as backend:
        backend.generate("hello")
        backend.generate("hello")

        def ask() -> str:
            backend.generate("hello")
            return ear.started[-1].id

        other = in_child(ask)
    ids = [request.id for request in ear.started]
    assert len({*ids, other}) == 3


PLUGIN = """
    from llamaforge import hookimpl
    from llamaforge.observers import Observer

    HEARD = []

    class Hears(Observer):
        def on_end(self, request, end):
            HEARD.append(end.outcome)

    @hookimpl
    def llamaforge_observer():
        return Hears
"""


def _plugin(folder: Path) -> None:
    make_distribution(folder, "hears", {"llamaforge.observers": {"hears": "hears_plugin"}}, {"hears_plugin": PLUGIN})


def test_installed_observers_have_names(plugin_folder: Path) -> None:
    _plugin(plugin_folder)
    assert "hears" in observers.installed()
    assert "hears_plugin" not in sys.modules
    with observers.attach("hears") as attachment, contextlib.closing(make("echo")) as backend:
        backend.generate("hello")
        assert sys.modules["hears_plugin"].HEARD == ["finished"]
    assert type(attachment.observer).__name__ == "Hears"
    with pytest.raises(InvalidParameterError, match="Did you mean 'hears'"):
        observers.attach("heers")


def _python(code: str, **variables: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


ASK = """
import sys
from llamaforge.backends.echo import EchoBackend
backend = EchoBackend()
backend.load_model("m")
print(backend.generate("hello"))
backend.close()
"""


def test_the_environment_names_observers(tmp_path: Path) -> None:
    _plugin(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})" + ASK + "print(sys.modules['hears_plugin'].HEARD)"
    assert _python(code, LLAMAFORGE_OBSERVERS="hears").splitlines() == ["hello", "['finished']"]


def test_an_observer_that_is_not_there_fails_no_request() -> None:
    said = _python(ASK, LLAMAFORGE_OBSERVERS="nobody")
    assert "hello" in said
    assert "LLAMAFORGE_OBSERVERS" in said
    assert "'nobody'" in said


def test_nobody_attached_costs_no_import() -> None:
    said = _python(
        ASK + "print([n for n in sys.modules if n in ('llamaforge.' + m for m in "
        "('observers', 'observation', 'watch'))])"
    )
    assert said.splitlines() == ["hello", "[]"]


def test_many_requests_that_end_in_every_way_at_once(ear: Ear) -> None:
    echo, sync, basic = make("echo"), make("sync"), make("basic")
    expected: Counter[str] = Counter()
    lock = threading.Lock()

    def finished(backend: BaseBackend) -> None:
        backend.generate("one two")

    def failed(_: BaseBackend) -> None:
        with contextlib.suppress(GenerationError):
            list(sync.generate_stream("fail"))

    def refused(backend: BaseBackend) -> None:
        with contextlib.suppress(RequestError):
            backend.generate("")

    def cancelled(backend: BaseBackend) -> None:
        with backend.generate_stream("one two") as stream:
            next(stream)

    def abandoned(backend: BaseBackend) -> None:
        next(backend.generate_stream("one two"))

    ways = [finished, failed, refused, cancelled, abandoned]

    def work(seed: int) -> None:
        choice = random.Random(seed)
        for _ in range(60):
            way = choice.choice(ways)
            way(choice.choice([echo, sync, basic]))
            with lock:
                expected[way.__name__] += 1

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert Counter(end.outcome for _, end in ear.ended) == expected
    assert Counter(request.id for request in ear.started) == Counter(request.id for request, _ in ear.ended)
    assert set(Counter(request.id for request in ear.started).values()) == {1}
    for backend in (echo, sync, basic):
        backend.close()
