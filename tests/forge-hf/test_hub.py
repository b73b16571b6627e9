"""Hub ids, through the real huggingface_hub and a hub on this machine."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from forge_hf import HuggingFaceBackend
from llamaforge import LlamaForge
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    InvalidModelError,
    InvalidParameterError,
    LlamaForgeError,
    ModelLoadError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
)

pytestmark = pytest.mark.engine

CANARY = "hf_canarycanarycanarycanarycanarycana"


def _hub_class() -> Any:
    """The hub that core's tests have, too."""
    path = Path(__file__).parents[1] / "forge-core" / "sources" / "hub_server.py"
    spec = importlib.util.spec_from_file_location("hub_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Hub


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub with the small model, and huggingface_hub pointed at it."""
    made = _hub_class()()
    made.repositories["org/tiny"] = {file.name: file.read_bytes() for file in tiny_model.iterdir()} | {
        "README.md": b"about",
        "original/consolidated.pth": b"not needed",
        "pytorch_model.bin": b"not needed",
        "model.onnx": b"not needed",
        "modeling_odd.py": b"raise SystemExit",
    }
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.url + "/{repo_id}/resolve/{revision}/{filename}")
    for name, value in {
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield made
    made.close()


def load(**parameters: Any) -> HuggingFaceBackend:
    backend = HuggingFaceBackend()
    backend.load_model("org/tiny", {"device": "cpu", **parameters})
    return backend


def test_a_model_is_fetched_once_and_then_needs_no_network(hub: Any, tiny: HuggingFaceBackend) -> None:
    with load() as backend:
        told = backend.generate("Hello", seed=1, max_tokens=6)
    assert told == tiny.generate("Hello", seed=1, max_tokens=6)
    fetched = [
        request.rpartition("/")[2] for request in hub.requests if request.startswith("GET") and "resolve" in request
    ]
    assert set(fetched) == {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors",
    }
    hub.requests.clear()
    with load() as backend:
        assert backend.generate("Hello", seed=1, max_tokens=6) == told
    assert not hub.requests
    hub.close()
    with load(local_files_only=True) as backend:
        assert backend.generate("Hello", seed=1, max_tokens=6) == told


def test_offline_asks_the_hub_for_nothing(hub: Any, tmp_path: Path) -> None:
    """Not for a model, and not for code or a kernel that a model's own files or the caller names."""
    with LlamaForge(config_path=tmp_path / "models.toml") as forge:
        forge.add_model("tiny", "org/tiny", "huggingface", {"device": "cpu", "local_files_only": False}, save=True)
        forge.load_model("tiny")
        told = forge.generate("Hello", seed=1, max_tokens=6)
    config = json.loads(hub.repositories["org/tiny"]["config.json"])
    config |= {"auto_map": {"AutoModelForCausalLM": "org/code--modeling_odd.Odd"}}
    folder = tmp_path / "names-code"
    folder.mkdir()
    for name, content in {**hub.repositories["org/tiny"], "config.json": json.dumps(config).encode()}.items():
        if "/" not in name:
            (folder / name).write_bytes(content)
    hub.repositories["org/code"] = {"modeling_odd.py": b"raise SystemExit"}
    hub.requests.clear()
    with LlamaForge(config_path=tmp_path / "models.toml", offline=True) as forge:
        for reference in ("tiny", "org/tiny", "hf:org/tiny"):
            forge.load_model(reference, {"device": "cpu"})
            assert forge.generate("Hello", seed=1, max_tokens=6) == told
        with pytest.raises(ModelNotFoundError, match="offline=True forbids"):
            forge.load_model("org/other")
        with pytest.raises(LlamaForgeError):
            forge.load_model(str(folder), {"trust_remote_code": True, "device": "cpu"})
        with pytest.raises(InvalidParameterError, match="offline=True forbids"):
            forge.load_model("tiny", {"attn_implementation": "org/kernel"})
    assert hub.requests == []


def test_the_cache_can_be_elsewhere(hub: Any, tmp_path: Path) -> None:
    load(cache_dir=str(tmp_path / "elsewhere")).close()
    assert (tmp_path / "elsewhere" / "models--org--tiny").is_dir()
    assert not (tmp_path / "hub").exists()


def test_weights_in_several_files(hub: Any, tiny_model: Path, tiny: HuggingFaceBackend, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(tmp_path / "sharded", max_shard_size="2MB")
    sharded = {file.name: file.read_bytes() for file in (tmp_path / "sharded").iterdir()}
    assert "model.safetensors.index.json" in sharded
    files = hub.repositories["org/tiny"]
    del files["model.safetensors"], files["pytorch_model.bin"]
    files.update(sharded)
    with load() as backend:
        assert backend.generate("Hello", seed=1, max_tokens=6) == tiny.generate("Hello", seed=1, max_tokens=6)


def test_a_cache_that_lacks_the_weights_is_completed(hub: Any) -> None:
    weights = hub.repositories["org/tiny"].pop("model.safetensors")
    hub.repositories["org/tiny"].pop("pytorch_model.bin")
    with pytest.raises(InvalidModelError, match="no weights"):
        load()
    with pytest.raises(ModelNotFoundError):
        load(local_files_only=True)
    hub.repositories["org/tiny"]["model.safetensors"] = weights
    hub.COMMIT = "f" * 40
    hub.revisions.add(hub.COMMIT)
    load().close()


def test_a_download_that_is_cut_off_is_an_error_and_can_be_repeated(hub: Any) -> None:
    hub.cut_at = 5000
    with pytest.raises(ConnectionFailedError):
        load()
    hub.cut_at = None
    load().close()


def test_a_revision(hub: Any) -> None:
    load(revision="v1").close()
    with pytest.raises(ModelNotFoundError, match="revision"):
        load(revision="v9")


def test_a_repository_that_is_not_there(hub: Any) -> None:
    del hub.repositories["org/tiny"]
    with pytest.raises(ModelNotFoundError, match="org/tiny") as caught:
        load()
    assert caught.value.model == "org/tiny"


def test_a_repository_without_a_model(hub: Any) -> None:
    hub.repositories["org/tiny"] = {"README.md": b"about"}
    with pytest.raises(ModelNotFoundError, match="no model"):
        load()


def test_a_gated_repository_asks_for_a_token(hub: Any) -> None:
    hub.gated.add("org/tiny")
    with pytest.raises(AuthenticationError, match="token") as caught:
        load(token=CANARY)
    assert caught.value.status == 403
    assert caught.value.endpoint == hub.url
    assert CANARY not in f"{caught.value}{caught.value!r}{caught.value.__cause__!r}"


@pytest.mark.parametrize(
    ("status", "kind"), [(403, AuthenticationError), (429, RateLimitError), (500, ServerError), (503, ServerError)]
)
def test_what_the_hub_answers(hub: Any, status: int, kind: type[Exception]) -> None:
    hub.broken["org/tiny"] = status
    with pytest.raises(kind) as caught:
        load()
    assert caught.value.status == status  # type: ignore[attr-defined]


def test_no_network_and_no_cache(hub: Any) -> None:
    hub.close()
    with pytest.raises(ConnectionFailedError) as caught:
        load()
    assert caught.value.endpoint == hub.url
    with pytest.raises(ModelNotFoundError, match="local_files_only"):
        load(local_files_only=True)


def test_code_is_neither_fetched_nor_run_unless_trusted(hub: Any) -> None:
    config = json.loads(hub.repositories["org/tiny"]["config.json"])
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "modeling_odd.OddConfig"}}
    hub.repositories["org/tiny"]["config.json"] = json.dumps(config).encode()
    with pytest.raises(ModelLoadError, match="trust_remote_code"):
        load()
    assert not any("modeling_odd" in request for request in hub.requests)


def test_a_gguf_file_of_a_repository(hub: Any) -> None:
    hub.repositories["org/tiny"] = {"sub/other.gguf": b"GGUF", "sub/model.gguf": b"GGUF" + b"\0" * 20, "README.md": b""}
    with pytest.raises(ModelNotFoundError, match=r"Did you mean sub/model\.gguf"):
        load(gguf_file="sub/modell.gguf")
    with pytest.raises(InvalidModelError, match="GGUF"):
        load(gguf_file="sub/model.gguf")
    assert not any("other.gguf" in request for request in hub.requests)
