"""What an engine does after it should have ended: its failures are typed, and never reach a reader who left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from llamaforge import BackendSpec, BaseBackend, Capabilities, Finished, GenerationRequest, TextDelta, ToolCallDelta
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import GenerationError, InvalidAnswerError


def _spec(name: str) -> BackendSpec:
    return BackendSpec(name=name, target=f"{__name__}:{name}", config="llamaforge:BackendConfig", summary="For a test")


class _HangsUp(BaseBackend):
    """Told to stop while it works on the second event, it still yields that, and fails at the next step."""

    spec = _spec("_HangsUp")

    def load(self, model_path: str, config: Any) -> None:
        self.seen = threading.Event()
        """Set by the reader, who may be in another thread: what came before the end is its own."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Any]:
        yield TextDelta("one")
        assert self.seen.wait(10)
        cancellation.cancel()
        yield TextDelta("two")
        raise ConnectionResetError("the connection is gone")


class _HangsUpLater(_HangsUp):
    stream = BaseBackend.stream

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Any]:
        for event in _HangsUp.stream(self, request, cancellation):
            yield event


class _FailsAtTheEnd(BaseBackend):
    spec = _spec("_FailsAtTheEnd")

    def load(self, model_path: str, config: Any) -> None: ...

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Any]:
        yield Finished(finish_reason="stop")
        raise ZeroDivisionError("while cleaning up")


def _loaded(backend: BaseBackend) -> BaseBackend:
    backend.load_model("m")
    return backend


@pytest.mark.parametrize("kind", [_HangsUp, _HangsUpLater])
def test_a_failure_of_an_engine_that_was_told_to_stop_is_none(kind: type[BaseBackend]) -> None:
    backend: Any = _loaded(kind())
    pieces = []
    with backend.generate_stream("hello") as stream:
        for piece in stream:
            pieces.append(piece)
            backend.seen.set()
    assert pieces == ["one"]
    assert stream.result.finish_reason == "cancelled"
    backend.seen.clear()

    async def read() -> str:
        pieces = []
        async with backend.agenerate_stream("hello") as twin:
            async for piece in twin:
                pieces.append(piece)
                backend.seen.set()
        assert twin.result.finish_reason == "cancelled"
        return "".join(pieces)

    assert asyncio.run(read()) == "one"


def test_a_failure_after_the_terminal_event_is_typed() -> None:
    backend = _loaded(_FailsAtTheEnd())
    with pytest.raises(GenerationError, match="ZeroDivisionError: while cleaning up"):
        backend.generate("hello")
    with pytest.raises(GenerationError, match="ZeroDivisionError: while cleaning up"):
        asyncio.run(backend.agenerate("hello"))


class _Calls(BaseBackend):
    """Calls the functions that its prompt names, whatever ``tool_choice`` says, as servers do that ignore it."""

    spec = BackendSpec(
        name="_Calls",
        target=f"{__name__}:_Calls",
        config="llamaforge:BackendConfig",
        summary="For a test",
        capabilities=Capabilities(parameters=frozenset({"tools", "tool_choice", "parallel_tool_calls", "max_tokens"})),
    )

    def load(self, model_path: str, config: Any) -> None: ...

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Any]:
        names = [word for word in request.as_messages()[-1].text.split() if word in "fg"]
        yield TextDelta("Well.")
        for index, name in enumerate(names):
            yield ToolCallDelta(index=index, id=f"c{index}", name=name, arguments="{}")
        reason = "length" if request.max_tokens == 1 else "tool_calls" if names else "stop"
        yield Finished(finish_reason=reason)


@pytest.mark.parametrize(
    ("prompt", "choice", "says"),
    [
        ("hm", "required", "it calls no function, and tool_choice wants a call"),
        ("hm", "f", "wants a call of 'f'"),
        ("g", "f", "it calls 'g', and tool_choice wants a call of 'f'"),
        ("f g", "f", "it calls 'g'"),
        ("f", "none", "it calls 'f', and tool_choice allows no call"),
        ("f", "f", ""),
        ("f g", "required", ""),
        ("hm", "none", ""),
        ("hm", "auto", ""),
        ("f", None, ""),
        ("f f", "f", "it has 2 calls, and tool_choice wants one of 'f'"),
        ("f g", None, ""),
    ],
)
def test_an_answer_that_breaks_tool_choice_is_an_error(prompt: str, choice: str | None, says: str) -> None:
    backend = _loaded(_Calls())
    tools = [{"type": "function", "function": {"name": name}} for name in "fg"]
    wanted: Any = {"type": "function", "function": {"name": choice}} if choice == "f" else choice
    more: dict[str, Any] = {"tools": tools, "tool_choice": wanted}
    if not says:
        assert backend.generate(prompt, **more) == "Well."
        return
    for ask in (lambda: backend.generate(prompt, **more), lambda: list(backend.generate_stream(prompt, **more))):
        with pytest.raises(InvalidAnswerError, match=says) as caught:
            ask()
        assert caught.value.text == "Well."
    with pytest.raises(InvalidAnswerError, match=says):
        asyncio.run(_later(backend, prompt, more))
    assert backend.generate(prompt, max_tokens=1, **more).finish_reason == "length", "a cut answer breaks nothing"


@pytest.mark.parametrize("choice", ["auto", None, "required"])
def test_several_calls_where_one_is_allowed_are_an_error(choice: str | None) -> None:
    backend = _loaded(_Calls())
    more: dict[str, Any] = {
        "tools": [{"type": "function", "function": {"name": name}} for name in "fg"],
        "tool_choice": choice,
        "parallel_tool_calls": False,
    }
    says = "it has 3 calls, and parallel_tool_calls=False allows one"
    with pytest.raises(InvalidAnswerError, match=says):
        backend.generate("f g f", **more)
    with pytest.raises(InvalidAnswerError, match=says):
        asyncio.run(_later(backend, "f g f", more))
    assert len(backend.generate("g", **more).tool_calls) == 1
    assert len(backend.generate("f g f", **{**more, "parallel_tool_calls": True}).tool_calls) == 3
    if choice != "required":
        assert backend.generate("hm", **more) == "Well."


async def _later(backend: BaseBackend, prompt: str, more: dict[str, Any]) -> str:
    return await backend.agenerate(prompt, **more)
