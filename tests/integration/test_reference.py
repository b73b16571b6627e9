"""docs/backends-reference.md works as written: its blocks run in order, on the real model and a real server.

Only the placeholders are replaced: paths, the hub id, the device, the remote model, its key and its address.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import BaseBackend
from llamaforge.backends import registry

DOCUMENT = Path(__file__).parents[2] / "docs" / "backends-reference.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
INTERFACE, *RUN = BLOCKS


@pytest.fixture(scope="module")
def namespace(
    gguf_model: Path, hf_model: Path, openai_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What the blocks share, as if they stood in one program; and the functions that the document calls *yours*."""
    patch = pytest.MonkeyPatch()
    patch.setattr(registry, "_registered", {})
    # The document gives its first question no max_tokens, and this small model may ramble to the end of its context.
    patch.setattr("forge_llamacpp.llama_params.DEFAULT_CONTEXT", 512)
    patch.setenv("LLAMAFORGE_CONFIG", str(tmp_path_factory.mktemp("config") / "models.toml"))

    class LoadedModel:
        def __init__(self, path: str, **parameters: Any) -> None:
            self.path, self.parameters = path, parameters

    yield {
        "__name__": "reference",
        "DONE": 0,  # how many blocks have run
        "PLACEHOLDERS": {
            "/path/to/llama-2-7b.gguf": str(gguf_model),
            "mistralai/Mistral-7B-Instruct-v0.1": str(hf_model),
            '"cuda"': '"cpu"',
            '"gpt-4"': repr(openai_server.model),
            "your-api-key": openai_server.api_key,
            "https://api.openai.com/v1": openai_server.base_url,
        },
        "load_your_model": LoadedModel,
        "your_generation_function": lambda model, prompt, **parameters: f"{model.path}: {prompt}",
        "your_streaming_function": lambda model, prompt, **parameters: iter([model.path, ": ", prompt]),
    }
    patch.undo()


def test_the_document_has_all_its_blocks() -> None:
    assert len(BLOCKS) == 16


def test_the_interface_is_the_one_shown() -> None:
    shown: dict[str, Any] = {}
    exec(INTERFACE, shown)
    for name in ("load_model", "generate", "generate_stream", "is_model_loaded"):
        wanted = list(inspect.signature(getattr(shown["BaseBackend"], name)).parameters.values())
        real = list(inspect.signature(getattr(BaseBackend, name)).parameters.values())[: len(wanted)]
        assert [(each.name, each.default) for each in real] == [(each.name, each.default) for each in wanted]


def run_before(number: int, namespace: dict[str, Any]) -> None:
    """Run the blocks before *number* that haven't run in this process: another worker may have run them."""
    while namespace["DONE"] < number:
        run_block(namespace["DONE"], namespace)


def run_block(number: int, namespace: dict[str, Any]) -> str:
    """Run a block; its code."""
    code = RUN[number]
    for placeholder, real in namespace["PLACEHOLDERS"].items():
        code = code.replace(placeholder, real)
    namespace["DONE"] = number + 1
    exec(compile(code, f"{DOCUMENT.name}, block {number + 2}", "exec"), namespace)
    return code


@pytest.mark.parametrize("number", range(len(RUN)))
def test_block(number: int, namespace: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run_before(number, namespace)
    capsys.readouterr()
    before = namespace.get("response")
    code = run_block(number, namespace)
    if "response = " in code:
        assert isinstance(namespace["response"], str)
        assert namespace["response"].strip()
        assert namespace["response"] is not before
    if "print(chunk" in code:
        assert capsys.readouterr().out.strip()


def test_the_custom_backend_answers(namespace: dict[str, Any]) -> None:
    run_before(len(RUN), namespace)
    forge = namespace["forge"]
    forge.load_model("my-model")
    assert forge.generate("hello") == "/path/to/my-model: hello"
    assert "".join(forge.generate_stream("hello")) == "/path/to/my-model: hello"


def test_the_registry_lists_what_the_document_says(namespace: dict[str, Any]) -> None:
    run_before(len(RUN), namespace)
    assert namespace["available_backends"][:3] == ["llama.cpp", "huggingface", "openai"]
    assert namespace["available_backends"][-1] == "my_custom"
    assert namespace["backend_class"] is namespace["MyCustomBackend"]
