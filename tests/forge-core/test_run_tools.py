"""run_tools: rounds of answers, calls and results, in threads and in event loops."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from llamaforge import BackendSpec, BaseBackend, Capabilities, LlamaForge, ToolRun, ToolStep, register_backend
from llamaforge.backends.config import BackendConfig
from llamaforge.backends.tool_loop import DECLINED
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import GenerationError, InvalidParameterError
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, TextDelta, ToolCallDelta

ASK = [{"role": "user", "content": "What is the weather?"}]
Round = Sequence[tuple[str, str]] | str


class Caller(BaseBackend):
    """A model that calls what the test says, round after round, and then tells the results that it saw."""

    spec = BackendSpec(
        name="caller",
        target="x:X",
        config="x:X",
        summary="",
        capabilities=Capabilities(parameters=frozenset({"max_tokens", "tools", "tool_choice"})),
    )

    def __init__(self, rounds: Sequence[Round]) -> None:
        super().__init__()
        self.rounds = list(rounds)
        self.requests: list[GenerationRequest] = []

    def load(self, model_path: str, config: BackendConfig) -> None:
        pass

    def unload(self) -> None:
        pass

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        self.requests.append(request)
        now: Round = (
            self.rounds.pop(0) if self.rounds else " ".join(m.text for m in request.messages if m.role == "tool")
        )
        if isinstance(now, str):
            yield TextDelta(now)
            yield Finished(finish_reason="stop")
            return
        for index, (name, arguments) in enumerate(now):
            yield ToolCallDelta(index=index, id=f"id{len(self.requests)}{index}", name=name)
            for character in arguments:
                yield ToolCallDelta(index=index, arguments=character)
        yield Finished(finish_reason="tool_calls")


Run = Callable[..., ToolRun]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    def start(rounds: Sequence[Round], tools: Sequence[Any], **more: Any) -> ToolRun:
        backend = Caller(rounds)
        backend.load_model("m")
        start.backend = backend  # type: ignore[attr-defined]
        if request.param == "sync":
            return backend.run_tools(ASK, tools, **more)
        return asyncio.run(backend.arun_tools(ASK, tools, **more))

    return start


def add(a: int, b: int) -> int:
    return a + b


def fail(why: str) -> None:
    raise LookupError(why)


async def later(text: str) -> str:
    await asyncio.sleep(0)
    return text[::-1]


def test_rounds(run: Run) -> None:
    steps: list[ToolStep] = []
    events: list[Event] = []
    done = run(
        [[("add", '{"a": 1, "b": 2}'), ("later", '{"text": "abc"}')], [("add", '{"a": 3, "b": 4}')]],
        [add, later],
        on_step=steps.append,
        on_event=events.append,
        max_tokens=9,
    )
    assert done.answer == "3 cba 7"
    assert done.answer.finish_reason == "stop"
    assert [message.role for message in done.messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert [message.tool_call_id for message in done.messages if message.role == "tool"] == ["id10", "id11", "id20"]
    assert list(done.steps) == steps
    assert [[result.content for result in step.results] for step in steps] == [["3", "cba"], ["7"]]
    assert sum(isinstance(event, Finished) for event in events) == 3
    assert [request.max_tokens for request in run.backend.requests] == [9, 9, 9]  # type: ignore[attr-defined]


def test_errors_are_told_to_the_model(run: Run) -> None:
    done = run(
        [
            [
                ("fail", '{"why": "no such city"}'),
                ("add", '{"a": "x"}'),
                ("add", "{"),
                ("lost", "{}"),
                ("add", '{"a": 1, "b": 1}'),
            ]
        ],
        [add, fail],
    )
    contents = [result.content for result in done.steps[0].results]
    assert contents[0] == "Error: LookupError: no such city"
    assert contents[1].startswith("Error: the arguments don't fit the parameters of add:")
    assert contents[2].startswith("Error: the arguments don't fit the parameters of add:")
    assert contents[3] == "Error: there is no tool 'lost', only add, fail."
    assert contents[4] == "2"
    assert isinstance(done.steps[0].results[0].error, LookupError)
    assert done.steps[0].results[4].error is None


def test_the_calls_of_a_round_run_at_once(run: Run) -> None:
    together = threading.Barrier(3)

    def meet(who: str) -> str:
        together.wait(30)
        return who

    done = run([[("meet", '{"who": "a"}'), ("meet", '{"who": "b"}'), ("meet", '{"who": "c"}')]], [meet])
    assert done.answer == "a b c", "in the order of the calls"


def test_functions_see_the_callers_context(run: Run) -> None:
    place = contextvars.ContextVar("place", default="nowhere")
    place.set("here")

    def where() -> str:
        return place.get()

    assert run([[("where", "")]], [where]).answer == "here"


def test_rounds_are_limited(run: Run) -> None:
    done = run([[("add", '{"a": 1, "b": 1}')]] * 5, [add], max_rounds=2)
    assert len(done.steps) == 2
    assert done.answer.finish_reason == "tool_calls"
    assert done.answer.tool_calls
    for bad in (0, True, "2"):
        with pytest.raises(InvalidParameterError, match="max_rounds"):
            run([], [add], max_rounds=bad)


def test_calls_are_confirmed(run: Run) -> None:
    asked: list[str] = []

    def confirm(call: Any) -> bool:
        asked.append(call.function.arguments)
        return json.loads(call.function.arguments)["a"] == 1

    done = run([[("add", '{"a": 1, "b": 1}'), ("add", '{"a": 2, "b": 2}')]], [add], confirm=confirm)
    assert [result.content for result in done.steps[0].results] == ["2", DECLINED]
    assert asked == ['{"a": 1, "b": 1}', '{"a": 2, "b": 2}']


def test_a_tool_that_is_no_function_ends_the_run(run: Run) -> None:
    tool = {"type": "function", "function": {"name": "by_hand", "parameters": {}}}
    done = run([[("by_hand", "{}")], "never"], [add, tool])
    assert not done.steps
    assert [call.function.name for call in done.answer.tool_calls] == ["by_hand"]
    assert done.messages[-1].tool_calls == done.answer.tool_calls


def test_a_forced_call_is_forced_once(run: Run) -> None:
    run([[("add", '{"a": 1, "b": 1}')]], [add], tool_choice="required")
    assert [request.tool_choice for request in run.backend.requests] == ["required", None]  # type: ignore[attr-defined]


def test_malformed_tools_are_refused(run: Run) -> None:
    for bad in ([], "add", {"function": {}}, [3]):
        with pytest.raises(InvalidParameterError, match="tools"):
            run([], bad)


def test_the_front_door_has_it() -> None:
    made: list[Caller] = []

    class Fixed(Caller):
        spec = BackendSpec(
            name="fixed-caller", target="x:X", config="x:X", summary="", capabilities=Caller.spec.capabilities
        )

        def __init__(self) -> None:
            super().__init__([[("add", '{"a": 20, "b": 22}')]])
            made.append(self)

    register_backend("fixed-caller", Fixed)
    with LlamaForge() as forge:
        forge.add_model("m", "m", "fixed-caller")
        forge.load_model("m")
        assert forge.run_tools(ASK, [add]).answer == "42"
        made[0].rounds = [[("add", '{"a": 1, "b": 2}')]]
        assert asyncio.run(forge.arun_tools(ASK, [add], model="m")).answer == "3"


def test_an_error_of_the_engine_is_raised(run: Run) -> None:
    class Broken(Caller):
        def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
            raise GenerationError("no")

    backend = Broken([])
    backend.load_model("m")
    with pytest.raises(GenerationError):
        backend.run_tools(ASK, [add])
