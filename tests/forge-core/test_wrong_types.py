"""Whatever is passed to a public function, the answer is one of our errors, or it works."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import BaseBackend, LlamaForge, get_backend, register_backend
from llamaforge.backends import registry
from llamaforge.backends.basic import BasicBackendAdapter
from llamaforge.backends.config import BackendConfig
from llamaforge.backends.connectable import ConnectableBackend
from llamaforge.errors import (
    ContractError,
    InvalidParameterError,
    LlamaForgeError,
    ModelFileError,
    UnknownParameterError,
)
from llamaforge.models import ModelEntry
from llamaforge.parameters import GenerationParameters

WRONG: list[Any] = [
    *(5, -1, 10**30, 2.5, float("nan"), True, None, b"x", "", "n_ctx=3", "\ud800", "a\0b", (), [1], ["x"], [None]),
    *({1: 2}, {"n_ctx": 3}, {"a": object()}, object(), int, range(3)),
]
GIVEN: dict[str, Any] = {
    "name": "m",
    "path": "x",
    "prompt": "Hello",
    "messages": [{"role": "user", "content": "Hello"}],
    "prompts": ["Hello"],
    "model_path": "x",
    "parameters": {},
    "entry": ModelEntry("m", "x", "echo"),
    "seconds": 1000,
    "open_model": lambda entry, parameters: None,
}
"""What other arguments are while one is wrong."""
WRITTEN_BY_AUTHORS = {
    *("load", "unload", "check_model", "stream", "astream", "render_request", "open_engine", "after_fork"),
    *("check_engine_options", "default_parameters", "attach", "detach", "is_healthy", "find_model"),
    *("tokenize_request", "token_text"),
}
NOT_WALKED = ("embed", "rerank", "tools", "score")
KEYWORDS = set(GenerationParameters.__annotations__) - {"stop", "temperature", "engine", "timeout", "response_format"}
"""Generation parameters are read by one function: some of them stand for all."""


class Basic(BaseBackend):
    def load_model(self, model_path: Any, parameters: Any = None) -> None: ...
    def is_model_loaded(self) -> bool:
        return True

    def generate(self, prompt: Any, parameters: Any = None) -> Any:
        return prompt


class Remote(ConnectableBackend[BackendConfig]):
    def is_healthy(self, endpoint: str) -> bool:
        return True

    async def astream(self, request: Any, cancellation: Any) -> Any:
        raise AssertionError("nobody gets here")
        yield


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaForge]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {"basic": Basic})
    with LlamaForge(config_path=tmp_path / "models.toml") as forge:
        forge.add_model("m", "x", "echo")
        forge.load_model("m")
        yield forge


@pytest.fixture
def echo() -> Iterator[BaseBackend]:
    with get_backend("echo")() as backend:
        backend.load_model("x")
        yield backend


def outcome(result: Any) -> Any:
    """Read or await a little of it."""
    if inspect.iscoroutine(result):
        return asyncio.run(asyncio.wait_for(result, 20))
    if hasattr(result, "__aiter__"):

        async def first() -> Any:
            return await anext(aiter(result), None)

        return asyncio.run(asyncio.wait_for(first(), 20))
    if hasattr(result, "__next__"):
        return next(result, None)
    return result


def walk(target: Any, *, skipped: frozenset[str] = frozenset()) -> list[str]:
    """Call every public method of *target* with each argument wrong in every way; what was raised that isn't ours."""
    raised = {}
    for name, method in inspect.getmembers(target, callable):
        if name.startswith("_") or name in WRITTEN_BY_AUTHORS | skipped or any(word in name for word in NOT_WALKED):
            continue
        arguments = [
            each
            for each in inspect.signature(method).parameters.values()
            if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL) and each.name not in KEYWORDS
        ]
        for wrong in arguments:
            others = {
                each.name: GIVEN[each.name]
                for each in arguments
                if each is not wrong and each.default is each.empty and each.name in GIVEN
            }
            for value in WRONG:
                try:
                    outcome(method(**others, **{wrong.name: value}))
                except LlamaForgeError as error:
                    str(error)
                except Exception as error:
                    raised[f"{name}({wrong.name}={value!r}): {type(error).__name__}: {error}"] = True
    return list(raised)


def test_of_llamaforge(forge: LlamaForge) -> None:
    assert walk(forge) == []
    forge.add_model("m", "x", "echo", replace=True)
    forge.load_model("m")
    assert forge.generate("Hello", model="m") == "Hello", "nothing was lost"


def test_of_a_backend(echo: BaseBackend) -> None:
    assert walk(echo) == []
    echo.load_model("x")
    assert echo.generate("Hello") == "Hello"


def test_of_a_basic_backend() -> None:
    backend = BasicBackendAdapter(Basic())
    backend.load_model("x")
    assert walk(backend) == []


def test_of_a_connectable_backend() -> None:
    assert walk(Remote(), skipped=frozenset({"generate_at_once"})) == []


def test_of_the_pool(forge: LlamaForge) -> None:
    assert walk(forge.pool, skipped=frozenset({"wait_for_change"})) == []  # it would wait
    for wrong in (None, -1, "soon", float("nan"), [1]):
        with pytest.raises(InvalidParameterError, match="timeout must be"):
            forge.pool.wait_for_change(wrong)  # type: ignore[arg-type]
    assert not forge.pool.wait_for_change(0)
    with pytest.raises(InvalidParameterError, match="entry must be a ModelEntry"):
        forge.pool.load("m", {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda forge: forge.generate("x", model=5), "model must be a string"),
        (lambda forge: forge.load_model(5), "name must be a string"),
        (lambda forge: forge.load_model("m", "n_ctx=3"), "parameters must be a mapping"),
        (lambda forge: forge.add_model("n", "x", parameters=[1]), "parameters must be a mapping"),
        (lambda forge: forge.add_model("n", None), "path must be a path"),
        (lambda forge: forge.generate_batch(["x"], concurrency=0), "concurrency must be a whole number"),
        (lambda forge: forge.generate_batch(["x"], progress="no"), "progress must be"),
        (lambda forge: forge.generate("x", [1], top_k=1), "parameters must be a mapping"),
        (lambda forge: LlamaForge(config_path=5), "config_path must be the path"),
        (lambda forge: LlamaForge(progress="yes"), "progress must be a function"),
    ],
)
def test_the_message_names_the_argument(forge: LlamaForge, call: Callable[[LlamaForge], Any], says: str) -> None:
    with pytest.raises(InvalidParameterError, match=says):
        call(forge)


def test_a_model_file_that_can_be_none_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="a folder is there") as caught:
        LlamaForge(config_path=tmp_path)
    assert caught.value.path == tmp_path
    LlamaForge(config_path="/dev/null")


def test_what_is_wrong_for_a_whole_batch_is_raised_by_the_call(forge: LlamaForge, echo: BaseBackend) -> None:
    wrong: Any = {"temprature": 1}
    for caller in (forge, echo):
        with pytest.raises(UnknownParameterError, match="temperature"):
            caller.generate_batch(["a"], **wrong)
        with pytest.raises(UnknownParameterError, match="temperature"):
            caller.agenerate_batch(["a"], wrong)
        with pytest.raises(InvalidParameterError, match="top_p"):
            caller.generate_batch(["a"], top_p=2)


@pytest.mark.parametrize("name", ["bad name!", "", " ", "-x", "x/", "ä", 5, None])
def test_a_backend_s_name_is_that_of_an_entry_point(forge: LlamaForge, name: Any) -> None:
    with pytest.raises(InvalidParameterError, match="letters, digits"):
        register_backend(name, Basic)
    register_backend("fine-name_1.x", Basic)


async def aword(*_: Any) -> str:
    return "word"


async def awords(*_: Any) -> Any:
    yield "word"


@pytest.mark.parametrize(
    ("method", "returned", "says"),
    [
        ("generate", lambda *_: None, r"its generate\(\) returned None, not a string"),
        ("generate", lambda *_: b"text", r"its generate\(\) returned bytes, not a string"),
        ("generate", aword, r"returned coroutine, not a string. It must be a plain method, not async def"),
        ("generate_stream", lambda *_: None, r"its generate_stream\(\) returned None, not an iterator of strings"),
        ("generate_stream", lambda *_: iter([b"a"]), r"its generate_stream\(\) yielded bytes, not strings"),
        ("generate_stream", awords, "returned async_generator, not an iterator of strings. It must be a plain"),
        ("load_model", aword, "returned coroutine, not None. It must be a plain method"),
        ("is_model_loaded", aword, "returned coroutine, not True or False. It must be a plain method"),
    ],
)
def test_an_author_s_method_that_returns_something_else(
    forge: LlamaForge, method: str, returned: Any, says: str
) -> None:
    registry._registered["odd"] = type("Odd", (Basic,), {method: returned})
    forge.add_model("odd", "x", "odd")

    def ask(call: Callable[[], Any]) -> None:
        def load_and_ask() -> None:
            forge.load_model("odd")
            outcome(call())

        with pytest.raises(ContractError, match=says) as caught:
            load_and_ask()
        assert caught.value.backend == "Odd"

    if method != "generate_stream":
        ask(lambda: forge.generate("Hello"))
        ask(lambda: forge.agenerate("Hello"))
    if method != "generate" or returned is aword:
        ask(lambda: forge.generate_stream("Hello"))
        ask(lambda: forge.agenerate_stream("Hello"))
