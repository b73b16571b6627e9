"""The whole kit against a real OpenAI-compatible server: llama.cpp's own."""

from __future__ import annotations

from typing import ClassVar

import pytest

from llamaforge.testing import BackendConformance
from support.servers import LiveServer

EXTENSIONS = {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty", "grammar": "grammar"}


class TestLlamaServer(BackendConformance):
    backend = "openai"
    prompt = "Tell me a long story about the sea."
    crowd = 12  # the server computes four at once
    exceptions: ClassVar = {
        **dict.fromkeys(
            ("test_greedy_answers_follow_the_arithmetic", "test_penalties_end_a_repetition_when_they_should"),
            "llama.cpp's server counts the prompt's last tokens for presence_penalty and frequency_penalty",
        ),
        "test_a_required_tool_is_called": "this server is sent tool_choice, and lets the model answer with text",
    }

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def live_server(cls, openai_server: LiveServer) -> None:
        cls.model = openai_server.model
        cls.parameters = {
            "api_base": openai_server.base_url,
            "api_key": openai_server.api_key,
            "extensions": EXTENSIONS,
            "prefill": "native",
            # The server loses log-probabilities and text that it holds back for a stop string.
            "stop_strings": "client",
        }
        cls.context_size = openai_server.context
