"""Ports: claimed without a race, refused where taken, and who answers there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llamaforge.errors import PortInUseError
from llamaforge.servers import PortClaim, answered_by, claim_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port can't be held for a child")


@pytest.fixture
def claim() -> Iterator[PortClaim]:
    made = claim_port("test", "127.0.0.1", None)
    yield made
    made.close()


def listener(port: int, *options: int, host: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    for option in options:
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    made.bind((host, port))
    made.listen()
    return made


@pytest.mark.parametrize(
    "options", [(socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]
)
def test_a_server_gets_the_claimed_port_again_and_again(claim: PortClaim, options: tuple[int, ...]) -> None:
    for _ in range(3):
        with listener(claim.port, *options) as server, socket.create_connection(("127.0.0.1", claim.port)) as client:
            served, _ = server.accept()
            with served:
                client.sendall(b"x")
                assert served.recv(1) == b"x"


def test_nobody_gets_a_claimed_port_as_a_free_one(claim: PortClaim) -> None:
    claims = [claim_port("test", "127.0.0.1", None) for _ in range(200)]
    assert len({claim.port, *(each.port for each in claims)}) == 201
    for each in claims:
        each.close()


@pytest.mark.parametrize("options", [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,)])
def test_a_port_that_somebody_listens_on_is_refused(options: tuple[int, ...]) -> None:
    with listener(0, *options) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError) as refused:
            claim_port("test", "127.0.0.1", port)
    assert refused.value.port == port
    assert refused.value.host == "127.0.0.1"
    claim_port("test", "127.0.0.1", port).close()


def test_connections_that_linger_do_not_make_a_port_taken() -> None:
    with listener(0, socket.SO_REUSEADDR) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = server.accept()
        served.close()  # first: this side stays in TIME_WAIT
        client.close()
    claim_port("test", "127.0.0.1", port).close()


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(PortInUseError, match="is not available"):
        claim_port("test", "203.0.113.7", None)


def test_who_answers(claim: PortClaim) -> None:
    ours, nobody_else = [os.getpid()], [1]
    assert answered_by("127.0.0.1", claim.port, ours) == "nobody", "the claim itself does not listen"
    with listener(claim.port, socket.SO_REUSEADDR):
        assert answered_by("127.0.0.1", claim.port, ours) == "ours"
        assert answered_by("127.0.0.1", claim.port, nobody_else) == "stranger"
    assert answered_by("127.0.0.1", claim.port, ours) == "nobody"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1"])
def test_on_every_kind_of_address(host: str) -> None:
    made = claim_port("test", host, None)
    with listener(made.port, socket.SO_REUSEADDR, host=host):
        assert answered_by(host, made.port, [os.getpid()]) == "ours"
        assert answered_by(host, made.port, [1]) == "stranger"
    made.close()


def test_an_address_of_one_kind_within_the_other() -> None:
    with listener(0, host="::ffff:127.0.0.1") as server:
        assert answered_by("127.0.0.1", server.getsockname()[1], [os.getpid()]) == "ours"


def test_a_stranger_on_another_address_is_none() -> None:
    with listener(0, host="127.0.0.2") as other:
        assert answered_by("127.0.0.1", other.getsockname()[1], [os.getpid()]) == "nobody"


def test_who_shares_the_port_with_us_is_a_stranger(claim: PortClaim) -> None:
    code = f"""
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("127.0.0.1", {claim.port})); s.listen(); print("up", flush=True); sys.stdin.read()
"""
    with listener(claim.port, socket.SO_REUSEPORT):
        other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdout is not None
        assert other.stdout.readline() == b"up\n"
        assert answered_by("127.0.0.1", claim.port, [os.getpid()]) == "stranger"
        assert answered_by("127.0.0.1", claim.port, [os.getpid(), other.pid]) == "ours"
        other.communicate()
