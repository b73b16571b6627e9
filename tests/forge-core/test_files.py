"""Files are written whole, only where a regular file belongs, and no lock is waited for without an end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from llamaforge import LlamaForge
from llamaforge.errors import ModelFileError
from llamaforge.files import atomic_file, check_regular, file_lock
from llamaforge.models import ModelFile
from llamaforge.servers.logs import ServerLog

posix = pytest.mark.skipif(os.name != "posix", reason="named pipes")


@posix
def test_only_a_regular_file_or_nothing_is_written_over(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    check_regular(tmp_path / "nothing")
    for path, what in ((pipe, "named pipe"), (folder, "folder")):
        with pytest.raises(OSError, match=what), atomic_file(path) as file:
            file.write(b"text")
        assert path.is_fifo() or path.is_dir()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "pipe"]


@posix
def test_a_model_file_that_is_a_pipe_or_a_device_stays_one(tmp_path: Path) -> None:
    pipe, link = tmp_path / "models.toml", tmp_path / "null.toml"
    os.mkfifo(pipe)
    link.symlink_to(os.devnull)
    with pytest.raises(ModelFileError, match="named pipe"):
        ModelFile(pipe).load()
    assert ModelFile(link).load() == {}, "the null device stands for no file"
    for path in (pipe, link):
        with pytest.raises(ModelFileError, match="not a regular file"):
            LlamaForge(config_path=path).add_model("a", "gpt-4o", "openai", save=True)
    assert pipe.is_fifo()
    assert link.is_char_device()
    assert {each.name for each in tmp_path.iterdir()} == {"models.toml", "null.toml"}, "no lock file either"


@posix
def test_a_log_goes_to_regular_files_only(tmp_path: Path) -> None:
    pipe, null = tmp_path / "server.log", tmp_path / "null.log"
    os.mkfifo(pipe)
    null.symlink_to(os.devnull)
    for path, said in ((pipe, "named pipe"), (null, "")):
        log = ServerLog(path)
        assert said in log.tail()
        log.feed(b"a line\n")
        log.finish()
        log.discard()
        assert "a line" in log.tail()
    assert pipe.is_fifo()
    assert null.is_symlink()


def test_a_lock_is_waited_for_as_long_as_was_said(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    asked: list[float] = []

    def waiting() -> bool:
        asked.append(time.monotonic())
        return len(asked) < 5

    with file_lock(path, 1):
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match="lock"), file_lock(path, 0.2, waiting=waiting):
            pass
        assert 0.2 <= time.monotonic() - begun < 20
        assert len(asked) > 5, "progress of the other one gives more time"
    with file_lock(path, 0):
        pass


def test_a_lock_that_cannot_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), file_lock(tmp_path / "nowhere" / "lock", 60):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match="Not a directory"):
        LlamaForge(config_path=tmp_path / "file" / "models.toml").add_model("a", "gpt-4o", "openai", save=True)
