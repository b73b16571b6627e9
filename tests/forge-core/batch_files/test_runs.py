"""Runs over batch files: each row is done once, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import (
    BackendSpec,
    BaseBackend,
    CancellationToken,
    Capabilities,
    Finished,
    TextDelta,
    Usage,
    get_backend,
)
from llamaforge.batch_files import BatchRun, Journal, Summary, read_rows
from llamaforge.errors import AuthenticationError, BatchFileError
from llamaforge.parameters import NAMES, UNIVERSAL
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, ToolCallDelta


class Obeys(BaseBackend):
    """Does what the last message says."""

    spec = BackendSpec(
        name="obeys",
        target="x:X",
        config="x:X",
        summary="",
        capabilities=Capabilities(parameters=frozenset(NAMES) - UNIVERSAL),
    )
    enforces_formats = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[GenerationRequest] = []
        self.waiting = threading.Event()
        self.go_on = threading.Event()
        self.broken = True

    def load(self, model_path: str, config: Any) -> None:
        """Nothing to open."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        self.asked.append(request)
        text = request.as_messages()[-1].text
        if text == "break" and self.broken:
            raise ValueError("boom")
        if text == "key":
            raise AuthenticationError("http://there", 401, "wrong key")
        if text == "wait":
            self.waiting.set()
            assert self.go_on.wait(60)
        if text == "call":
            yield ToolCallDelta(index=0, id="c1", name="f", arguments="{}")
            yield Finished(finish_reason="tool_calls")
            return
        yield TextDelta(text if text == "{}" else f"{text}!")
        yield Finished(finish_reason="stop", usage=Usage(prompt_tokens=2, completion_tokens=1))


def row(custom_id: str, content: str = "hi", **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": content}], **more}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}


class Batch:
    """The files of a batch."""

    def __init__(self, folder: Path) -> None:
        self.output, self.failed = folder / "out.jsonl", folder / "errors.jsonl"
        self.backend: BaseBackend = Obeys()
        self.backend.load_model("m")

    def run(self, rows: list[Any], shard: tuple[int, int] = (1, 1), **options: Any) -> Summary:
        lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in rows]
        with (
            contextlib.closing(Journal(self.output)) as results,
            contextlib.closing(Journal(self.failed)) as errors,
        ):
            run = BatchRun(lambda name: (self.backend, name or "m"), results, errors, **options)
            return run.run(read_rows(lines, shard))

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def errors(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.failed.read_text().splitlines()]

    def bodies(self) -> dict[str, Any]:
        return {each["custom_id"]: each["response"]["body"] for each in self.results()}


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    batch = Batch(tmp_path)
    yield batch
    batch.backend.close()


def test_each_row_has_its_answer(batch: Batch) -> None:
    summary = batch.run([row(str(number), f"say {number}") for number in range(40)])
    assert summary == Summary(finished=40)
    bodies = batch.bodies()
    assert set(bodies) == {str(number) for number in range(40)}
    for number in range(40):
        (choice,) = bodies[str(number)]["choices"]
        said = {"role": "assistant", "content": f"say {number}!", "refusal": None, "annotations": []}
        assert choice["message"] == said
        assert choice["finish_reason"] == "stop"
        assert bodies[str(number)]["usage"]["total_tokens"] == 3
        assert bodies[str(number)]["model"] == "m"
    assert batch.errors() == []


def test_in_order(batch: Batch) -> None:
    batch.run([row(str(number)) for number in range(200)], in_order=True, concurrency=8)
    assert [each["custom_id"] for each in batch.results()] == [str(number) for number in range(200)]


def test_an_answer_is_written_while_an_earlier_row_waits(batch: Batch) -> None:
    obeys: Any = batch.backend
    ended: list[Summary] = []
    rows = [row("slow", "wait"), row("quick")]
    running = threading.Thread(target=lambda: ended.append(batch.run(rows, concurrency=2)))
    running.start()
    try:
        assert obeys.waiting.wait(60)
        while not (batch.output.exists() and batch.output.read_bytes()):
            assert running.is_alive()
            running.join(0.01)
        assert [each["custom_id"] for each in batch.results()] == ["quick"]
    finally:
        obeys.go_on.set()
        running.join()
    assert ended == [Summary(finished=2)]


def test_what_is_done_is_not_done_again(batch: Batch) -> None:
    obeys: Any = batch.backend
    rows = [row(str(number)) for number in range(10)]
    batch.run(rows[:6])
    assert batch.run(rows) == Summary(finished=4, skipped=6)
    assert batch.run(rows) == Summary(skipped=10)
    assert len(obeys.asked) == 10
    assert Counter(each["custom_id"] for each in batch.results()) == Counter(map(str, range(10)))


def test_a_row_that_stands_twice_is_done_once(batch: Batch) -> None:
    assert batch.run([row("a"), row("b"), row("a")]) == Summary(finished=2, skipped=1)


@pytest.mark.parametrize("before", [True, False])
def test_a_custom_id_for_another_request_is_refused(batch: Batch, before: bool) -> None:
    if before:
        batch.run([row("a"), row("b")])
    rows = [row("a"), row("b"), row("c"), row("a", "something else"), row("d")]
    with pytest.raises(BatchFileError, match="Line 4 has the custom_id 'a'") as caught:
        batch.run(rows)
    assert caught.value.line == 4
    assert set(batch.bodies()) == {"a", "b", "c"}, "what was under way is kept"


@pytest.mark.parametrize("other", [{"parameters": {"temperature": 0.5}}, {"model": "another"}])
def test_other_parameters_or_another_model_are_another_request(batch: Batch, other: Any) -> None:
    batch.run([row("a")])
    with pytest.raises(BatchFileError, match="stands for another request"):
        batch.run([row("a")], **other)


def test_errors_are_kept_apart_and_retried_when_asked(batch: Batch) -> None:
    obeys: Any = batch.backend
    rows = [row("a"), row("b", "break"), row("c", temperature=-1), b"nonsense", row("d")]
    assert batch.run(rows) == Summary(finished=2, failed=3)
    assert {each["custom_id"] for each in batch.errors()} == {"b", "c", None}
    by_id = {each["custom_id"]: each for each in batch.errors()}
    assert by_id["b"]["response"]["status_code"] == 500
    assert "boom" in by_id["b"]["response"]["body"]["error"]["message"]
    assert by_id["c"]["response"]["status_code"] == 400
    assert by_id["c"]["response"]["body"]["error"]["param"] == "temperature"
    assert by_id[None]["error"]["code"] == "invalid_row"
    assert batch.run(rows) == Summary(skipped=5, failed_before=3)
    assert batch.run(rows, retry_errors=True) == Summary(failed=3, skipped=2)
    assert Counter(each["custom_id"] for each in batch.errors()) == {"b": 1, "c": 1, None: 1}
    obeys.broken = False
    rows[2] = row("c")
    rows[3] = row("e")
    assert batch.run(rows, retry_errors=True) == Summary(finished=3, skipped=2)
    assert set(batch.bodies()) == {"a", "b", "c", "d", "e"}
    assert {each["custom_id"] for each in batch.errors()} == {None}


def test_a_row_that_stands_twice_and_fails_has_failed(batch: Batch) -> None:
    rows = [row("bad", "break"), *(row(str(number)) for number in range(4)), row("bad", "break")]
    summary = batch.run(rows, concurrency=1)
    assert (summary.finished, summary.failed, summary.skipped, summary.failed_before) == (4, 1, 1, 1)


def test_an_error_that_was_overcome_by_a_run_that_was_killed_is_none(batch: Batch) -> None:
    """It was killed before it could leave the error out."""
    batch.run([row("bad", "break")])
    error = batch.failed.read_text()
    batch.backend.broken = False  # type: ignore[attr-defined]
    batch.run([row("bad", "break")], retry_errors=True)
    batch.failed.write_text(error)
    summary = batch.run([row("bad", "break")])
    assert (summary.skipped, summary.failed_before) == (1, 0)
    assert batch.errors() == []
    assert len(batch.results()) == 1


def test_a_failure_that_no_row_survives_ends_the_run(batch: Batch) -> None:
    with pytest.raises(AuthenticationError):
        batch.run([row("a"), row("b", "key"), row("c")], concurrency=1)
    assert set(batch.bodies()) == {"a"}
    assert batch.errors() == []
    assert batch.run([row("a"), row("c")]) == Summary(finished=1, skipped=1)


def test_shards_do_all_rows_together(batch: Batch, tmp_path: Path) -> None:
    rows = [row(str(number)) for number in range(11)]
    done: list[str] = []
    for mine in (1, 2, 3):
        batch.output = tmp_path / f"{mine}.jsonl"
        batch.run(rows, (mine, 3))
        done += batch.bodies()
    assert Counter(done) == Counter(map(str, range(11)))


def test_parameters_apply_where_a_body_says_nothing(batch: Batch) -> None:
    obeys: Any = batch.backend
    rows = [row("a"), row("b", temperature=0.25, max_completion_tokens=9), row("c", temperature=None, user="me")]
    batch.run(rows, parameters={"temperature": 0.5, "max_tokens": 3}, concurrency=1)
    assert [(each.temperature, each.max_tokens) for each in obeys.asked] == [(0.5, 3), (0.25, 9), (0.5, 3)]


def test_several_choices_have_seeds_of_their_own(batch: Batch) -> None:
    obeys: Any = batch.backend
    batch.run([row("a", n=3, seed=7)], concurrency=1)
    assert [each.seed for each in obeys.asked] == [7, 8, 9]
    assert [choice["index"] for choice in batch.bodies()["a"]["choices"]] == [0, 1, 2]
    assert batch.bodies()["a"]["usage"]["completion_tokens"] == 3


def test_tools(batch: Batch) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    flat = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    response = {"custom_id": "b", "url": "/v1/responses", "body": {"input": "call", "tools": [flat]}}
    assert batch.run([row("a", "call", tools=[tool]), response]) == Summary(finished=2)
    (choice,) = batch.bodies()["a"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    (call,) = batch.bodies()["b"]["output"]
    assert (call["type"], call["call_id"], call["name"], call["arguments"]) == ("function_call", "c1", "f", "{}")


@pytest.mark.parametrize(
    ("url", "body", "says"),
    [
        ("/v1/chat/completions", {"messages": [], "stream": True}, "stream"),
        ("/v1/chat/completions", {"messages": "hi"}, "messages must be"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "n": 0}, "n must be"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "what": 1}, "'what'"),
        ("/v1/completions", {"prompt": 7}, "prompt must be"),
        ("/v1/completions", {"prompt": "a", "echo": True}, "echo"),
        ("/v1/responses", {"input": [{"type": "computer_call"}]}, "function_call_output"),
        ("/v1/responses", {"input": "a", "previous_response_id": "r"}, "previous_response_id"),
        ("/v1/responses", {"input": "a", "previous_response_id": "r"}, "A batch does not support"),
        ("/v1/responses", {"input": "a", "tools": [{"type": "web_search"}]}, "the field tools[0]"),
        ("/v1/responses", {"input": "a", "text": {"verbosity": "low"}}, "the field text.verbosity"),
        ("/v1/responses", {"input": "a", "include": ["file_search_call.results"]}, "the field include[0]"),
        ("/v1/responses", {"input": "a", "top_logprobs": 2}, "the field top_logprobs"),
        ("/v1/responses", {"input": "a", "max_output_tokens": 5, "max_tokens": 6}, "max_output_tokens"),
        ("/v1/responses", {"input": "a", "model": 7}, "model must be a model's name"),
        ("/v1/responses", {"input": "a", "tools": 5}, "tools must be a list"),
        ("/v1/responses", {"input": "a", "tools": "f"}, "tools must be a list"),
        ("/v1/responses", {"input": "a", "tools": [5]}, "tools[0] must be"),
        ("/v1/responses", {"input": "a", "text": 5}, "text must be"),
        ("/v1/responses", {"input": "a", "text": {"format": "json"}}, "text.format must be"),
        ("/v1/responses", {"input": "a", "reasoning": "high"}, "reasoning must be"),
        ("/v1/responses", {"input": "a", "include": "logprobs"}, "include must be"),
        ("/v1/responses", {"input": "a", "truncation": "some"}, "truncation must be"),
        ("/v1/embeddings", {"input": "a"}, "embed"),
        ("/v1/embeddings", {"input": []}, "input must be"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_its_row(batch: Batch, url: str, body: Any, says: str) -> None:
    assert batch.run([{"custom_id": "a", "url": url, "body": body}, row("b")]) == Summary(finished=1, failed=1)
    (error,) = batch.errors()
    assert error["response"]["status_code"] == 400
    assert says in error["response"]["body"]["error"]["message"]


def test_completions_and_responses(batch: Batch) -> None:
    obeys: Any = batch.backend
    text = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "a "}, {"type": "input_text", "text": "b"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "7"},
        {"type": "message", "role": "user", "content": "{}"},
    ]
    body = {"input": items, "instructions": "Be brief.", "max_output_tokens": 5, "text": text, "store": False}
    rows = [
        {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": ["x", "y"]}},
        {"custom_id": "b", "url": "/v1/responses", "body": body},
    ]
    assert batch.run(rows, concurrency=1) == Summary(finished=2), batch.errors()
    assert [each["text"] for each in batch.bodies()["a"]["choices"]] == ["x!", "y!"]
    usage = batch.bodies()["a"]["usage"]
    assert [usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")] == [4, 2, 6]
    assert [(each.raw, each.max_tokens) for each in obeys.asked[:2]] == [(True, 16)] * 2
    asked = obeys.asked[2]
    assert [each.role for each in asked.messages] == ["system", "user", "assistant", "tool", "user"]
    assert (asked.messages[1].text, asked.messages[3].text, asked.max_tokens) == ("a b", "7", 5)
    assert asked.response_format["type"] == "json_schema"
    response = batch.bodies()["b"]
    assert (response["object"], response["status"]) == ("response", "completed")
    assert response["output"][0]["content"][0]["text"] == "{}"
    assert response["usage"]["total_tokens"] == 3


def test_a_response_gets_the_parameters_that_it_asks_for(batch: Batch) -> None:
    obeys: Any = batch.backend
    flat = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    body = {"input": "call", "tools": [flat], "parallel_tool_calls": False, "truncation": "auto", "background": True}
    body |= {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    assert batch.run([{"custom_id": "a", "url": "/v1/responses", "body": body}]) == Summary(finished=1), batch.errors()
    (asked,) = obeys.asked
    assert (asked.parallel_tool_calls, asked.truncation) == (False, "auto")
    assert (asked.logprobs, asked.top_logprobs) == (True, 2)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors(batch: Batch, encoding: str) -> None:
    import base64
    from array import array

    batch.backend.close()
    batch.backend = get_backend("echo")()
    batch.backend.load_model("m", {"task": "embed"})
    body = {"input": ["a b", "c"], "encoding_format": encoding, "dimensions": 4}
    assert batch.run([{"custom_id": "a", "url": "/v1/embeddings", "body": body}]) == Summary(finished=1)
    found = batch.bodies()["a"]
    assert found["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    expected = [list(each) for each in batch.backend.embed(["a b", "c"], dimensions=4)]
    data = [each["embedding"] for each in found["data"]]
    if encoding == "base64":
        data = [list(array("f", base64.b64decode(each))) for each in data]
    assert data == [pytest.approx(each) for each in expected]


def test_a_disk_that_is_full_ends_the_run(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, line: bytes) -> None:
        raise self._unwritable(OSError(28, "No space left on device"))

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(BatchFileError, match="No space left on device"):
        batch.run([row(str(number)) for number in range(20)])
