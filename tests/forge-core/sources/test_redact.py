"""Credentials in what pip and the hub print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.sources.redact import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Looking in https://me:canary@host/simple", "Looking in https://***@host/simple"),
        ("https://canary@host/a@b", "https://***@host/a@b"),
        ("http://me:can@ary@host/", "http://***@host/"),
        ("https://host/x?X-Amz-Signature=canary&b=1", "https://host/x?X-Amz-Signature=***&b=1"),
        ("https://host/x?b=1&api_key=canary#f", "https://host/x?b=1&api_key=***#f"),
        ("Authorization: Bearer canarycanary", "Authorization: Bearer ***"),
        ("'https://me:canary@host' and 'http://host'", "'https://***@host' and 'http://host'"),
        ("mail me@host, see a/b@c", "mail me@host, see a/b@c"),
        ("https://host/simple: [Errno 111] refused", "https://host/simple: [Errno 111] refused"),
    ],
)
def test_what_is_masked(text: str, shown: str) -> None:
    assert redact(text) == shown


@given(st.text(alphabet="ab:@/.?=&", max_size=20), st.from_regex(r"[a-z]{0,4}:canary[a-z@:]{0,4}", fullmatch=True))
def test_the_user_part_never_passes(before: str, user: str) -> None:
    assert "canary" not in redact(f"{before} https://{user}@host/path")
