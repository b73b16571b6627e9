"""The whole kit against a real OpenAI-compatible server: llama.cpp's own, with a small model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from llamaforge.testing import BackendConformance
from support.gguf_files import make_talkative_gguf
from support.servers import LiveServer, run_llama_server

EXTENSIONS = {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty", "grammar": "grammar"}


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server with a model that answers at once, and always the same."""
    folder = tmp_path_factory.mktemp("server")
    with run_llama_server(make_talkative_gguf(folder / "talkative.gguf"), folder / "llama.log") as server:
        yield server


@pytest.mark.engine
class TestLlamaServer(BackendConformance):
    backend = "openai"
    prompt = "Tell me a long story about the sea."
    crowd = 12  # the server computes four at once
    exceptions: ClassVar = {
        **dict.fromkeys(
            ("test_greedy_answers_follow_the_arithmetic", "test_penalties_end_a_repetition_when_they_should"),
            "llama.cpp's server counts the prompt's last tokens for presence_penalty and frequency_penalty",
        ),
        **dict.fromkeys(
            (
                "test_a_required_tool_is_called",
                "test_the_named_tool_is_called",
                "test_calls_are_the_same_on_every_path",
            ),
            "this server is sent tool_choice, and lets the model answer with text",
        ),
        "test_the_largest_seed_is_a_seed": "llama.cpp's server takes the seed 4294967295 for none",
    }

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def live_server(cls, small_server: LiveServer) -> None:
        cls.model = small_server.model
        cls.parameters = {
            "api_base": small_server.base_url,
            "api_key": small_server.api_key,
            "extensions": EXTENSIONS,
            "prefill": "native",
            # The server loses log-probabilities and text that it holds back for a stop string.
            "stop_strings": "client",
        }
        cls.context_size = small_server.context
