"""The error tree: drawn as it is, each a builtin that a caller would guess, and fit to cross processes."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from llamaforge import errors
from llamaforge.errors import LlamaForgeError

EVERY = [found for _, found in inspect.getmembers(errors, inspect.isclass)]


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    drawn = re.findall(r"[├└]── (\w+) +(\w+Error|\w+Interrupt)? ", errors.__doc__ or "")
    named = {name for name, _ in re.findall(r"[├└]── ((\w+))", errors.__doc__ or "")}
    assert named | {"LlamaForgeError"} == {error.__name__ for error in EVERY}
    for name, builtin in drawn:
        if builtin:
            bases = {base.__name__ for base in getattr(errors, name).__mro__}
            assert builtin in bases, f"{name} is drawn as a {builtin}"


@pytest.mark.parametrize("error", EVERY)
def test_each_is_ours_and_documented(error: type[LlamaForgeError]) -> None:
    assert issubclass(error, LlamaForgeError)
    assert error.__doc__


EXAMPLES = [
    errors.UnknownBackendError("llamacpp", ["llama.cpp", "openai"]),
    errors.BackendNotInstalledError("openai", "forge-openai", "pip install forge-openai"),
    errors.EngineNotAvailableError("huggingface", "torch", "ImportError: no", "Install it."),
    errors.BrokenPluginError("backend", "x", "dist-x", "ValueError: no", "Traceback ..."),
    errors.ContextOverflowError(5000, 4096),
    errors.RateLimitError("http://localhost", 429, "slow down", 3.0),
    errors.GenerationTimeoutError(3.0, "so far"),
    errors.ModelNotFoundError("gone", "model.gguf"),
    errors.ServerStartError("vllm", "it ended", exit_code=3, log_tail="no memory", log_file="vllm.log"),
    errors.PortInUseError("vllm", "127.0.0.1", 8000),
    errors.ServerProgramNotFoundError("vllm", "vllm", ["PATH"], "Install it."),
    errors.ServerCrashedError("vllm", "http://127.0.0.1:8000", -9, "killed"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_attributes_survive_pickling_and_copying(error: LlamaForgeError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.__dict__ == error.__dict__


def test_every_attribute_that_is_promised_is_there() -> None:
    for error in EXAMPLES:
        promised = re.search(r"Attributes?: ((?:.|\n)*?)(?:\.\s|\.$|\n\n|$)", type(error).__doc__ or "")
        assert promised, type(error)
        for name in re.findall(r"``(\w+)``", promised[1]):
            if name in {"backend", "source", "command", "name"} and not hasattr(error, name):
                continue  # a value that the sentence mentions
            assert hasattr(error, name), f"{type(error).__name__}.{name}"


def test_messages_name_the_closest() -> None:
    assert "Did you mean 'llama.cpp'?" in str(EXAMPLES[0])
    assert "5000" in str(EXAMPLES[4])
    assert "4096" in str(EXAMPLES[4])
    assert errors.closest("Llama_CPP", ["llama.cpp", "openai"]) == ["llama.cpp"]
    assert errors.closest("zzz", ["llama.cpp", "openai"]) == []
    assert errors.closest("nope", ["llama.cpp", "openai"]) == []
    assert errors.closest("temp", ["temperature", "top_p"]) == ["temperature"]


@pytest.mark.parametrize(
    ("tokens", "size", "says"),
    [
        (5000, 4096, "has 5000 tokens, and the context holds 4096, one of which must stay free for the answer."),
        (None, 4096, "is too long: the context holds 4096, one of which must stay free for the answer."),
        (5000, None, "has 5000 tokens, which is too long for the context."),
        (None, None, "is too long for the context."),
    ],
)
def test_a_prompt_that_is_too_long_is_told_in_words(tokens: int | None, size: int | None, says: str) -> None:
    assert str(errors.ContextOverflowError(tokens, size, "Cut it.")) == f"The prompt {says} Cut it."


@pytest.mark.parametrize("known", [(), ("knob",)])
def test_an_unknown_option_of_an_owner(known: tuple[str, ...]) -> None:
    said = str(errors.UnknownParameterError("x", known, where="engine option", owner="The backend echo"))
    assert (
        said
        == {
            (): "The backend echo has no engine options, so it can't take 'x'.",
            ("knob",): "The backend echo has no engine option 'x'. Known engine options: knob.",
        }[known]
    )
