"""The response log: what is written, what never is, and files of other versions."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge import observers
from llamaforge.backends.echo import EchoBackend
from llamaforge.errors import EmptyPromptError, InvalidParameterError, LogFileError, UnknownParameterError
from llamaforge.response_log.recorder import LogObserver
from llamaforge.response_log.schema import MIGRATIONS, migrate
from llamaforge.response_log.scrubbing import Scrubber
from llamaforge.response_log.store import COLUMNS, ResponseLog

KEY = "sk-Zm9vYmFyYmF6cXV4MTIzNDU2"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "log.db"


@pytest.fixture
def echo() -> Iterator[EchoBackend]:
    with contextlib.closing(EchoBackend()) as backend:
        backend.load_model("a-model")
        yield backend


def entry(number: int, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(COLUMNS)
    values |= {"id": f"id-{number}", "started": float(number), "operation": "chat", "backend": "b", "model": "m"}
    return values | {"outcome": "finished", "parameters": "{}", "prompt": f"prompt {number}"} | more


def test_requests_are_written_with_their_answers(path: Path, echo: EchoBackend) -> None:
    with observers.attach(LogObserver(path)):
        echo.generate("one two", temperature=0.5)
        echo.chat([{"role": "user", "content": "three"}])
        with pytest.raises(EmptyPromptError):
            echo.generate(" ")
    with ResponseLog(path) as log:
        refused, chat, text = log.entries()
    assert (text["operation"], text["model"], text["backend"]) == ("generate", "a-model", "echo")
    assert (text["prompt"], text["answer"], text["outcome"], text["completion_tokens"]) == (
        *("one two", "one two", "finished", 2),
    )
    assert '"temperature":0.5' in text["parameters"]
    assert text["total"] > 0
    assert (chat["messages"], chat["answer"]) == ('[{"role":"user","content":"three"}]', "three")
    assert (refused["outcome"], refused["error_type"]) == ("refused", "EmptyPromptError")


def test_content_may_be_left_out(path: Path, echo: EchoBackend) -> None:
    with observers.attach(LogObserver(path, content=False)):
        echo.generate("something private")
    with ResponseLog(path) as log:
        (found,) = log.entries()
    assert found["prompt"] is found["answer"] is None
    assert found["completion_tokens"] == 2
    assert b"private" not in path.read_bytes()


def test_secrets_are_never_written(path: Path, echo: EchoBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "my-own-secret-value")
    said = f"use {KEY} and my-own-secret-value at https://me:pass@host/?token=abc123 with Bearer abcdefghijkl"
    with observers.attach(LogObserver(path)):
        echo.generate(said)
        echo.chat([{"role": "system", "content": said}, {"role": "user", "content": said}])
        with pytest.raises(InvalidParameterError):
            echo.generate("x", max_tokens=KEY)
        with pytest.raises(UnknownParameterError):
            echo.generate("x", engine={"api_key": "another-secret"})
    written = b"".join(each.read_bytes() for each in path.parent.iterdir())
    for secret in (KEY, "my-own-secret-value", "me:pass", "abc123", "abcdefghijkl", "another-secret"):
        assert secret.encode() not in written
    with ResponseLog(path) as log:
        assert log.count() == 4


@given(st.text(alphabet="abc XYZ.-", max_size=20), st.text(alphabet="abc XYZ.", max_size=20))
def test_a_key_is_masked_wherever_it_stands(before: str, after: str) -> None:
    scrubbed = Scrubber().text(f"{before} {KEY} {after}")
    assert scrubbed is not None
    assert KEY not in scrubbed
    assert scrubbed.endswith(after)


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    ResponseLog(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_finding(path: Path) -> None:
    with ResponseLog(path) as log:
        log.add(
            [entry(1), entry(2, model="other"), entry(3, answer="100% _sure_"), entry(4, outcome="failed", error="x")]
        )

        def found(**conditions: Any) -> list[str]:
            return [each["id"] for each in log.entries(**conditions)]

        assert found() == ["id-4", "id-3", "id-2", "id-1"]
        assert found(limit=2) == ["id-4", "id-3"]
        assert found(model="other") == ["id-2"]
        assert found(outcome="failed") == ["id-4"]
        assert found(since=3.0) == ["id-4", "id-3"]
        assert found(search="PROMPT 2") == ["id-2"]
        assert found(search="0% _s") == ["id-3"]
        assert found(search="%") == ["id-3"]
        assert [each["id"] for each in log.find("id-")] == ["id-4", "id-3", "id-2", "id-1"]
        assert [each["id"] for each in log.find("id-1")] == ["id-1"]
        assert log.find("%") == []


def test_deleting_leaves_nothing_behind(path: Path) -> None:
    with ResponseLog(path) as log:
        log.add([entry(number, prompt=f"remember-{number}-please") for number in range(5)])
        assert log.delete(["id-1", "absent"]) == 1
        assert log.purge(before=3.0) == 2
        assert [each["id"] for each in log.entries()] == ["id-4", "id-3"]
    written = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert b"remember-3-please" in written
    for number in (0, 1, 2):
        assert f"remember-{number}-please".encode() not in written


def test_a_file_of_a_later_version_is_left_alone(path: Path) -> None:
    ResponseLog(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(LogFileError, match="its version is 99"):
        ResponseLog(path)
    assert path.read_bytes() == before


def test_older_files_are_brought_up_to_date(path: Path) -> None:
    with ResponseLog(path) as log:
        log.add([entry(1)])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        later = (*MIGRATIONS, "ALTER TABLE responses ADD COLUMN more TEXT; UPDATE responses SET more = model")
        migrate(connection, str(path), later)
        migrate(connection, str(path), later)
        assert connection.execute("SELECT id, more FROM responses").fetchall() == [("id-1", "m")]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, str(path), (*later, "ALTER TABLE responses ADD COLUMN x TEXT; nonsense"))
        assert "x" not in [column[1] for column in connection.execute("PRAGMA table_info(responses)")]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


def test_the_columns_are_those_of_the_schema(path: Path) -> None:
    ResponseLog(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert [column[1] for column in connection.execute("PRAGMA table_info(responses)")] == list(COLUMNS)


def test_what_is_no_log_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("This is no database, but a letter that somebody wrote.")
    with pytest.raises(LogFileError, match="can't be used"):
        ResponseLog(path)
    assert path.read_text().startswith("This is no database")
    with pytest.raises(LogFileError, match="a folder is there"):
        ResponseLog(tmp_path)


def test_a_log_that_cannot_be_written_fails_no_request(
    tmp_path: Path, echo: EchoBackend, caplog: pytest.LogCaptureFixture
) -> None:
    with observers.attach(LogObserver(tmp_path)):
        assert echo.generate("one") == "one"
        assert echo.generate("two") == "two"
    assert len([record for record in caplog.records if "Nothing is logged" in record.getMessage()]) == 1


def test_several_observers_write_one_file_at_once(path: Path, echo: EchoBackend) -> None:
    with observers.attach(LogObserver(path)), observers.attach(LogObserver(path, content=False)):
        threads = [threading.Thread(target=lambda: [echo.generate("one") for _ in range(10)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with ResponseLog(path) as log:
        assert log.count() == 40
