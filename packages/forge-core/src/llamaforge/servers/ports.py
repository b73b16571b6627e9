"""Ports: one is claimed before a server is launched, and who answers there is looked up afterwards."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

from ..errors import PortInUseError

_LISTEN: Final = "0A"
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class PortClaim:
    """A port that stays ours until a server of ours listens on it, and then for that server's next start.

    The socket that holds it is bound and never listens. On Linux it keeps everybody from getting the port as a free
    one, while a server, which sets SO_REUSEADDR or SO_REUSEPORT as servers do, can bind the same port beside it.
    Elsewhere that is not allowed, so there the port is let go just before the launch.
    """

    def __init__(self, host: str, port: int, holder: socket.socket | None) -> None:
        self.host = host
        self.port = port
        self._holder = holder

    def close(self) -> None:
        """Let the port go."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.close()


def claim_port(server: str, host: str, port: int | None) -> PortClaim:
    """Claim *port* of *host*, or any free one, for *server* (a name for the message).

    Raises PortInUseError where somebody has it, or where *host* is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port or 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        holder = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortInUseError(server, host, port or 0, f"can't be had: {error.strerror or error}") from None
    try:
        if port is not None:
            # So that connections of an earlier server that linger don't count; a listener, of whatever kind, does.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
        chosen: int = holder.getsockname()[1]
    except OSError as error:
        holder.close()
        reason = "is taken" if port is not None else "can't be had"
        raise PortInUseError(server, host, port or 0, f"{reason}: {error.strerror or error}") from None
    if sys.platform != "linux":
        holder.close()
        return PortClaim(host, chosen, None)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.suppress(OSError):
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return PortClaim(host, chosen, holder)


def answered_by(host: str, port: int, processes: Iterable[int]) -> Literal["nobody", "ours", "stranger", "unknown"]:
    """Who would get a connection to *port* of *host*: one of *processes*, somebody else, or nobody.

    It goes by the sockets that the system says are listening there, and by who holds those. Where several listen, all
    must be ours: a connection might go to any. Without Linux's /proc it is unknown.
    """
    if not _TABLES[0].exists():
        return "unknown"
    listening = {inode for address, inode in _listeners(port) if _reaches(host, address)}
    if not listening:
        return "nobody"
    return "ours" if listening <= set(_sockets(processes)) else "stranger"


def _listeners(port: int) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str]]:
    """Address and inode of every socket that listens on *port*."""
    for table in _TABLES:
        with contextlib.suppress(OSError), table.open(encoding="ascii") as lines:
            next(lines, None)
            for line in lines:
                fields = line.split()
                address, _, number = fields[1].partition(":")
                if fields[3] == _LISTEN and int(number, 16) == port:
                    yield _address(address), fields[9]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel writes addresses as words of 32 bits, each in the machine's own order."""
    words = [text[start : start + 8] for start in range(0, len(text), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(packed)
    return getattr(address, "ipv4_mapped", None) or address


def _reaches(host: str, listener: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a connection to *host* might go to *listener*."""
    if listener.is_unspecified:
        return True
    try:
        wanted = ipaddress.ip_address(host)
    except ValueError:
        return True  # a name: it may be any of this machine's addresses
    return wanted == listener or (wanted.is_unspecified and listener.is_loopback)


def _sockets(processes: Iterable[int]) -> Iterator[str]:
    """Inodes of the sockets that *processes* hold."""
    for process in processes:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    kind, _, inode = str(entry.readlink()).partition(":")
                    if kind == "socket":
                        yield inode.strip("[]")
