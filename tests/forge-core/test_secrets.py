"""Secrets: seen by whoever asks for them, and by nobody else."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from llamaforge import BackendConfig, Secret
from llamaforge.backends.config import describe_config
from llamaforge.errors import InvalidParameterError, UnknownParameterError

CANARY = "sk-canary-3f9a"


class KeyConfig(BackendConfig, frozen=True, kw_only=True):
    """Load parameters with secrets."""

    api_key: Annotated[Secret, Meta(description="The key.")] | None = None
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    n: Annotated[int, Meta(ge=1, description="A number.")] = 1


def test_a_secret_shows_itself_only_on_request(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(CANARY)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning("%s %r", secret, secret)
    assert CANARY not in caplog.text
    assert CANARY not in f"{secret} {secret!r} {[secret]} { ({'a': secret}) }"
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert hash(secret) == hash(Secret(CANARY))
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_config_never_shows_its_secrets() -> None:
    config = KeyConfig.read({"api_key": CANARY, "headers": {"Authorization": CANARY}})
    assert config.api_key is not None
    assert config.api_key.reveal() == CANARY
    assert config.headers["Authorization"].reveal() == CANARY
    assert CANARY not in f"{config} {config!r} {config.public()}"
    assert config.public()["n"] == 1


def test_env_names_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", CANARY)
    config = KeyConfig.read({"api_key": "env:CANARY_KEY"})
    assert config.api_key == Secret(CANARY)
    monkeypatch.delenv("CANARY_KEY")
    says = "^The environment variable CANARY_KEY, which api_key refers to, is not set.$"
    with pytest.raises(InvalidParameterError, match=says) as caught:
        KeyConfig.read({"api_key": "env:CANARY_KEY"})
    assert caught.value.name == "api_key"


def test_an_error_about_a_secret_does_not_show_it() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        KeyConfig.read({"api_key": [CANARY]})
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in repr(caught.value.__dict__)


def test_load_parameters_are_checked_and_described() -> None:
    with pytest.raises(UnknownParameterError) as unknown:
        KeyConfig.read({"apikey": CANARY})
    assert unknown.value.suggestions == ["api_key"]
    assert CANARY not in str(unknown.value)
    with pytest.raises(InvalidParameterError, match="a whole number of at least 1"):
        KeyConfig.read({"n": 0})
    with pytest.raises(InvalidParameterError):
        KeyConfig.read("n=1")  # type: ignore[arg-type]
    described = {field.name: field for field in describe_config(KeyConfig)}
    assert described["api_key"].description == "The key."
    assert described["api_key"].secret
    assert described["api_key"].default == "not set"
    assert described["n"].type == "a whole number of at least 1"
    assert described["n"].default == "1"
