"""States told by a log, and the line on a terminal that shows them."""

from __future__ import annotations

import io

import pytest

from llamaforge.servers import ProgressLine, ServerState, StateTracker


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("Downloading shards:  50%|#####     | 1/2", ServerState.DOWNLOADING),
        ("Fetching 10 files:   0%|", ServerState.DOWNLOADING),
        ("llama_model_loader: loaded meta data with 33 key-value pairs", ServerState.LOADING),
        ("INFO Loading safetensors checkpoint shards", ServerState.LOADING),
        ("common_init_from_params: warming up the model", ServerState.LOADING),
        ("a payload of an overloaded downloader2", ServerState.STARTING),
    ],
)
def test_a_line_tells_the_state(line: str, state: ServerState) -> None:
    tracker = StateTracker(lambda state, line: None)
    tracker.set(ServerState.STARTING)
    tracker.read(line)
    assert tracker.state is state


def test_a_line_does_not_unmake_an_end() -> None:
    tracker = StateTracker(lambda state, line: None)
    for state in (ServerState.READY, ServerState.FAILED, ServerState.STOPPED):
        tracker.set(state)
        tracker.read("Loading something")
        assert tracker.state is state


def test_a_terminal_sees_one_line_that_goes_away() -> None:
    terminal = Terminal()
    tracker = StateTracker(ProgressLine("my-server", terminal))
    tracker.set(ServerState.STARTING)
    tracker.read("Loading weights\x1b[31m")
    assert "my-server: starting, 0 s" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()
    assert "\n" not in terminal.getvalue()
    tracker.set(ServerState.READY)
    assert terminal.getvalue().endswith(" \r")


def test_what_is_no_terminal_sees_nothing() -> None:
    stream = io.StringIO()
    tracker = StateTracker(ProgressLine("my-server", stream))
    tracker.set(ServerState.STARTING)
    tracker.set(ServerState.READY)
    assert stream.getvalue() == ""
