"""Logs: exact whatever the chunking, rotated, without secrets, and harmless where they can't be written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.servers import ServerLog
from llamaforge.servers import logs as logs_module

LINES = st.lists(
    st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=20), max_size=8
)


@given(LINES, st.data())
def test_lines_are_the_same_however_they_come(lines: list[str], data: st.DataObject) -> None:
    told: list[str] = []
    log = ServerLog(None, on_line=told.append)
    text = "".join(line + data.draw(st.sampled_from(["\n", "\r", "\r\n", "\n\n"])) for line in lines).encode()
    while text:
        size = data.draw(st.integers(1, len(text)))
        log.feed(text[:size])
        text = text[size:]
    log.finish()
    assert told == lines
    assert log.tail() == "\n".join(lines)


@given(st.integers(0, 30), st.integers(0, 30))
def test_a_secret_is_masked_wherever_the_chunks_end(first: int, second: int) -> None:
    text = b"key=sk-very-secret and sk-very\n"
    log = ServerLog(None, ["sk-very", "sk-very-secret"])
    for cut in (text[:first], text[first : first + second], text[first + second :]):
        log.feed(cut)
    log.finish()
    assert log.tail() == "key=*** and ***"


def test_the_file_holds_it_and_can_be_deleted(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "logs" / "a.log", ["hush"])
    log.feed("größer\nhush\nunfinished".encode())
    log.finish()
    assert (tmp_path / "logs" / "a.log").read_text(encoding="utf-8") == "größer\n***\nunfinished\n"
    log.discard()
    assert not list((tmp_path / "logs").iterdir())


def test_it_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "LARGEST", 1000)
    log = ServerLog(tmp_path / "a.log")
    for number in range(1000):
        log.feed(f"line {number}\n".encode())
    log.finish()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["a.log", "a.log.1", "a.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert log.tail(1) == "line 999"
    log.discard()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_harms_nothing() -> None:
    log = ServerLog(Path("/dev/full"))
    for number in range(3000):
        log.feed(b"x" * 100 + b" %d\n" % number)
    log.finish()
    assert log.tail(1).endswith(" 2999")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = ServerLog(tmp_path / "file" / "a.log")
    log.feed(b"hello\n")
    log.finish()
    assert "can't be written" in log.tail()
    assert log.tail().endswith("hello")


def test_a_line_without_an_end_does_not_grow_for_ever() -> None:
    log = ServerLog(None)
    for _ in range(100):
        log.feed(b"x" * 10_000)
    assert len(log._rest) <= 10_000
    assert len(log.tail()) < 1_000_000


def test_old_logs_are_pruned(tmp_path: Path) -> None:
    import os

    for number in range(30):
        path = tmp_path / f"{number}.log"
        path.write_text("")
        os.utime(path, (number, number))
    logs_module.prune(tmp_path, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["27.log", "28.log", "29.log"]
