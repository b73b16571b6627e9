"""The contract: what the base class makes of an author's three methods, and what it holds them to."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llamaforge import BackendSpec, BaseBackend, Capabilities, GeneratedText
from llamaforge.backends.base import import_engine
from llamaforge.backends.config import BackendConfig
from llamaforge.backends.echo import EchoBackend
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import (
    ContextOverflowError,
    ContractError,
    EngineNotAvailableError,
    GenerationError,
    GenerationTimeoutError,
    ModelLoadError,
    ModelNotLoadedError,
    UnknownParameterError,
    UnsupportedError,
)
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, TextDelta, Usage

Script = Callable[[GenerationRequest], Iterator[Event]]


class Scripted(BaseBackend):
    """A backend whose stream is given by the test."""

    spec = BackendSpec(
        name="scripted",
        target="x:X",
        config="x:X",
        summary="",
        capabilities=Capabilities(
            parameters=frozenset({"max_tokens", "temperature", "seed"}), engine_options=frozenset({"knob"})
        ),
    )

    def __init__(self, script: Script | None = None) -> None:
        super().__init__()
        self.script = script
        self.unloaded = 0

    def load(self, model_path: str, config: BackendConfig) -> None:
        if model_path == "bad":
            raise OSError("disk on fire")

    def check_model(self, model_path: str, config: BackendConfig) -> None:
        if model_path == "no model":
            raise ContextOverflowError(1, 1)

    def unload(self) -> None:
        self.unloaded += 1

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        assert self.script is not None
        return self.script(request)


def loaded(script: Script) -> Scripted:
    backend = Scripted(script)
    backend.load_model("m")
    return backend


def hello(request: GenerationRequest) -> Iterator[Event]:
    yield TextDelta("hel")
    yield TextDelta("")
    yield TextDelta("lo")
    yield Finished(finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=2))


def test_generate_and_stream_agree_on_every_field() -> None:
    backend = loaded(hello)
    whole = backend.generate("x", {"temperature": 0})
    with backend.generate_stream("x", temperature=0) as stream:
        pieces = list(stream)
    assert pieces == ["hel", "lo"]
    assert "".join(pieces) == whole == stream.result == stream.text
    for name in ("finish_reason", "usage", "parameters", "dropped", "tool_calls", "reasoning", "stop"):
        assert getattr(whole, name) == getattr(stream.result, name)
    assert whole.timings.first_token is not None
    assert whole.timings.total is not None
    assert whole.timings.total >= whole.timings.first_token


def test_the_result_is_a_str_that_knows_more() -> None:
    answer = loaded(hello).generate("x")
    assert isinstance(answer, str)
    assert isinstance(answer, GeneratedText)
    assert answer.upper() == "HELLO"
    assert type(answer.text) is str
    assert answer.usage == Usage(prompt_tokens=1, completion_tokens=2)
    assert answer.usage.total_tokens == 3
    twin = pickle.loads(pickle.dumps(answer))
    assert (twin, twin.usage, twin.parameters) == (answer, answer.usage, answer.parameters)
    assert answer.to_dict()["usage"]["completion_tokens"] == 2


def test_defaults_and_a_drawn_seed_are_reported() -> None:
    parameters = loaded(hello).generate("x").parameters
    assert parameters["temperature"] == 1.0
    assert isinstance(parameters["seed"], int)
    assert "top_p" not in parameters  # not this backend's


def test_what_is_not_declared_is_refused_or_dropped_on_request() -> None:
    backend = loaded(hello)
    with pytest.raises(UnsupportedError, match="top_k, min_p"):
        backend.generate("x", top_k=3, min_p=0.1)
    answer = backend.generate("x", top_k=3, min_p=0.1, on_unsupported="drop")
    assert answer.dropped == ("top_k", "min_p")
    assert "top_k" not in answer.parameters


def test_engine_options_are_checked_by_name() -> None:
    backend = loaded(hello)
    backend.generate("x", engine={"knob": 1})
    with pytest.raises(UnknownParameterError, match="knob"):
        backend.generate("x", engine={"nob": 1})


def test_images_and_tool_turns_need_the_capability() -> None:
    backend = loaded(hello)
    with pytest.raises(UnsupportedError, match="images"):
        backend.chat([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}])
    with pytest.raises(UnsupportedError, match="tool"):
        backend.chat([{"role": "tool", "content": "42", "tool_call_id": "1"}])


def test_generate_before_load_and_after_unload() -> None:
    backend = Scripted(hello)
    with pytest.raises(ModelNotLoadedError):
        backend.generate("x")
    backend.load_model("m")
    assert backend.is_model_loaded()
    assert backend.model_path == "m"
    backend.unload_model()
    backend.unload_model()
    assert backend.unloaded == 1
    with pytest.raises(RuntimeError):
        backend.generate("x")


def test_loading_again_gives_the_first_up_but_not_for_bad_input() -> None:
    backend = loaded(hello)
    with pytest.raises(UnknownParameterError):
        backend.load_model("n", {"n_ctx": 3})
    with pytest.raises(ContextOverflowError):
        backend.load_model("no model")
    assert backend.model_path == "m"
    backend.load_model("n")
    assert (backend.model_path, backend.unloaded) == ("n", 1)
    with pytest.raises(ModelLoadError, match="disk on fire") as caught:
        backend.load_model("bad")
    assert isinstance(caught.value.__cause__, OSError)
    assert not backend.is_model_loaded()


def no_end(request: GenerationRequest) -> Iterator[Event]:
    yield TextDelta("x")


def two_ends(request: GenerationRequest) -> Iterator[Event]:
    yield Finished(finish_reason="stop")
    yield Finished(finish_reason="stop")


def no_event(request: GenerationRequest) -> Iterator[Event]:
    yield "text"  # type: ignore[misc]


def text_after_the_end(request: GenerationRequest) -> Iterator[Event]:
    yield Finished(finish_reason="stop")
    yield TextDelta("more")


@pytest.mark.parametrize("script", [no_end, two_ends, no_event, text_after_the_end])
def test_a_stream_that_breaks_the_contract_is_an_error(script: Script) -> None:
    with pytest.raises(ContractError, match="scripted"):
        loaded(script).generate("x")


@pytest.mark.parametrize("raised", [ValueError("boom"), SystemExit(3), MemoryError()])
def test_whatever_an_engine_raises_is_typed(raised: BaseException) -> None:
    def script(request: GenerationRequest) -> Iterator[Event]:
        yield TextDelta("x")
        raise raised

    with pytest.raises(GenerationError) as caught:
        loaded(script).generate("x")
    assert caught.value.__cause__ is raised


def test_leaving_a_stream_closes_the_engine_at_once() -> None:
    closed = threading.Event()

    def endless(request: GenerationRequest) -> Iterator[Event]:
        try:
            while True:
                yield TextDelta("x")
        finally:
            closed.set()

    with loaded(endless).generate_stream("x") as stream:
        assert next(stream) == "x"
        assert not closed.is_set()
    assert closed.is_set()
    assert stream.result == "x"
    assert stream.result.finish_reason == "cancelled"
    assert list(stream) == []


def test_who_reads_on_while_another_thread_closes_the_stream_gets_its_end() -> None:
    closing, go = threading.Event(), threading.Event()

    def slow_to_leave(request: GenerationRequest) -> Iterator[Event]:
        try:
            while True:
                yield TextDelta("x")
        finally:
            closing.set()
            assert go.wait(10)

    stream = loaded(slow_to_leave).generate_stream("x")
    assert next(stream) == "x"
    closer = threading.Thread(target=stream.close)
    closer.start()
    assert closing.wait(10)
    threading.Timer(0.05, go.set).start()
    assert stream.read() == "x"
    assert stream.result.finish_reason == "cancelled"
    closer.join(10)


def test_there_is_no_result_before_the_end_or_after_a_failure() -> None:
    stream = loaded(hello).generate_stream("x")
    next(stream)
    with pytest.raises(GenerationError, match="has not ended yet"):
        _ = stream.result
    assert stream.read() == "hello"
    failing = loaded(no_end).generate_stream("x")
    with pytest.raises(ContractError):
        failing.read()
    failing.close()
    with pytest.raises(GenerationError, match="failed"):
        _ = failing.result


def test_the_request_is_checked_when_the_stream_is_asked_for() -> None:
    with pytest.raises(UnknownParameterError):
        loaded(hello).generate_stream("x", {"temprature": 1})


def test_a_deadline_ends_the_call_and_keeps_the_text() -> None:
    def slow(request: GenerationRequest) -> Iterator[Event]:
        while True:
            time.sleep(0.02)
            yield TextDelta("x")

    with pytest.raises(GenerationTimeoutError) as caught:
        loaded(slow).generate("x", timeout=0.1)
    assert caught.value.timeout == 0.1
    assert set(caught.value.text) == {"x"}
    assert isinstance(caught.value, TimeoutError)


def test_events_end_with_exactly_one_terminal_event() -> None:
    events = list(loaded(hello).generate_stream("x").events())
    assert [type(event).__name__ for event in events] == ["TextDelta", "TextDelta", "TextDelta", "Finished"]


def test_an_engine_that_cannot_be_imported_says_so() -> None:
    with pytest.raises(EngineNotAvailableError, match="Install it") as caught:
        import_engine("no_such_engine", backend="x", advice="Install it.")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_echo_is_a_whole_backend() -> None:
    with EchoBackend() as echo:
        echo.load_model("anything", {"n_ctx": 8})
        answer = echo.generate("one two three", max_tokens=2, logprobs=True, top_logprobs=1)
        assert answer == "one two"
        assert (answer.finish_reason, answer.usage) == ("length", Usage(prompt_tokens=3, completion_tokens=2))
        assert [each.token for each in answer.logprobs] == ["one", " two"]
        assert answer.logprobs[0].top[0].logprob == 0
        stopped = echo.generate("one two three", stop=["o t"])
        assert (stopped, stopped.stop, stopped.finish_reason) == ("one tw", "o t", "stop")
        assert echo.chat([{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]) == "hi"
        assert echo.render(messages=[{"role": "user", "content": "hi"}]) == echo.render("hi") == "hi"
        system = {"role": "system", "content": "s"}
        assert echo.render(messages=[system, {"role": "user", "content": "hi"}]) == "system: s\nhi"
        with pytest.raises(ContextOverflowError) as caught:
            echo.generate("1 2 3 4 5 6 7 8")
        assert (caught.value.prompt_tokens, caught.value.context_size) == (8, 8)
    assert not echo.is_model_loaded()


class FourMethods(BaseBackend):
    """Just the reference's four methods."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Any = None

    def load_model(self, model_path: Any, parameters: Any = None) -> None:
        self.model = model_path

    def generate(self, prompt: str, parameters: Any = None) -> Any:
        return prompt.upper()

    def generate_stream(self, prompt: str, parameters: Any = None) -> Any:
        yield from prompt.upper()

    def is_model_loaded(self) -> bool:
        return self.model is not None


def test_a_basic_backend_refuses_what_it_does_not_have() -> None:
    backend = FourMethods()
    assert backend.is_basic
    backend.load_model("m")
    with pytest.raises(UnsupportedError, match="chat"):
        backend.chat([{"role": "user", "content": "hi"}])
    with pytest.raises(UnsupportedError, match="unload_model"):
        backend.unload_model()
    backend.close()


def test_a_class_that_overrides_nothing_says_what_to_write() -> None:
    backend = BaseBackend()
    with pytest.raises((NotImplementedError, ModelLoadError), match="override"):
        backend.load_model("m")
