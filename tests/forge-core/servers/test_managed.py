"""The kinds of backends whose engine is a server, with a small real server that has a protocol of its own."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pytest
from msgspec import Meta

from llamaforge import BackendConfig, BackendSpec, Capabilities, Secret
from llamaforge.backends import managed
from llamaforge.backends.connectable import ConnectableBackend
from llamaforge.backends.managed import ManagedBackend
from llamaforge.backends.server_configs import ManagedConfig
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import (
    ConflictingParametersError,
    ConnectionFailedError,
    InvalidParameterError,
    ModelNotLoadedError,
    PortInUseError,
    ServerCrashedError,
    ServerProgramNotFoundError,
    ServerStartError,
    UnknownParameterError,
    UnsupportedError,
)
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, TextDelta
from llamaforge.servers import ServerState, ports
from support import tiny_server
from support.forking import in_child
from support.processes import eventually, survivors, tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what comes of a process is read from /proc")


class TinyConfig(ManagedConfig, frozen=True, kw_only=True):
    type: Literal["tiny"] = "tiny"
    warm_up: Annotated[float, Meta(ge=0, description="Seconds until it is ready.")] = 0.0
    fail: int | None = None
    key: Secret | None = None


class TinyBackend(ManagedBackend[TinyConfig]):
    spec = BackendSpec(
        name="tiny",
        target="",
        config="",
        summary="",
        capabilities=Capabilities(parameters=frozenset({"max_tokens"}), server_defaults=True),
    )
    attached: str | None = None

    def build_launch_command(self) -> list[str]:
        config = self.config
        command = [sys.executable, str(tiny_server.__file__), "--model", str(config.model)]
        command += ["--host", config.host, "--port", str(config.port), "--warm-up", str(config.warm_up)]
        return command if config.fail is None else [*command, "--fail", str(config.fail)]

    def launch_environment(self) -> dict[str, str]:
        return {} if self.config.key is None else {"TINY_KEY": self.config.key.reveal()}

    def is_healthy(self, endpoint: str) -> bool:
        try:
            return get(endpoint, "/health").status == 200
        except OSError:
            return False

    def attach(self, model: str, endpoint: str, config: TinyConfig) -> None:
        if not self.is_healthy(endpoint):
            raise ConnectionFailedError(endpoint, "not well")
        self.attached = endpoint

    def detach(self) -> None:
        self.attached = None

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        assert self.attached is not None
        count = request.max_tokens or 3
        try:
            answer = get(self.attached, f"/words?{count}")
            for _ in range(count):
                if not (word := answer.readline()):
                    raise OSError("cut off")
                yield TextDelta(word.decode().replace("\n", " "))
        except (OSError, http.client.HTTPException) as error:
            raise self.crash() or ConnectionFailedError(self.attached, str(error)) from None
        yield Finished(finish_reason="length")


def get(endpoint: str, path: str) -> http.client.HTTPResponse:
    address = urlsplit(endpoint)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    connection.request("GET", path)
    return connection.getresponse()


@pytest.fixture(autouse=True)
def own_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "llamaforge" / "log" / "servers"


def family_of(backend: ManagedBackend[Any]) -> set[int]:
    assert backend.server_pid is not None
    return tree(backend.server_pid)


def test_loading_starts_it_and_unloading_ends_it(own_logs: Path) -> None:
    backend = TinyBackend()
    assert backend.state is ServerState.STOPPED
    assert not backend.health()
    backend.load_model("m")
    assert backend.state is ServerState.READY
    assert backend.health()
    assert backend.generate("Hi") == "word word word "
    assert "Loading m" in backend.log_tail()
    assert len(list(own_logs.iterdir())) == 1
    family = family_of(backend)
    assert len(family) == 2
    endpoint = backend.endpoint
    backend.unload_model()
    assert not survivors(family, 0)
    assert backend.state is ServerState.STOPPED
    assert backend.endpoint is None
    assert not list(own_logs.iterdir())
    assert endpoint is not None
    with pytest.raises(OSError, match="refused"):
        get(endpoint, "/health")


def test_the_seed_s_workflow_without_an_event_loop() -> None:
    backend = TinyBackend(TinyConfig(model="m"))
    backend.start()
    assert backend.state is ServerState.READY
    assert backend.generate("Hi", max_tokens=1) == "word "
    backend.shutdown()
    assert not backend.is_model_loaded()


def test_with_starts_and_ends_it() -> None:
    with TinyBackend(TinyConfig(model="m")) as backend:
        assert backend.generate("Hi", max_tokens=1) == "word "
        family = family_of(backend)
    assert not survivors(family, 0)


async def test_async_with_and_the_seed_s_names_within_an_event_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    async with TinyBackend({"model": "m", "warm_up": 0.5}) as backend:
        assert ticks > 20, "the loop was not blocked meanwhile"
        assert await backend.health() is True
        assert await backend.agenerate("Hi", max_tokens=1) == "word "
        family = family_of(backend)
        other = TinyBackend({"endpoint": backend.endpoint, "model": "m"})
        await other.connect()
        assert await other.ahealth() is True
        assert other.state is ServerState.READY
        assert other.server_pid is None
        await other.ashutdown()
        assert await backend.ahealth() is True, "only our own server is ended"
        await backend.restart()
        family |= family_of(backend)
    assert not survivors(family, 0)
    await backend.astart()
    await backend.arestart()
    await backend.shutdown()
    await backend.aload_model("m")
    await backend.aclose()
    assert backend.state is ServerState.STOPPED
    ticking.cancel()


async def test_a_start_that_nobody_awaits_is_waited_for_by_the_first_request() -> None:
    backend = TinyBackend({"model": "m", "warm_up": 0.2})
    backend.start()
    assert backend.generate("Hi", max_tokens=1) == "word "
    backend.close()
    broken = TinyBackend({"model": "m", "fail": 3})
    outcome = broken.start()
    with pytest.raises(ServerStartError, match="exit code 3"):
        broken.generate("Hi")
    assert "exit code 3" in repr(outcome)


async def test_cancelling_a_start_ends_what_was_started() -> None:
    backend = TinyBackend({"model": "m", "warm_up": 600})
    starting = asyncio.ensure_future(backend.astart())
    assert await asyncio.to_thread(eventually, lambda: backend.state is ServerState.LOADING)
    family = family_of(backend)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not survivors(family, 0)
    assert not backend.is_model_loaded()


def test_another_thread_ends_one_that_is_starting() -> None:
    backend = TinyBackend({"model": "m", "warm_up": 600})
    failures: list[BaseException] = []

    def start() -> None:
        try:
            backend.start()
        except ServerStartError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    assert eventually(lambda: backend.state is ServerState.LOADING)
    family = family_of(backend)
    backend.close()
    thread.join(30)
    assert "stopped while" in str(failures)
    assert not survivors(family, 0)


def test_connecting() -> None:
    with TinyBackend({"model": "m"}) as server:
        endpoint = server.endpoint
        assert endpoint is not None
        with TinyBackend(TinyConfig(endpoint=endpoint, model="m")) as backend:
            assert backend.generate("Hi", max_tokens=1) == "word "
        backend.load_model("m", {"endpoint": endpoint})
        assert backend.endpoint == endpoint
        backend.close()
        nameless = TinyBackend()
        with pytest.raises(InvalidParameterError, match="model"):
            nameless.connect(endpoint)
        with pytest.raises(InvalidParameterError, match="endpoint"):
            nameless.connect()
        backend.load_model("m", {"endpoint": endpoint})
        with pytest.raises(ServerStartError, match="did not start it"):
            backend.restart()
        backend.close()
        assert server.health()


def test_health_is_false_where_nobody_is() -> None:
    backend = TinyBackend({"endpoint": "http://127.0.0.1:9", "model": "m"})
    assert not backend.health()
    assert backend.health().result() is False
    with pytest.raises(ConnectionFailedError):
        backend.connect()
    assert not backend.is_model_loaded()
    assert backend.state is ServerState.STOPPED


def test_an_exit_fails_the_start_with_code_and_log(own_logs: Path) -> None:
    backend = TinyBackend()
    before = time.monotonic()
    with pytest.raises(ServerStartError, match="cannot read the model") as failed:
        backend.load_model("m", {"fail": 7})
    assert time.monotonic() - before < 30, "long before startup_timeout"
    assert failed.value.exit_code == 7
    assert "cannot read the model" in failed.value.log_tail
    assert failed.value.log_file is not None
    assert "cannot read the model" in Path(failed.value.log_file).read_text()
    assert backend.state is ServerState.FAILED
    assert not backend.is_model_loaded()
    backend.load_model("m")
    assert backend.state is ServerState.READY
    backend.close()


def test_one_that_never_gets_ready() -> None:
    backend = TinyBackend()
    with pytest.raises(ServerStartError, match="startup_timeout"):
        backend.load_model("m", {"warm_up": 600, "startup_timeout": 0.7})
    assert backend.server_pid is None


def test_a_port_that_is_taken_is_refused_before_the_launch(own_logs: Path) -> None:
    backend = TinyBackend()
    backend.load_model("first")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError) as refused:
            backend.load_model("second", {"port": port})
    assert refused.value.port == port
    assert backend.model_path == "first", "what was loaded stays"
    assert len(list(own_logs.iterdir())) == 1, "nothing was launched"
    backend.load_model("second", {"port": port})
    assert backend.endpoint == f"http://127.0.0.1:{port}"
    backend.load_model("third", {"port": port})
    assert backend.generate("Hi", max_tokens=1) == "word "
    backend.close()


def test_two_owners_get_two_servers() -> None:
    with TinyBackend({"model": "a"}) as first, TinyBackend({"model": "b"}) as second:
        assert first.endpoint != second.endpoint
        assert "Loading a" in first.log_tail()
        assert "Loading b" in second.log_tail()


def test_whoever_shares_the_port_is_not_mistaken_for_it() -> None:
    class Shared(TinyBackend):
        def launch_environment(self) -> dict[str, str]:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            stranger.bind(("127.0.0.1", self.config.port or 0))
            stranger.listen()
            return {}

    with socket.socket() as stranger, pytest.raises(PortInUseError, match="is used by another process"):
        Shared().load_model("m")


def test_a_crash_raises_at_once_and_a_restart_mends_it() -> None:
    backend = TinyBackend()
    backend.load_model("m", {"max_restarts": 1})
    endpoint, family = backend.endpoint, family_of(backend)
    stream = backend.generate_stream("Hi", max_tokens=100_000)
    next(stream)
    (server,) = family - {backend.server_pid}
    os.kill(server, signal.SIGKILL)
    with pytest.raises(ServerCrashedError) as crashed:
        stream.read()
    assert crashed.value.exit_code == -signal.SIGKILL
    assert "Loading m" in crashed.value.log_tail
    assert backend.state is ServerState.FAILED
    with pytest.raises(ServerCrashedError):
        backend.generate("Hi")
    backend.restart()
    assert backend.endpoint == endpoint
    assert backend.generate("Hi", max_tokens=1) == "word "
    with pytest.raises(ServerStartError, match="max_restarts"):
        backend.restart()
    assert backend.generate("Hi", max_tokens=1) == "word ", "a refused restart harms nothing"
    backend.close()
    with pytest.raises(ModelNotLoadedError):
        backend.restart()


def test_secrets_go_through_the_environment_and_are_masked_in_the_log(tmp_path: Path) -> None:
    backend = TinyBackend()
    log = tmp_path / "own.log"
    backend.load_model("m", {"key": "sk-very-secret", "env": {"MORE": "also-secret"}, "log_file": str(log)})
    for process in family_of(backend):
        assert not {b"sk-very-secret", b"also-secret"} & set(Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0"))
    (server,) = family_of(backend) - {backend.server_pid}
    environment = Path(f"/proc/{server}/environ").read_bytes()
    assert b"TINY_KEY=sk-very-secret" in environment
    assert b"MORE=also-secret" in environment
    assert "the key is ***" in backend.log_tail()
    assert "very-secret" not in repr(backend.config)
    assert "also-secret" not in repr(backend.config)
    backend.close()
    assert log.read_text().count("***") == 1, "a log that was asked for stays"


def test_a_server_that_starts_offline_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for offline in (True, False):
        backend = TinyBackend()
        backend.offline = offline
        backend.load_model("m")
        (server,) = family_of(backend) - {backend.server_pid}
        told = b"HF_HUB_OFFLINE=1" in Path(f"/proc/{server}/environ").read_bytes().split(b"\0")
        backend.close()
        assert told == offline


def test_a_full_disk_for_the_log() -> None:
    with TinyBackend({"model": "m", "log_file": "/dev/full"}) as backend:
        assert backend.generate("Hi", max_tokens=1) == "word "
        assert "Loading m" in backend.log_tail()


def test_without_proc_a_server_is_taken_for_ours_and_a_crash_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_TABLES", (Path("/nowhere"),))
    with TinyBackend({"model": "m"}) as backend:
        assert backend.crash() is None
        (server,) = family_of(backend) - {backend.server_pid}
        os.kill(server, signal.SIGKILL)
        with pytest.raises(ServerCrashedError):
            backend.generate("Hi")


def test_where_no_server_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed, "CAN_LAUNCH", False)
    with pytest.raises(UnsupportedError, match="endpoint"):
        TinyBackend().load_model("m")


def test_a_program_that_is_not_there() -> None:
    class Missing(TinyBackend):
        program_advice = "pip install it."

        def build_launch_command(self) -> list[str]:
            return ["no-such-server"]

    with pytest.raises(ServerProgramNotFoundError, match=r"LLAMAFORGE_TINY_EXECUTABLE.*pip install it"):
        Missing().load_model("m")


def test_parameters_are_checked() -> None:
    backend = TinyBackend()
    with pytest.raises(UnknownParameterError, match="warm_up"):
        backend.load_model("m", {"warmup": 1})
    for wrong in ({"port": 0}, {"endpoint": "ftp://x"}, {"warm_up": -1}, {"type": "other"}):
        with pytest.raises(InvalidParameterError):
            backend.load_model("m", wrong)
    with pytest.raises(InvalidParameterError, match="endpoint") as refused:
        backend.load_model("m", {"endpoint": "http://me:hush@127.0.0.1:1"})
    assert "hush" not in str(refused.value)
    with pytest.raises(ConflictingParametersError):
        backend.load_model("m", {"model": "n"})
    with pytest.raises(InvalidParameterError, match="model"):
        backend.start()


def test_a_config_of_less_gets_what_the_kind_has() -> None:
    class Plain(BackendConfig):
        type: Literal["plain"] = "plain"
        size: Annotated[int, Meta(ge=1)] = 3

        def doubled(self) -> int:
            return self.size * 2

    class PlainBackend(ManagedBackend[Plain]):
        pass

    config: Any = PlainBackend({"size": 4, "port": 5000}).config
    assert (config.size, config.port, config.type, config.doubled(), type(config).__name__) == (
        4,
        5000,
        "plain",
        8,
        "Plain",
    )
    with pytest.raises(InvalidParameterError, match="size"):
        _ = PlainBackend({"size": 0}).config
    assert PlainBackend(Plain(size=7)).config.size == 7

    class Further(PlainBackend):
        pass

    assert Further.config_class is PlainBackend.config_class


def test_the_bare_kinds_say_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="is_healthy"):
        ConnectableBackend({"endpoint": "http://127.0.0.1:9"}).health()
    with pytest.raises(InvalidParameterError, match="endpoint"):
        ConnectableBackend().load_model("m")


def test_a_fork_uses_the_server_and_leaves_it_alone(own_logs: Path) -> None:
    with TinyBackend() as backend:
        backend.load_model("m")

        def work() -> str:
            answer = backend.generate("Hi")
            try:
                backend.restart()
            except ServerStartError as error:
                refused = "forked" in str(error)
            backend.unload_model()
            return f"{answer}{refused} {backend.is_model_loaded()}"

        assert in_child(work) == "word word word True False"
        assert in_child(lambda: backend.shutdown().result()) == "None"
        assert backend.state is ServerState.READY
        assert backend.generate("Hi") == "word word word "
        assert len(list(own_logs.iterdir())) == 1
