"""Backends that start and stop their own server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from ..awaitables import AwaitableResult
from ..errors import (
    InvalidParameterError,
    LlamaForgeError,
    PortInUseError,
    ServerCrashedError,
    ServerStartError,
    UnsupportedError,
)
from ..secrets import Secret
from ..servers import (
    CAN_LAUNCH,
    PortClaim,
    ProgressLine,
    ServerLog,
    ServerProcess,
    ServerState,
    StateTracker,
    answered_by,
    claim_port,
    find_program,
)
from ..servers.logs import default_path, prune
from .config import BackendConfig
from .connectable import ConfigT, ConnectableBackend
from .server_configs import ManagedConfig

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_SHORTEST_SECRET: Final = 4
_CERTAINTY: Final = 1.0
"""Seconds that the news of a server's end may take to come after its connections broke."""


class ManagedBackend(ConnectableBackend[ConfigT]):
    """Base class of backends that start their own server, or connect to one if ``endpoint`` is given.

    **To use one**, load a model, or create it with a config and start it::

        with MyBackend(MyConfig(model="m")) as backend:   # starts the server, and stops it
            backend.generate("Hello")

        backend.start()
        backend.load_model("m")

    The server is stopped by :meth:`shutdown`, ``unload_model`` or ``close``, with this object, and with this process,
    however that ends. After a crash, requests raise ServerCrashedError until :meth:`restart`. In an event loop,
    ``await`` the results of these methods; cancelling the wait stops a server that is starting.

    **To write one**, derive from ``ManagedBackend[MyConfig]``, and write :meth:`build_launch_command` and
    :meth:`is_ready` in addition to the methods of a :class:`.connectable.ConnectableBackend`: ``attach``, ``detach``,
    ``is_healthy``, ``stream``.
    """

    base_config: ClassVar[type[BackendConfig]] = ManagedConfig
    config_class: ClassVar[type[BackendConfig]] = ManagedConfig
    program_module: ClassVar[str | None] = None
    """The server's module for ``python -m``, if its program is not on PATH."""
    program_advice: ClassVar[str] = ""
    """What to do if the program isn't found; part of the error message."""

    def __init__(self, config: BackendConfig | Mapping[str, object] | None = None) -> None:
        super().__init__(config)
        self._claim: PortClaim | None = None
        self._server: ServerProcess | None = None
        self._tracker = StateTracker(ProgressLine(self.name))
        self._aborted = threading.Event()
        self._restarts = 0

    # What an author writes.

    def build_launch_command(self) -> list[str]:
        """The server's command, made from ``self.config``, whose ``model``, ``host`` and ``port`` are set.

        A program without a path is found as described in :meth:`find_program`. Pass secrets in
        :meth:`launch_environment`.
        """
        raise NotImplementedError(f"{type(self).__name__} must override build_launch_command().")

    def launch_environment(self) -> dict[str, str]:
        """Additional environment variables for the server; the load parameter ``env`` takes precedence."""
        return {}

    def is_ready(self, endpoint: str) -> bool:
        """Whether the server at *endpoint* can answer a request now. Called repeatedly while it starts.

        Raises a LlamaForgeError if it never will.
        """
        return self.is_healthy(endpoint)

    # What it has then.

    @property
    def state(self) -> ServerState:
        """The state of our server. For another server: ready while a model is loaded, otherwise stopped."""
        server = self._server
        if server is None:
            if self._tracker.state is ServerState.STOPPED and self.is_model_loaded():
                return ServerState.READY
            return self._tracker.state
        if self._tracker.state is ServerState.READY and not server.running:
            return ServerState.FAILED
        return self._tracker.state

    @property
    def server_pid(self) -> int | None:
        """The process id of the guard, whose descendants are the server's processes; None without one."""
        return self._server.pid if self._server is not None else None

    def log_tail(self, lines: int = 30) -> str:
        """The last *lines* of the server's log, secrets masked; empty without a server of ours."""
        return self._server.log.tail(lines) if self._server is not None else ""

    def start(self) -> AwaitableResult[None]:
        """Start a server for the config's model, and wait until it answers requests. May be awaited.

        Raises InvalidParameterError without a model, and ServerStartError (PortInUseError,
        ServerProgramNotFoundError) if it does not become ready.
        """
        return self._begin(self._start_server)

    def shutdown(self) -> AwaitableResult[None]:
        """Stop our server, even if it is still starting; disconnect from any other server."""
        self._abort()
        return AwaitableResult(self.unload_model)

    def restart(self) -> AwaitableResult[None]:
        """Stop our server, if it is still running, and start it again at the same address.

        Raises ModelNotLoadedError without a server of ours, and ServerStartError if it doesn't start or has been
        restarted ``max_restarts`` times.
        """
        return self._begin(self._restart_server)

    def close(self) -> None:
        """Unload the model and stop our server, even if it is still starting."""
        self._abort()
        super().close()

    async def astart(self) -> None:
        """Asynchronous :meth:`start`."""
        await self.start()

    async def ashutdown(self) -> None:
        """Asynchronous :meth:`shutdown`."""
        await self.shutdown()

    async def arestart(self) -> None:
        """Asynchronous :meth:`restart`."""
        await self.restart()

    def open(self) -> AwaitableResult[None]:
        """Do what entering ``with`` does: connect to the config's endpoint, or start a server for its model."""
        if self._given.get("endpoint") is None and self._given.get("model") is not None and not self.is_model_loaded():
            return self.start()
        return super().open()

    def find_program(self, name: str, module: str | None = None) -> list[str]:
        """The first words of the command that runs the program *name*; see :func:`llamaforge.servers.find_program`."""
        return find_program(
            self.name,
            name,
            configured=getattr(self.config, "executable", None),
            module=module if module is not None else self.program_module,
            advice=self.program_advice,
        )

    def check_model(self, model_path: str, config: Any) -> None:
        """Refuse an explicit port that is in use, unless our own server uses it."""
        if config.endpoint is None and config.port is not None:
            ours = self._claim is not None and self._claim.port == config.port
            if not ours:
                claim_port(self.name, config.host, config.port).close()

    def load(self, model_path: str, config: Any) -> None:
        """Start a server, or connect if an endpoint is given."""
        if config.endpoint is not None:
            super().load(model_path, config)
            return
        if not CAN_LAUNCH:
            raise UnsupportedError("starting a server", self.name, "Connect to a running one with endpoint=...")
        self._claim = claim_port(self.name, config.host, config.port)
        self._restarts = 0
        self._effective = msgspec.structs.replace(config, port=self._claim.port)
        try:
            self._launch()
        except BaseException:
            self.unload()
            raise

    def unload(self) -> None:
        """Disconnect from the server; stop it if it is ours."""
        server, claim = self._server, self._claim
        failed = self.state is ServerState.FAILED
        try:
            self.detach()
        finally:
            if server is not None:
                self._end(server, keep_log=failed)
            if claim is not None:
                claim.close()
            self._server = self._claim = self._effective = None
            if not failed:
                self._tracker.set(ServerState.STOPPED)

    def crash(self) -> ServerCrashedError | None:
        """The error for a crash of our server, if it has crashed: a broken connection may be due to that."""
        server = self._server
        config: Any = self.config
        if server is None:
            return None
        who = answered_by(config.host, config.port, server.processes()) if server.running else "nobody"
        if who == "ours":
            return None
        ended = server.ended.wait(_CERTAINTY)  # it is going; its exit code is still to come
        if who == "unknown" and not ended:
            return None
        return ServerCrashedError(self.name, self._address(), server.exit_code, server.log.tail())

    @property
    def endpoint(self) -> str | None:
        """The address of the server in use, ours or another; None without one."""
        return self._address() if self._server is not None else super().endpoint

    def _address(self) -> str:
        """Where our own server is to be reached from this machine."""
        config: Any = self.config
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)  # noqa: S104 - not bound, but asked
        return f"http://{f'[{host}]' if ':' in host else host}:{config.port}"

    def load_model(self, model_path: str | os.PathLike[str], parameters: Mapping[str, object] | None = None) -> None:
        """Start a server for the model *model_path*, and return once it answers requests.

        If the parameters have an ``endpoint``, connect to that server and use its model of that name. Other parameters
        are those given to the constructor.

        Raises the errors of :meth:`start` and :meth:`connect`.
        """
        self._aborted.clear()
        super().load_model(model_path, parameters)

    def _start_server(self) -> None:
        model = self._given.get("model")
        if model is None:
            message = "The load parameter model is missing: pass the model that the server should run."
            raise InvalidParameterError("model", None, "the model that the server should run", message=message)
        self.load_model(model, {"endpoint": None})

    def _restart_server(self) -> None:
        self._aborted.clear()
        with self._loading:
            self._require_loaded()
            if self._server is None:
                raise ServerStartError(self.name, "LlamaForge did not start it, so it can't restart it.")
            if not self._server.ours:
                raise ServerStartError(self.name, "it belongs to the parent process, from which this one was forked.")
            limit = getattr(self.config, "max_restarts", 0)
            if self._restarts >= limit:
                raise ServerStartError(
                    self.name,
                    f"it has been restarted {self._restarts} times already (load parameter max_restarts).",
                    log_tail=self.log_tail(),
                )
            self._restarts += 1
            self.detach()
            self._end(self._server, keep_log=True)
            self._launch()

    def _require_loaded(self) -> None:
        if not self.is_model_loaded():
            super(ConnectableBackend, self)._require_model()

    def _abort(self) -> None:
        self._aborted.set()

    def _launch(self) -> None:
        """Start the process, wait until it is ready, and attach to it."""
        config: Any = self.config
        command, environment = self._command(), self._environment()
        path = Path(config.log_file) if config.log_file else default_path(self.name, config.port)
        if not config.log_file:
            prune(path.parent)
        self._tracker = StateTracker(ProgressLine(self.name))
        log = ServerLog(path, self._secrets(), self._tracker.read)
        self._server = server = ServerProcess(command, environment, config.shutdown_timeout, log)
        self._tracker.set(ServerState.STARTING)
        try:
            self._wait(server, config.startup_timeout)
            self.attach(config.model, self._address(), config)
        except BaseException as error:
            self._tracker.set(ServerState.FAILED)
            self._end(server, keep_log=not self._aborted.is_set() and not isinstance(error, KeyboardInterrupt))
            if isinstance(error, LlamaForgeError) and not isinstance(error, ServerStartError):
                raise self._failure(server, str(error)) from error
            raise
        self._tracker.set(ServerState.READY)

    def _wait(self, server: ServerProcess, timeout: float) -> None:
        """Return when the server answers requests."""
        config: Any = self.config
        deadline = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            if server.ended.wait(pause):
                raise self._failure(server, f"it ended with {_ending(server.exit_code)}.", server.exit_code)
            if self._aborted.is_set():
                raise self._failure(server, "it was stopped while it was starting.")
            if time.monotonic() > deadline:
                raise self._failure(server, f"it was not ready after {timeout:g} s (startup_timeout).")
            who = answered_by(config.host, config.port, server.processes())
            if who == "stranger":
                raise PortInUseError(self.name, config.host, config.port, "is used by another process")
            if who != "nobody" and self.is_ready(self._address()):
                return
            if who != "nobody" and self._tracker.state is ServerState.STARTING:
                self._tracker.set(ServerState.LOADING)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _command(self) -> list[str]:
        command = [*self.build_launch_command(), *getattr(self.config, "extra_args", ())]
        if os.sep not in command[0]:
            command[:1] = self.find_program(command[0])
        key = getattr(self.config, "api_key", None)
        if isinstance(key, Secret) and any(key.reveal() in each for each in command):
            raise ServerStartError(
                self.name, "its command line would contain the API key, and other users can read command lines."
            )
        return command

    def _environment(self) -> dict[str, str]:
        own = {name: value.reveal() for name, value in getattr(self.config, "env", {}).items()}
        # Whatever server it is, it downloads through the hub's libraries, which know this variable.
        network = {"HF_HUB_OFFLINE": "1"} if self.offline else {}
        return {**os.environ, "PYTHONUNBUFFERED": "1", **network, **self.launch_environment(), **own}

    def _secrets(self) -> list[str]:
        """What the log may not show: whatever is a Secret in the config."""
        return [text for text in _revealed(self.config) if len(text) >= _SHORTEST_SECRET]

    def _end(self, server: ServerProcess, *, keep_log: bool) -> None:
        if not server.ours:  # in a fork of the process that started it
            return
        server.stop()
        if not keep_log and getattr(self.config, "log_file", None) is None:
            server.log.discard()

    def _failure(self, server: ServerProcess, reason: str, exit_code: int | None = None) -> ServerStartError:
        path = server.log.path
        return ServerStartError(
            self.name,
            reason,
            exit_code=exit_code,
            log_tail=server.log.tail(),
            log_file=str(path) if path is not None and path.is_file() else None,
        )


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {-exit_code}"
    return f"exit code {exit_code}"


def _revealed(config: Any) -> Iterator[str]:
    for name in config.__struct_fields__:
        value = getattr(config, name)
        for each in value.values() if isinstance(value, Mapping) else (value,):
            if isinstance(each, Secret):
                yield each.reveal()
