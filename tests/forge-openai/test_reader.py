"""What chunks add up to: reasons, counts, errors and the state in between, for one answer at a time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from forge_openai.answer.chunks import Chunk
from forge_openai.answer.reader import FAILURES, FINISH_REASONS, NO_REASONS, AnswerReader
from forge_openai.errors import Translator
from llamaforge.errors import ConnectionFailedError, ServerError
from llamaforge.requests import read_request
from llamaforge.results import Event, Finished, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta, Usage
from support.scripted import delta, usage

ADDRESS = "http://host/v1"
TRANSLATOR = Translator(address=ADDRESS, model="m", secrets=("sk-secret",))
Reports = list[tuple[str, object]]


def reader_of(*sent: dict[str, Any], reports: Reports | None = None, **given: Any) -> tuple[AnswerReader, list[Event]]:
    """A reader that has read *sent*, and its events so far."""
    told: Reports = [] if reports is None else reports
    settings = {name: given.pop(name) for name in ("stops_here", "reasoning_in_content") if name in given}
    request = read_request("Hi", None, given)
    reader = AnswerReader(request, TRANSLATOR, lambda field, value: told.append((field, value)), **settings)
    events: list[Event] = []
    for each in sent:
        reader.read(msgspec.convert(each, Chunk), events)
    return reader, events


def answer(*sent: dict[str, Any], whole: bool = False, **given: Any) -> list[Event]:
    reader, events = reader_of(*sent, **given)
    return events + reader.finish(whole)


def end(*sent: dict[str, Any], whole: bool = False, **given: Any) -> Finished:
    last = answer(*sent, whole=whole, **given)[-1]
    assert isinstance(last, Finished)
    return last


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [fields]}


def spelt(*tokens: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk with a log-probability for each token."""
    chunk = delta("".join(tokens) if text is None else text, **more)
    chunk["choices"][0]["logprobs"] = {"content": [{"token": token, "logprob": -0.5} for token in tokens]}
    return chunk


def tokens_of(events: list[Event]) -> list[str]:
    return [token.token for each in events if isinstance(each, TextDelta) for token in each.logprobs]


def test_each_reason_in_our_words() -> None:
    told = {
        "stop": "stop eos_token stop_sequence eos end_turn",
        "length": "length max_tokens model_length",
        "tool_calls": "tool_calls function_call tool_use",
        "content_filter": "content_filter safety sensitive",
        "unknown": "brand_new failed nothing",
    }
    for ours, theirs in told.items():
        for reason in theirs.split():
            assert (reason in FINISH_REASONS) == (ours != "unknown")
            for spelling in (reason, reason.upper()):
                assert end(delta("Hi", spelling)).finish_reason == ours
    assert set(FINISH_REASONS) == set(" ".join(list(told.values())[:-1]).split())


def test_reasons_of_an_answer_that_failed() -> None:
    assert set(FAILURES) == {"error", "abort", "network_error", "insufficient_system_resource"}
    for reason in FAILURES:
        with pytest.raises(ServerError) as caught:
            answer(delta("Hi", reason.upper()), whole=True)
        error = caught.value
        assert (error.endpoint, error.status) == (ADDRESS, None)
        assert error.reason == f"the answer ended with finish_reason {reason!r}"


def test_what_is_no_reason() -> None:
    assert set(NO_REASONS) == {"", "null", "none"}
    for reason in NO_REASONS:
        assert end(delta("Hi", reason.upper()), whole=True).finish_reason == "unknown"
        with pytest.raises(ConnectionFailedError):
            answer(delta("Hi", reason))


def test_how_an_answer_that_is_cut_is_told() -> None:
    def cut(*sent: dict[str, Any], whole: bool = False, words: str = "") -> str:
        reader, _ = reader_of(*sent)
        with pytest.raises((ConnectionFailedError, ServerError)) as caught:
            reader.finish(whole, words)
        assert (caught.value.endpoint, isinstance(caught.value, ServerError)) == (ADDRESS, bool(words))
        return caught.value.reason

    short = "the server ended the stream before the answer was complete, after "
    assert cut() == short + "no text"
    assert cut(delta("Hä"), delta("!")) == short + "3 characters"
    assert cut(delta(reasoning="Hm")) == short + "no text"
    assert cut(delta("Hi", "stop"), delta("!", "stop")) == short + "3 characters"
    assert cut(usage(3, 2)) == short + "no text"
    assert cut(whole=True) == "the server ended the answer without a finish_reason, after no text"
    assert cut(words="Bye, sk-secret") == "it sent an incomplete answer (no text), then: Bye, ***"
    assert cut(delta("Hi"), words="Bye") == "it sent an incomplete answer (2 characters), then: Bye"


def test_whether_it_has_ended() -> None:
    for sent, ended in (
        ([], False),
        ([delta("Hi")], False),
        ([delta("Hi", "stop")], True),
        ([delta("Hi", "stop"), usage(3, 2)], True),
        ([delta("Hi", "stop"), delta("!")], False),
        ([delta("Hi", "stop"), delta("!", "stop")], False),
    ):
        reader, _ = reader_of(*sent)
        assert reader.has_ended is ended
        assert reader.is_over is False


def test_an_error_in_a_choice() -> None:
    for error in ({"message": "Broke."}, "Broke.", ["Broke."]):
        with pytest.raises(ServerError, match=r"Broke\.$") as caught:
            answer(choice(text="Hi", error=error, finish_reason="stop"), whole=True)
        assert (caught.value.endpoint, caught.value.status) == (ADDRESS, None)
    for nothing in (None, "", {}, {"message": "", "code": 0}):
        assert end(choice(text="Hi", error=nothing, finish_reason="stop")).finish_reason == "stop"


def test_the_first_choice_is_the_answer() -> None:
    reports: Reports = []
    sent = [
        {"choices": [{"index": 3, "text": "a"}, {"index": 0, "text": "x"}, {"index": 3, "text": "b"}]},
        {"choices": [{"index": 1, "text": "y", "finish_reason": "stop"}]},
        {"choices": [{"index": None, "text": "c"}, {"index": 3, "text": "d", "finish_reason": "length"}]},
    ]
    events = answer(*sent, reports=reports)
    assert events == [*map(TextDelta, "abcd"), Finished(finish_reason="length", usage=None)]
    assert reports == [("choices[0]", {}), ("choices[1]", {})]
    sent = [choice(index=None, text="a"), choice(index=2, text="b"), choice(index=0, text="x", finish_reason="stop")]
    assert answer(*sent, whole=True)[:2] == [TextDelta("a"), TextDelta("b")]


def test_every_part_of_a_choice_is_text() -> None:
    sent = choice(text="a", delta={"content": "b", "refusal": "c"}, message={"content": "x"}, finish_reason="stop")
    assert answer(sent)[0] == TextDelta("abc")
    assert answer(choice(message={"content": "b", "refusal": "c"}, finish_reason="stop"))[0] == TextDelta("bc")


def test_messages_in_place_of_deltas() -> None:
    def said(*texts: str) -> list[str]:
        sent = [choice(message={"content": text}) for text in texts]
        return [each.text for each in answer(*sent, whole=True) if isinstance(each, TextDelta)]

    assert said("Hi", "Hi the", "Hi there") == ["Hi", " the", "re"]
    assert said("Hi", " there", "Hi there.") == ["Hi", " there", "."]
    assert said("Hi", "Hi") == ["Hi"]
    assert said("", "Hi") == ["Hi"]
    events = answer(delta("Hi"), choice(message={"content": "Hi there"}, finish_reason="stop"))
    assert events[:-1] == [TextDelta("Hi")]


def test_counts_are_the_last_ones_that_say_something() -> None:
    first, last = Usage(prompt_tokens=3, completion_tokens=1), Usage(prompt_tokens=3, completion_tokens=2)
    nothing = {"choices": [], "usage": {}}
    assert end(delta("a", "stop"), usage(3, 1), usage(3, 2)).usage == last
    assert end(delta("a", "stop"), usage(3, 1), nothing).usage == first
    inside = choice(text="a", finish_reason="stop", usage=usage(3, 2)["usage"])
    assert end(inside).usage == last
    assert end(inside, usage(3, 1)).usage == first
    assert end(delta("a", "stop"), nothing).usage is None
    assert end(choice(text="a", finish_reason="stop", usage={})).usage is None


def test_tokens_of_reasoning_are_counted_where_the_server_does_not() -> None:
    thought = [delta(reasoning="a"), delta(reasoning_content="b", reasoning="b")]
    sent = [*thought, delta("c", "stop")]
    assert end(*sent, usage(3, 9)).usage == Usage(prompt_tokens=3, completion_tokens=9, reasoning_tokens=2)
    assert end(*sent, usage(3, 1)).usage == Usage(prompt_tokens=3, completion_tokens=1, reasoning_tokens=1)
    told = usage(3, 9, completion_tokens_details={"reasoning_tokens": 4})
    assert end(*sent, told).usage == Usage(prompt_tokens=3, completion_tokens=9, reasoning_tokens=4)
    assert end(*sent).usage is None


def stopped(*sent: dict[str, Any], **given: Any) -> Usage:
    """The counts of an answer that a stop string cuts, while the server goes on."""
    reader, _ = reader_of(*sent, stop=["END"], stops_here=True, **given)
    assert reader.is_over
    last = reader.finish()[-1]
    assert isinstance(last, Finished)
    assert (last.finish_reason, last.stop) == ("stop", "END")
    assert last.usage is not None
    return last.usage


def test_guessed_counts_have_all_that_was_seen() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    thought = Usage(prompt_tokens=1, completion_tokens=2, reasoning_tokens=1, estimated=True)
    assert stopped(delta(reasoning="a"), delta("END")) == thought
    for sent, tokens in (
        ([delta("END")], 1),
        ([delta("a"), delta("END")], 2),
        ([delta(tool_calls=[call, {"index": 0}]), delta("END")], 3),
        ([delta(function_call={"name": "f"}), delta("END")], 2),
        ([spelt("a", "b", text="ab!"), delta("END")], 3),
        ([spelt("a", "b"), spelt("E", "ND", "x")], 4),
        ([spelt("END")], 1),
    ):
        assert stopped(*sent) == Usage(prompt_tokens=1, completion_tokens=tokens, estimated=True)
    known = {**delta("a"), **usage(7, 1), "choices": delta("a")["choices"]}
    assert stopped(known, delta("END")) == Usage(prompt_tokens=7, completion_tokens=2, estimated=True)
    final = {**delta("END"), **usage(7, 2), "choices": delta("END")["choices"]}
    assert stopped(known, final) == Usage(prompt_tokens=7, completion_tokens=2)


def test_when_nothing_is_left_to_read() -> None:
    def over(*sent: dict[str, Any], here: bool = True) -> bool:
        return reader_of(*sent, stop=["END"], stops_here=here)[0].is_over

    assert not over()
    assert not over(delta("EN"))
    assert over(delta("END"))
    assert not over(delta("END"), here=False), "a server that knows the stop string says how it ended"
    assert not over(delta("END", "stop"))
    assert not over(delta("END"), delta(""), here=False)
    assert over(delta("END"), delta("x"), here=False), "it doesn't stop"
    assert over(delta("END"), delta("x"), delta(""), here=False)
    assert over(delta("END"), delta("x", "stop"), here=False)


def test_which_stop_string_it_was() -> None:
    assert end(choice(text="a", finish_reason="stop", stop_reason="END\ud83c")).stop == "END\ufffd"
    assert end(choice(text="a", finish_reason="stop", stop_reason=7)).stop is None
    assert end(choice(text="aB", finish_reason="length", stop_reason="END"), stop=["B"]).stop == "B"
    ended = end(choice(text="aB", finish_reason="length"), stop=["B"])
    assert (ended.finish_reason, ended.stop) == ("stop", "B")


def test_text_that_is_held_back_comes_at_the_end() -> None:
    assert answer(delta("aE"), delta("N", "stop"), stop=["END"])[:-1] == [TextDelta("a"), TextDelta("EN")]
    held = answer(spelt("a"), spelt("EN"), delta(None, "stop"), stop=["END"], logprobs=True)
    assert [each.text for each in held[:-1] if isinstance(each, TextDelta)] == ["a", "", "EN"]
    assert tokens_of(held) == ["a", "EN"]


def test_tokens_up_to_the_one_that_completes_a_stop_string() -> None:
    given = {"stop": ["END"], "logprobs": True, "stops_here": True}
    assert tokens_of(answer(spelt("a", "EN", "D!", "b"), **given)) == ["a", "EN", "D!"]
    assert tokens_of(answer(spelt("a", "END", "b", text="aENDc"), **given)) == ["a", "END", "b"]
    assert tokens_of(answer(spelt("a", "b", text=""), delta("", "stop"), logprobs=True)) == ["a", "b"]


@pytest.mark.parametrize(("timeout", "text"), [(60, "Hi!"), (None, "")])
def test_the_text_so_far_is_kept_for_a_deadline_alone(timeout: float | None, text: str) -> None:
    reader, _ = reader_of(delta("Hi"), delta("!"), timeout=timeout)
    assert str(reader.text) == text


def test_as_many_alternatives_as_were_asked_for() -> None:
    chunk = choice(text="a", finish_reason="stop")
    others = [{"token": token, "logprob": -1.0} for token in "abc"]
    chunk["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": others}]}
    for count in (None, 0, 1, 2):
        given = {"logprobs": True} | ({} if count is None else {"top_logprobs": count})
        told = tuple(TokenLogprob(token, -1.0) for token in "abc"[: count or 0])
        assert answer(chunk, **given)[0] == TextDelta("a", (TokenLogprob("a", -1.0, top=told),))


# Reasoning in the content.


def thinking(*sent: dict[str, Any], mode: str = "auto", **given: Any) -> list[Event]:
    return answer(*sent, delta(None, "stop"), reasoning_in_content=mode, **given)


def test_the_modes() -> None:
    text = "<think>a</think>b"
    assert answer(delta(text, "stop"))[0] == TextDelta(text)
    for mode, said, thought in (
        ("no", text, ""), ("auto", "b", "a"), ("opened", "b", "a"), ("raw", text, ""),
    ):  # fmt: skip
        events = thinking(delta(text), mode="auto", raw=True) if mode == "raw" else thinking(delta(text), mode=mode)
        assert "".join(each.text for each in events if isinstance(each, TextDelta)) == said
        assert "".join(each.text for each in events if isinstance(each, ReasoningDelta)) == thought
    assert thinking(delta("a</think>b"), mode="opened")[:2] == [ReasoningDelta("a"), TextDelta("b")]
    assert thinking(delta("a</think>b"))[0] == TextDelta("a</think>b")


def test_reasoning_that_the_server_has_found_ends_the_search() -> None:
    events = thinking(delta(reasoning="a"), delta("<think>b"))
    assert events[:2] == [ReasoningDelta("a"), TextDelta("<think>b")]


def test_tokens_in_the_content_that_are_reasoning() -> None:
    def counted(*sent: dict[str, Any]) -> int:
        last = thinking(*sent, usage(3, 99))[-1]
        assert isinstance(last, Finished)
        assert last.usage is not None
        return last.usage.reasoning_tokens

    assert counted(delta("<think>a"), delta("b</think>"), delta("c")) == 2
    assert counted(delta("<think>"), delta("a"), delta("</think>"), delta("\n"), delta("c")) == 3
    assert counted(delta("Hi"), delta("there")) == 0
    assert counted(spelt("<", "think>"), spelt("a", "b", "</think>"), spelt("c")) == 5
    assert counted(spelt("<think>", "a", text="<think>a!"), spelt("</think>", "c")) == 3


def test_guesses_where_the_content_is_searched() -> None:
    where = {"reasoning_in_content": "auto"}
    for sent, tokens, thought in (
        ([delta("<think>"), delta("a"), delta("</think>"), delta("END")], 4, 3),
        ([delta("<think>a"), delta("b</think>END")], 2, 2),
        ([spelt("<think>", "a", text="<think>a!"), spelt("b</", "think>END", text="b</think>END!")], 4, 4),
        ([delta("<thi"), delta("s>"), delta("END")], 3, 0),
        ([spelt("<thi"), spelt("s>"), spelt("END")], 3, 0),
        ([delta("a"), delta("END")], 2, 0),
    ):
        counts = Usage(prompt_tokens=1, completion_tokens=tokens, reasoning_tokens=thought, estimated=True)
        assert stopped(*sent, **where) == counts
    known = {**delta("<think>a"), **usage(7, 1), "choices": delta("<think>a")["choices"]}
    guess = stopped(known, delta("</think>END"), **where)
    assert guess == Usage(prompt_tokens=7, completion_tokens=2, reasoning_tokens=2, estimated=True)


def test_log_probabilities_of_what_may_begin_reasoning_are_held() -> None:
    given = {"logprobs": True}
    events = thinking(spelt("<"), spelt("th"), spelt("is"), **given)
    assert events[:-1] == [TextDelta("<this", tuple(TokenLogprob(each, -0.5) for each in ("<", "th", "is")))]
    events = thinking(spelt("<"), spelt("th"), **given)
    assert events[:-1] == [TextDelta("<th", tuple(TokenLogprob(each, -0.5) for each in ("<", "th")))]
    events = thinking(spelt("<", "think>", "a", "</think>", "b"), **given)
    assert events[:-1] == [ReasoningDelta("a"), TextDelta("b", (TokenLogprob("b", -0.5),))]


def test_a_reason_with_every_chunk_where_the_content_is_searched() -> None:
    sent = [delta("<think>a", "stop"), delta("</think>b", "stop")]
    with pytest.raises(ConnectionFailedError):
        answer(*sent, reasoning_in_content="auto")
    assert answer(*sent, whole=True, reasoning_in_content="auto")[-1] == Finished(finish_reason="stop", usage=None)


# Tool calls.

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("tide", "moon")]


def calls(*parts: dict[str, Any], reason: str | None = "stop", **given: Any) -> list[tuple[str, str, str]]:
    events = answer(delta(None, reason, tool_calls=list(parts)), whole=True, **given)
    return [(each.id, each.name, each.arguments) for each in events if isinstance(each, ToolCallDelta)]


def test_a_call_ends_the_answer_whatever_the_reason() -> None:
    part = {"index": 0, "id": "a", "function": {"name": "tide", "arguments": "{}"}}
    for reason, ended in ((None, "tool_calls"), ("stop", "tool_calls"), ("length", "length"), ("odd", "unknown")):
        assert end(delta(None, reason, tool_calls=[part]), whole=True).finish_reason == ended
    assert calls(part) == [("a", "tide", "{}")]
    older = answer(delta(None, "stop", function_call={"name": "tide", "arguments": "{}"}))
    assert [each.name for each in older if isinstance(each, ToolCallDelta)] == ["tide"]


def test_calls_are_told_apart_by_the_names_on_offer() -> None:
    parts = [{"index": 0, "function": {"name": "tide"}}, {"index": 0, "function": {"name": "moon"}}]
    assert [name for _, name, _ in calls(*parts, tools=TOOLS)] == ["tide", "moon"]
    assert [name for _, name, _ in calls(*parts)] == ["tidemoon"]


def test_ids_of_our_own() -> None:
    parts = [{"index": place, "function": {"name": "tide", "arguments": "{}"}} for place in (0, 1)]

    def ids(**given: Any) -> tuple[str, ...]:
        made = tuple(ident for ident, _, _ in calls(*parts, **given))
        assert len(set(made)) == 2
        assert all(ident.startswith("call_") and len(ident) == 29 for ident in made)
        return made

    assert ids(tools=TOOLS, seed=1) == ids(tools=TOOLS, seed=1)
    assert ids(tools=TOOLS, seed=0) == ids(tools=TOOLS, seed=0) != ids(tools=TOOLS, seed=1)
    assert ids(tools=TOOLS) != ids(tools=TOOLS)
    assert ids(seed=1) != ids(seed=1)
