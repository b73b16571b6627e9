"""``llamaforge backends``: listed without an import, described without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamaforge.backends import distributions
from support.plugins import CALLER, make_distribution, make_sabotaged, make_sound


def listed(command: Any) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(command.fine("backends", "list", "--json"))}


def test_the_list_imports_no_plugin(llamaforge: Any) -> None:
    names = make_sabotaged(llamaforge.plugins)
    make_sound(llamaforge.plugins, "sound")
    make_distribution(
        llamaforge.plugins, "dist-loud", {"llamaforge.backends": {"loud": "loud"}}, {"loud": "print('LOUD')"}
    )
    found = listed(llamaforge)
    assert {"echo", "sound", "loud", *names} <= set(found)
    assert found["echo"]["state"] == "built in"
    assert found["sound"]["state"] == "installed"
    assert found["sound"]["distributions"] == [{"name": "dist-sound-plugin", "version": "1.0"}]
    done = llamaforge("backends")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "LOUD" not in done.stdout
    assert any(line.split() == ["sound", "installed", "dist-sound-plugin", "1.0"] for line in done.stdout.splitlines())


def test_a_name_with_two_owners_is_listed_with_both(quickly: Any) -> None:
    make_sound(quickly.plugins, "sound")
    make_sound(quickly.plugins, "sound", module="other_plugin")
    found = listed(quickly)["sound"]
    assert found["state"] == "claimed by several"
    assert {one["name"] for one in found["distributions"]} == {"dist-sound-plugin", "dist-other-plugin"}
    done = quickly("backends", "show", "sound")
    assert done.returncode == 3
    assert "dist-sound-plugin 1.0" in done.stderr
    assert "dist-other-plugin 1.0" in done.stderr


def test_a_known_backend_that_is_absent_shows_the_command(quickly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(distributions.DISTRIBUTIONS, "absent", "forge-absent")
    found = listed(quickly)["absent"]
    assert (found["state"], found["install"]) == ("not installed", 'pip install "forge-absent>=2.0,<3"')
    done = quickly("backends", "show", "absent")
    assert (done.returncode, done.stdout) == (3, "")
    assert 'pip install "forge-absent>=2.0,<3"' in done.stderr


def test_show_takes_everything_from_the_config_class(quickly: Any) -> None:
    make_rich(quickly.plugins)
    found = json.loads(quickly.fine("backends", "show", "rich", "--json"))
    assert found["summary"] == "A described engine"
    assert (found["distribution"], found["version"]) == ("dist-rich", "1.0")
    assert (found["engine"], found["engine_version"]) == ("no-such-distribution", None)
    assert found["load_parameters"] == [
        {
            "name": "layers",
            "type": "a whole number from 0 to 9",
            "default": "3",
            "description": "Layers.",
            "secret": False,
        },
        {
            "name": "api_key",
            "type": "a string or 'env:NAME'",
            "default": "not set",
            "description": "The key.",
            "secret": True,
        },
    ]
    names = {one["name"] for one in found["generation_parameters"]}
    assert names == {"temperature", "raw", "timeout", "on_unsupported", "engine"}
    assert found["engine_options"] == ["mirostat"]
    assert "top_k" in found["refused"]
    shown = quickly.fine("backends", "show", "rich")
    assert any(line.split()[:2] == ["layers", "a"] and line.endswith("Layers.") for line in shown.splitlines())
    assert "no-such-distribution (not installed)" in shown


def test_show_does_not_import_the_backend_itself(quickly: Any) -> None:
    make_rich(quickly.plugins)
    assert quickly("run", "--backend", "rich", "-m", "x", "hi").returncode == 3
    assert quickly("backends", "show", "rich").returncode == 0


@pytest.mark.parametrize("name", ["raises_import_error", "exits", "wrong_hook"])
def test_a_broken_one_says_why(quickly: Any, name: str) -> None:
    make_sabotaged(quickly.plugins)
    done = quickly("backends", "show", name)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"dist-{name}".replace("_", "-") in done.stderr
    assert "llamaforge doctor" in done.stderr


def make_rich(folder: Any) -> None:
    """A backend whose description is complete and whose class can't be imported."""
    source = """
        from typing import Annotated
        from msgspec import Meta
        from llamaforge import BackendConfig, BackendSpec, Capabilities, Secret, hookimpl

        class Config(BackendConfig, frozen=True, kw_only=True):
            layers: Annotated[int, Meta(ge=0, le=9, description="Layers.")] = 3
            api_key: Annotated[Secret, Meta(description="The key.")] | None = None

        @hookimpl
        def llamaforge_backend():
            return BackendSpec(
                name="rich",
                target="a_module_that_is_not_there:Backend",
                config="rich_plugin:Config",
                summary="A described engine",
                engine="no-such-distribution",
                capabilities=Capabilities(
                    parameters=frozenset({"temperature"}), engine_options=frozenset({"mirostat"})
                ),
            )
    """
    make_distribution(folder, "dist-rich", {"llamaforge.backends": {"rich": "rich_plugin"}}, {"rich_plugin": source})


def test_the_schema_of_all_and_of_one(quickly: Any) -> None:
    make_sabotaged(quickly.plugins)
    make_rich(quickly.plugins)
    done = quickly("backends", "schema")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert {"echo", "rich"} <= set(found["discriminator"]["mapping"])
    assert "Left out:" in done.stderr
    one = json.loads(quickly.fine("backends", "schema", "rich"))
    assert list(one["discriminator"]["mapping"]) == ["rich"]
    assert quickly("backends", "schema", "nothing").returncode == 3


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("echo", ["refused"] * 4),
        ("rich", ["refused"] * 4),
        ("caller", ["refused", "refused", "enforced", "refused"]),
    ],
)
def test_show_tells_what_can_be_asked_of_answers(quickly: Any, name: str, answers: list[str]) -> None:
    make_rich(quickly.plugins)
    make_distribution(quickly.plugins, "caller", {"llamaforge.backends": {"caller": "caller"}}, {"caller": CALLER})
    forms = dict(zip(("response_format", "grammar", "tools", "reasoning"), answers, strict=True))
    assert json.loads(quickly.fine("backends", "show", name, "--json"))["answers"] == forms
    shown = quickly.fine("backends", "show", name)
    assert all(f"  {form}: {word}\n" in shown for form, word in forms.items())
