"""The real vLLM, for processors, and the real model. It runs in an environment of its own: ``hatch run vllm:test``."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from forge_vllm import VLLMBackend, VLLMConfig
from llamaforge.errors import AuthenticationError, ModelNotFoundError, ServerCrashedError, ServerStartError
from llamaforge.servers import ServerState
from llamaforge.testing import BackendConformance
from support.processes import survivors, tree

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM has an environment of its own: hatch run vllm:test", allow_module_level=True)

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

KEY = "sk-for-vllm-alone"
QUESTION = "What is the capital of France? Answer in one word."
SMALL: dict[str, Any] = {
    "dtype": "float32",  # in fewer bits the sums of a batch tip the scales, and answers differ with who else asks
    "max_model_len": 1024,
    "max_num_seqs": 16,
    "enforce_eager": True,
    "env": {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"},
}


@pytest.fixture(scope="module", autouse=True)
def own_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def running(hf_model: Path) -> Iterator[VLLMBackend]:
    config = {**SMALL, "model": str(hf_model), "served_model_name": "smollm2", "api_key": KEY}
    with VLLMBackend(config) as backend:
        yield backend


def test_it_answers(running: VLLMBackend) -> None:
    assert running.state is ServerState.READY
    assert running.health()
    answer = running.generate(QUESTION, max_tokens=8, temperature=0)
    assert answer.strip()
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 5
    assert running.generate("Hi", max_tokens=4, top_k=1, temperature=2.0) == running.generate(
        "Hi", max_tokens=4, temperature=0
    )


async def test_sixteen_callers_within_one_loop(running: VLLMBackend) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    for number, answer in enumerate(
        await asyncio.gather(
            *(running.agenerate(f"Count to {n}.", max_tokens=6 + n, temperature=0) for n in range(16)),
            running.agenerate(
                "A number, as JSON.",
                max_tokens=40,
                temperature=0,
                response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
            ),
        )
    ):
        assert answer.strip(), number
    assert '"n"' in answer


def test_secrets_are_in_no_command_line(running: VLLMBackend) -> None:
    assert running.server_pid is not None
    for process in tree(running.server_pid):
        assert KEY.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()
    assert KEY not in running.log_tail(1000)


def test_connecting_to_it(running: VLLMBackend) -> None:
    other = VLLMBackend(VLLMConfig.read({"endpoint": running.endpoint, "api_key": KEY}))
    other.connect()
    assert other.model_path == "smollm2"
    assert other.generate(QUESTION, max_tokens=4, temperature=0)
    with pytest.raises(ModelNotFoundError):
        other.load_model("smolm2", {"endpoint": running.endpoint})
    with pytest.raises(AuthenticationError):
        VLLMBackend().load_model("smollm2", {"endpoint": running.endpoint, "api_key": "sk-wrong"})
    other.close()
    assert running.health()


def test_a_flag_that_it_does_not_know(hf_model: Path) -> None:
    with pytest.raises(ServerStartError, match="no-such-flag") as failed:
        VLLMBackend().load_model(str(hf_model), {**SMALL, "extra_args": ["--no-such-flag"]})
    assert failed.value.exit_code == 2


class TestConformance(BackendConformance):
    """The kit, on the server above."""

    backend = "vllm"
    model = "smollm2"
    prompt = "Tell me a long story about the sea."
    context_size = 1024
    parameters: ClassVar[dict[str, Any]] = {}
    exceptions: ClassVar = {
        **dict.fromkeys(
            (
                "test_log_probabilities_come_with_their_text",
                "test_a_stop_string_never_met_holds_nothing_back",
                "test_no_path_collects_an_answer",
            ),
            "vLLM holds back as many characters as the longest stop string has",
        ),
        "test_a_format_holds_after_the_reasoning": (
            "this vLLM was started without a parser of reasoning, and refuses max_reasoning_tokens"
        ),
        "test_stop_strings_of_every_shape": "vLLM takes four stop strings at most, and refuses more",
        "test_template_variables_reach_the_template": "vLLM ignores variables that its template doesn't read",
        "test_of_two_that_end_together_the_longer_counts": "vLLM takes the first of the list that it finds",
        **dict.fromkeys(
            (
                "test_the_named_tool_is_called",
                "test_calls_are_the_same_on_every_path",
                "test_a_prompt_never_read_before_means_the_same",
            ),
            "this vLLM was started without a parser of tool calls, and refuses what needs one",
        ),
    }

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def live_server(cls, running: VLLMBackend) -> None:
        cls.parameters = {"endpoint": running.endpoint, "api_key": KEY}


OWNER = """
import json, sys, time
from forge_vllm import VLLMBackend
backend = VLLMBackend(json.loads(sys.argv[1]))
backend.start()
print("ready", flush=True)
time.sleep(600)
"""


def test_an_owner_that_is_killed_leaves_nothing(hf_model: Path) -> None:
    import json

    config = json.dumps({**SMALL, "model": str(hf_model)})
    owner = subprocess.Popen([sys.executable, "-c", OWNER, config], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout as output:
        assert output.readline() == b"ready\n"
        family = tree(owner.pid) - {owner.pid}
        assert len(family) > 2, "the guard, the server, and its engine"
        owner.send_signal(signal.SIGKILL)
        owner.wait(30)
    assert not survivors(family, 5.0)


def test_its_engine_is_killed_in_mid_answer(hf_model: Path) -> None:
    with VLLMBackend({**SMALL, "model": str(hf_model)}) as backend:
        stream = backend.generate_stream("Tell me a story.", max_tokens=900, engine={"ignore_eos": True})
        next(stream)
        assert backend.server_pid is not None
        for process in tree(backend.server_pid) - {backend.server_pid}:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(ServerCrashedError):
            stream.read()
        assert backend.state is ServerState.FAILED
