"""The backend llama-server: a real server, the real model, started and ended by us."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from forge_llamacpp.server.__main__ import parser
from forge_llamacpp.server.backend import LlamaServerBackend
from forge_llamacpp.server.config import LlamaServerConfig
from llamaforge import LlamaForge, get_backend
from llamaforge.backends.registry import get_spec
from llamaforge.errors import (
    AuthenticationError,
    ConflictingParametersError,
    ContextOverflowError,
    InvalidModelError,
    InvalidParameterError,
    ModelNotFoundError,
    PortInUseError,
    ServerCrashedError,
    ServerStartError,
    UnsupportedError,
)
from llamaforge.results import GeneratedText
from llamaforge.servers import ServerState
from llamaforge.testing import BackendConformance
from llamaforge.testing.checks.spelling import TEXT
from llamaforge.testing.checks.tooling import TOOLS
from support.gguf_files import make_talkative_gguf, make_tiny_gguf
from support.processes import eventually, survivors, tree

SMALL: dict[str, Any] = {"n_ctx": 1024, "n_parallel": 2, "n_threads": 1}
LONG = {"max_tokens": 900, "temperature": 0, "engine": {"ignore_eos": True}}
QUESTION = "What is the capital of France? Answer in one word."


@pytest.fixture(autouse=True)
def own_logs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path_factory.mktemp("state")  # not in tmp_path, which the kit watches for temporary files
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.delenv("LLAMAFORGE_LLAMA_SERVER_EXECUTABLE", raising=False)
    return state / "llamaforge" / "log" / "servers"


@pytest.fixture(scope="module")
def running(gguf_model: Path) -> Iterator[LlamaServerBackend]:
    with LlamaServerBackend({**SMALL, "model": str(gguf_model), "served_model_name": "smollm2"}) as backend:
        yield backend


def test_it_answers(running: LlamaServerBackend) -> None:
    assert running.state is ServerState.READY
    assert running.health()
    answer = running.generate(QUESTION, max_tokens=8, temperature=0)
    assert answer.strip()
    assert answer.usage is not None
    assert running.generate(QUESTION, max_tokens=8, grammar='root ::= "yes" | "no"') in ("yes", "no")


async def test_many_callers_within_one_loop(running: LlamaServerBackend) -> None:
    asked = [running.agenerate("Hi", raw=True, max_tokens=12, grammar=f'root ::= "It is {n}."') for n in range(6)]
    assert await asyncio.gather(*asked) == [f"It is {n}." for n in range(6)]


def test_another_backend_connects_to_it(running: LlamaServerBackend) -> None:
    other = LlamaServerBackend({"endpoint": running.endpoint})
    other.connect()
    assert other.model_path == "smollm2", "the server has only one"
    assert other.generate(QUESTION, max_tokens=4, temperature=0).strip()
    with pytest.raises(ModelNotFoundError) as wrong:
        other.load_model("smolm2", {"endpoint": running.endpoint})
    assert wrong.value.known == ["smollm2"]
    assert other.model_path == "smollm2", "what was loaded stays"
    other.shutdown()
    assert running.health()
    same = get_backend("llama-server")()
    same.load_model("smollm2", {"api_base": f"{running.endpoint}/v1"})
    assert same.generate("Hi", max_tokens=2)
    same.close()


def test_the_port_and_processes_are_ours_alone(running: LlamaServerBackend, gguf_model: Path) -> None:
    with LlamaServerBackend({**SMALL, "model": str(gguf_model), "served_model_name": "other"}) as second:
        assert second.endpoint != running.endpoint
        assert [LlamaServerBackend().find_model(each.endpoint or "") for each in (running, second)] == [
            "smollm2",
            "other",
        ]
        port = int((second.endpoint or "").rpartition(":")[2])
        with pytest.raises(PortInUseError):
            LlamaServerBackend().load_model(str(gguf_model), {**SMALL, "port": port})


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks://127.0.0.1:9"])
def test_no_proxy_stands_before_our_own_server(proxy: str, gguf_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    with LlamaServerBackend({**SMALL, "model": str(gguf_model)}) as backend:
        assert backend.generate("Hi", max_tokens=2)
        assert asyncio.run(backend.agenerate("Hi", max_tokens=2))


def test_a_key_goes_through_the_environment(gguf_model: Path) -> None:
    key = "sk-quite-a-secret"
    with LlamaServerBackend({**SMALL, "model": str(gguf_model), "api_key": key}) as backend:
        assert backend.server_pid is not None
        for process in tree(backend.server_pid):
            assert key.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()
        assert backend.generate("Hi", max_tokens=2)
        with pytest.raises(AuthenticationError):
            LlamaServerBackend().load_model(str(gguf_model), {"endpoint": backend.endpoint, "api_key": "sk-wrong"})
        assert key not in backend.log_tail(1000)


def test_twenty_starts_and_stops_leave_nothing(gguf_model: Path, own_logs: Path) -> None:
    seen: set[int] = set()
    backend = LlamaServerBackend()
    before, threads = len(list(Path("/proc/self/fd").iterdir())), set(threading.enumerate())
    for _ in range(20):
        backend.load_model(str(gguf_model), {**SMALL, "n_ctx": 128, "n_parallel": 1})
        assert backend.server_pid is not None
        seen |= tree(backend.server_pid)
        backend.unload_model()
    assert len(seen) == 40, "a guard and a server each"
    assert not survivors(seen, 0)
    assert not list(own_logs.iterdir())
    assert eventually(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 2)
    assert eventually(lambda: not set(threading.enumerate()) - threads)


OWNER = """
import sys, time
from forge_llamacpp.server.backend import LlamaServerBackend
backend = LlamaServerBackend({"model": sys.argv[1], "n_ctx": 128, "n_parallel": 1, "n_threads": 1})
backend.start()
print(backend.server_pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_owner_that_is_killed_leaves_nothing(how: signal.Signals, gguf_model: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(gguf_model)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    with owner.stdout as output:
        assert int(output.readline()) > 0
        family = tree(owner.pid) - {owner.pid}
        assert len(family) == 2
        owner.send_signal(how)
        owner.wait(30)
    assert not survivors(family, 5.0)


def test_a_server_killed_in_mid_answer(gguf_model: Path) -> None:
    with LlamaServerBackend({**SMALL, "model": str(gguf_model)}) as backend:
        stream = backend.generate_stream("Tell me a long story.", LONG)
        next(stream)
        assert backend.server_pid is not None
        (server,) = tree(backend.server_pid) - {backend.server_pid}
        os.kill(server, signal.SIGKILL)
        with pytest.raises(ServerCrashedError) as crashed:
            stream.read()
        assert crashed.value.exit_code == -signal.SIGKILL
        assert backend.state is ServerState.FAILED
        assert not backend.health()
        backend.restart()
        assert backend.generate("Hi", max_tokens=2)


async def test_a_server_killed_in_mid_answer_within_a_loop(gguf_model: Path) -> None:
    async with LlamaServerBackend({**SMALL, "model": str(gguf_model)}) as backend:
        stream = backend.agenerate_stream("Tell me a long story.", LONG)
        await anext(stream)
        assert backend.server_pid is not None
        (server,) = tree(backend.server_pid) - {backend.server_pid}
        os.kill(server, signal.SIGKILL)
        with pytest.raises(ServerCrashedError):
            await stream.read()


def test_a_failing_start_says_why(gguf_model: Path) -> None:
    backend = LlamaServerBackend()
    with pytest.raises(ServerStartError, match="unrecognized arguments: --no-such-flag") as failed:
        backend.load_model(str(gguf_model), {**SMALL, "extra_args": ["--no-such-flag"]})
    assert failed.value.exit_code == 2
    with pytest.raises(ModelNotFoundError):
        backend.load_model("/nowhere/model.gguf")
    with pytest.raises(ServerStartError, match="API key"):
        backend.load_model(str(gguf_model), {"api_key": "sk-abc", "extra_args": ["--api-key=sk-abc"]})
    with pytest.raises(ConflictingParametersError):
        backend.load_model(str(gguf_model), {"n_ctx": 0})


def test_through_the_forge(gguf_model: Path) -> None:
    with LlamaForge() as forge:
        forge.add_model("small", str(gguf_model), backend="llama-server", parameters={**SMALL, "flash_attn": False})
        forge.load_model("small")
        assert forge.generate(QUESTION, max_tokens=4, temperature=0).strip()


def test_its_flags_are_those_that_its_own_program_reads() -> None:
    given = {"n_threads": 3, "n_threads_batch": 4, "flash_attn": True, "chat_template": "{{ x }}", "n_gpu_layers": 5}
    backend = LlamaServerBackend(
        LlamaServerConfig(model="m.gguf", port=5000, n_ctx=100, n_parallel=3, n_batch=64, **given)
    )
    program, *flags = backend.build_launch_command()
    assert program == "llama-server"
    read = parser().parse_args(flags)
    assert (read.model, read.alias, read.host, read.port) == ("m.gguf", "m.gguf", "127.0.0.1", 5000)
    assert (read.ctx_size, read.parallel, read.batch_size, read.n_gpu_layers) == (300, 3, 64, 5)
    assert (read.threads, read.threads_batch, read.flash_attn, read.chat_template) == (3, 4, "on", "{{ x }}")


def test_what_other_engines_refuse_it_refuses_before_it_starts(gguf_model: Path, tmp_path: Path) -> None:
    backend = LlamaServerBackend()
    for parameters, says in [
        ({"n_ctx": 8193}, "n_ctx must be at most 8192, the context that this model was trained for"),
        ({"chat_template": "{% for %}"}, "chat_template"),
        ({"chat_template": "none.jinja"}, "chat_template"),
    ]:
        with pytest.raises(InvalidParameterError, match=says):
            backend.load_model(str(gguf_model), parameters)
    with pytest.raises(InvalidModelError, match="folder"):
        backend.load_model(str(tmp_path))


def test_paths_and_the_usual_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_tiny_gguf(tmp_path / "tiny.gguf")  # trained for 512 tokens
    (tmp_path / "chat.jinja").write_text("{{ x }}")
    config = LlamaServerConfig(model="~/tiny.gguf", port=5000, n_parallel=3, chat_template="~/chat.jinja")
    _, *flags = LlamaServerBackend(config).build_launch_command()
    read = parser().parse_args(flags)
    assert (read.model, read.alias) == (str(tmp_path / "tiny.gguf"), "~/tiny.gguf")
    assert (read.ctx_size, read.chat_template) == (3 * 512, "{{ x }}")


def test_the_context_alone_ends_an_answer(tmp_path: Path) -> None:
    """As the kit's checks of the context's end, with a context of as many tokens as the server can make."""
    model = str(make_talkative_gguf(tmp_path / "talkative.gguf"))
    endless = {"temperature": 0, "engine": {"ignore_eos": True}}
    with LlamaServerBackend({"model": model, "n_ctx": 256, "n_parallel": 2, "n_threads": 1}) as backend:
        for more in ({}, {"max_tokens": 2000}):
            for raw in (False, True):
                given = {**endless, **more, "raw": raw}
                with backend.generate_stream("Tell me a story.", given) as stream:
                    streamed = stream.read()
                for answer in (backend.generate("Tell me a story.", given), streamed):
                    assert answer.usage is not None
                    assert (answer.finish_reason, answer.usage.total_tokens) == ("length", 256)
        for raw in (False, True):
            with pytest.raises(ContextOverflowError) as overflow:
                backend.generate("x" * 300, max_tokens=1, raw=raw)
            assert overflow.value.context_size == 256
            assert (overflow.value.prompt_tokens or 0) >= 256


def test_a_known_text_comes_out_as_it_is(tmp_path: Path) -> None:
    """As the kit's check, on every path; the server's count has one token more, which ended the answer."""
    model = str(make_talkative_gguf(tmp_path / "talkative.gguf"))
    asked = {"temperature": 0, "max_tokens": 400, "response_format": {"type": "choice", "choice": [TEXT]}}
    turns = [{"role": "user", "content": "Say it."}]
    with LlamaServerBackend({**SMALL, "model": model}) as backend:

        async def later() -> list[GeneratedText]:
            answers = [await backend.agenerate("Say it.", asked), await backend.achat(turns, asked)]
            for stream in (backend.agenerate_stream("Say it.", asked), backend.achat_stream(turns, asked)):
                async with stream:
                    answers.append(await stream.read())
            return answers

        answers = [backend.generate("Say it.", {**asked, "raw": raw}) for raw in (False, True)]
        answers += [backend.generate_stream("Say it.", {**asked, "raw": raw}).read() for raw in (False, True)]
        answers += [backend.chat(turns, asked), backend.chat_stream(turns, asked).read(), *asyncio.run(later())]
    for answer in answers:
        assert (str(answer), answer.finish_reason, answer.stop) == (TEXT, "stop", None)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == len(TEXT.encode()) + 1


def test_variables_are_those_of_the_servers_template(tmp_path: Path) -> None:
    model = str(make_talkative_gguf(tmp_path / "talkative.gguf"))
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ tone }}"
    turns = [{"role": "user", "content": "Hello"}]
    with LlamaServerBackend({**SMALL, "model": model, "chat_template": template}) as backend:
        other = LlamaServerBackend({"endpoint": backend.endpoint})
        other.connect()
        for each in (backend, other):
            plain, toned = (
                each.chat(turns, {"max_tokens": 1, "chat_template_kwargs": variables}).usage
                for variables in ({"tone": ""}, {"tone": "loud"})
            )
            assert plain is not None
            assert toned is not None
            assert (toned.prompt_tokens or 0) > (plain.prompt_tokens or 0)
            wrong = {"max_tokens": 1, "chat_template_kwargs": {"tones": "loud"}}
            with pytest.raises(InvalidParameterError, match="doesn't read the variable 'tones'"):
                each.chat(turns, wrong)
            with pytest.raises(InvalidParameterError, match="tones"):
                asyncio.run(each.achat(turns, wrong))
            assert each.chat(turns, {**wrong, "on_unsupported": "drop"})
        other.shutdown()


def test_tools_are_refused_where_the_template_shows_none(tmp_path: Path) -> None:
    model = str(make_talkative_gguf(tmp_path / "talkative.gguf"))
    given = {"max_tokens": 4, "temperature": 0, "tools": TOOLS}
    with LlamaServerBackend({**SMALL, "model": model}) as backend:
        for choice in ("auto", "required", {"type": "function", "function": {"name": "open_door"}}):
            with pytest.raises(UnsupportedError, match="chat template doesn't show them"):
                backend.generate(QUESTION, {**given, "tool_choice": choice})
            with pytest.raises(UnsupportedError):
                asyncio.run(backend.agenerate(QUESTION, {**given, "tool_choice": choice}))
            assert backend.generate(QUESTION, {**given, "tool_choice": choice, "on_unsupported": "drop"})
        assert backend.generate(QUESTION, {**given, "tool_choice": "none"})
    template = str(Path(__file__).parents[1] / "support" / "tools_template.jinja")
    with LlamaServerBackend({**SMALL, "model": model, "chat_template": template}) as backend:
        told, untold = (backend.generate(QUESTION, {**given, "tools": tools}).usage for tools in (TOOLS, None))
        assert told is not None
        assert untold is not None
        assert (told.prompt_tokens or 0) > (untold.prompt_tokens or 0) + 200


def test_it_must_be_named() -> None:
    assert get_spec("llama-server").match("model.gguf") == 0


@pytest.mark.engine
class TestLlamaServer(BackendConformance):
    """The conformance kit. The engine in this process runs it on real weights; here it is about the server."""

    backend = "llama-server"
    prompt = "Tell me a long story about the sea."
    context_size = 1024
    max_load_cycles = 2
    exceptions: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ("test_greedy_answers_follow_the_arithmetic", "test_penalties_end_a_repetition_when_they_should"),
            "llama.cpp's server counts the prompt's last tokens for presence_penalty and frequency_penalty",
        ),
        **dict.fromkeys(
            (
                "test_a_context_may_be_full",
                "test_a_prompt_that_fills_the_context_is_refused",
                # Here test_the_context_alone_ends_an_answer measures them, with a context of 256 tokens.
                "test_the_context_ends_alike_on_every_path",
                "test_answers_have_no_limit_of_their_own",
            ),
            "llama.cpp's server makes a context of a multiple of 256 tokens",
        ),
        # Here test_a_known_text_comes_out_as_it_is looks at the texts.
        "test_a_text_comes_out_as_it_is": "llama.cpp's server counts the token that ends an answer",
    }
    parameters: ClassVar[dict[str, Any]] = {
        "n_ctx": 1024,
        "n_parallel": 4,
        "n_threads": 1,
        # With parts of prompts from caches, sums are rounded otherwise, and a greedy answer isn't always the same.
        "flash_attn": False,
        "extra_args": ["--no-cache-prompt", "--cache-ram", "0"],
    }

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def model_file(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.model = make_talkative_gguf(tmp_path_factory.mktemp("model") / "talkative.gguf")
