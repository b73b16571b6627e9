"""Constraints at servers: each one's own names, and answers that are checked here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from llamaforge.errors import ConstraintError, InvalidAnswerError, UnsupportedError
from support.scripted import ScriptedServer, delta, models_reply, stream_reply, usage

OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SCHEMA = {"type": "json_schema", "json_schema": {"schema": OBJECT, "strict": True}}
REGEX = {"type": "regex", "regex": "a.c"}
CHOICE = {"type": "choice", "choice": ["a|b", 'say "c"']}
SENT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": OBJECT, "strict": True}}
GBNF = 'root ::= "yes" | "no"'


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as started:
        started.on("GET", "/models", models_reply("m-1"))
        says(started, '{"n": 3}')
        yield started


def says(server: ScriptedServer, text: str, reason: str = "stop") -> None:
    server.chat(stream_reply(delta(text), delta(finish_reason=reason), usage(3, 2)))


def load(server: ScriptedServer, kind: str = "openai", **more: Any) -> OpenAIBackend:
    backend = OpenAIBackend()
    config = {"api_base": server.url, "api_key": "x", "max_retries": 0, "constraints": kind, **more}
    backend.load_model("m-1", config)
    return backend


@pytest.mark.parametrize(
    ("kind", "wanted", "fields"),
    [
        ("openai", SCHEMA, {"response_format": SENT}),
        ("openai", {"type": "json_object"}, {"response_format": {"type": "json_object"}}),
        ("openai", {"type": "text"}, {}),
        ("vllm", SCHEMA, {"response_format": SENT}),
        ("vllm", REGEX, {"structured_outputs": {"regex": "a.c"}}),
        ("vllm", CHOICE, {"structured_outputs": {"choice": CHOICE["choice"]}}),
        ("llama-server", SCHEMA, {"json_schema": OBJECT}),
        ("llama-server", {"type": "json_object"}, {"json_schema": {"type": "object"}}),
        ("llama-server", CHOICE, {"grammar": 'root ::= "a|b" | "say \\"c\\""'}),
        ("llamaforge", SCHEMA, {"response_format": SCHEMA}),
        ("llamaforge", REGEX, {"response_format": REGEX}),
        ("llamaforge", CHOICE, {"response_format": CHOICE}),
        ("tgi", SCHEMA, {"response_format": {"type": "json", "value": OBJECT}}),
        ("tgi", REGEX, {"response_format": {"type": "regex", "value": "a.c"}}),
        ("tgi", CHOICE, {"response_format": {"type": "regex", "value": '(a\\|b)|(say\\ "c")'}}),
    ],
)
def test_each_server_gets_its_own_words(kind: str, wanted: Any, fields: Any, server: ScriptedServer) -> None:
    if wanted is CHOICE:
        says(server, "a|b")
    with load(server, kind) as backend:
        backend.generate("Hi", response_format=wanted)
    always = {"model", "messages", "stream", "stream_options"}
    assert {name: value for name, value in server.last.body.items() if name not in always} == fields


def test_grammars(server: ScriptedServer) -> None:
    with load(server, "vllm", extensions={"grammar": "guided_grammar"}) as backend:
        backend.generate("Hi", grammar=GBNF)
        assert server.last.body["guided_grammar"] == GBNF
    with load(server, "llama-server", extensions=["grammar"]) as backend:
        backend.generate("Hi", grammar=GBNF)
        assert server.last.body["grammar"] == GBNF
        with pytest.raises(UnsupportedError, match="Lark"):
            backend.generate("Hi", grammar='start: "a"')


@pytest.mark.parametrize(("kind", "wanted"), [("openai", REGEX), ("openai", CHOICE), ("llama-server", REGEX)])
def test_what_a_server_has_no_name_for_is_refused(kind: str, wanted: Any, server: ScriptedServer) -> None:
    with load(server, kind) as backend, pytest.raises(UnsupportedError, match=wanted["type"]):
        backend.generate("Hi", response_format=wanted)
    assert not server.posted()


@pytest.mark.parametrize(
    ("text", "place", "says_why"),
    [("Hello", "", "JSON"), ('{"n": "x"}', "/n", "integer"), ("{}", "", "required"), ('{"n": 1} {}', "", "JSON")],
)
def test_an_answer_that_breaks_its_schema_is_an_error_with_the_text(
    text: str, place: str, says_why: str, server: ScriptedServer
) -> None:
    says(server, text)
    with load(server) as backend:
        with pytest.raises(InvalidAnswerError, match=says_why) as caught:
            backend.generate("Hi", response_format=SCHEMA)
        assert (caught.value.text, caught.value.place) == (text, place)
        stream = backend.generate_stream("Hi", response_format=SCHEMA)
        assert next(stream) == text
        with pytest.raises(InvalidAnswerError):
            next(stream)
        with pytest.raises(InvalidAnswerError):
            asyncio.run(backend.agenerate("Hi", response_format=SCHEMA))
        [item] = backend.generate_batch(["Hi"], response_format=SCHEMA)
        assert isinstance(item.error, InvalidAnswerError)


def test_a_choice_is_checked_too(server: ScriptedServer) -> None:
    says(server, "c")
    with load(server, "vllm") as backend, pytest.raises(InvalidAnswerError, match="not one of"):
        backend.generate("Hi", response_format=CHOICE)


def test_a_good_answer_is_parsed_and_a_cut_one_is_not_checked(server: ScriptedServer) -> None:
    with load(server) as backend:
        assert backend.generate("Hi", response_format=SCHEMA).parsed == {"n": 3}
        says(server, '{"n": ', "length")
        answer = backend.generate("Hi", response_format=SCHEMA)
    assert (answer, answer.finish_reason, answer.parsed) == ('{"n": ', "length", None)


@pytest.mark.parametrize(
    ("schema", "place"), [({"type": 5}, "/type"), ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum")]
)
def test_what_is_no_schema_is_refused_at_its_place(schema: Any, place: str, server: ScriptedServer) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    with load(server) as backend, pytest.raises(ConstraintError) as caught:
        backend.generate("Hi", response_format=wanted)
    assert caught.value.place == f"/json_schema/schema{place}"
    assert not server.posted()


def test_nothing_is_fetched_for_a_check(server: ScriptedServer) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": {"$ref": f"{server.url}/schema.json"}}}
    with load(server) as backend, pytest.raises(InvalidAnswerError, match="refers"):
        backend.generate("Hi", response_format=wanted)
    assert [request.path for request in server.posted()] == ["/v1/chat/completions"]
    assert json.loads(server.last.raw)["response_format"]["json_schema"]["schema"]["$ref"]
