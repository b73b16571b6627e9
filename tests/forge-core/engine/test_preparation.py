"""A long text is made tokens of beside its caller: a deadline and a cancellation hold meanwhile. And stop tokens."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llamaforge.cancellation import CancellationToken
from llamaforge.engine import Prompt, TokenTable
from llamaforge.engine.event_queue import ThreadEventQueue
from llamaforge.engine.preparation import Preparation, find_stop_tokens
from llamaforge.errors import ContextOverflowError, GenerationTimeoutError, InvalidParameterError
from llamaforge.requests import GenerationRequest, read_request

from .toy import END, LETTERS, ToyBackend, ToyEngine, expected, until

LONG = "a" * 30_000


class SlowTokenizer(ToyEngine):
    """Tokenizing a long text waits for *go_on*."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []

    def tokenize(self, request: GenerationRequest) -> Prompt:
        self.threads.append(threading.current_thread())
        prompt = super().tokenize(request)
        if len(prompt.token_ids) > 1_000:
            self.begun.set()
            self.go_on.wait()
        return prompt


class Backend(ToyBackend):
    engine: SlowTokenizer


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend(SlowTokenizer) as toy:
        yield toy
        toy.engine.go_on.set()


def test_a_short_text_is_tokenized_by_its_caller(backend: Backend) -> None:
    backend.generate("abc", {"max_tokens": 3})
    assert backend.engine.threads == [threading.current_thread()]
    asyncio.run(backend.agenerate("abc", {"max_tokens": 3}))
    assert backend.engine.threads == [threading.current_thread()] * 2


def test_a_long_text_is_answered_as_ever(backend: Backend) -> None:
    backend.engine.go_on.set()
    backend.engine.n_ctx = 40_000
    assert backend.generate(LONG, {"max_tokens": 3}) == expected(LONG, 3)
    assert asyncio.run(backend.agenerate(LONG, {"max_tokens": 3})) == expected(LONG, 3)
    assert threading.current_thread() not in backend.engine.threads


def test_what_is_wrong_with_a_long_text_reaches_the_caller(backend: Backend) -> None:
    backend.engine.go_on.set()
    with pytest.raises(ContextOverflowError):
        backend.generate(LONG)
    with pytest.raises(ContextOverflowError):
        asyncio.run(backend.agenerate(LONG))


ASKS: dict[str, Callable[[Backend, dict[str, Any]], object]] = {
    "generate": lambda backend, limited: backend.generate(LONG, limited),
    "agenerate": lambda backend, limited: asyncio.run(backend.agenerate(LONG, limited)),
    "stream": lambda backend, limited: list(backend.generate_stream(LONG, limited)),
    "chat": lambda backend, limited: backend.chat([{"role": "user", "content": LONG}], limited),
    "batch": lambda backend, limited: [item.text for item in backend.generate_batch([LONG], limited)],
}


@pytest.mark.parametrize("asks", ASKS)
def test_the_deadline_holds_while_a_text_is_tokenized(backend: Backend, asks: str) -> None:
    with pytest.raises(GenerationTimeoutError) as raised:
        ASKS[asks](backend, {"timeout": 0.05})
    assert raised.value.text == ""
    assert not backend.engine.go_on.is_set(), "it still tokenizes"
    assert backend.generate("abc", {"max_tokens": 3}) == expected("abc", 3), "others go on"


def test_unloading_waits_for_the_tokenizer(backend: Backend) -> None:
    engine = backend.engine
    with pytest.raises(GenerationTimeoutError):
        backend.generate(LONG, {"timeout": 0.05})
    unloads = threading.Thread(target=backend.unload_model)
    unloads.start()
    until(lambda: not backend.is_model_loaded())
    assert not engine.closed
    engine.go_on.set()
    unloads.join()
    assert engine.closed


def test_a_cancelled_task_stops_waiting(backend: Backend) -> None:
    async def main() -> None:
        task = asyncio.create_task(backend.agenerate(LONG))
        await asyncio.to_thread(backend.engine.begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())  # its end waits for the default executor's threads, of which this is none
    assert not backend.engine.go_on.is_set()


def test_a_cancelled_stream_ends(backend: Backend) -> None:
    async def main() -> str:
        async with backend.agenerate_stream(LONG) as stream:
            reading = asyncio.create_task(stream.read())
            await asyncio.to_thread(backend.engine.begun.wait)
            stream.cancel()
            answer = await reading
            return answer.finish_reason

    assert asyncio.run(main()) == "cancelled"


def test_the_rest_of_a_request_counts_as_text(backend: Backend) -> None:
    """Documents and the like may be as long as messages."""

    def tokenizes_beside() -> bool:
        backend.engine.threads.clear()
        asyncio.run(
            backend.agenerate("abc", {"max_tokens": 1, "chat_template_kwargs": {"documents": [{"text": LONG}]}})
        )
        return threading.current_thread() not in backend.engine.threads

    with pytest.MonkeyPatch.context() as patch:
        spec = backend.spec
        assert spec is not None
        able = spec.capabilities
        patch.setattr(
            type(backend),
            "capabilities",
            property(lambda _: able.__class__(parameters=able.parameters | {"chat_template_kwargs"})),
        )
        assert tokenizes_beside()


class Marks(ToyEngine):
    """Every third token is the special one."""

    MARK = END + 1

    def __init__(self) -> None:
        super().__init__()
        self.vocab_size = END + 2

    def token_table(self) -> TokenTable:
        return TokenTable([*(letter.encode() for letter in LETTERS), b"", b""], {END: "<end>", self.MARK: "<mark>"})

    def _compute(self, entry):  # type: ignore[no-untyped-def]
        choices = super()._compute(entry)
        for choice in choices:
            if len(self.slots[entry.slot]) % 3 == 0:
                choice.token = self.MARK
        return choices


@pytest.fixture
def marks() -> Iterator[ToyBackend]:
    with ToyBackend(Marks) as toy:
        yield toy


def test_a_stop_string_may_be_a_special_token(marks: ToyBackend) -> None:
    free = marks.generate("abcd", {"max_tokens": 4})
    assert (free.finish_reason, free.stop) == ("length", None)
    for stop in (["<mark>"], ["never", "<mark>"]):
        answer = marks.generate("abcd", {"max_tokens": 4, "stop": stop})
        assert (answer.finish_reason, answer.stop) == ("stop", "<mark>")
        assert free.startswith(answer)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == len(answer) == 2


def test_a_text_that_stops_first_is_named(marks: ToyBackend) -> None:
    free = marks.generate("abcd", {"max_tokens": 4})
    answer = marks.generate("abcd", {"max_tokens": 4, "stop": ["<mark>", free[1]]})
    assert (answer, answer.stop) == (free[0], free[1])


def test_an_end_token_that_is_a_stop_string_is_named(marks: ToyBackend) -> None:
    prompt = next(text for text in ("ab", *LETTERS) if len(text) % 3 and expected(text, 300) != expected(text, 299))
    with ToyBackend() as toy:
        whole = toy.generate(prompt, {"max_tokens": 390})
        named = toy.generate(prompt, {"max_tokens": 390, "stop": ["<end>"]})
    assert whole.stop is None
    assert named == whole
    assert named.stop == ("<end>" if whole.finish_reason == "stop" else None)


@pytest.mark.parametrize("stop", ["<mark>\n", "x<mark>", "<mark><mark>"])
def test_a_stop_string_with_a_special_token_in_it_is_refused_by_name(marks: ToyBackend, stop: str) -> None:
    with pytest.raises(InvalidParameterError, match="<mark>") as raised:
        marks.generate("abcd", {"stop": [stop]})
    assert raised.value.name == "stop"


def test_special_tokens_in_stop_strings() -> None:
    special = {1: "<s>", 2: "\n\n", 3: "the", 4: "##", 5: "<s><s>", 6: "<s>"}
    assert find_stop_tokens(special, ["<s>"]) == {1: "<s>", 6: "<s>"}
    assert find_stop_tokens(special, ["the end", "a\n\nb", "## Title", "plain"]) == {}
    assert find_stop_tokens(special, ["##", "the"]) == {3: "the", 4: "##"}
    assert find_stop_tokens({}, ["<s>"]) == {}
    with pytest.raises(InvalidParameterError) as raised:
        find_stop_tokens(special, ["<s>", "a<s><s>b"])
    error = raised.value
    assert (error.name, error.value) == ("stop", "a<s><s>b")
    assert error.expected == "a string without special tokens, or a special token alone"
    assert "'a<s><s>b' would never match: the special token '<s><s>' adds no text" in str(error)


@pytest.mark.parametrize(("characters", "beside"), [(19_999, False), (20_000, True)])
def test_how_long_a_long_text_is(backend: Backend, characters: int, beside: bool) -> None:
    backend.engine.go_on.set()
    for turns in (["a" * characters], ["a" * (characters - 1), "a"]):
        backend.engine.threads.clear()
        with pytest.raises(ContextOverflowError):
            backend.chat([{"role": "user", "content": text} for text in turns])
        assert [thread is not threading.current_thread() for thread in backend.engine.threads] == [beside]
        assert [thread.daemon for thread in backend.engine.threads if beside] == [True] * beside
        assert [thread.name for thread in backend.engine.threads if beside] == ["llamaforge-prepare"] * beside


def test_lists_of_stop_strings_are_looked_up_once_and_not_kept_for_ever(marks: ToyBackend) -> None:
    looked_up = []
    special_tokens = marks.engine.special_tokens

    def counted() -> Any:
        looked_up.append(1)
        return special_tokens()

    marks.engine.special_tokens = counted  # type: ignore[method-assign]
    assert marks._scheduler is not None
    known = marks._scheduler.stop_tokens
    for number in range(63):
        marks.generate("abcd", {"max_tokens": 1, "stop": [f"no {number}"]})
    for _ in range(3):
        answer = marks.generate("abcd", {"max_tokens": 4, "stop": ["<mark>"]})
        assert answer.stop == "<mark>"
    assert (len(looked_up), len(known)) == (64, 64)
    marks.generate("abcd", {"max_tokens": 1, "stop": ["one more"]})
    assert list(known) == [("one more",)]


def test_what_a_caller_waits_for_in_its_context_is_prepared_in_it(backend: Backend) -> None:
    """Context variables reach the thread that prepares: observers and loggers read them."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen = []

    def tokenize(request: GenerationRequest) -> Prompt:
        seen.append((variable.get(), threading.current_thread() is threading.main_thread()))
        return Prompt([1])

    backend.engine.tokenize = tokenize  # type: ignore[method-assign]
    variable.set("mine")
    backend.generate(LONG, {"max_tokens": 1})
    assert seen == [("mine", False)]


def test_a_cancelled_request_prepares_nothing_for_anybody(backend: Backend) -> None:
    cancellation = CancellationToken()
    assert backend._scheduler is not None
    request = read_request(LONG)
    preparation = Preparation(
        backend.engine, backend._scheduler, request, cancellation, ThreadEventQueue(), arrived=0.0
    )
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(preparation.wait()))
    waiting.start()
    backend.engine.begun.wait()
    cancellation.cancel()
    waiting.join()
    assert found == [None]
    backend.engine.go_on.set()
