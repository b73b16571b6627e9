"""The check at load: three questions, three errors, never confused."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from forge_openai import OpenAIBackend
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    LlamaForgeError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
)
from support.scripted import (
    Cut,
    Reply,
    ScriptedServer,
    delta,
    error_reply,
    event,
    json_reply,
    models_reply,
    stream_of,
    stream_reply,
)

Load = Callable[..., OpenAIBackend]

HTML = Reply(200, {"Content-Type": "text/html"}, b"<html>It works!</html>")


def test_a_model_that_is_there(server: ScriptedServer, load: Load) -> None:
    backend = load()
    assert backend.is_model_loaded()
    assert backend.model_path == "m-1"
    assert [request.path for request in server.requests] == ["/v1/models"]


def test_nobody_at_the_address(load: Load) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionFailedError) as caught:
        load(api_base=f"http://127.0.0.1:{port}/v1")
    assert caught.value.endpoint == f"http://127.0.0.1:{port}/v1"
    assert "looks wrong" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key(status: int, server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", error_reply(status, "Bad key."))
    server.chat(error_reply(status, "Bad key."))
    with pytest.raises(AuthenticationError, match="Bad key") as caught:
        load()
    assert caught.value.status == status


def test_a_wrong_model_gets_the_closest_names_first(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", models_reply("a-1", "gpt-4o", "gpt-4", "zeta"))
    with pytest.raises(ModelNotFoundError) as caught:
        load("gtp-4")
    assert caught.value.known == ["gpt-4", "gpt-4o", "a-1", "zeta"]
    assert caught.value.model == "gtp-4"
    assert "check_model=False" in str(caught.value)


def test_many_models_are_not_all_listed(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", models_reply(*[f"m{number:03}" for number in range(300)]))
    with pytest.raises(ModelNotFoundError, match="and 292 more") as caught:
        load("something-else")
    assert len(caught.value.known) == 300


def test_no_models_at_all(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", models_reply())
    with pytest.raises(ModelNotFoundError, match="lists none"):
        load()


def test_a_name_that_the_server_knows_and_does_not_list(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", models_reply("llama3:latest"))
    server.on("GET", "/models/llama3", json_reply({"id": "llama3", "object": "model"}))
    assert load("llama3").is_model_loaded()


def test_an_alias(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", json_reply({"data": [{"id": "m-1", "aliases": ["small", "m-1"]}]}))
    assert load("small").is_model_loaded()


def test_a_bare_list(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", json_reply([{"id": "m-1"}]))
    assert load().is_model_loaded()


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_that_lists_no_models_passes(status: int, server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", error_reply(status))
    server.chat(error_reply(400, "messages is required"))
    assert load().is_model_loaded()
    assert server.last.body == {"model": "m-1"}, "nothing that could be computed is asked for"


def test_a_server_that_lists_no_models_may_still_refuse_the_key(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", error_reply(404))
    server.chat(error_reply(401, "Bad key."))
    with pytest.raises(AuthenticationError):
        load()


def test_a_server_that_lists_no_models_may_still_name_the_model(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", error_reply(404))
    server.chat(error_reply(404, "No such model.", code="model_not_found"))
    with pytest.raises(ModelNotFoundError):
        load()


@pytest.mark.parametrize("status", [400, 401, 402, 403, 410, 422])
def test_a_key_that_may_generate_and_not_list_models(status: int, server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", error_reply(status, "Missing scope: list models."))
    server.chat(error_reply(400, "messages is required"), stream_reply(delta("Hi", "stop")))
    assert load().generate("x") == "Hi"


def test_an_error_that_is_told_with_a_success(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", json_reply({"base_resp": {"status_code": 1004, "status_msg": "No such key."}}))
    with pytest.raises(ServerError, match="No such key"):
        load()


LISTS: dict[str, object] = {
    "names": ["other", "m-1"],
    "names in data": {"data": ["other", "m-1"]},
    "Ollama's own": {"models": [{"name": "other", "model": "other"}, {"name": "m-1"}]},
    "Cloudflare's": {"success": True, "errors": [], "result": [{"name": "other"}, {"name": "m-1"}]},
    "an object of names": {"data": {"other": {}, "m-1": {"max_model_len": 9}}},
    "odd cards beside": {
        "data": [None, 3, {}, {"id": 5}, {"id": "m-1", "aliases": 3, "meta": [], "max_model_len": "x"}]
    },
    "SiliconFlow's": {"code": 20000, "status": True, "message": "Ok", "data": [{"id": "other"}, {"id": "m-1"}]},
    "aliases alone": [{"aliases": ["m-1"]}],
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_models_in_other_shapes(name: str, server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", json_reply(LISTS[name]))
    server.chat(error_reply(404))
    assert load().is_model_loaded()
    with pytest.raises(ModelNotFoundError, match="m-1"):
        load("m-2")


def test_a_list_of_models_that_comes_as_an_event(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", stream_of([event({"data": [{"id": "m-1"}]}), event("[DONE]")]))
    server.chat(error_reply(404))
    assert load().is_model_loaded()


@pytest.mark.parametrize("body", [{"hello": "world"}, None, {"data": 3}, {"data": None}, [1, 2], "text"])
def test_a_list_that_can_not_be_read_is_none(body: object, server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", json_reply(body))
    server.chat(error_reply(400, "messages is required"))
    assert load().is_model_loaded()


@pytest.mark.parametrize(("path", "hint"), [("", "/v1'"), ("/api", "/api/v1'"), ("/v1/x", "Check api_base")])
def test_a_path_where_nothing_is(path: str, hint: str, server: ScriptedServer, load: Load) -> None:
    with pytest.raises(ConnectionFailedError, match="looks wrong") as caught:
        load(api_base=server.root + path)
    assert hint in str(caught.value)


@pytest.mark.parametrize("reply", [HTML, json_reply({"hello": "world"}), json_reply(None), json_reply({"data": 3})])
def test_something_else_at_the_address(reply: Reply, server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", reply)
    server.chat(HTML if reply is HTML else error_reply(404))
    with pytest.raises(ConnectionFailedError, match="looks wrong"):
        load()


def test_a_server_that_sends_us_to_another(server: ScriptedServer, load: Load) -> None:
    with ScriptedServer() as other:
        other.on("GET", "/models", models_reply("m-1"))
        server.on("GET", "/models", Reply(302, {"Location": f"{other.url}/models"}))
        with pytest.raises(ConnectionFailedError, match="redirects to"):
            load()


def test_a_redirect_on_the_same_server_is_followed(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", Reply(302, {"Location": "/v1/models/"}))
    server.on("GET", "/models/", models_reply("m-1"))
    assert load().is_model_loaded()


@pytest.mark.parametrize(("status", "kind"), [(500, ServerError), (503, ServerError), (429, RateLimitError)])
def test_a_server_in_trouble(status: int, kind: type[LlamaForgeError], server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", error_reply(status, "Later."))
    with pytest.raises(kind, match="Later"):
        load()


def test_a_server_that_is_still_loading_is_asked_again(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", json_reply({}, 503, retry_after="0.01"), models_reply("m-1"))
    assert load(max_retries=1).is_model_loaded()


def test_a_server_that_never_answers(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", lambda _: Reply(head=server.hang()))
    with pytest.raises(ConnectionFailedError, match="sent nothing for too long"):
        load(timeout=0.3)


def test_a_server_that_answers_a_byte_at_a_time(server: ScriptedServer, load: Load) -> None:
    def crawl() -> object:
        while not server.closing.wait(0.05):
            yield b"x"

    server.on("GET", "/models", lambda _: Reply(head=crawl()))  # type: ignore[arg-type]
    with pytest.raises(ConnectionFailedError):
        load(timeout=0.3)
    server.on("GET", "/models", lambda _: stream_of(crawl()))  # type: ignore[arg-type]
    with pytest.raises(ConnectionFailedError):
        load(timeout=0.3)


def test_a_server_that_hangs_up(server: ScriptedServer, load: Load) -> None:
    def hang_up() -> object:
        raise Cut
        yield b""

    server.on("GET", "/models", lambda _: stream_of(hang_up()))  # type: ignore[arg-type]
    with pytest.raises(ConnectionFailedError):
        load()


def test_the_check_can_be_left_out(server: ScriptedServer, load: Load) -> None:
    backend = load("anything", check_model=False)
    assert backend.is_model_loaded()
    assert not server.requests
    assert backend.generate("Hi") == "Hello"
    assert server.last.body["model"] == "anything"


def test_a_failed_load_leaves_the_model_that_was_loaded(server: ScriptedServer, load: Load) -> None:
    backend = load()
    with pytest.raises(ModelNotFoundError):
        backend.load_model("m-2", {"api_key": "sk-1", "api_base": server.url, "extensions": ["top_k"]})
    assert backend.model_path == "m-1"
    assert "top_k" not in backend.capabilities.parameters
    assert backend.generate("Hi") == "Hello"


def test_loading_again_replaces(server: ScriptedServer, load: Load) -> None:
    server.on("GET", "/models", models_reply("m-1", "m-2"))
    backend = load()
    backend.load_model("m-2", {"api_key": "sk-2", "api_base": server.url})
    backend.generate("Hi")
    assert (server.last.body["model"], server.last.headers["authorization"]) == ("m-2", "Bearer sk-2")


def test_unloading_closes_the_connections(server: ScriptedServer, load: Load) -> None:
    backend = load()
    session = backend._session
    assert session is not None
    backend.unload_model()
    assert session.servers[0].client.is_closed()
    assert not backend.is_model_loaded()
    backend.unload_model()


def test_the_environment_is_enough(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    with OpenAIBackend() as backend:
        backend.load_model("m-1")
        assert backend.generate("Hi") == "Hello"
    assert server.last.headers["authorization"] == "Bearer sk-env"
    assert server.last.headers["openai-organization"] == "org-env"
