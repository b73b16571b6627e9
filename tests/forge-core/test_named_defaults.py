"""A named model's parameters: they yield to the caller's, and an error about them says where they are set."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from llamaforge import BaseBackend, GeneratedText, LlamaForge, register_backend
from llamaforge.backends import registry
from llamaforge.backends.config import BackendConfig
from llamaforge.backends.echo import SPEC, EchoBackend
from llamaforge.backends.spec import BackendSpec, Capabilities
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import (
    ConflictingParametersError,
    InvalidModelError,
    InvalidParameterError,
    ModelLoadError,
    UnknownModelError,
    UnknownParameterError,
    UnsupportedError,
)
from llamaforge.parameters import NAMES
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, TextDelta

TURNS = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


class Config(BackendConfig, frozen=True, kw_only=True):
    n_ctx: int = 8
    flash: bool = False
    lora: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.flash and self.n_ctx == 5:
            raise ConflictingParametersError(["flash", "n_ctx"], "flash needs another n_ctx than 5.")


class Everything(BaseBackend):
    """Takes every parameter, and tells what it got by the result's ``parameters``."""

    config_class = Config
    recommended: ClassVar[dict[str, object]] = {}
    spec = BackendSpec(
        name="everything",
        target="",
        config="",
        summary="",
        capabilities=Capabilities(parameters=frozenset(NAMES), server_defaults=True),
    )

    def load(self, model_path: str, config: Config) -> None:
        for adapter in config.lora:
            raise InvalidModelError(adapter, "it is no adapter.")
        if config.flash:
            raise ModelLoadError(model_path, "it needs flash to be off.")

    def default_parameters(self) -> dict[str, object]:
        return self.recommended

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        yield TextDelta("{}")
        yield Finished(finish_reason="stop")

    def render_request(self, request: GenerationRequest) -> str:
        return "rendered"


class Biased(EchoBackend):
    """Takes a bias for each of its tokens; there are 2**32 + 1."""

    spec = BackendSpec(
        name="biased",
        target="",
        config="",
        summary="",
        capabilities=Capabilities(parameters=SPEC.capabilities.parameters | {"logit_bias"}),
    )


class Asked(EchoBackend):
    """What it supports shows when its model is loaded."""

    @property
    def capabilities(self) -> Capabilities:
        more = {"parse_special"} if self.is_model_loaded() else set()
        return Capabilities(parameters=SPEC.capabilities.parameters | more)


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaForge]:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(Everything, "recommended", {})
    for name, kind in {"everything": Everything, "biased": Biased, "asked": Asked}.items():
        register_backend(name, kind)
    with LlamaForge(config_path=tmp_path / "models.toml") as forge:
        yield forge


CALLS: dict[str, Callable[[LlamaForge, dict[str, object]], Any]] = {
    "generate": lambda forge, parameters: forge.generate("Hello", parameters),
    "stream": lambda forge, parameters: forge.generate_stream("Hello", parameters).read(),
    "chat": lambda forge, parameters: forge.chat(TURNS, parameters),
    "messages of an iterator": lambda forge, parameters: forge.chat(iter(TURNS), parameters),
    "agenerate": lambda forge, parameters: asyncio.run(forge.agenerate("Hello", parameters)),
    "achat": lambda forge, parameters: asyncio.run(forge.achat(TURNS, parameters)),
    "batch": lambda forge, parameters: next(iter(forge.generate_batch(["Hello"], parameters))).text,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("named", "own", "left"),
    [
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": False}, {"logprobs": False}),
        ({"response_format": {"type": "json_object"}}, {"grammar": "x"}, {"grammar": "x"}),
        (
            {"grammar": "x", "top_k": 3},
            {"response_format": {"type": "json_object"}},
            {"response_format": {"type": "json_object"}, "top_k": 3},
        ),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": []}, {"tools": []}),
        ({"temperature": 0}, {"do_sample": True}, {}),
    ],
)
def test_a_default_yields_to_the_caller(
    forge: LlamaForge, call: str, named: dict[str, object], own: dict[str, object], left: dict[str, object]
) -> None:
    forge.add_model("m", "x", "everything", generation=named)
    forge.load_model("m")
    answer: GeneratedText = CALLS[call](forge, own)
    assert answer == "{}"
    assert {name: list(v) if isinstance(v, tuple) else v for name, v in answer.parameters.items()} == left


def test_raw_is_for_prompts(forge: LlamaForge) -> None:
    forge.add_model("m", "x", "everything", generation={"raw": True})
    forge.load_model("m")
    assert forge.generate("Hello").parameters == {"raw": True}
    assert forge.chat(TURNS).parameters == {}
    assert asyncio.run(forge.achat(TURNS)).parameters == {}
    with pytest.raises(ConflictingParametersError, match=r"^raw=True takes a prompt"):
        forge.chat(TURNS, raw=True)


def test_the_last_source_yields_first(forge: LlamaForge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Everything, "recommended", {"temperature": 0, "grammar": "of the model", "top_k": 9})
    forge.add_model("m", "x", "everything", generation={"response_format": {"type": "text"}, "do_sample": True})
    forge.load_model("m")
    assert forge.generate("Hello").parameters == {"response_format": {"type": "text"}, "top_k": 9}
    assert forge.generate("Hello", grammar="mine").parameters == {"grammar": "mine", "top_k": 9}
    assert forge.generate("Hello", do_sample=False).parameters["temperature"] == 0


def test_what_contradicts_itself_is_the_callers_own(forge: LlamaForge) -> None:
    forge.add_model("m", "x", "everything", generation={"logprobs": False, "top_k": 3})
    forge.load_model("m")
    with pytest.raises(ConflictingParametersError, match=r"^top_logprobs needs"):
        forge.generate("Hello", top_logprobs=3)
    with pytest.raises(ConflictingParametersError, match=r"^response_format and grammar"):
        forge.generate("Hello", grammar="x", response_format={"type": "text"})


def kept(forge: LlamaForge, text: str) -> str:
    """Write the model file; how errors about its generation table begin."""
    forge.config_path.write_text(text)
    return f"The model 'm' ([models.m.generation] in {forge.config_path}): "


def test_a_default_that_the_backend_lacks_is_refused_where_it_is_set(forge: LlamaForge) -> None:
    begins = kept(forge, '[models.m]\npath = "x"\nbackend = "echo"\n[models.m.generation]\nparse_special = true\n')
    with pytest.raises(UnsupportedError, match=re.escape(begins) + ".*parse_special"):
        forge.load_model("m")
    with pytest.raises(UnsupportedError, match=r"^generation: .*parse_special"):
        forge.add_model("n", "x", "echo", generation={"parse_special": True})
    with pytest.raises(UnsupportedError, match=r"set_defaults.*parse_special"):
        EchoBackend().set_defaults({"parse_special": True})
    forge.add_model("d", "x", "echo", generation={"parse_special": True, "on_unsupported": "drop"})
    forge.load_model("d")
    assert forge.generate("Hello").dropped == ("parse_special",)


def test_what_shows_at_load_is_judged_then(forge: LlamaForge) -> None:
    begins = kept(forge, '[models.m]\npath = "x"\nbackend = "asked"\n[models.m.generation]\nmin_pp = 1\n')
    with pytest.raises(UnknownParameterError, match=re.escape(begins)):
        forge.load_model("m")
    kept(forge, '[models.m]\npath = "x"\nbackend = "asked"\n[models.m.generation]\nparse_special = true\n')
    assert forge.load_model("m").generate("Hello").parameters["parse_special"] is True
    kept(forge, '[models.m]\npath = "x"\nbackend = "asked"\n[models.m.generation]\ntools = []\n')
    with pytest.raises(UnsupportedError, match=re.escape(begins)):
        forge.load_model("m", {"n_ctx": 9})
    assert forge.generate("Hello") == "Hello", "what was loaded stays"


@pytest.mark.parametrize("call", CALLS)
def test_a_default_that_the_engine_refuses_is_named_with_its_place(forge: LlamaForge, call: str) -> None:
    begins = kept(
        forge, '[models.m]\npath = "x"\nbackend = "biased"\n[models.m.generation.logit_bias]\n5000000000 = 1.0\n'
    )
    forge.load_model("m")
    with pytest.raises(InvalidParameterError, match=re.escape(begins) + "logit_bias must"):
        CALLS[call](forge, {})
    with pytest.raises(InvalidParameterError, match=r"^logit_bias must"):
        CALLS[call](forge, {"logit_bias": {6_000_000_000: 1}})
    assert CALLS[call](forge, {"logit_bias": {600: 1}}) == "Hello"


@pytest.fixture
def listed(forge: LlamaForge) -> str:
    """A model file; its path."""
    forge.config_path.write_text(
        '[models."m n"]\npath = "x"\nbackend = "everything"\n[models."m n".parameters]\nn_ctx = 5\n'
    )
    return str(forge.config_path)


def test_an_error_about_what_the_caller_passed_does_not_blame_the_file(forge: LlamaForge, listed: str) -> None:
    for parameters in ({"lora": ["/nowhere/a.gguf"]}, {"n_ctx": "few"}, {"n_cty": 3}, {"flash": True, "n_ctx": 6}):
        with pytest.raises(Exception, match=r"^(?!.*models\.toml)"):
            forge.load_model("m n", parameters)
    with pytest.raises(ConflictingParametersError) as caught:
        forge.load_model("m n", {"flash": True})
    assert str(caught.value).startswith("flash needs another n_ctx than 5.")
    assert str(caught.value).endswith(f"The model 'm n' sets n_ctx ([models.\"m n\".parameters] in {listed}).")


def test_an_error_about_the_file_names_the_table(forge: LlamaForge, listed: str) -> None:
    text = Path(listed).read_text()
    for line, kind in {
        'lora = ["/nowhere/a.gguf"]': InvalidModelError,
        "n_cty = 3": UnknownParameterError,
        'flash = "yes"': InvalidParameterError,
    }.items():
        Path(listed).write_text(f"{text}{line}\n")
        with pytest.raises(kind, match=re.escape("The model 'm n' ([models.\"m n\"") + r".*models\.toml\): ") as caught:
            forge.load_model("m n")
        assert listed in str(caught.value)
    forge.add_model("added", "x", "everything", {"n_ctx": "few"})
    with pytest.raises(InvalidParameterError, match=r"^The model 'added' \(parameters of add_model\): n_ctx must"):
        forge.load_model("added")


def test_an_unknown_default_names_the_file(forge: LlamaForge) -> None:
    forge.config_path.write_text('default = "absent"\n')
    with pytest.raises(UnknownModelError, match=re.escape(f"set in {forge.config_path}: there is no model 'absent'")):
        forge.load_model()
