"""`--schema`, `--choice`, `--regex` and `--grammar` at the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llamaforge import register_backend
from support.dice_engine import DiceBackend

SCHEMA = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}},
    "required": ["on"],
    "additionalProperties": False,
}
ANSWERS = {'{"on": true}\n', '{"on": false}\n'}


@pytest.fixture(autouse=True)
def dice(monkeypatch: pytest.MonkeyPatch) -> None:
    from llamaforge.backends import registry

    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    register_backend("dice", DiceBackend)


def ask(quickly: Any, *options: str) -> str:
    return str(quickly.fine("run", "--backend", "dice", "-m", "./dice", "Say something", *options))


def test_a_schema_as_a_file_or_as_text(quickly: Any, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(SCHEMA))
    for given in (str(file), f"@{file}", json.dumps(SCHEMA)):
        assert ask(quickly, "--schema", given) in ANSWERS


def test_choices_a_regex_and_a_grammar(quickly: Any, tmp_path: Path) -> None:
    assert ask(quickly, "--choice", "yes", "--choice", "no way") in {"yes\n", "no way\n"}
    assert ask(quickly, "--regex", "[ab]{3}c")[3:] == "c\n"
    file = tmp_path / "answer.gbnf"
    file.write_text('root ::= "this" | "that"')
    for given in (str(file), f"@{file}", file.read_text()):
        assert ask(quickly, "--grammar", given) in {"this\n", "that\n"}


def test_the_result_has_what_the_answer_says(quickly: Any) -> None:
    told = json.loads(ask(quickly, "--schema", json.dumps(SCHEMA), "--json"))
    assert told["parsed"] == json.loads(told["text"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--schema", "{}", "--regex", "a"), "--schema and --regex"),
        (("--choice", "a", "--grammar", 'start: "a"'), "--choice and --grammar"),
        (("--grammar", "nowhere.lark"), "nowhere.lark can't be read"),
        (("--schema", "nowhere.json"), "nowhere.json can't be read"),
        (("--schema", "{"), "not valid JSON"),
    ],
)
def test_what_cant_be_meant_is_refused(quickly: Any, options: tuple[str, ...], says: str) -> None:
    done = quickly("run", "--backend", "dice", "-m", "./dice", "Say something", *options)
    assert done.returncode == 2
    assert says in done.stderr


def test_what_cant_be_enforced_is_refused_with_its_place(quickly: Any) -> None:
    done = quickly("run", "--backend", "dice", "-m", "./dice", "x", "--schema", '{"items": {"uniqueItems": true}}')
    assert done.returncode != 0
    assert "/json_schema/schema/items" in done.stderr
