"""Load parameters: checked, completed from the environment, never shown where secret."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from forge_openai.address import is_official, split_address
from forge_openai.config import OpenAIConfig
from forge_openai.endpoint import Endpoint, find_endpoints
from llamaforge.backends.config import describe_config
from llamaforge.errors import ConflictingParametersError, InvalidParameterError, UnknownParameterError
from llamaforge.secrets import Secret

CANARY = "canary-4711-secret"


def find_endpoint(config: OpenAIConfig, environ: dict[str, str]) -> Endpoint:
    (endpoint,) = find_endpoints(config, "m-1", environ)
    return endpoint


def read(**parameters: Any) -> OpenAIConfig:
    return OpenAIConfig.read(parameters)


def basic(config: OpenAIConfig) -> str:
    scheme, _, token = config.headers["Authorization"].reveal().partition(" ")
    assert scheme == "Basic"
    return base64.b64decode(token).decode()


def test_the_official_endpoint_is_the_default() -> None:
    endpoint = find_endpoint(read(api_key="sk-1"), {})
    assert endpoint.address == "https://api.openai.com/v1"
    assert endpoint.max_tokens_field == "max_completion_tokens"
    assert endpoint.api_key == Secret("sk-1")


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}])
def test_the_official_endpoint_needs_a_key(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidParameterError, match="OPENAI_API_KEY") as caught:
        find_endpoint(read(), environ)
    assert caught.value.name == "api_key"


def test_another_server_needs_none() -> None:
    endpoint = find_endpoint(read(api_base="http://127.0.0.1:8000/v1"), {})
    assert endpoint.api_key is None
    assert endpoint.max_tokens_field == "max_tokens"


def test_the_environment_fills_in_what_is_not_given() -> None:
    environ = {
        "OPENAI_API_KEY": "sk-env",
        "OPENAI_BASE_URL": "http://10.0.0.1:1/v1",
        "OPENAI_ORG_ID": "org-env",
        "OPENAI_PROJECT_ID": "proj-env",
    }
    found = find_endpoint(read(), environ)
    assert (found.address, found.organization, found.project) == ("http://10.0.0.1:1/v1", "org-env", "proj-env")
    assert found.api_key == Secret("sk-env")
    given = read(api_key="sk-own", api_base="https://host/api/", organization="org-own", project="proj-own")
    found = find_endpoint(given, environ)
    assert (found.address, found.organization, found.project) == ("https://host/api", "org-own", "proj-own")
    assert found.api_key == Secret("sk-own")


def test_a_bad_url_in_the_environment_is_named_by_its_variable() -> None:
    with pytest.raises(InvalidParameterError, match="OPENAI_BASE_URL"):
        find_endpoint(read(api_key="sk-1"), {"OPENAI_BASE_URL": "localhost:8000"})


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http:///v1",
        "",
        "http://host:99999/v1",
        "http://[::1/v1",
        "http://a b/v1",
    ],
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameterError, match="http:// or https://") as caught:
        read(api_base=url)
    assert caught.value.name == "api_base"


@pytest.mark.parametrize(
    "url",
    [f"ftp://user:{CANARY}@host/v1", f"http://host/v1?key={CANARY}", f"http://host/v1#{CANARY}", f"user:{CANARY}@host"],
)
def test_a_bad_url_that_may_hold_a_secret_is_not_shown(url: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        read(api_base=url)
    assert CANARY not in str(caught.value) + repr(caught.value.__dict__)


def test_credentials_leave_the_url() -> None:
    config = read(api_base=f"https://me%40x:{CANARY}%2F1@host:8443/v1")
    assert config.api_base == "https://host:8443/v1"
    assert basic(config) == f"me@x:{CANARY}/1"
    assert CANARY not in repr(config) + str(config.public())
    assert f"{CANARY}/1" in find_endpoint(config, {}).secrets()


def test_credentials_in_the_environments_url_leave_it_too() -> None:
    endpoint = find_endpoint(read(), {"OPENAI_BASE_URL": f"https://me:{CANARY}@host/v1", "OPENAI_API_KEY": "sk-env"})
    assert endpoint.address == "https://host/v1"
    assert CANARY in endpoint.secrets()
    assert CANARY not in repr(endpoint)
    assert endpoint.api_key is None, "a request has one Authorization header, and the URL's is the closer one"


@pytest.mark.parametrize("more", [{"api_key": "sk-1"}, {"headers": {"authorization": "Bearer x"}}])
def test_two_authorizations_conflict(more: dict[str, Any]) -> None:
    with pytest.raises(ConflictingParametersError, match="Authorization"):
        read(api_base="https://me:secret@host/v1", **more)


@pytest.mark.parametrize("key", [f"{CANARY}\nX: 1", f"{CANARY}ü", "  "])
def test_a_key_that_can_be_none_is_refused_unseen(key: str) -> None:
    with pytest.raises(InvalidParameterError, match="printable ASCII") as caught:
        find_endpoint(read(api_key=key), {})
    assert CANARY not in str(caught.value)


def test_white_space_around_a_key_is_no_part_of_it() -> None:
    assert find_endpoint(read(api_key=" sk-1\n"), {}).api_key == Secret("sk-1")


@pytest.mark.parametrize(
    "headers", [{"X-Key": f"{CANARY}\r\nHost: evil"}, {"X-Key": ""}, {"X Key": CANARY}, {"": CANARY}]
)
def test_headers_that_can_be_none_are_refused_unseen(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidParameterError, match="headers") as caught:
        read(headers=headers)
    assert CANARY not in str(caught.value)


def test_headers_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HEADER", CANARY)
    config = read(headers={"X-Key": "env:MY_HEADER"})
    assert config.headers["X-Key"].reveal() == CANARY
    assert CANARY not in repr(config) + str(config.public())


@pytest.mark.parametrize(
    "extensions",
    [["temperature"], ["top_q"], {"top_k": "model"}, {"top_k": "temperature"}, {"top_k": "min_p"}, {"min_p": ""}],
)
def test_bad_extensions(extensions: Any) -> None:
    with pytest.raises(InvalidParameterError, match="extensions"):
        read(extensions=extensions)


def test_two_extensions_cannot_be_one_field() -> None:
    with pytest.raises(InvalidParameterError, match="nothing else sets"):
        read(extensions={"top_k": "x", "min_p": "x"})


def test_extensions_name_the_servers_fields() -> None:
    assert read(extensions=["top_k", "min_p"]).wire_names() == {"top_k": "top_k", "min_p": "min_p"}
    names = {"repetition_penalty": "repeat_penalty"}
    assert read(extensions=names).wire_names() == names


@pytest.mark.parametrize(
    ("name", "value"),
    [("timeout", 0), ("timeout", "soon"), ("max_retries", -1), ("max_tokens_field", "tokens"), ("check_model", "yes")],
)
def test_wrong_values(name: str, value: object) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        read(**{name: value})
    assert caught.value.name == name


def test_unknown_names_get_the_closest() -> None:
    with pytest.raises(UnknownParameterError) as caught:
        read(api_bass="x")
    assert caught.value.suggestions[0] == "api_base"


def test_every_parameter_is_described() -> None:
    fields = describe_config(OpenAIConfig)
    assert all(field.description and field.type for field in fields)
    assert {field.name for field in fields if field.secret} == {"api_key", "azure_ad_token", "headers"}


@pytest.mark.parametrize(
    ("address", "official"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://api.openai.com.evil.example/v1", False),
        ("http://127.0.0.1:8000/v1", False),
    ],
)
def test_which_servers_are_openais(address: str, official: bool) -> None:
    assert is_official(address) is official


def test_an_address_is_kept_as_it_is() -> None:
    assert split_address("HTTP://[::1]:8000/a/b/", "x") == ("http://[::1]:8000/a/b", None)
