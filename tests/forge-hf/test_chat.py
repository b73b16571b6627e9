"""Conversations in the words of the model's template."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from forge_hf import HuggingFaceBackend
from llamaforge.errors import InvalidParameterError, NoChatTemplateError, UnsupportedError

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": [{"type": "text", "text": "Who "}, {"type": "text", "text": "are you?"}]},
]


@pytest.fixture
def without(tiny_model: Path, tmp_path: Path) -> Any:
    """The small model, its template taken away."""
    bare = shutil.copytree(tiny_model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with HuggingFaceBackend() as backend:
        yield lambda **parameters: backend.load_model(bare, {"device": "cpu", **parameters}) or backend


def test_a_prompt_is_one_user_turn(tiny: HuggingFaceBackend) -> None:
    assert tiny.render("Hi") == f"{SYSTEM}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_a_conversation(tiny: HuggingFaceBackend) -> None:
    assert tiny.render(messages=TALK) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!"
        "<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("begun", ["My name is", "", "It is 3 "])
def test_a_last_turn_of_the_assistant_is_continued(tiny: HuggingFaceBackend, begun: str) -> None:
    rendered = tiny.render(messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": begun}])
    assert rendered == f"{SYSTEM}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n{begun}"


def test_the_real_model_goes_on_where_the_assistant_was(real: HuggingFaceBackend) -> None:
    answer = real.chat(
        [
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "The capital of France is"},
        ],
        temperature=0,
        max_tokens=3,
    )
    assert answer.startswith(" Paris")


def test_chat_and_generate_agree(tiny: HuggingFaceBackend) -> None:
    assert tiny.chat([{"role": "user", "content": "Hi"}], seed=1, max_tokens=6) == tiny.generate(
        "Hi", seed=1, max_tokens=6
    )


def test_raw_text_is_sent_as_it_stands(tiny: HuggingFaceBackend, engine: Any) -> None:
    assert tiny.render("Hi <|im_end|>", parameters={"raw": True}) == "Hi <|im_end|>"
    answer = tiny.generate("Hi <|im_end|>", raw=True, max_tokens=1, seed=1)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(engine.vocabulary.encode("Hi <|im_end|>")) == 3


def test_special_tokens_of_a_template_are_single_tokens(tiny: HuggingFaceBackend, engine: Any) -> None:
    tokens = engine.vocabulary.encode(tiny.render("Hi"))
    assert tokens.count(1) == 3  # one <|im_start|> a turn, and none before them
    assert tokens.count(2) == 2


def test_without_a_template_messages_are_refused_and_prompts_are_plain_text(without: Any) -> None:
    backend = without()
    with pytest.raises(NoChatTemplateError) as caught:
        backend.chat([{"role": "user", "content": "Hi"}])
    assert "bare" in caught.value.model
    assert backend.render("Hi") == "Hi"
    assert backend.generate("Hi", seed=1, max_tokens=2) == backend.generate("Hi", seed=1, max_tokens=2, raw=True)


@pytest.mark.parametrize("as_file", [False, True])
def test_a_template_can_be_given(without: Any, tmp_path: Path, as_file: bool) -> None:
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"
    if as_file:
        (tmp_path / "template.jinja").write_text(template)
    backend = without(chat_template=str(tmp_path / "template.jinja") if as_file else template)
    assert backend.render("Hi") == "[user] Hi\n[assistant]"


def test_a_given_template_goes_before_the_models(tiny_model: Path) -> None:
    with HuggingFaceBackend() as backend:
        backend.load_model(tiny_model, {"device": "cpu", "chat_template": "{{ messages[0].content }}!"})
        assert backend.render("Hi") == "Hi!"


@pytest.mark.parametrize("bad", ["nowhere.jinja", "{% if %}", "{{ messages "])
def test_what_is_no_template_is_refused(tiny_model: Path, bad: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        HuggingFaceBackend().load_model(tiny_model, {"device": "cpu", "chat_template": bad})
    assert caught.value.name == "chat_template"


@pytest.mark.parametrize(
    "refusing",
    [
        "{{ raise_exception('Roles must alternate') }}",
        "{{ messages[0].content + 1 }}",
        "{{ nothing.there }}",
    ],
)
def test_a_conversation_that_the_template_refuses(without: Any, refusing: str) -> None:
    backend = without(chat_template=refusing)
    with pytest.raises(InvalidParameterError) as caught:
        backend.chat([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}])
    assert caught.value.name == "messages"
    assert caught.value.__cause__ is not None
    assert backend.generate("Hi", raw=True, seed=1, max_tokens=2)


def test_the_template_tells_what_ends_a_turn(without: Any) -> None:
    plain = without()
    assert 3 not in plain._engine.end_tokens
    told = without(chat_template="{% for m in messages %}{{ m.content }}<repo_name>{% endfor %}")
    assert told._engine.end_tokens == {2, 3}
    assert told.generate("Hi", temperature=0, logit_bias={3: 100}).finish_reason == "stop"


def test_images_are_refused(tiny: HuggingFaceBackend) -> None:
    with pytest.raises(UnsupportedError):
        tiny.chat([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}])
