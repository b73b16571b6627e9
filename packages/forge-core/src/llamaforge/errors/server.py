"""A server that LlamaForge starts has failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from .engine import ConnectionFailedError, EngineError


class ServerStartError(EngineError, RuntimeError):
    """A server that LlamaForge started did not become ready.

    Attributes: ``server`` (the backend's name); ``reason``; ``exit_code`` (of its process; a negative signal number
    if a signal ended it; None if it had not ended); ``log_tail`` (the end of its log, secrets masked); ``log_file``
    (the path of the whole log, or None).

    What to do: read ``log_tail``, which usually has the server's own message, then check the load parameters.
    """

    def __init__(
        self,
        server: str,
        reason: str,
        *,
        exit_code: int | None = None,
        log_tail: str = "",
        log_file: str | None = None,
    ) -> None:
        self.server = server
        self.reason = reason
        self.exit_code = exit_code
        self.log_tail = log_tail
        self.log_file = log_file
        where = f"\nThe whole log: {log_file}" if log_file else ""
        tail = f"\nThe end of its log:\n{log_tail}{where}" if log_tail else ""
        super().__init__(f"The server {server!r} did not start: {reason}{tail}")


class PortInUseError(ServerStartError):
    """The port for a server is in use.

    Attributes: ``host``; ``port``.

    What to do: choose another port, or leave out ``port`` to get a free one.
    """

    def __init__(self, server: str, host: str, port: int, reason: str = "is in use") -> None:
        self.host = host
        self.port = port
        super().__init__(
            server, f"port {port} of {host} {reason}. Choose another port, or leave it out to get a free one."
        )


class ServerProgramNotFoundError(ServerStartError, FileNotFoundError):
    """The program of a server was not found.

    Attributes: ``program``; ``tried`` (the places searched, in order).

    What to do: install it, or give its path with the load parameter ``executable`` or the environment variable that
    the message names.
    """

    def __new__(cls, *_: object) -> Self:
        """Of its two builtins only the one with more in it can make an instance of both."""
        return FileNotFoundError.__new__(cls)

    def __init__(self, server: str, program: str, tried: Sequence[str], advice: str = "") -> None:
        self.program = program
        self.tried = list(tried)
        looked = "; ".join(self.tried)
        super().__init__(server, f"its program {program!r} was not found. Searched: {looked}. {advice}".rstrip())


class ServerCrashedError(ConnectionFailedError):
    """A server that LlamaForge started has crashed.

    Attributes: ``server`` (the backend's name); ``exit_code`` (a negative signal number if a signal ended
    it); ``log_tail``.

    What to do: start it again with the backend's ``restart()``; ``log_tail`` may say why it crashed.
    """

    def __init__(self, server: str, endpoint: str, exit_code: int | None, log_tail: str = "") -> None:
        how = "still ending" if exit_code is None else f"exit code {exit_code}"
        if exit_code is not None and exit_code < 0:
            how = f"ended by signal {-exit_code}"
        tail = f"\nThe end of its log:\n{log_tail}" if log_tail else ""
        super().__init__(endpoint, f"the server {server!r} has crashed ({how}). restart() starts it again.{tail}")
        self.server = server
        self.exit_code = exit_code
        self.log_tail = log_tail
