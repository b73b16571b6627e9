"""Ports: claimed before a server is launched; afterwards, the process that listens there is checked."""

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
    """A port that is reserved until our server listens on it, and for its restarts.

    The socket that holds it is bound but never listens. On Linux, nobody else gets the port as a free one, while our
    server can bind it too, because servers set SO_REUSEADDR or SO_REUSEPORT. Other systems don't allow that, so there
    the port is released just before the launch.
    """

    def __init__(self, host: str, port: int, holder: socket.socket | None) -> None:
        self.host = host
        self.port = port
        self._holder = holder

    def close(self) -> None:
        """Release the port."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.close()


def claim_port(server: str, host: str, port: int | None) -> PortClaim:
    """Claim *port* of *host*, or any free one, for *server* (a name for the message).

    Raises PortInUseError if it is in use, or if *host* is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port or 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        holder = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortInUseError(server, host, port or 0, f"is not available: {error.strerror or error}") from None
    try:
        if port is not None:
            # So that connections of an earlier server that linger don't count; a listener, of whatever kind, does.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
        chosen: int = holder.getsockname()[1]
    except OSError as error:
        holder.close()
        reason = "is in use" if port is not None else "is not available"
        raise PortInUseError(server, host, port or 0, f"{reason}: {error.strerror or error}") from None
    if sys.platform != "linux":
        holder.close()
        return PortClaim(host, chosen, None)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.suppress(OSError):
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return PortClaim(host, chosen, holder)


def answered_by(host: str, port: int, processes: Iterable[int]) -> Literal["nobody", "ours", "stranger", "unknown"]:
    """Who would accept a connection to *port* of *host*: one of *processes*, another process, or nobody.

    Looks up the listening sockets and the processes that hold them. If there are several, all must be ours, because a
    connection might go to any of them. Unknown without Linux's /proc.
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
