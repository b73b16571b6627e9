"""The union of all backends' load parameters: read by `type`, and exported as a JSON schema that means the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import msgspec
import pytest
from msgspec import Meta

from llamaforge import BackendConfig, BaseBackend, Secret, plugins
from llamaforge.backends import registry
from llamaforge.backends.config_schema import config_classes, config_schema, read_config
from llamaforge.errors import InvalidParameterError, LlamaForgeError, UnknownBackendError, UnknownParameterError
from support.plugins import make_sabotaged


class Part(msgspec.Struct, frozen=True):
    path: str
    scale: float = 1.0


class TaggedConfig(BackendConfig, frozen=True, kw_only=True):
    """A tagged config."""

    type: Literal["tagged"] = "tagged"
    size: Annotated[int, Meta(ge=1, description="How large.")]
    key: Secret | None = None
    parts: tuple[Part | str, ...] = ()


class PlainConfig(BackendConfig, frozen=True, kw_only=True):
    colour: Literal["red", "green"] = "red"


@pytest.fixture(autouse=True)
def two_backends(plugin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    for name, config in (("tagged", TaggedConfig), ("plain/er", PlainConfig)):
        registry._registered[name] = type("Some", (BaseBackend,), {"config_class": config})  # as an entry point may be


VALID: list[dict[str, Any]] = [
    {"type": "tagged", "size": 3},
    {"type": "tagged", "size": 1, "key": "sk-1", "parts": ["a", {"path": "b", "scale": 0.5}]},
    {"type": "plain/er"},
    {"type": "plain/er", "colour": "green"},
    {"type": "echo", "delay": 0.5},
]
INVALID: list[dict[str, Any]] = [
    {},
    {"size": 3},
    {"type": "nothing"},
    {"type": "tagged"},
    {"type": "tagged", "size": 0},
    {"type": "tagged", "size": 1, "colour": "red"},
    {"type": "tagged", "size": 1, "parts": [{"scale": 1.0}]},
    {"type": "plain/er", "colour": "blue"},
    {"type": 3},
]


@pytest.mark.parametrize("values", VALID)
def test_what_is_valid_is_so_both_ways(values: dict[str, Any]) -> None:
    assert isinstance(read_config(values), BackendConfig)
    validator().validate(values)


@pytest.mark.parametrize("values", INVALID)
def test_what_is_invalid_is_so_both_ways(values: dict[str, Any]) -> None:
    with pytest.raises(LlamaForgeError):
        read_config(values)
    assert not validator().is_valid(values)


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(config_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_errors_say_what_is_wrong() -> None:
    with pytest.raises(InvalidParameterError, match="type"):
        read_config({"size": 3})
    with pytest.raises(UnknownBackendError, match="tagged"):
        read_config({"type": "taged"})
    with pytest.raises(InvalidParameterError, match="size is missing; it must be a whole number of at least 1"):
        read_config({"type": "tagged"})
    with pytest.raises(UnknownParameterError, match="colour"):
        read_config({"type": "plain/er", "color": "red"})


def test_every_backend_has_a_branch_with_descriptions() -> None:
    schema = config_schema()
    assert {"echo", "tagged", "plain/er"} <= set(schema["discriminator"]["mapping"])
    tagged = schema["$defs"]["tagged"]
    assert tagged["properties"]["size"]["description"] == "How large."
    assert tagged["properties"]["type"] == {"const": "tagged"}
    assert tagged["required"] == ["type", "size"]
    assert "password" in json.dumps(tagged["properties"]["key"])
    assert config_schema(["plain/er"])["discriminator"]["mapping"] == {"plain/er": "#/$defs/plain~1er"}


def test_a_broken_plugin_is_left_out_and_named(plugin_folder: Path) -> None:
    names = make_sabotaged(plugin_folder)
    plugins.BACKENDS.refresh()
    found, failures = config_classes()
    assert set(names) == set(failures)
    assert not set(names) & set(found)
    assert not set(names) & set(config_schema()["$defs"])
