"""Rows of batch files, the index of what is done, and files that survive crashes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.batch_files import Journal, read_rows
from llamaforge.batch_files.index import RowIndex
from llamaforge.batch_files.rows import URLS, count_rows, read_row
from llamaforge.errors import BatchFileError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(max_size=5), JSON, max_size=4)
ROWS = st.fixed_dictionaries({"custom_id": st.text(min_size=1), "url": st.sampled_from(URLS), "body": BODIES})


def line(row: Any) -> bytes:
    return json.dumps(row).encode() + b"\n"


@given(st.lists(st.binary(max_size=60).filter(lambda content: b"\n" not in content)))
def test_any_line_is_a_row_or_nothing(contents: list[bytes]) -> None:
    rows = list(read_rows([content + b"\n" for content in contents]))
    assert len(rows) <= len(contents)
    for row in rows:
        assert (row.body is None) == bool(row.problem)
        assert len(row.key(b"")) == 8


@given(JSON)
def test_any_json_is_a_row(found: Any) -> None:
    row = read_row(1, json.dumps(found).encode())
    assert (row.body is None) == bool(row.problem)


@given(ROWS)
def test_a_sound_row_comes_as_it_is(found: dict[str, Any]) -> None:
    row = read_row(7, line(found).strip())
    assert (row.line, row.custom_id, row.url, row.body, row.problem) == (
        *(7, found["custom_id"], found["url"], found["body"], ""),
    )


@given(ROWS, BODIES)
def test_the_key_is_the_requests(found: dict[str, Any], other: dict[str, Any]) -> None:
    row = read_row(1, line(found).strip())
    shuffled = {"body": dict(reversed(found["body"].items())), "url": found["url"], "custom_id": "another"}
    assert read_row(2, json.dumps(shuffled, indent=None).encode()).key(b"m") == row.key(b"m")
    assert row.key(b"n") != row.key(b"m")
    if other != found["body"]:
        assert read_row(1, line({**found, "body": other}).strip()).key(b"m") != row.key(b"m")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (b"nonsense", "not JSON"),
        (b"[1]", "a JSON object"),
        (b'{"url": "/v1/completions", "body": {}}', "custom_id is missing"),
        (b'{"custom_id": 7, "url": "/v1/completions", "body": {}}', "custom_id is missing"),
        (b'{"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {}}', "method must be POST"),
        (b'{"custom_id": "a", "url": "/v1/audio", "body": {}}', "url must be one of"),
        (b'{"custom_id": "a", "url": "/v1/completions"}', "body must be"),
        (b'{"custom_id": "a", "url": "/v1/completions", "body": {"x":' + b"[" * 99 + b"]" * 99 + b"}}", "too deeply"),
        (b"[" * 100_000, "JSON|deeply"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(found: bytes, says: str) -> None:
    import re

    assert re.search(says, read_row(3, found).problem)


@given(st.lists(ROWS | st.none(), max_size=20), st.integers(1, 5))
def test_shards_are_a_partition(found: list[Any], shards: int) -> None:
    lines = [line(row) if row is not None else b"  \n" for row in found]
    parts = [list(read_rows(lines, (mine, shards))) for mine in range(1, shards + 1)]
    together = sorted(row.line for part in parts for row in part)
    assert together == [row.line for row in read_rows(lines)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.lists(st.booleans(), max_size=20), st.integers(1, 5))
@settings(max_examples=30)
def test_rows_are_counted_as_they_are_read(tmp_path_factory: Any, found: list[bool], shards: int) -> None:
    path = tmp_path_factory.getbasetemp() / "counted.jsonl"
    path.write_bytes(b"".join(b"{}\n" if full else b" \n" for full in found))
    for mine in range(1, shards + 1):
        assert count_rows(path, (mine, shards)) == len(list(read_rows(path.read_bytes().splitlines(), (mine, shards))))


def test_a_byte_order_mark_is_no_content() -> None:
    (row,) = read_rows([b'\xef\xbb\xbf{"custom_id": "a", "url": "/v1/completions", "body": {}}'])
    assert row.custom_id == "a"


@given(st.dictionaries(st.text(max_size=6), st.binary(min_size=8, max_size=8), max_size=60))
def test_the_index_is_a_mapping(entries: dict[str, bytes]) -> None:
    index = RowIndex()
    for name, key in entries.items():
        assert index.get(name) is None
        index.set(name, key)
    assert len(index) == len(entries)
    assert {name: index.get(name) for name in entries} == entries
    for name in entries:
        index.set(name, b"otherkey")
    assert len(index) == len(entries)


def test_the_index_grows() -> None:
    index = RowIndex()
    for number in range(5000):
        index.set(f"row {number}", number.to_bytes(8, "big"))
    assert len(index) == 5000
    assert all(index.get(f"row {number}") == number.to_bytes(8, "big") for number in range(5000))
    assert index.get("row 5000") is None


def written(number: int) -> bytes:
    return line({"custom_id": str(number), "response": None, "llamaforge": {"key": f"{number:016x}"}})


@given(st.integers(0, 4), st.data())
@settings(max_examples=60)
def test_a_torn_end_is_repaired(tmp_path_factory: Any, whole: int, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "torn.jsonl"
    complete = b"".join(map(written, range(whole)))
    last = written(99)
    torn = last[: data.draw(st.integers(0, len(last) - 1))]
    path.write_bytes(complete + torn)
    journal = Journal(path)
    kept = [each.name for _, each in journal.lines()]
    expected = list(map(str, range(whole)))
    assert kept == expected or (torn == last[:-1] and kept == [*expected, "99"])
    journal.append(written(7))
    assert [each.name for _, each in journal.lines()] == [*kept, "7"]
    journal.close()


def test_a_torn_line_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(written(1) + b'{"custom_id": "' + b"x" * 300_000)
    journal = Journal(path)
    assert journal.repaired == 300_015
    assert path.read_bytes() == written(1)
    journal.close()


def test_one_run_at_a_time_writes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    journal = Journal(path)
    with pytest.raises(BatchFileError, match="Another run"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_a_file_of_others_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"my": "data"}\n')
    journal = Journal(path)
    with pytest.raises(BatchFileError, match="line 1, was not written by a batch"):
        list(journal.lines())
    journal.close()
    assert path.read_text() == '{"my": "data"}\n'
    with pytest.raises(BatchFileError, match="a folder is there"):
        Journal(tmp_path)


def test_lines_are_left_out_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out.jsonl")
    for number in range(5):
        journal.append(written(number))
    journal.keep(lambda number, each: number != 2 and each.name != "4")
    journal.append(written(6))
    assert [each.name for _, each in journal.lines()] == ["0", "2", "3", "6"]
    journal.close()
