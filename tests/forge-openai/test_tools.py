"""Tool calls out of their pieces, as servers send them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from forge_openai.answer.chunks import ToolCallPart
from forge_openai.answer.tools import ToolCallAssembler
from llamaforge.results import Event, ToolCallBuffer, ToolCallDelta


def pieces_of(*parts: dict[str, Any], names: tuple[str, ...] = ()) -> list[ToolCallDelta]:
    """What a reader of the stream gets."""
    assembler = ToolCallAssembler(names)
    events: list[Event] = []
    for part in parts:
        assembler.feed(msgspec.convert(part, ToolCallPart), events)
    assert assembler.finish(events) == bool(parts)
    return [event for event in events if isinstance(event, ToolCallDelta)]


def assemble(*parts: dict[str, Any], names: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    """The calls of the result, after a look at the pieces that make them."""
    pieces = pieces_of(*parts, names=names)
    begun: list[int] = []
    calls = ToolCallBuffer()
    for piece in pieces:
        first = piece.index not in begun
        assert bool(piece.id) == bool(piece.name) == first, "id and name come with the first piece of a call alone"
        assert first or piece.arguments, "a piece has something to tell"
        if first:
            begun.append(piece.index)
        calls.add(piece)
    order = [piece.index for piece in pieces]
    assert order == sorted(order), "one call comes after another"
    assert begun == list(range(len(begun)))
    return [(call.id, call.function.name, call.function.arguments) for call in calls.tool_calls]


def part(
    index: int | None = None, ident: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    return {"index": index, "id": ident, "function": {"name": name, "arguments": arguments}}


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["get_weather", "f", "add"]), st.text(max_size=20).map(lambda text: json.dumps({"q": text}))
    ),
    min_size=1,
    max_size=4,
)


@given(CALLS, st.data())
def test_every_cut_and_interleaving(calls: list[tuple[str, str]], data: st.DataObject) -> None:
    queues = []
    for index, (name, arguments) in enumerate(calls):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(arguments)), max_size=5)))
        places = [0, *cuts, len(arguments)]
        pieces = [arguments[a:b] for a, b in itertools.pairwise(places)]
        queues.append(
            [part(index, f"id{index}", name, pieces[0]), *[part(index, arguments=piece) for piece in pieces[1:]]]
        )
    sent = [queue.pop(0) for queue in queues]
    while any(queues):
        sent.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    assert assemble(*sent) == [(f"id{i}", name, arguments) for i, (name, arguments) in enumerate(calls)]


def test_calls_that_all_have_index_0() -> None:
    assert assemble(part(0, "a", "f", "{}"), part(0, "b", "g", "{}")) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_a_new_id_for_every_piece() -> None:
    assert assemble(part(0, "a", "f", '{"x"'), part(0, "b", None, ":1}")) == [("a", "f", '{"x":1}')]


def test_the_name_in_every_piece() -> None:
    assert assemble(part(0, "a", "f", "{"), part(0, "a", "f", "}")) == [("a", "f", "{}")]


def test_a_name_in_two_pieces() -> None:
    assert assemble(part(0, "a", "get_"), part(0, None, "weather", "{}")) == [("a", "get_weather", "{}")]


def test_no_index_but_ids() -> None:
    sent = [
        part(None, "a", "f", "{"),
        part(None, "b", "g", "["),
        part(None, "a", None, "}"),
        part(None, "b", None, "]"),
    ]
    assert assemble(*sent) == [("a", "f", "{}"), ("b", "g", "[]")]


def test_neither_index_nor_id() -> None:
    made = assemble(part(name="f", arguments="{"), part(arguments="}"), part(name="g", arguments="{}"))
    assert [call[1:] for call in made] == [("f", "{}"), ("g", "{}")]
    assert len({call[0] for call in made}) == 2
    assert all(call[0].startswith("call_") for call in made)


def test_arguments_as_an_object() -> None:
    assert assemble(part(0, "a", "f", {"q": "é"})) == [("a", "f", '{"q": "é"}')]


def test_a_piece_without_a_function() -> None:
    assert assemble({"index": 0, "id": "a"}, part(0, None, "f", "{}")) == [("a", "f", "{}")]


WHOLE = st.lists(
    st.tuples(st.sampled_from(["tide", "moon"]), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)),
    min_size=1,
    max_size=4,
)


@given(WHOLE, st.sampled_from([0, None]), st.sampled_from([None, "", "same"]), st.booleans())
def test_whole_calls_that_nothing_tells_apart_but_their_being_whole(
    calls: list[tuple[str, dict[str, int]]], index: int | None, ident: str | None, as_objects: bool
) -> None:
    """Each call in a chunk of its own, all at one index, without ids or all with the same."""
    texts = [(name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in calls]
    sent = [part(index, ident, name, json.loads(text) if as_objects else text) for name, text in texts]
    made = assemble(*sent)
    assert [call[1:] for call in made] == texts
    assert len({call[0] for call in made}) == len(calls)


def test_calls_in_pieces_at_one_index() -> None:
    sent = [
        part(0, None, "tide", '{"a"'),
        part(0, None, None, ":1}"),
        part(0, None, "moon", ""),
        part(0, None, None, "{}"),
    ]
    assert [call[1:] for call in assemble(*sent)] == [("tide", '{"a":1}'), ("moon", "{}")]


def test_a_name_that_is_repeated_at_the_end_is_no_call() -> None:
    sent = [part(0, "a", "tide", "{}"), part(0, "a", "tide", ""), part(0, None, None, "")]
    assert assemble(*sent) == [("a", "tide", "{}")]


def test_functions_without_arguments_are_told_apart_by_the_names_that_are_offered() -> None:
    sent = [part(0, None, "tide"), part(0, None, "moon")]
    assert [call[1] for call in assemble(*sent, names=("tide", "moon"))] == ["tide", "moon"]
    assert [call[1] for call in assemble(*sent, names=("tidemoon",))] == ["tidemoon"]


def test_an_empty_object_that_is_followed_by_the_arguments() -> None:
    assert assemble(part(0, "a", "f", "{}"), part(0, None, None, '{"x"'), part(0, None, None, ":1}")) == [
        ("a", "f", '{"x":1}')
    ]
    named = [part(0, "a", "f", "{}"), part(0, "a", "f", ""), part(0, "a", None, '{"x"'), part(0, "a", "f", ":1}")]
    assert assemble(*named) == [("a", "f", '{"x":1}')]


def test_arguments_are_passed_on_as_they_come() -> None:
    sent = [part(0, "a", "tide", ""), part(0, None, None, '{"x"'), part(0, None, None, ":1}")]
    assert [piece.arguments for piece in pieces_of(*sent)] == ['{"x"', ":1}"]
    events: list[Event] = []
    assembler = ToolCallAssembler()
    for place, piece in enumerate([*sent, part(1, "b", "moon", '{"y"')]):
        assembler.feed(msgspec.convert(piece, ToolCallPart), events)
        assert len(events) == place


def test_a_call_waits_for_the_end_of_the_one_before() -> None:
    sent = [part(0, "a", "tide", '{"x"'), part(1, "b", "moon", '{"y"'), part(0, None, None, ":1}")]
    told = [(piece.index, piece.arguments) for piece in pieces_of(*sent, part(1, None, None, ":2}"))]
    assert told == [(0, '{"x"'), (0, ":1}"), (1, '{"y"'), (1, ":2}")]


def test_what_comes_after_the_end_of_a_call_is_not_lost() -> None:
    sent = [part(0, "a", "tide", '{"x":1}'), part(1, "b", "moon", '{"y":2}'), part(0, None, None, "!")]
    assert [(piece.index, piece.arguments) for piece in pieces_of(*sent)] == [
        (0, '{"x":1}'),
        (1, '{"y":2}'),
        (0, "!"),
    ]


def test_ids_that_the_server_does_not_give_follow_the_seed() -> None:
    def ids(seed: bytes | None) -> list[str]:
        assembler = ToolCallAssembler(seed=seed)
        events: list[Event] = []
        for index in (0, 1):
            assembler.feed(msgspec.convert(part(index=index, name="f", arguments="{}"), ToolCallPart), events)
        assembler.finish(events)
        return [event.id for event in events if isinstance(event, ToolCallDelta) and event.id]

    assert ids(b"1") == ids(b"1") != ids(b"2")
    assert len(set(ids(b"1"))) == 2
    assert ids(None) != ids(None)
