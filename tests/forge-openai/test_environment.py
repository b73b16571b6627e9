"""Proxies and certificates that environment variables name: an error says which variable, and what to do."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forge_openai import OpenAIBackend
from forge_openai.wire.environment import find_proxy
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    InvalidParameterError,
    LlamaForgeError,
    ServerError,
)
from support.scripted import ScriptedServer, error_reply

Load = Callable[..., OpenAIBackend]

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.upper, VARIABLES), *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def dead_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("url", ["socks://127.0.0.1:9", "ftp://127.0.0.1:9", "socks4://127.0.0.1:9"])
def test_a_scheme_that_is_no_proxys(variable: str, url: str, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(ConnectionFailedError, match=r"socks5://.*NO_PROXY=127\.0\.0\.1") as caught:
        load()
    assert variable in str(caught.value)
    assert url in str(caught.value)


def test_socks_without_its_package(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ConnectionFailedError, match=r"ALL_PROXY.*pip install socksio"):
        load()


def test_a_password_in_a_proxys_url_is_not_shown(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://user:hunter2@127.0.0.1:9")
    with pytest.raises(ConnectionFailedError, match="ALL_PROXY") as caught:
        load()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "localhost,127.0.0.1"])
def test_a_server_that_needs_no_proxy_is_reached_beside_a_wrong_one(
    exempt: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", exempt)
    backend = load()
    assert backend.generate("Hi") == "Hello"
    assert asyncio.run(backend.agenerate("Hi")) == "Hello"


def test_a_wrong_proxy_for_another_scheme_does_not_matter(
    server: ScriptedServer, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks://127.0.0.1:9")
    assert load().generate("Hi") == "Hello"
    monkeypatch.setenv("HTTP_PROXY", server.root)
    server.through_proxy("http://far.example")
    assert load(api_base="http://far.example/v1").generate("Hi") == "Hello"


def test_a_proxy_that_is_not_there_is_named(load: Load, dead_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@127.0.0.1:{dead_port}")
    with pytest.raises(ConnectionFailedError, match="HTTP_PROXY") as caught:
        load()
    assert f"127.0.0.1:{dead_port}" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    backend = load(check_model=False)
    with pytest.raises(ConnectionFailedError, match="HTTP_PROXY"):
        backend.generate("Hi")
    with pytest.raises(ConnectionFailedError, match="HTTP_PROXY"):
        asyncio.run(backend.agenerate("Hi"))


def test_without_a_proxy_none_is_mentioned(load: Load, dead_port: int) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        load(api_base=f"http://127.0.0.1:{dead_port}/v1")
    assert "proxy" not in str(caught.value).casefold()


def test_the_scheme_s_own_proxy_goes_before_that_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://tls:1")
    found = [find_proxy(address) for address in ("http://host/v1", "https://host/v1")]
    assert [(proxy.url, proxy.variable) for proxy in found if proxy is not None] == [
        ("http://all:1", "ALL_PROXY"),
        ("http://tls:1", "HTTPS_PROXY"),
    ]


def test_certificates_that_are_not_there(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with pytest.raises(ConnectionFailedError, match=r"SSL_CERT_FILE names .*gone\.pem, which does not exist"):
        load(api_base="https://127.0.0.1:1/v1")
    assert load().generate("Hi") == "Hello", "http needs no certificates"


def test_certificates_that_are_none(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bad.pem"))
    with pytest.raises(ConnectionFailedError, match=r"SSL_CERT_FILE names .*bad\.pem, which has no certificates"):
        load(api_base="https://127.0.0.1:1/v1")


def test_tls_with_a_server_that_speaks_none(server: ScriptedServer, load: Load) -> None:
    with pytest.raises(ConnectionFailedError, match="http:// instead of https://"):
        load(api_base=server.url.replace("http://", "https://"))


@pytest.mark.parametrize("in_loop", [False, True])
def test_why_there_is_no_connection_is_told_in_words(in_loop: bool, load: Load, dead_port: int) -> None:
    for address, words in {
        "http://no-such-host.invalid/v1": "host name can't be resolved",
        f"http://127.0.0.1:{dead_port}/v1": "connection was refused. Check that the server is running",
    }.items():
        backend = load(api_base=address, check_model=False)
        with pytest.raises(ConnectionFailedError, match=words):
            asyncio.run(backend.agenerate("Hi")) if in_loop else backend.generate("Hi")


def test_a_settings_error_is_typed_in_a_loop_as_well(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load()
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:9")
    with pytest.raises(LlamaForgeError, match="ALL_PROXY"):
        asyncio.run(backend.agenerate("Hi"))


def test_a_key_that_is_refused_is_named_by_its_variable(
    server: ScriptedServer, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.chat(error_reply(401, "Bad key."))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    with pytest.raises(AuthenticationError, match=r"Bad key\. The key is from the environment variable OPENAI_API_KEY"):
        load(api_key=None).generate("Hi")
    with pytest.raises(AuthenticationError, match=r"Bad key\.$"):
        load().generate("Hi")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(AuthenticationError, match="No key was sent: pass the load parameter api_key"):
        load(api_key=None).generate("Hi")


@pytest.mark.parametrize("key", ["kéy-1", "a\nb"])
def test_a_key_that_is_none_is_named_by_its_variable(key: str, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InvalidParameterError, match="OPENAI_API_KEY"):
        load(api_key=None)


def test_headers_from_the_environment_are_sent_and_kept_secret(
    server: ScriptedServer, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: hunter-two\nno header")
    server.chat(error_reply(500, "You are hunter-two."))
    with pytest.raises(ServerError) as caught:
        load().generate("Hi")
    assert server.last.headers["x-team"] == "hunter-two"
    assert "hunter" not in str(caught.value)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X Team: a")
    with pytest.raises(InvalidParameterError, match="OPENAI_CUSTOM_HEADERS"):
        load()


@pytest.mark.parametrize("host", ["..", "a..b", "a" * 70 + ".example"])
def test_a_host_that_is_none(host: str, load: Load) -> None:
    with pytest.raises(InvalidParameterError, match="api_base"):
        load(api_base=f"http://{host}/v1")
