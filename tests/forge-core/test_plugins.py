"""Discovery: listed without an import, loaded one by one, each failure told apart and kept to itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llamaforge import BaseBackend, get_backend, list_backends, register_backend
from llamaforge.backends import registry
from llamaforge.backends.registry import get_config, match_backend
from llamaforge.errors import (
    BackendNotInstalledError,
    BrokenPluginError,
    ContractVersionError,
    DuplicatePluginError,
    NoBackendForModelError,
    UnknownBackendError,
)
from llamaforge.plugins import BACKENDS
from support.plugins import SABOTAGED, make_distribution, make_sabotaged, make_sound


def test_listing_imports_no_plugin(plugin_folder: Path) -> None:
    names = make_sabotaged(plugin_folder)
    make_sound(plugin_folder, "sound")
    assert {*names, "sound"} <= set(list_backends())
    assert not {*SABOTAGED, "sound_plugin"} & set(sys.modules)


def test_a_sound_plugin_works_beside_three_sabotaged_ones(plugin_folder: Path) -> None:
    make_sabotaged(plugin_folder)
    make_sound(plugin_folder, "sound")
    backend = get_backend("sound")()
    backend.load_model("anything")
    assert backend.generate("hello there") == "hello there"
    assert match_backend("model.sound") == "sound"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raises_import_error", "a_library_that_is_not_there"),
        ("exits", "SystemExit: no licence"),
        ("wrong_hook", "llamaforge_bakend"),
    ],
)
def test_a_broken_plugin_keeps_its_traceback(plugin_folder: Path, name: str, says: str) -> None:
    make_sabotaged(plugin_folder)
    with pytest.raises(BrokenPluginError, match="installed but broken") as caught:
        get_backend(name)
    error = caught.value
    assert error.plugin == name
    assert error.distribution == f"dist-{name}".replace("_", "-")
    assert says in error.reason
    assert "Traceback" in error.traceback
    assert says in error.traceback
    assert error.__cause__ is not None
    assert isinstance(error, ImportError)
    assert BACKENDS.failures[name] is error


def test_a_ctrl_c_during_an_import_is_no_failure_of_the_plugin(plugin_folder: Path) -> None:
    make_distribution(
        plugin_folder,
        "dist-slow",
        {"llamaforge.backends": {"slow": "slow_module"}},
        {"slow_module": "raise KeyboardInterrupt"},
    )
    with pytest.raises(KeyboardInterrupt):
        get_backend("slow")


def test_unknown_known_and_broken_are_three_errors(plugin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sound(plugin_folder, "sound")
    with pytest.raises(UnknownBackendError) as unknown:
        get_backend("sonud")
    assert unknown.value.suggestions == ["sound"]
    monkeypatch.setitem(registry.DISTRIBUTIONS, "absent", "forge-absent")
    with pytest.raises(BackendNotInstalledError) as absent:
        get_backend("absent")
    assert absent.value.command == 'pip install "forge-absent>=2.0,<3"'
    assert absent.value.command in str(absent.value)


def test_two_distributions_with_one_name_are_both_named_on_use(plugin_folder: Path) -> None:
    make_sound(plugin_folder, "sound")
    make_sound(plugin_folder, "sound", module="other_plugin")
    assert list_backends().count("sound") == 1
    with pytest.raises(DuplicatePluginError) as caught:
        get_backend("sound")
    assert sorted(caught.value.distributions) == ["dist-other-plugin 1.0", "dist-sound-plugin 1.0"]


@pytest.mark.parametrize(("version", "upgrade"), [(2, "forge-core"), (0, "dist-old")])
def test_another_contract_version_is_refused(plugin_folder: Path, version: int, upgrade: str) -> None:
    source = f"""
        from llamaforge import BackendSpec, hookimpl

        @hookimpl
        def llamaforge_backend():
            return BackendSpec(name="old", target="m:C", config="m:C", summary="", api_version={version})
    """
    make_distribution(plugin_folder, "dist-old", {"llamaforge.backends": {"old": "old_plugin"}}, {"old_plugin": source})
    with pytest.raises(ContractVersionError, match=f"Upgrade {upgrade}") as caught:
        get_backend("old")
    assert (caught.value.plugin_version, caught.value.core_version) == (version, 1)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("None", "no hook llamaforge_backend"),
        ("'a string'", "returned str"),
        ("BackendSpec(name='another', target='m:C', config='m:C', summary='')", "'another'"),
        ("BackendSpec(name='odd', target='no_such_module:C', config='m:C', summary='')", "no_such_module"),
        ("BackendSpec(name='odd', target='nonsense', config='m:C', summary='')", "module:Class"),
        ("BackendSpec(name='odd', target='json:JSONDecoder', config='m:C', summary='')", "not a subclass"),
    ],
)
def test_a_spec_that_is_wrong_is_a_broken_plugin(plugin_folder: Path, returned: str, says: str) -> None:
    source = f"""
        from llamaforge import BackendSpec, hookimpl

        @hookimpl
        def llamaforge_backend():
            return {returned}
    """
    make_distribution(plugin_folder, "dist-odd", {"llamaforge.backends": {"odd": "odd_plugin"}}, {"odd_plugin": source})
    with pytest.raises(BrokenPluginError) as caught:
        get_backend("odd")
    assert says in caught.value.reason


def test_one_module_may_serve_two_names(plugin_folder: Path) -> None:
    source = """
        from llamaforge import BackendSpec, hookimpl
        from llamaforge.backends.echo import SPEC

        @hookimpl
        def llamaforge_backend(name):
            return BackendSpec(name=name, target=SPEC.target, config=SPEC.config, summary=name)
    """
    make_distribution(
        plugin_folder,
        "dist-two",
        {"llamaforge.backends": {"one": "two_plugin", "two": "two_plugin"}},
        {"two_plugin": source},
    )
    assert registry.get_spec("one").summary == "one"
    assert registry.get_spec("two").summary == "two"
    assert get_config("two").__name__ == "EchoConfig"


def test_a_match_that_fails_is_passed_over_and_named(plugin_folder: Path) -> None:
    source = """
        from llamaforge import BackendSpec, hookimpl

        @hookimpl
        def llamaforge_backend():
            return BackendSpec(name="bad", target="m:C", config="m:C", summary="", match=lambda location: 1 / 0)
    """
    make_distribution(plugin_folder, "dist-bad", {"llamaforge.backends": {"bad": "bad_plugin"}}, {"bad_plugin": source})
    make_sound(plugin_folder, "sound")
    assert match_backend("x.sound") == "sound"
    with pytest.raises(NoBackendForModelError, match="ZeroDivisionError"):
        match_backend("x.nothing-takes-this")


class Registered(BaseBackend):
    """A backend that a program registers."""


def test_registering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    register_backend("mine", Registered)
    register_backend("mine", Registered)
    assert get_backend("mine") is Registered
    assert list_backends()[-1] == "mine"
    other = type("Other", (BaseBackend,), {})
    with pytest.raises(ValueError, match="taken"):
        register_backend("mine", other)
    register_backend("mine", other, replace=True)
    assert get_backend("mine") is other
    with pytest.raises(ValueError, match="taken"):
        register_backend("echo", other)
    with pytest.raises(TypeError):
        register_backend("odd", object)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="letters, digits"):
        register_backend(" ", other)


HEAVY = ("torch", "transformers", "llama_cpp", "openai", "numpy", "rich", "msgspec", "pluggy", "click")


def test_importing_and_listing_stay_light() -> None:
    code = f"""
import sys
import llamaforge
llamaforge.list_backends()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import llamaforge

    for name in llamaforge.__all__:
        assert getattr(llamaforge, name) is not None
    assert set(llamaforge.__all__) <= set(dir(llamaforge))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = llamaforge.no_such_name
