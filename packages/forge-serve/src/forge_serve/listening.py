"""The sockets that the server listens on: bound before anything is announced, so that a mistake is told as one."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llamaforge.errors import InvalidParameterError

_BACKLOG: Final = 2048
_ANYBODY: Final = 0o666
"""Who may connect to a socket in the file system: as with a port, everybody on this machine. Its folder says more."""


def listen_at(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of *host*, all with the same port; 0: a free one.

    Raises InvalidParameterError where the name is unknown or the port is taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise _refused("host", host, "an address of this machine", f"can't listen on {host}: {why}") from None
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            chosen = opened[0].getsockname()[1] if opened else port
            listener = socket.socket(family, kind, protocol)
            opened.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], chosen, *address[2:]))
            listener.listen(_BACKLOG)
    except OSError as error:
        for listener in opened:
            listener.close()
        message = f"can't listen on {host}, port {port}: {error.strerror}. Choose another with --port or --host."
        raise _refused("port", port, "a free port", message) from None
    return opened


@contextlib.contextmanager
def listen_in_file(path: str) -> Iterator[list[socket.socket]]:
    """A listening socket in the file system, which goes at the end. One that a server left behind is replaced.

    Raises InvalidParameterError where something else is there, or a server answers there.
    """
    file = Path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_room(file)
        listener.bind(path)
        made = file.stat()
        file.chmod(_ANYBODY)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise _refused("unix_socket", path, "a free path", f"can't listen on the socket {path}: {why}.") from None
    try:
        yield [listener]
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(file.stat(), made):  # and not one that somebody put in its place
                file.unlink()


def _make_room(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(None, "a file that is no socket is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:  # nobody listens any more
            path.unlink()
            return
    raise FileExistsError(None, "another server listens there")


def _refused(name: str, value: object, expected: str, message: str) -> InvalidParameterError:
    return InvalidParameterError(name, value, expected, message=message[0].upper() + message[1:])
