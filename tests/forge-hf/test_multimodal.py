"""Checkpoints that read pictures or sound answer text as transformers does, and refuse what is no text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_hf import HuggingFaceBackend
from llamaforge.errors import InvalidModelError, UnsupportedError
from support.small_multimodal_models import CHATML, MODELS, PICTURES_ONLY, byte_tokenizer, save_multimodal_model

pytestmark = pytest.mark.engine

PROMPT, LENGTH = "What is a dog? ", 12
NO_END = {256: -100, 257: -100, 258: -100}


def ids(answer: Any) -> list[int]:
    return [int(entry.token_id) for entry in answer.logprobs]


@pytest.mark.parametrize("kind", MODELS)
def test_text_alone_is_answered_as_transformers_does(kind: str, tmp_path: Path) -> None:
    model = save_multimodal_model(kind, tmp_path)
    prompt = torch.tensor([byte_tokenizer().encode(PROMPT)])
    expected = model.generate(
        prompt, max_new_tokens=LENGTH, do_sample=False, suppress_tokens=list(NO_END), eos_token_id=None
    )[0, prompt.shape[1] :]
    ask = {"temperature": 0, "max_tokens": LENGTH, "raw": True, "logprobs": True, "logit_bias": NO_END}
    with HuggingFaceBackend() as backend:
        backend.load_model(tmp_path, {"device": "cpu"})
        assert ids(backend.generate(PROMPT, ask)) == expected.tolist()
        answers = [item.text for item in backend.generate_batch([PROMPT, "A cat", PROMPT], ask)]
        assert [ids(answer) for answer in answers][::2] == [expected.tolist()] * 2
        assert backend.chat([{"role": "user", "content": "Hi"}], max_tokens=3, seed=1).usage
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        with pytest.raises(UnsupportedError, match="images"):
            backend.chat([{"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}])


@pytest.mark.parametrize("kind", PICTURES_ONLY)
def test_a_model_that_answers_pictures_alone_costs_no_loaded_model(
    kind: str, tmp_path: Path, tiny: HuggingFaceBackend
) -> None:
    save_multimodal_model(kind, tmp_path)
    with pytest.raises(InvalidModelError, match="without an image"):
        tiny.load_model(tmp_path, {"device": "cpu"})
    assert tiny.generate("Hello", seed=1, max_tokens=2)


@pytest.mark.parametrize("file", ["chat_template.json", "processor_config.json"])
def test_a_chat_template_that_the_processor_alone_knows(file: str, tmp_path: Path) -> None:
    save_multimodal_model("llava", tmp_path, template=None)
    (tmp_path / file).write_text(json.dumps({"chat_template": CHATML}))
    with HuggingFaceBackend() as backend:
        backend.load_model(tmp_path, {"device": "cpu"})
        assert backend.render("Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_a_tower_that_reads_pictures_is_not_laid_out_for_text(tmp_path: Path) -> None:
    """Nothing ever runs through it."""
    save_multimodal_model("llava", tmp_path)
    with HuggingFaceBackend() as backend:
        backend.load_model(tmp_path, {"device": "cpu"})
        engine: Any = backend._engine
        tower = engine._model.get_encoder(modality="image")
        assert all(each.layout is torch.strided for each in tower.parameters())


def test_weights_that_neither_class_can_use(tmp_path: Path) -> None:
    save_multimodal_model("emu3", tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    told["text_config"]["num_hidden_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(InvalidModelError, match="lacks"), HuggingFaceBackend() as backend:
        backend.load_model(tmp_path, {"device": "cpu"})
