"""Text that grows: all of it is there, in about its own room."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from llamaforge.text import TextBuffer


@given(st.lists(st.text(max_size=5), max_size=30), st.sampled_from([1, 100]))
def test_pieces_joined_are_the_text(pieces: list[str], times: int) -> None:
    buffer = TextBuffer()
    for piece in pieces * times:
        buffer.write(piece)
    assert str(buffer) == "".join(pieces * times)
    assert str(buffer) == "".join(pieces * times), "looking changes nothing"


def test_it_takes_the_room_of_the_text() -> None:
    buffer = TextBuffer()
    tracemalloc.start()
    for number in range(100_000):
        buffer.write(f"{number:06}")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(buffer)) == 600_000
    assert taken < 800_000
