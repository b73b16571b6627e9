"""What is sent: lengths, freshness, shared beginnings, files and traces."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_bench import Lengths, Prompts, Synthetic, Trace, TraceEntry, read_dataset
from forge_bench.driver import Item
from forge_bench.loads import Load, Wording
from llamaforge.errors import EmptyPromptError, InvalidParameterError, MissingDependencyError

PLAIN = Wording()


def draw(
    load: Load, count: int, *, seed: int = 0, salt: str = "a", wording: Wording = PLAIN, fresh: bool = False
) -> Any:
    return load.draw(count, seed=seed, salt=salt, wording=wording, fresh=fresh)


def texts(items: list[Item]) -> list[str]:
    return [item.call.prompt or "" for item in items]


@pytest.mark.parametrize(
    ("said", "mean"), [("7", 7), ("uniform:10:30", 20), ("normal:100:10", 100), ("lognormal:200:100", 200)]
)
def test_lengths_have_the_mean_that_was_said(said: str, mean: float) -> None:
    lengths, source = Lengths.read(said), random.Random(3)
    drawn = [lengths.draw(source) for _ in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(mean, rel=0.03)
    assert min(drawn) >= 1
    assert lengths.mean == mean
    assert Lengths.read(lengths.say()) == lengths


@pytest.mark.parametrize("said", ["", "many", "0", "-3", "uniform:9:3", "normal:nan:1", "pareto:3:1", "normal:"])
def test_lengths_that_are_none(said: str) -> None:
    with pytest.raises(InvalidParameterError, match="a number of tokens"):
        Lengths.read(said)


@given(st.integers(1, 40), st.integers(0, 30), st.floats(0.5, 3))
def test_a_wording_is_found_out(words: int, overhead: int, per_word: float) -> None:
    def tokens(count: int) -> int:
        return round(overhead + per_word * count)

    wording = Wording.of_counts((60, tokens(60)), (240, tokens(240)))
    assert wording.measured
    made = wording.words(overhead + per_word * words)
    assert abs(made - words) <= 1 + 1 / per_word


def test_synthetic_prompts_have_their_length_as_the_engine_counts() -> None:
    wording = Wording(per_word=1.0, overhead=7, measured=True)
    items = draw(Synthetic(prompt_tokens="uniform:20:60", output_tokens="uniform:1:9"), 200, wording=wording)
    counts = [len(text.split()) + 7 for text in texts(items)]
    assert (min(counts), max(counts)) == (20, 60)
    assert {item.call.max_tokens for item in items} == set(range(1, 10))
    assert all(item.call.exact_length for item in items)


def test_one_seed_gives_one_load_and_texts_are_never_sent_twice() -> None:
    load = Synthetic(prompt_tokens="normal:30:8", output_tokens="normal:30:8")
    one, again = draw(load, 20, seed=5, salt="x"), draw(load, 20, seed=5, salt="x")
    other = draw(load, 20, seed=5, salt="y")
    warm = draw(load, 20, seed=5, salt="x", fresh=True)
    assert texts(one) == texts(again)
    assert [item.call.max_tokens for item in one] == [item.call.max_tokens for item in other]
    assert len({*texts(one), *texts(other), *texts(warm)}) == 60


def test_shared_beginnings() -> None:
    items = draw(Synthetic(prompt_tokens=50, prefix_tokens=30, prefixes=2), 6)
    beginnings = [text.partition("\n\n")[0] for text in texts(items)]
    assert len(set(beginnings)) == 2
    assert beginnings[0] == beginnings[2] == beginnings[4] != beginnings[1]
    assert [len(text.split()) for text in texts(items)] == [50] * 6
    assert len(set(texts(items))) == 6


def test_conversations_have_their_turns() -> None:
    (item,) = draw(Synthetic(prompt_tokens=10, turns=4, pause=0.5), 1)
    assert len(item.turns) == 3
    assert item.pause == 0.5


@given(st.integers(1, 12), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_no_prompt_is_repeated_before_all_were_sent(size: int, trials: list[int]) -> None:
    given_texts = [f"text {number}" for number in range(size)]
    load = Prompts(given_texts)
    sent = [text for number, count in enumerate(trials) for text in texts(draw(load, count, salt=str(number)))]
    assert sorted(sent[:size]) == sorted(given_texts)[: len(sent)] or len(sent) < size
    assert len(set(sent)) == len(sent)  # repeated ones are marked
    assert all(text.endswith(tuple(given_texts)) for text in sent)
    assert load.marked == max(0, len(sent) - size)


def test_warming_up_uses_other_texts_and_uses_up_nothing() -> None:
    load = Prompts(["one", "two"])
    warm = texts(draw(load, 2, fresh=True))
    assert not {"one", "two"} & set(warm)
    assert sorted(texts(draw(load, 2))) == ["one", "two"]
    assert not load.marked


def test_prompts_may_be_repeated_as_they_are() -> None:
    assert set(texts(draw(Prompts(["one"], mark_repeats=False), 5))) == {"one"}


def test_a_conversation_is_marked_at_its_beginning() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    load = Prompts([turns])
    draw(load, 1)
    (item,) = draw(load, 1)
    first, last = item.call.messages
    assert first["content"].endswith("Be brief.")
    assert first["content"] != "Be brief."
    assert last == turns[1]
    assert turns[0]["content"] == "Be brief."


@pytest.mark.parametrize(
    ("given_prompts", "kind"),
    [([], EmptyPromptError), ([" "], EmptyPromptError), ([3], InvalidParameterError), ([[]], InvalidParameterError)],
)
def test_what_is_no_prompt(given_prompts: list[Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Prompts(given_prompts)


Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return written


def test_lines(write: Write) -> None:
    load = read_dataset(write("p.txt", "first\n\n second \n"))
    assert sorted(texts(draw(load, 2))) == ["first", "second"]


def test_json_lines(write: Write) -> None:
    rows: list[Any] = [
        {"prompt": "a", "max_tokens": 3},
        {"question": "b"},
        "c",
        {"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "recorded"}]},
    ]
    load = read_dataset(write("p.jsonl", "\n".join(map(json.dumps, rows))))
    items = draw(load, 4)
    assert {item.call.prompt for item in items} == {"a", "b", "c", None}
    assert {item.call.max_tokens for item in items} == {3, None}
    (chat,) = [item.call.messages for item in items if item.call.messages]
    assert chat == [{"role": "user", "content": "d"}]
    assert read_dataset(write("q.jsonl", json.dumps({"mine": "x", "prompt": "y"})), column="mine").size == 1
    assert read_dataset(write("p.jsonl", "\n".join(map(json.dumps, rows))), limit=2).size == 2


def test_sharegpt(write: Write) -> None:
    turns = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "one"},
        {"from": "gpt", "value": "x"},
        {"from": "human", "value": "two"},
    ]
    (item,) = draw(read_dataset(write("s.json", json.dumps([{"id": "1", "conversations": turns}]))), 1)
    begins = [{"role": "system", "content": "s"}, {"role": "user", "content": "one"}]
    assert (item.call.prompt, item.call.messages, item.turns) == (None, begins, ["two"])
    (item,) = draw(read_dataset(write("t.json", json.dumps([{"id": "1", "conversations": turns[1:]}]))), 1)
    assert (item.call.prompt, item.turns) == ("one", ["two"])


def test_entries_of_a_trace_may_be_mappings() -> None:
    own: dict[str, Any] = {"timestamp": 2, "prompt_tokens": 5, "output_tokens": 3}
    mooncake: dict[str, Any] = {"timestamp": 1000, "input_length": 5, "output_length": 4}
    load = Trace([own, mooncake, TraceEntry(timestamp=3, prompt_tokens=5, output_tokens=5)])
    assert load.timestamps == [1, 2, 3]
    assert [item.call.max_tokens for item in draw(load, 3)] == [4, 3, 5]


@pytest.mark.parametrize(
    "entry", [3, {}, {"timestamp": "x", "input_length": 1}, {"timestamp": 1, "prompt_tokens": "5", "output_tokens": 1}]
)
def test_other_entries_are_refused(entry: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"entries\[1\] must be a TraceEntry"):
        Trace([TraceEntry(timestamp=3, prompt_tokens=5, output_tokens=5), entry])


def test_mooncake(write: Write) -> None:
    rows = [
        {"timestamp": 3000, "input_length": 1030, "output_length": 5, "hash_ids": [1, 2, 3]},
        {"timestamp": 0, "input_length": 1000, "output_length": 9, "hash_ids": [1, 7]},
        {"timestamp": 1500, "input_length": 1024, "output_length": 7, "hash_ids": [1, 2]},
    ]
    load = read_dataset(write("t.jsonl", "\n".join(map(json.dumps, rows))))
    assert isinstance(load, Trace)
    assert load.timestamps == [0, 1.5, 3]
    items = draw(load, 3)
    assert [item.call.max_tokens for item in items] == [9, 7, 5]
    words = [text.split() for text in texts(items)]
    assert [len(each) for each in words] == [1000, 1024, 1030]
    assert words[0][:512] == words[1][:512] == words[2][:512]
    assert words[1] == words[2][:1024]
    assert words[0][512:600] != words[1][512:600]
    assert texts(draw(load, 3, salt="b")) != texts(items)  # another trial, other texts


def test_azure(write: Write) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.4799600,110,27\n"
    )
    load = read_dataset(write("t.csv", text))
    assert isinstance(load, Trace)
    assert load.timestamps[1] - load.timestamps[0] == pytest.approx(0.5)
    assert [len(each.split()) for each in texts(draw(load, 2))] == [4808, 110]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.jsonl", '{"prompt": "a"}\n{broken\n', "line 2 is not JSON"),
        ("p.jsonl", '{"prompt": "a"}\n{"answer": "b"}\n', "entry 2: there is no text"),
        ("t.csv", "a,b\n1,2\n", "'timestamp'"),
        ("t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", "can't be read"),
        ("t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "at least one request"),
    ],
)
def test_what_can_not_be_read_is_said(write: Write, name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        read_dataset(write(name, text))


def test_an_empty_file_and_one_that_is_not_there(write: Write, tmp_path: Path) -> None:
    with pytest.raises(EmptyPromptError):
        read_dataset(write("p.txt", "\n"))
    with pytest.raises(InvalidParameterError, match="can't be read"):
        read_dataset(tmp_path / "nowhere.jsonl")


def test_a_trace_begins_again_with_other_texts_when_it_ends() -> None:
    load = Trace([TraceEntry(timestamp=0, prompt_tokens=30, output_tokens=3, blocks=(1,))])
    one, two = texts(draw(load, 2))
    assert one != two
    with pytest.raises(InvalidParameterError):
        Trace([])


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra that is not in the tests' environment: a module of its name shows what it is asked."""
    (tmp_path / "datasets.py").write_text(
        "def load_dataset(name, *, split, streaming):\n"
        "    assert streaming\n"
        "    return ({'mine': f'{name} {split} {number}'} for number in range(10**9))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    load = read_dataset("hf:org/set:test", column="mine", limit=3)
    assert sorted(texts(draw(load, 3))) == [f"org/set test {number}" for number in range(3)]
    sys.modules.pop("datasets", None)


def test_the_library_of_data_sets_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match="datasets"):
        read_dataset("hf:org/set")
