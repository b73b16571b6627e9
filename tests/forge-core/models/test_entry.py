"""What is known of a model, and that no secret is seen."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.errors import InvalidParameterError
from llamaforge.models import DEFAULT_MODEL, ModelEntry
from llamaforge.models.masking import shown
from llamaforge.secrets import Secret

CANARY = "canary-0123456789"


def test_the_default_model() -> None:
    from llamaforge.sources.reference import parse

    assert DEFAULT_MODEL.name == "smollm2-135m-instruct"
    assert DEFAULT_MODEL.backend is None
    assert DEFAULT_MODEL.origin == "built-in"
    assert parse(DEFAULT_MODEL.path, DEFAULT_MODEL.sha256).scheme == "pypi"
    assert "system" not in DEFAULT_MODEL.parameters["chat_template"]
    assert DEFAULT_MODEL.generation == {"temperature": 0.2, "top_p": 0.9}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("name", "a\x7f"),
        ("name", "a\udc00"),
        ("name", 1),
        ("path", ""),
        ("path", "  "),
        ("path", Path("x")),
        ("backend", ""),
        ("backend", 1),
        ("sha256", "abc"),
        ("sha256", 1),
        ("parameters", [("a", 1)]),
        ("parameters", {1: 2}),
        ("generation", None),
    ],
)
def test_fields_that_cannot_be(field: str, value: Any) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        ModelEntry(**{"name": "a", "path": "b", field: value})
    assert caught.value.name == field


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_any_other_name_will_do(name: str) -> None:
    assert ModelEntry(name, "x").name == name


def test_the_checksum_is_folded_to_lower_case() -> None:
    assert ModelEntry("a", "b", sha256="AB" * 32).sha256 == "ab" * 32


def test_the_same_model_wherever_it_was_defined() -> None:
    one = ModelEntry("a", "b", parameters={"n_ctx": 1}, origin="file")
    assert one.same_as(ModelEntry("a", "b", parameters={"n_ctx": 1}))
    assert not one.same_as(ModelEntry("a", "b", parameters={"n_ctx": 2}))
    assert not one.same_as(ModelEntry("a", "b", backend="x", parameters={"n_ctx": 1}))
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    "parameters",
    [
        {"api_key": CANARY},
        {"apiKey": CANARY},
        {"API_KEY": CANARY},
        {"openai-api-key": CANARY},
        {"myapikey": CANARY},
        {"token": CANARY},
        {"hfToken": CANARY},
        {"access_token": CANARY},
        {"password": CANARY},
        {"db_password": 1234567890123},
        {"dbpassword": CANARY},
        {"client_secret": CANARY},
        {"secret": {"any": {"thing": [CANARY]}}},
        {"credentials": [CANARY]},
        {"authorization": CANARY},
        {"headers": {"X-Anything": CANARY}},
        {"default_headers": {"X-Anything": [CANARY]}},
        {"extra": {"deep": [{"Authorization": f"Bearer {CANARY}"}]}},
        {"anything": f"Bearer {CANARY}"},
        {"anything": [f"sk-{CANARY}"]},
        {"api_base": f"https://me:{CANARY}@host/v1"},
        {"api_base": f"https://host/v1?api_key={CANARY}"},
        {"api_key": CANARY.encode()},
        {"anything": CANARY.encode()},
        {"anything": Secret(CANARY)},
        {"token": f"env:{CANARY} "},
    ],
)
def test_no_secret_is_seen(parameters: dict[str, Any]) -> None:
    for entry in (ModelEntry("a", "b", parameters=parameters), ModelEntry("a", "b", generation=parameters)):
        said = f"{entry!r} {entry} {entry.describe()} {[entry]} {entry.describe().values()}"
        assert "canary" not in said
        assert "1234567890123" not in said
        assert "***" in said


def test_a_path_with_credentials() -> None:
    assert "canary" not in repr(ModelEntry("a", "s3:https://me:canary@host/x"))


@pytest.mark.parametrize(
    "parameters",
    [
        {"api_key": "env:OPENAI_API_KEY"},
        {"headers": {"Authorization": "env:TOKEN"}},
        {"n_ctx": 4096, "max_tokens": 10, "eos_token": 2, "add_bos_token": True, "seed": None, "token": None},
        {"n_gpu_layers": -1, "type_k": "f16", "tokenizer": "x", "monkey": "banana", "chat_template": "{{ key }}"},
        {"dtype": "bfloat16", "ratio": 0.5, "stop": ["a", "b"], "rope": {"type": "yarn", "factor": 2.0}},
        {"api_base": "http://127.0.0.1:8080/v1", "organization": "org-me"},
    ],
)
def test_everything_else_is_shown_as_it_is(parameters: dict[str, Any]) -> None:
    assert ModelEntry("a", "b", parameters=parameters).describe()["parameters"] == parameters


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(CANARY) | st.just([CANARY]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, st.sampled_from(["api_key", "X-Auth-Key", "password", "secrets", "HTTP_HEADERS", "bearerToken"]))
def test_whatever_stands_below_a_telling_name_is_masked(value: Any, name: str) -> None:
    assert "canary" not in repr(shown({"x": [{name: value}]}))
