"""Downloads that end early, and downloads that meet: a file is in the cache whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llamaforge.errors import DownloadError
from llamaforge.sources import resolve

from .conftest import Index, Watched, left_in

MODEL = b"GGUF" + os.urandom(6_000_000)
SUM = hashlib.sha256(MODEL).hexdigest()
REFERENCE = "pypi:large-model==1.0/large_model/large.gguf"
CACHED = "pypi/large-model/1.0/files/large_model/large.gguf"
PROGRAM = """
import sys
from llamaforge.errors import DownloadError
from llamaforge.sources import resolve
print(resolve(sys.argv[1], sha256=sys.argv[2], progress=lambda *_: None).location)
"""
PATIENCE = 60


@pytest.fixture
def stalling(index: Index) -> Index:
    index.add("large-model", "1.0", {"large_model/large.gguf": MODEL})
    index.stall_after = 2_000_000
    return index


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, REFERENCE, SUM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def staged(cache: Path) -> list[Path]:
    return list(cache.glob("pypi/large-model/.staging-*"))


def test_killed_in_the_middle_of_the_download(stalling: Index, cache: Path) -> None:
    child = start()
    assert stalling.stalled.wait(PATIENCE)
    child.kill()
    child.communicate()
    assert not (cache / CACHED).exists()
    (leftover,) = staged(cache)

    stalling.go_on.set()
    stalling.stall_after = None
    assert resolve(REFERENCE, sha256=SUM).path == cache / CACHED
    assert (cache / CACHED).read_bytes() == MODEL
    assert not leftover.exists()
    assert staged(cache) == []
    assert [path for path in left_in(cache) if not path.endswith(".json")] == [CACHED]


def test_ctrl_c_ends_pip_and_leaves_nothing(stalling: Index, cache: Path) -> None:
    child = start()
    assert stalling.stalled.wait(PATIENCE)
    child.send_signal(signal.SIGINT)  # to this process alone: pip must be ended by it
    _, error = child.communicate(timeout=PATIENCE)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in error
    assert left_in(cache) == []
    assert staged(cache) == []
    stalling.go_on.set()  # writing on shows that the other end is gone
    assert stalling.cut_off.wait(PATIENCE)


def test_two_processes_fetch_once(stalling: Index, cache: Path) -> None:
    first = start()
    assert stalling.stalled.wait(PATIENCE)
    second = start()
    waiting = Watched()
    third = threading.Thread(target=resolve, args=(REFERENCE,), kwargs={"sha256": SUM, "progress": waiting})
    third.start()
    deadline = time.monotonic() + PATIENCE
    while not waiting.told and time.monotonic() < deadline:
        time.sleep(0.01)
    stalling.go_on.set()
    outputs = [child.communicate(timeout=PATIENCE) for child in (first, second)]
    third.join(PATIENCE)
    assert [output.strip() for output, _ in outputs] == [str(cache / CACHED)] * 2, outputs
    assert stalling.downloads == 1
    assert waiting.told == [(0, None, "waiting for another process that fetches large-model")]
    assert (cache / CACHED).read_bytes() == MODEL


def test_the_server_hangs_up(stalling: Index, cache: Path) -> None:
    def hang_up() -> None:
        assert stalling.stalled.wait(PATIENCE)
        stalling.hang_up = True
        stalling.go_on.set()

    helper = threading.Thread(target=hang_up)
    helper.start()
    with pytest.raises(DownloadError):
        resolve(REFERENCE, sha256=SUM)
    helper.join()
    assert left_in(cache) == []
    assert staged(cache) == []
